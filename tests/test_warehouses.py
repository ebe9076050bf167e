"""Snowflake, Redshift, Databricks and Trino: the shipped text, parsed strictly as each engine's own and executed by
DuckDB in its stead, answers as the original did, whatever columns are called and categories hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import packed
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_sql import HOSTILE, answer, golden_inputs, judged

from anyport import targets
from anyport.batch import Column
from anyport.bundle import read
from anyport.errors import Impossible, Mistake
from anyport.kit import warehouse
from anyport.kit.database import KEY, answers, create, outcome
from anyport.kit.standin import StandIn, transpiled
from anyport.kit.view import unfit
from anyport.kit.warehouse import Options, Warehouse, in_duckdb
from anyport.signature import Field, Signature
from anyport.sql.compile import Compiled, selected
from anyport.sql.expr import Pool
from anyport.sql.fold import Folder
from anyport.target import Command
from anyport.targets import databricks, redshift, snowflake, trino

HOUSES = [m.HOUSE for m in (snowflake, redshift, databricks, trino)]
NAMES = [house.spec.name for house in HOUSES]


@pytest.fixture(params=HOUSES, ids=NAMES)
def house(request: pytest.FixtureRequest) -> Warehouse:
    found: Warehouse = request.param
    return found


@pytest.mark.parametrize("name", ["odd_names", "nullable_columns", "missing_indicator"])
def test_the_shipped_view_answers_as_the_original_did(
    shelf: packed.Shelf, tmp_path: Path, house: Warehouse, name: str
) -> None:
    bundle = read(shelf.bundle(name))
    made = targets.build(bundle, house.spec.name, tmp_path / "artefact", schema="lake.zoo")
    with targets.get(house.spec.name).run(made) as running:
        found = judged(bundle, running.predictor.predict(golden_inputs(bundle)))
        assert running.engine.proof == "stand-in"
    assert found.ok, found.says()


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(HOUSES), st.lists(HOSTILE, min_size=1, max_size=6, unique=True), HOSTILE)
@example(HOUSES[2], ["${spark.app.name}", "\\'", "\\${x}"], "x")
@example(HOUSES[1], ["\\", "a ", "a", "'||'", "E'"], "a\\b")
@example(HOUSES[0], ["&x", "<% x %>", "\\\\'"], '"')
def test_no_category_or_name_breaks_out_of_the_text(house: Warehouse, levels: list[str], name: str) -> None:
    name = name or "x"
    pool = Pool()
    column = pool.node("column", (), (name, True), "s")
    made = pool.lookup(column, [(v, float(i + 1)) for i, v in enumerate(levels)], -1.0, -2.0)
    field = Field(name=name, dtype="string", nullable=True)
    signature = Signature(inputs=(field,), outputs=(Field(name="prediction", dtype="float64"),))
    model = Compiled(signature, (answer(signature, made),), (), Folder([]))
    texts: list[Any] = [*levels, *(v + " " for v in levels), *(v.swapcase() for v in levels), None]
    values = np.empty(len(texts), object)
    values[:] = texts
    [text] = in_duckdb(selected(model, house.dialect, "t", keys=[KEY]), house.reads)
    session = StandIn("main")
    create(session, "t", {name: Column(values, np.array([v is not None for v in texts], bool))})
    listed = ", ".join(f'"{n}"' for n in answers(signature))
    found = session.ask(f"select {listed} from ({text}) as q order by {KEY}")
    session.raw.close()
    known = {v: float(i + 1) for i, v in enumerate(levels)}
    expected = [known.get(v, -1.0) for v in texts[:-1]]
    assert outcome(signature, found).outputs["prediction"].values.tolist() == [*expected, -2.0]


def backslashed(text: str) -> str:
    """A text as engines read it whose backslash escapes."""
    named = {"n": "\n", "r": "\r"}
    return re.sub(r"\\(.)", lambda m: named.get(m[1], m[1]), text, flags=re.S)


READ_BY = {
    "snowflake": lambda pieces: backslashed("".join(pieces)),
    "databricks": lambda pieces: backslashed("".join(pieces)),
    "redshift": lambda pieces: "".join(pieces),
    "trino": lambda pieces: "".join(pieces),
}  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(HOUSES), HOSTILE)
@example(HOUSES[2], "${x} {} \\{")
@example(HOUSES[1], "\\'")
def test_a_text_is_read_back_by_the_documented_rules(house: Warehouse, text: str) -> None:
    """By rules written anew here: sqlglot could be wrong in the same way."""
    written = house.dialect.literal(text)
    inside = r"(?:[^'\\]|\\.|'')*" if house.reads in ("snowflake", "databricks") else r"(?:[^']|'')*"
    assert re.fullmatch(rf"'{inside}'(?: \|\| (?:'{inside}'|chr\(92\)))*", written, re.S)
    pieces = re.findall(rf"'({inside})'|(chr\(92\))", written, re.S)
    assert (
        READ_BY[house.reads]([piece.replace("''", "'") or "\\" * bool(by_number) for piece, by_number in pieces])
        == text
    )
    assert "${" not in written or house.reads != "databricks"
    assert "\\" not in written or house.reads != "redshift"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(HOUSES), st.floats(allow_nan=False, allow_infinity=False))
@example(HOUSES[2], 0.1234567890123456789)
@example(HOUSES[0], 1e10)
@example(HOUSES[3], -5e-324)
def test_a_number_is_the_double_itself(house: Warehouse, value: float) -> None:
    written = house.dialect.alone(value)
    typed = {
        "snowflake": r"'[^']+'::float", "redshift": r"'[^']+'::float8", "databricks": r"-?[\d.]+(e[-+]?\d+)?D",
        "trino": r"-?[\d.]+e[-+]?\d+",
    }  # fmt: skip
    assert re.fullmatch(typed[house.reads], written)
    session = StandIn("main")
    [text] = in_duckdb(f"select {written} as x", house.reads)
    [(kind, found)] = session.ask(f"select typeof(x), x from ({text}) as q")
    session.raw.close()
    assert (kind, found) == ("DOUBLE", value)


def test_infinities_and_missing_numbers_are_told(house: Warehouse) -> None:
    d = house.dialect
    parts = ", ".join([d.alone(float("inf")), d.alone(float("-inf")), d.missing.format("x"), d.missing.format("y")])
    [text] = in_duckdb(f"select {parts} from t", house.reads)
    session = StandIn("main")
    session.raw.execute("create table t as select 'NaN'::double as x, 1.5::double as y")
    assert session.ask(text) == [(float("inf"), float("-inf"), None, 1.5)]
    session.raw.close()


def test_trailing_blanks_count_where_redshift_ignores_them() -> None:
    d = redshift.HOUSE.dialect
    sides = ", ".join(f"rtrim({x})" for x in (d.binary.format("'rome '"), d.level("rome"), d.level("rome ")))
    [text] = in_duckdb(f"select {sides}", "redshift")
    session = StandIn("main")
    [(column, other, same)] = session.ask(text)
    session.raw.close()
    assert column == same != other


def test_times_are_microseconds(house: Warehouse) -> None:
    [text] = in_duckdb(f"select {house.dialect.micros.format('x')} from t", house.reads)
    session = StandIn("main")
    times = (
        "values (timestamptz '2026-11-27 01:02:03.456789+00'), (timestamptz '1969-12-31 23:59:59.999999+00'), (null)"
    )
    session.raw.execute(f"create table t as select * from ({times}) as v(x)")
    assert session.ask(text) == [(1795741323456789,), (-1,), (None,)]
    session.raw.close()


@pytest.mark.parametrize(
    ("name", "given_", "says"),
    [
        ("snowflake", {"keys": "a\nb"}, "no column 'a\\nb'"), ("snowflake", {"view": "v" * 256}, "at most 255"),
        ("redshift", {"keys": "ä" * 64}, "more than the 127 bytes"), ("redshift", {"schema": "a..b"}, "no schema"),
        ("databricks", {"view": "a b"}, "no period, space or slash"), ("databricks", {"keys": "${x}"}, "no ${"),
        ("trino", {"table": "t\x00"}, "no schema, table or view"),
    ],
)  # fmt: skip
def test_names_that_an_engine_has_not_are_refused_before_any_work(
    shelf: packed.Shelf, name: str, given_: dict[str, str], says: str
) -> None:
    module = targets.get(name)
    bundle = read(shelf.bundle("one_label"))
    reason = module.fits(bundle, targets.options(module, given_))
    assert reason is not None
    assert says in reason.why
    with pytest.raises(Mistake, match="one name"):
        module.fits(bundle, targets.options(module, {"table": "x", "view": "X"}))


def test_a_text_beyond_the_limit_is_refused_before_any_work(shelf: packed.Shelf, house: Warehouse) -> None:
    bundle, d = read(shelf.bundle("one_label")), house.dialect
    assert unfit(bundle, lambda: ["x" * d.longest], d, instead="") is None
    long = unfit(bundle, lambda: ["x" * (d.longest + 1)], d, instead="elsewhere")
    assert long is not None
    assert f"{house.dialect.name} takes {d.longest:,}" in long.why


def test_the_plan_is_the_vendors_own_program(shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("one_label"))
    shown = {}
    for house in HOUSES:
        made = targets.build(bundle, house.spec.name, tmp_path / house.spec.name, schema="ml", keys="id")
        [step] = targets.get(house.spec.name).plan(made, None, None)
        assert isinstance(step.do, Command)
        assert isinstance(step.undo, Command)
        assert step.do.argv[-1] == str(made.path / "up.sql")
        assert step.undo.argv[-1] == str(made.path / "down.sql")
        shown[house.spec.name] = step.do.argv[0], (made.path / "down.sql").read_text()
        with pytest.raises(Impossible, match="does not ask"), warehouse.connect(house, made, None):
            pass
    assert shown == {
        "snowflake": ("snow", 'drop view if exists "ML"."ONE_LABEL";\n'),
        "redshift": ("psql", 'drop view if exists "ml"."one_label";\n'),
        "databricks": ("dbsqlcli", "drop view if exists `ml`.`one_label`;\n"),
        "trino": ("trino", 'drop view if exists "ml"."one_label";\n'),
    }


def test_snowflake_reads_names_as_it_does_without_quotes_or_exactly(shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("odd_names"))
    for case, says in (("upper", ('"PREDICTION"', '"bill.length (mm)"')), ("exact", ('"prediction"', '"odd_names"'))):
        made = targets.build(bundle, "snowflake", tmp_path / case, case=case)
        text = (made.path / "up.sql").read_text(encoding="utf-8")
        assert all(name in text for name in says)


@pytest.mark.parametrize("reads", [house.reads for house in HOUSES])
def test_what_sqlglot_does_not_know_is_refused_and_not_guessed(reads: str) -> None:
    with pytest.raises(Impossible, match="does not know"):
        transpiled("select never_heard_of(x) from t", reads)


def test_options_are_the_same_everywhere() -> None:
    assert {m.Options for m in (redshift, databricks, trino)} == {Options}
    assert set(snowflake.Options.__struct_fields__) == {*Options.__struct_fields__, "case"}
