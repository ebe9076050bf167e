"""SQLite: the view answers as the original does, value by value of whatever type, keys pass through, the script runs
again and again, and nothing is left in a database that was only checked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import ensembles
import numpy as np
import packed
import pytest
from conforming import conforms
from test_duckdb import PENGUIN

import anyport
from anyport import conformance, targets
from anyport.bundle import read
from anyport.errors import Impossible, Missing, Mistake
from anyport.kit.database import KEY, create
from anyport.sql.compile import Compiled, shortened, whole
from anyport.sql.dialect import SQLITE as D
from anyport.sql.expr import Pool
from anyport.target import Sql
from anyport.targets import sqlite as module
from anyport.targets.sqlite.view import selected

pytestmark = pytest.mark.target_sqlite


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


@pytest.fixture(scope="module")
def built(shelf: packed.Shelf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return targets.build(shelf.bundle("penguin_species"), "sqlite", tmp_path_factory.mktemp("built") / "penguins").path


def text(folder: Path) -> str:
    return (folder / "model.sql").read_text(encoding="utf-8")


def put(database: sqlite3.Connection, **changed: str) -> None:
    """One penguin into the view's own table, some of its columns changed."""
    row = PENGUIN | changed
    names = ", ".join(f'"{k}"' for k in row)
    database.execute(f"insert into penguin_species_input ({names}) values ({', '.join(row.values())})")


def nested(model: Compiled) -> Compiled:
    """The model as SQLite's parser takes it."""
    pool = Pool({("kept", i): a.node for i, a in enumerate(model.answers)})
    while len(pool.known) < 100_000:  # new nodes get ids that no other has
        pool.known["taken", len(pool.known)] = model.answers[0].node
    roots = shortened(pool, [a.node for a in model.answers], D)
    answers = tuple(type(a)(a.name, a.field, n) for a, n in zip(model.answers, roots, strict=True))
    return whole(model.signature, answers)


@pytest.mark.parametrize(("trees", "depth", "full"), [(12, 4, False), (3, 13, False), (300, 5, False), (2, 12, True)])
def test_large_and_deep_ensembles_mean_the_same(
    database: sqlite3.Connection, trees: int, depth: int, full: bool
) -> None:
    model = ensembles.ensemble(trees, trees=trees, depth=depth, full=full, constants=trees < 100)
    batch = ensembles.rows_of(trees, 200)
    create(module.Connected(database), "rows", batch)
    found = database.execute(selected(nested(model), "rows", [KEY])).fetchall()
    [wanted] = ensembles.expected(model, batch, 200)
    assert {row[-1] for row in found} == {None}
    assert [row[0] for row in found] == list(range(200))
    got = np.array([np.nan if row[1] is None else row[1] for row in found])
    there = ~np.isnan(got)
    assert got[there].tolist() == wanted[there].tolist()
    assert there.sum() > 50


def test_the_view_has_the_rowid_and_every_answer(built: Path, database: sqlite3.Connection) -> None:
    database.executescript(text(built))
    assert database.execute("select * from penguin_species").fetchall() == []
    put(database)
    put(database, sex="null", bill_length_mm="null")
    found = database.execute("select * from penguin_species")
    names = [d[0] for d in found.description]
    assert names == ["rowid", "prediction", "probability_0", "probability_1", "probability_2", "refusal"]
    rows = found.fetchall()
    assert [row[0] for row in rows] == [1, 2]
    assert [row[1] for row in rows] == ["Adelie", "Adelie"]
    assert [row[-1] for row in rows] == [None, None]


def test_the_script_runs_again_and_keeps_the_rows(built: Path, database: sqlite3.Connection) -> None:
    for _ in range(2):
        database.executescript(text(built))
        put(database)
    assert database.execute("select count(*) from penguin_species where prediction = 'Adelie'").fetchone() == (2,)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"body_mass_g": "'heavy'"}, "column 'body_mass_g': expected float64 or missing, got a text"),
        ({"body_mass_g": "x'00'"}, "column 'body_mass_g': expected float64 or missing, got a blob"),
        ({"year": "2007.5"}, "column 'year': expected int64 or missing, got 2007.5"),
        ({"year": "1e30"}, "column 'year': expected int64 or missing, got 1.0e+30"),
    ],
)
def test_a_value_of_another_type_refuses_its_row_alone(
    built: Path, database: sqlite3.Connection, changed: dict[str, str], says: str
) -> None:
    database.executescript(text(built))
    put(database, **changed)
    put(database)
    found = database.execute("select prediction, probability_0, refusal from penguin_species").fetchall()
    assert found[0] == (None, None, says)
    assert found[1][0] == "Adelie"
    assert found[1][2] is None


def test_numbers_that_a_text_column_keeps_as_text_are_refused(
    shelf: packed.Shelf, tmp_path: Path, database: sqlite3.Connection
) -> None:
    """SQLite's affinity turns 3750 into '3750' there; and an INTEGER column turns '007' into 7."""
    made = targets.build(shelf.bundle("penguin_species"), "sqlite", tmp_path / "made", table="birds", key="name,id")
    kinds = dict.fromkeys(PENGUIN, "text") | {"island": "integer"}
    listed = ", ".join(f'"{k}" {v}' for k, v in kinds.items())
    database.execute(f"create table birds (id, name, {listed})")
    values = PENGUIN | {"island": "'007'"}
    database.execute(f"insert into birds values (5, 'anna', {', '.join(values.values())})")
    database.executescript(text(made.path))
    [(name, key, refusal)] = database.execute("select name, id, refusal from penguin_species").fetchall()
    assert (name, key) == ("anna", 5)
    assert refusal == "column 'bill_length_mm': expected float64 or missing, got a text"
    database.execute("update birds set " + ", ".join(f'"{k}" = null' for k in PENGUIN if k != "island"))
    [(refusal,)] = database.execute("select refusal from penguin_species").fetchall()
    assert refusal == "column 'island': expected string or missing, got a number"


