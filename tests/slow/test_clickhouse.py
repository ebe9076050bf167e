"""ClickHouse itself, embedded by chdb: numbers, names, texts, missing values and limits are what the target takes them
for; the shipped view answers over tables as users make them. Runs in .envs/clickhouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hostile
import numpy as np
import packed
import pytest
import zoo
from conforming import unfit
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tampering import change_the_numbers
from test_sql import HOSTILE, golden_inputs, judged

from anyport import targets
from anyport.batch import Column, take
from anyport.bundle import read
from anyport.errors import BadData, Impossible
from anyport.kit.database import create
from anyport.sql.clickhouse import CLICKHOUSE as D
from anyport.targets import clickhouse
from anyport.targets.clickhouse.session import Connection, Open, sessions

pytest.importorskip("chdb", reason="runs in .envs/clickhouse: make test-slow")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine() -> Iterator[Open]:
    with sessions() as (opened, _, _):
        yield opened


@pytest.fixture
def session(engine: Open) -> Iterator[Connection]:
    with engine() as one:
        one.anew()
        yield one


@pytest.mark.parametrize("name", [n for n, e in zoo.load().items() if e.form == "graph"])
def test_the_shipped_view_answers_as_the_original_did(shelf: packed.Shelf, tmp_path: Path, name: str) -> None:
    bundle = read(shelf.bundle(name))
    if unfit("clickhouse", bundle) is not None:
        with pytest.raises(Impossible):
            targets.build(bundle, "clickhouse", tmp_path / "artefact")
        return
    made = targets.build(bundle, "clickhouse", tmp_path / "artefact")
    with clickhouse.run(made) as running:
        found = judged(bundle, running.predictor.predict(golden_inputs(bundle)))
        assert running.engine.proof == "native"
    assert found.ok, found.says()


def test_numbers_changed_in_the_view_are_found_out(shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("xgboost_numbers"))
    made = targets.build(bundle, "clickhouse", tmp_path / "artefact")
    change_the_numbers(made.path)
    with clickhouse.run(made) as running:
        assert not judged(bundle, running.predictor.predict(golden_inputs(bundle))).ok


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
@example([0.1234567890123456789, 5e-324, -5e-324, 1.7976931348623157e308, -0.0])
def test_a_double_is_written_and_read_exactly(engine: Open, values: list[float]) -> None:
    with engine() as one:
        [found] = one.ask(f"select {', '.join(map(D.double, values))}")
        kinds = one.ask(f"select {', '.join(f'toTypeName({D.double(v)})' for v in values)}")
    assert [float(v) for v in found] == values
    assert set(kinds[0]) == {"Float64"}


@settings(max_examples=80, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=6, unique=True), HOSTILE)
@example(["\\", "\\'", "`", "a;\nb", "{x:String}"], "a\\b`\n")
def test_no_category_or_name_breaks_out_of_the_text(engine: Open, levels: list[str], name: str) -> None:
    with engine() as one:
        one.anew()
        hostile.stays(one, levels, name or "x")


def test_single_precision_is_as_in_numpy(session: Connection) -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=2000) * 10.0 ** rng.integers(-46, 39, 2000), [1e300, -1e300, 1e-300]])
    a, b = values, rng.permutation(values)
    create(session, "t", {"a": Column(a), "b": Column(b)})
    rounded, added = D.functions["f32"].format("a"), D.functions["add32"].format(*map(D.functions["f32"].format, "ab"))
    found = session.ask(f"select {rounded}, {added} from t order by anyport_row")
    with np.errstate(over="ignore", invalid="ignore"):
        expected = a.astype(np.float32), a.astype(np.float32) + b.astype(np.float32)
    got = np.array([[float("nan") if v is None else float(v) for v in row] for row in found])
    assert np.array_equal(got[:, 0], expected[0].astype(float))
    assert np.array_equal(got[:, 1], expected[1].astype(float), equal_nan=True)


TABLE = """create table zoo_rows (id UInt64, island LowCardinality(String), bill_length_mm Float64,
bill_depth_mm Nullable(Float32), flipper_length_mm Decimal(10, 2), body_mass_g Int32, sex Enum8('male' = 1,
'female' = 2), year UInt16) engine = MergeTree order by id"""


def test_a_table_of_the_users_own_kinds_of_columns_answers(
    session: Connection, shelf: packed.Shelf, tmp_path: Path
) -> None:
    """NOT NULL, LowCardinality, Decimal, Enum: the same answers as of plain columns."""
    made = targets.build(
        read(shelf.bundle("penguin_species")), "clickhouse", tmp_path / "a", table="zoo_rows", view="zoo", keys="id"
    )
    session.run(TABLE)
    rows = [(7, "Biscoe", 46.5, 14.5, 213.5, 4400, "female", 2007), (8, "Dream", 49.5, 19.0, 200.0, 3800, "male", 2008)]
    session.run(f"insert into zoo_rows values {', '.join(map(repr, rows))}")
    session.run("insert into zoo_rows values (9, 'Torgersen', nan, null, 190, 3500, 'male', 2009)")
    for text in clickhouse.statements(made.path / "up.sql"):
        session.run(text)
    found = session.ask("select id, prediction, refusal from zoo order by id")
    session.run("create table plain (id Nullable(Int64), island Nullable(String), bill_length_mm Nullable(Float64), "
                "bill_depth_mm Nullable(Float64), flipper_length_mm Nullable(Float64), body_mass_g Nullable(Float64), "
                "sex Nullable(String), year Nullable(Int64))")  # fmt: skip
    session.run("insert into plain select * from zoo_rows")
    session.run("rename table zoo_rows to other, plain to zoo_rows")
    assert found == session.ask("select id, prediction, refusal from zoo order by id")
    assert [row[0] for row in found] == [7, 8, 9]
    assert {row[1] for row in found} <= {"Adelie", "Chinstrap", "Gentoo"}
    for text in clickhouse.statements(made.path / "down.sql"):
        session.run(text)
    assert session.ask("select name from system.tables where database = currentDatabase() and engine = 'View'") == []


def test_one_row_by_its_key_reads_no_other_rows(session: Connection, shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("counts"))
    made = targets.build(bundle, "clickhouse", tmp_path / "a", table="many", view="asked", keys="number")
    batch = golden_inputs(bundle)
    create(session, "few", {**batch, "number": Column(np.arange(2000))})
    session.raw.query("create table many engine = MergeTree order by number settings allow_nullable_key = 1, "
                "index_granularity = 64 as select * from few")  # fmt: skip
    for text in clickhouse.statements(made.path / "up.sql"):
        session.run(text)
    plan = "\n".join(row[0] for row in session.ask("explain indexes = 1 select * from asked where number = 77"))
    assert "Granules: 1/" in plan, plan
    [(number, *_)] = session.ask("select number, prediction from asked where number = 77")
    assert number == 77


def test_a_value_in_between_is_found_once_a_row(engine: Open, shelf: packed.Shelf, tmp_path: Path) -> None:
    """Layers are merged, and what only branches use would be found anew in each: 2,000 rows took 12 s."""
    made = targets.build(read(shelf.bundle("penguin_species")), "clickhouse", tmp_path / "a")
    text = (made.path / "up.sql").read_text()
    assert "ignore(" in text
    with engine() as one:
        batch = take(golden_inputs(read(shelf.bundle("penguin_species"))), slice(0, 500))
        create(one, "penguin_species_rows", {**batch, "id": Column(np.arange(500))})
        took = []
        for written in (
            text,
            text.replace("case when ignore(", "case when 0 = 0 and (0 = 0 or ignore(").replace(
                ")=0 and why is null", ")=0) and why is null"
            ),
        ):
            for statement in written.removesuffix(";\n").split(";\n"):
                one.run(statement)
            [(before,)] = one.ask("select toUnixTimestamp64Micro(now64(6))")
            one.ask("select probability_0 from penguin_species")
            [(after,)] = one.ask("select toUnixTimestamp64Micro(now64(6))")
            took.append(after - before)
        one.anew()
    assert took[0] * 3 < took[1]


def test_elements_are_never_more_than_counted(engine: Open, shelf: packed.Shelf, tmp_path: Path) -> None:
    for name in ("penguin_species", "components", "odd_names", "nullable_columns"):
        made = targets.build(read(shelf.bundle(name)), "clickhouse", tmp_path / name)
        text = clickhouse.statements(made.path / "up.sql")[-1]
        asked = text[text.index("\nwith ") :]
        bundle = read(shelf.bundle(name))
        with engine() as one:
            create(one, f"{name}_rows", {**take(golden_inputs(bundle), [0]), "id": Column(np.arange(1))})
            counted = clickhouse.elements(asked)
            one.run(f"explain {asked} settings max_ast_elements = {counted + 10}")
            with pytest.raises(one.errors, match="AST is too big"):
                one.run(f"explain {asked} settings max_ast_elements = {counted // 4}")
            one.anew()


def test_a_view_larger_than_a_statement_may_be_is_made_and_asked_as_it_comes(session: Connection) -> None:
    whens = " + ".join(f"multiIf(x<={i}.500000000000000000,{i}.25,{i}.75)" for i in range(100))
    text = f"create or replace view big as with l as (select {', '.join(f'{whens} as v{k}' for k in range(64))} from t)"
    text += " select v0 as y from l"
    session.run("create table t (x Nullable(Float64))")
    session.run("insert into t values (3)")
    with pytest.raises(session.errors, match="max_query_size"):
        session.run(text)
    made = clickhouse.settings(text)
    assert "max_ast_elements" in made
    for statement in made.removesuffix(";\n").split(";\n"):
        session.run(statement)
    session.run(text)
    session.run("set max_query_size = default, max_ast_elements = default")
    [(y,)] = session.ask("select y from big")
    assert y == sum(i + (0.25 if i >= 3 else 0.75) for i in range(100))


def test_the_longest_names_that_are_taken_are_made_and_no_longer_ones(session: Connection) -> None:
    own = session.database
    session.database = D.ident("d" * clickhouse.DATABASE)
    session.anew()
    for name in ("v" * clickhouse.NAME, "ü" * (clickhouse.NAME // 6), "a b" * (clickhouse.NAME // 5)):
        assert clickhouse.filed(name) <= clickhouse.NAME
        session.run(f"create view {D.ident(name)} as select 1 as x")
    with pytest.raises(session.errors, match="max length of table name"):
        session.run(f"create view {D.ident('v' * 151)} as select 1 as x")
    session.run(f"drop database {session.database}")
    session.database = own
    session.anew()


def test_a_database_that_is_named_is_its_own_and_callers_wait_for_each_other(
    shelf: packed.Shelf, tmp_path: Path
) -> None:
    bundle = read(shelf.bundle("nullable_columns"))
    made = targets.build(bundle, "clickhouse", tmp_path / "a", schema="lake", view="answers")
    with clickhouse.run(made) as running:
        found = judged(bundle, running.predictor.predict(golden_inputs(bundle)))
        assert running.engine.proof == "native"
        assert running.engine.name == "ClickHouse"
    assert found.ok, found.says()


def test_a_database_that_someone_here_fills_is_left_alone(session: Connection) -> None:
    session.run("create table mine (x Int32)")
    name = session.database.strip("`")
    with pytest.raises(Impossible, match="has tables in a database"), sessions(name):
        pass
    assert session.ask("select count() from mine") == [(0,)]


def test_a_table_without_a_column_is_said(shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("nullable_columns"))
    made = targets.build(bundle, "clickhouse", tmp_path / "a")
    batch = {k: v for k, v in golden_inputs(bundle).items() if k != "plan"}
    with clickhouse.run(made) as running, pytest.raises(BadData, match="there is no column 'plan'"):
        running.predictor.predict(batch)
