"""DuckDB: every form of a tree ensemble answers exactly as the expressions mean, a table's own columns pass through,
what SQL cannot hold is asked of ONNX Runtime, and nothing is left in a database that was only checked."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import ensembles
import numpy as np
import packed
import pytest
from conforming import conforms

import anyport
from anyport import conformance, targets
from anyport.batch import Batch
from anyport.bundle import Bundle, read
from anyport.errors import Impossible, Mistake
from anyport.kit.database import KEY, create
from anyport.kit.runtime import view
from anyport.signature import Field, Signature
from anyport.sql.compile import Compiled, compiled
from anyport.sql.dialect import DUCKDB as D
from anyport.sql.expr import Pool, order
from anyport.target import Sql
from anyport.targets.duckdb import FUNCTION, forest
from anyport.targets.duckdb.forest import Way, grown
from anyport.targets.duckdb.macro import Names, statements
from anyport.targets.duckdb.session import Connected

pytestmark = pytest.mark.target_duckdb
ROWS = 500


@pytest.fixture
def database() -> Iterator[Any]:
    with duckdb.connect(":memory:") as connection:
        yield connection


def answered(database: Any, model: Compiled, batch: Batch, way: Way) -> list[tuple[Any, ...]]:
    """The macro's answers to a batch, in the order of its rows."""
    made = grown(model, way)
    assert set(made.ways) == {way}
    for statement in statements(made, Names("m")):
        database.execute(statement)
    create(Connected(database), "rows", batch)
    names = ", ".join(D.ident(a.name) for a in model.answers)
    return database.execute(f"select {names}, refusal from m_predict('rows') order by {KEY}").fetchall()  # type: ignore[no-any-return]


def same(got: list[tuple[Any, ...]], model: Compiled, batch: Batch) -> None:
    """Bit by bit, where a row has an answer; behind exp to the last place, which numpy's own for AVX-512 rounds in
    another way than the C library's."""
    wanted = ensembles.expected(model, batch, len(got))
    assert {row[-1] for row in got} == {None}
    for i, (answer, values) in enumerate(zip(model.answers, wanted, strict=True)):
        cells = np.array([np.nan if row[i] is None else row[i] for row in got], float)
        there = ~np.isnan(values)
        if any(node.op == "exp" for node in order([answer.node])):
            np.testing.assert_array_max_ulp(cells[there], values[there], maxulp=2)
        else:
            assert cells[there].tolist() == values[there].tolist()
        assert there.sum() > ROWS / 4


@pytest.mark.parametrize("way", ["case", "bits", "walk"])
@pytest.mark.parametrize("seed", range(6))
def test_every_form_of_an_ensemble_means_the_same(database: Any, way: Way, seed: int) -> None:
    model = ensembles.ensemble(seed, single=seed % 2 == 1, outputs=1 + seed % 3, constants=seed < 4)
    batch = ensembles.rows_of(seed, ROWS, huge=1e30 if seed % 2 else 1e300)
    same(answered(database, model, batch, way), model, batch)


def test_a_tree_of_64_leaves_fits_its_bits(database: Any) -> None:
    model = ensembles.ensemble(3, trees=5, depth=6, full=True, width=3)
    batch = ensembles.rows_of(3, ROWS)
    assert max(len(shape.leaves) for shape in shapes(model)) == forest.LEAVES
    same(answered(database, model, batch, "bits"), model, batch)


def shapes(model: Compiled) -> list[Any]:
    from anyport.sql.fold import trees_of
    from anyport.sql.grow import shape_of

    return [shape_of(model.folder, t, {}, []) for t in trees_of([a.node for a in model.answers])]


def test_deep_trees_are_walked(database: Any) -> None:
    model = ensembles.ensemble(1, trees=3, depth=9, full=True)
    made = grown(model)
    assert made.ways == ["walk"]
    batch = ensembles.rows_of(1, ROWS)
    same(answered(database, model, batch, "walk"), model, batch)


def test_300_trees_are_planned_in_no_time(database: Any) -> None:
    """As nested CASE they would take DuckDB seconds; the text of the macro does not grow with the trees."""
    model = ensembles.ensemble(2, trees=300, depth=6, constants=False)
    made = grown(model)
    assert "case" not in made.ways
    batch = ensembles.rows_of(2, ROWS)
    same(answered(database, model, batch, made.ways[0]), model, batch)
    plans = [s for s in statements(made, Names("m")) if "create or replace macro" in s]
    assert max(map(len, plans)) < 20_000