def test_a_collation_does_not_make_two_categories_one(
    shelf: packed.Shelf, tmp_path: Path, database: sqlite3.Connection
) -> None:
    made = targets.build(shelf.bundle("penguin_species"), "sqlite", tmp_path / "made", table="birds", key="")
    columns = ", ".join(f'"{k}" {"text collate nocase" if k in ("island", "sex") else "real"}' for k in PENGUIN)
    database.execute(f"create table birds ({columns})")
    for island in ("'Torgersen'", "'TORGERSEN'", "'nowhere'"):
        database.execute(f"insert into birds values ({', '.join((PENGUIN | {'island': island}).values())})")
    database.executescript(text(made.path))
    known, other, unknown = database.execute("select probability_0 from penguin_species").fetchall()
    assert other == unknown != known


def test_infinities_and_nulls_everywhere(built: Path, database: sqlite3.Connection) -> None:
    database.executescript(text(built))
    put(database, **dict.fromkeys(PENGUIN, "null"))
    put(database, bill_length_mm="9e999")
    put(database, bill_length_mm="-9223372036854775808")
    rows = database.execute("select prediction, refusal from penguin_species").fetchall()
    assert rows[0][1] is None
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"view": "sqlite_x"}, "keeps names that start with 'sqlite_'"),
        ({"table": "T", "view": "t"}, "both called 't'"),
        ({"key": "Prediction"}, "'Prediction' and 'prediction' for one"),
        ({"key": "a\x00b"}, "NUL"),
    ],
)
def test_names_that_sqlite_cannot_tell_apart_are_refused(
    penguins: Path, tmp_path: Path, options: dict[str, str], says: str
) -> None:
    with pytest.raises(Impossible, match=says):
        targets.build(penguins, "sqlite", tmp_path / "made", **options)
    assert not list(tmp_path.iterdir())


def test_more_values_in_between_than_a_row_can_have_are_refused() -> None:
    model = nested(ensembles.ensemble(7, trees=40, depth=14, width=3))
    with pytest.raises(Impossible, match=r"a row would need .* values in between; SQLite takes 2,000 columns"):
        selected(model, "rows", [])


def test_what_sql_has_no_words_for_goes_to_duckdb_or_a_server(shelf: packed.Shelf) -> None:
    target = targets.get("sqlite")
    reason = target.fits(read(shelf.bundle("documents")), targets.options(target, {}))
    assert reason is not None
    assert "splits text into words" in reason.why
    assert "--to duckdb" in reason.fix
    assert "--to rest" in reason.fix


def test_hostile_names(tmp_path: Path) -> None:
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    names = ["x0", "why", "k0", "c0", "select", "a'b\"c", "%s {0} $x", "rowid", "bad", "Übergröße", ";--", "t"]
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(80, len(names))), columns=names)
    model = LinearRegression().fit(data, data.sum(axis=1))
    bundle = anyport.pack(model, data, name="odd-1.x", out=tmp_path / "odd.anyport")
    conforms(bundle, "sqlite", tmp_path / "made")
    conforms(bundle, "sqlite", tmp_path / "keyed", key="my id,x0", table='from "a"', view='o\'neil "x"')


# -- a database of the user's


def test_a_check_of_the_users_database_leaves_nothing(shelf: packed.Shelf, tmp_path: Path) -> None:
    made = targets.build(shelf.bundle("nullable_columns"), "sqlite", tmp_path / "made")
    path = tmp_path / "user.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(text(made.path))
        connection.execute("insert into nullable_columns_input values (1, 1, 'a')")
        connection.commit()
    before = path.read_bytes()
    report = conformance.check_artifact(made.path, live={"path": str(path)})
    assert report.ok, [c for c in report.cases if c.verdict == "failed"]
    assert report.proof == "live"
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "user.db"]


def test_a_view_of_another_model_is_found_out(shelf: packed.Shelf, built: Path, tmp_path: Path) -> None:
    path = tmp_path / "user.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create view penguin_species as select 1 as prediction")
    with pytest.raises(Mistake, match=r"'penguin_species' in .* is not this artefact's view"):
        conformance.check_artifact(built, live={"path": str(path)})


def test_what_is_no_database_is_named(built: Path, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"there is no database .*absent\.db"):
        conformance.check_artifact(built, live={"path": str(tmp_path / "absent.db")})
    (tmp_path / "text.db").write_text("not a database" * 1000)
    with pytest.raises(Mistake, match="is no SQLite database"):
        conformance.check_artifact(built, live={"path": str(tmp_path / "text.db")})


def test_an_old_sqlite_is_said_so(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(Missing, match=r"needs 3\.35 or newer"):
        conformance.check_artifact(built)


def test_the_plan_can_be_undone(built: Path, database: sqlite3.Connection) -> None:
    target = targets.get("sqlite")
    [step] = target.plan(targets.artifact(built), targets.options(target, {}), None)
    assert isinstance(step.do, Sql)
    assert isinstance(step.undo, Sql)
    for statement in step.do.statements:
        database.execute(statement)
    put(database)
    for statement in step.undo.statements:
        database.execute(statement)
    assert database.execute("select name from sqlite_master").fetchall() == [("penguin_species_input",)]
    assert database.execute("select count(*) from penguin_species_input").fetchone() == (1,)