def test_more_leaves_than_bits_are_refused() -> None:
    with pytest.raises(Impossible, match="more than 64 leaves"):
        grown(ensembles.ensemble(1, trees=3, depth=9, full=True), "bits")


def test_a_few_trees_stay_expressions() -> None:
    assert grown(ensembles.ensemble(0, trees=3, depth=2)).ways == ["case"]


def test_a_tree_too_deep_for_sql_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forest, "DEEPEST", 3)
    with pytest.raises(Impossible, match="a tree is 4 splits deep; as SQL at most 3"):
        grown(ensembles.ensemble(0))


@pytest.mark.parametrize("name", ["several_numbers", "stacked", "penguin_species", "xgboost_categories", "counts"])
@pytest.mark.parametrize("way", ["bits", "walk"])
def test_the_zoo_in_the_form_that_was_not_chosen(shelf: packed.Shelf, database: Any, name: str, way: Way) -> None:
    from test_sql import golden_inputs, judged

    from anyport.kit.database import outcome

    bundle = read(shelf.bundle(name))
    model = compiled(bundle, replace(D, terms=1_000_000))
    found = judged(bundle, outcome(bundle.signature, answered(database, model, golden_inputs(bundle), way)))
    assert found.ok, found.says()


# -- the user's table


@pytest.fixture(scope="module")
def built(shelf: packed.Shelf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return targets.build(shelf.bundle("penguin_species"), "duckdb", tmp_path_factory.mktemp("built") / "penguins").path


def text(folder: Path) -> str:
    return (folder / "model.sql").read_text(encoding="utf-8")


PENGUIN = {
    "bill_length_mm": "39.1", "bill_depth_mm": "18.7", "flipper_length_mm": "181", "body_mass_g": "3750",
    "year": "2007", "island": "'Torgersen'", "sex": "'male'",
}  # fmt: skip


def table(**changed: str) -> str:
    """CREATE TABLE of one penguin, some of its columns changed or added."""
    return "create or replace table t as select " + ", ".join(f'{v} as "{k}"' for k, v in (PENGUIN | changed).items())


def test_every_column_of_the_table_passes_through(built: Path, database: Any) -> None:
    database.execute(text(built))
    database.execute(table(id="7", x0="'mine'", why="'because'", r="1", c0="2", PREDICTION="'theirs'"))
    found = database.execute("from penguin_species_predict('t')")
    names = [*PENGUIN, "id", "x0", "why", "r", "c0", "prediction", "probability_0", "probability_1", "probability_2",
             "refusal"]  # fmt: skip
    assert [d[0] for d in found.description] == names
    [row] = found.fetchall()
    assert dict(zip(names, row, strict=True))["x0"] == "mine"
    assert (row[7], row[names.index("prediction")], row[-1]) == (7, "Adelie", None)


def test_one_row_is_answered_as_a_struct_and_as_the_table_is(built: Path, database: Any) -> None:
    database.execute(text(built))
    database.execute(table())
    alone = database.execute("select penguin_species_row({" + pairs() + "})").fetchone()[0]
    of_table = database.execute("select prediction, probability_0, probability_1, probability_2, refusal "
                            "from penguin_species_predict('t')").fetchone()  # fmt: skip
    assert tuple(alone.values()) == of_table
    over = database.execute("select penguin_species_row(t) from t").fetchone()[0]
    assert over == alone


def pairs() -> str:
    return ", ".join(f"'{k}': {v}" for k, v in PENGUIN.items())


def test_the_script_runs_twice(built: Path, database: Any) -> None:
    database.execute(text(built))
    counted = "select count(*) from duckdb_functions() where function_name like 'penguin%'"
    before = database.execute(counted).fetchone()
    database.execute(text(built))
    assert database.execute(counted).fetchone() == before == (2,)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"body_mass_g": "'heavy'"}, "column 'body_mass_g': expected float64 or missing, got VARCHAR"),
        ({"island": "3"}, "column 'island': expected string or missing, got INTEGER"),
        ({"year": "2007.5::DOUBLE"}, "column 'year': expected int64 or missing, got 2007.5"),
        ({"year": "1e30::DOUBLE"}, "column 'year': expected int64 or missing, got 1e+30"),
    ],
)
def test_a_column_of_another_type_refuses_its_rows(
    built: Path, database: Any, changed: dict[str, str], says: str
) -> None:
    database.execute(text(built))
    database.execute(table(**changed))
    found = database.execute("select prediction, probability_0, refusal from penguin_species_predict('t')").fetchall()
    assert found == [(None, None, says)]


def test_other_types_that_hold_the_same_value_are_taken(built: Path, database: Any) -> None:
    database.execute(text(built))
    database.execute(table())
    wanted = database.execute("select prediction, probability_0 from penguin_species_predict('t')").fetchall()
    database.execute("create type islands as enum ('Torgersen', 'Dream')")
    database.execute(table(year="2007::DOUBLE", island="'Torgersen'::islands", body_mass_g="3750::HUGEINT",
                           bill_depth_mm="18.7::DECIMAL(5, 2)"))  # fmt: skip
    assert database.execute("select prediction, probability_0 from penguin_species_predict('t')").fetchall() == wanted
    database.execute("create table c as from t limit 0")
    database.execute("alter table c alter island type varchar collate nocase")
    database.execute("insert into c select * replace ('TORGERSEN' as island) from t")
    assert database.execute("select probability_0 from penguin_species_predict('c')").fetchall() != [wanted[0][1:]]


def test_nulls_everywhere_and_no_rows(built: Path, database: Any) -> None:
    database.execute(text(built))
    database.execute(table(**dict.fromkeys(PENGUIN, "null")))
    assert database.execute("select refusal from penguin_species_predict('t')").fetchall() == [(None,)]
    database.execute("delete from t")
    assert database.execute("from penguin_species_predict('t')").fetchall() == []


def test_a_view_over_a_table_of_the_users(shelf: packed.Shelf, tmp_path: Path, database: Any) -> None:
    options = {"table": "t", "view": "scored", "name": "a b"}
    made = targets.build(shelf.bundle("penguin_species"), "duckdb", tmp_path / "made", **options)
    database.execute(table(id="7"))
    database.execute(text(made.path))
    assert database.execute("select id, prediction from scored").fetchall() == [(7, "Adelie")]
    assert database.execute("select prediction from \"a b_predict\"('t')").fetchall() == [("Adelie",)]


@pytest.mark.parametrize("engine", ["sql", "udf"])
def test_an_artefact_with_a_view_is_checked_without_the_users_table(
    shelf: packed.Shelf, tmp_path: Path, engine: str
) -> None:
    conforms(read(shelf.bundle("nullable_columns")), "duckdb", tmp_path / "made", table="s.t", engine=engine)


# -- what SQL cannot hold


def test_auto_takes_the_function_where_there_is_no_sql(shelf: packed.Shelf, tmp_path: Path) -> None:
    made = targets.build(shelf.bundle("documents"), "duckdb", tmp_path / "made")
    assert (made.path / "connect.py").is_file()
    assert "ONNX Runtime" in (made.path / "README.md").read_text(encoding="utf-8")
    with pytest.raises(Impossible, match="splits text into words") as error:
        targets.build(shelf.bundle("documents"), "duckdb", tmp_path / "sql", engine="sql")
    assert "-O engine=udf" in error.value.fix
    assert not (tmp_path / "sql").exists()


@pytest.mark.parametrize("name", ["penguin_species", "odd_names", "nullable_columns", "two_answers"])
def test_the_function_answers_for_models_that_sql_holds_too(shelf: packed.Shelf, tmp_path: Path, name: str) -> None:
    report = conforms(read(shelf.bundle(name)), "duckdb", tmp_path / "made", engine="udf")
    assert report.engine["process"] == "this process: udf"


def test_the_function_needs_nothing_else(shelf: packed.Shelf, tmp_path: Path) -> None:
    made = targets.build(shelf.bundle("penguin_species"), "duckdb", tmp_path / "made", engine="udf")
    with duckdb.connect(str(tmp_path / "user.duckdb")) as connection:
        connection.execute(table(id="7"))
    argv = [view(*FUNCTION), "-IB", made.path / "connect.py", tmp_path / "user.duckdb",
            "select id, prediction from penguin_species_predict('t')"]  # fmt: skip
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["id,prediction", "7,Adelie"]


def test_a_tensor_of_no_fixed_size_has_no_columns(shelf: packed.Shelf) -> None:
    bundle = read(shelf.bundle("fixed_batch"))
    field = replace_field(bundle.signature.inputs[0], (None, 3))
    wide = Bundle(bundle.path, msgspec_replace(bundle.manifest, signature=Signature(
        inputs=(field,), outputs=bundle.signature.outputs)), bundle.digest)  # fmt: skip
    module = targets.get("duckdb")
    reason = module.fits(wide, targets.options(module, {}))
    assert reason is not None
    assert "no fixed size" in reason.why
    assert "rest" in reason.fix


def replace_field(field: Field, shape: tuple[int | None, ...]) -> Field:
    return msgspec_replace(field, shape=shape)  # type: ignore[no-any-return]


def msgspec_replace(struct: Any, **changes: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(struct, **changes)


# -- a database of the user's


def contents(path: Path) -> list[Any]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return [
            connection.execute("select table_name from duckdb_tables() order by 1").fetchall(),
            connection.execute("select function_name from duckdb_functions() where not internal order by 1").fetchall(),
        ]


@pytest.mark.parametrize("engine", ["sql", "udf"])
def test_a_check_of_the_users_database_leaves_nothing(shelf: packed.Shelf, tmp_path: Path, engine: str) -> None:
    made = targets.build(shelf.bundle("nullable_columns"), "duckdb", tmp_path / "made", engine=engine)
    path = tmp_path / "user.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table theirs as select 1 as a")
    before = contents(path)
    report = conformance.check_artifact(made.path, live={"path": str(path)})
    assert report.ok, [c for c in report.cases if c.verdict == "failed"]
    assert report.proof == "live"
    assert str(path) in report.engine["process"]
    assert contents(path) == before


def test_what_is_no_database_is_named(built: Path, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"there is no database .*absent\.duckdb"):
        conformance.check_artifact(built, live={"path": str(tmp_path / "absent.duckdb")})
    (tmp_path / "text.duckdb").write_text("not a database" * 1000)
    with pytest.raises(Mistake, match="cannot be opened"):
        conformance.check_artifact(built, live={"path": str(tmp_path / "text.duckdb")})


def test_the_plan_can_be_undone(shelf: packed.Shelf, tmp_path: Path, database: Any) -> None:
    made = targets.build(shelf.bundle("forest_behind_scaler"), "duckdb", tmp_path / "made", table="t")
    module = targets.get("duckdb")
    [step] = module.plan(made, targets.options(module, {}), None)
    inputs = read(made.path / "bundle").signature.inputs
    database.execute("create table t (" + ", ".join(f'"{f.name}" double' for f in inputs) + ")")
    assert isinstance(step.do, Sql)
    assert isinstance(step.undo, Sql)
    for statement in step.do.statements:
        database.execute(statement)
    assert database.execute("from forest_behind_scaler_view").fetchall() == []
    for statement in step.undo.statements:
        database.execute(statement)
    assert database.execute("select table_name from duckdb_tables()").fetchall() == [("t",)]
    assert database.execute("select count(*) from duckdb_functions() where not internal").fetchone() == (0,)


# -- names


def test_two_columns_that_differ_in_capitals_are_refused() -> None:
    pool = Pool()
    column = pool.node("column", (), ("A", False), "f")
    about = Signature(inputs=(Field(name="A", dtype="float64"), Field(name="a", dtype="float64")),
                      outputs=(Field(name="prediction", dtype="float64"),))  # fmt: skip
    model = replace(ensembles.ensemble(0), signature=about, answers=(), lets=())
    assert column
    with pytest.raises(Impossible, match="takes the columns 'A' and 'a' for one"):
        statements(grown(model), Names("m"))


def test_hostile_names(tmp_path: Path, database: Any) -> None:
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    names = ["x0", "why", "r", "c0", "select", "a'b\"c", "%s {0} $x", "table_name", "one_row", "Übergröße", ";--", "m"]
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(80, len(names))), columns=names)
    model = LinearRegression().fit(data, data.sum(axis=1))
    bundle = anyport.pack(model, data, name="odd-1.x", out=tmp_path / "odd.anyport")
    conforms(bundle, "duckdb", tmp_path / "made")
    conforms(bundle, "duckdb", tmp_path / "named", name='o\'neil "x"')
    conforms(bundle, "duckdb", tmp_path / "function", name='o\'neil "x"', engine="udf")
