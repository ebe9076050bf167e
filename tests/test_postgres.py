"""PostgreSQL as people use it: up, down, upgrade and rollback; generated columns, indexes, parallel scans, grants;
hostile names and values; the user's own server, on which a check leaves nothing behind."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import engines
import msgspec
import numpy as np
import packed
import pandas as pd
import pytest
from conforming import conforms
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeRegressor

import anyport
from anyport import conformance, targets
from anyport.batch import take
from anyport.bundle import read
from anyport.errors import BadBundle, BadData, Impossible, Missing, Mistake, Unreachable
from anyport.golden.store import read as read_golden
from anyport.kit import postgres as pg
from anyport.signature import Field, Signature
from anyport.sql.compile import Answer, Compiled
from anyport.sql.dialect import POSTGRES
from anyport.sql.expr import Pool
from anyport.sql.fold import Folder
from anyport.target import Artifact, Sql
from anyport.targets import postgres
from anyport.targets.postgres import migrate
from anyport.targets.postgres.functions import arithmetic, of_model
from anyport.targets.postgres.names import Names, Shape, shape, tag

pytestmark = pytest.mark.target_postgres
HOSTILE = ["it's", 'say "so"', "$$", "$a0$", "back\\slash", "%s {0} %1$s", "é\n", "'; drop table t; --"]


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    engines.need("postgres")
    with pg.server() as (dsn, _):
        yield dsn


@pytest.fixture
def db(dsn: str) -> Iterator[pg.PgSession]:
    """A session in a database of its own."""
    with pg.connected(dsn) as admin:
        admin.run("drop database if exists tested with (force)")
        admin.run("create database tested")
    with pg.connected(beside(dsn)) as session:
        yield session


def beside(dsn: str) -> str:
    return dsn.replace("dbname=postgres", "dbname=tested")


def data(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        "size": rng.normal(50, 20, n), "age": rng.integers(0, 90, n).astype(float),
        "city": rng.choice([*HOSTILE, "rome"], n),
    })  # fmt: skip


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two versions of a classifier that answer differently, and a third that takes one column less."""
    frame, made = data(), {}
    folder = tmp_path_factory.mktemp("versions")
    label = np.where(frame["size"] + frame["age"] > 95, "yes", "no")
    for version, columns in (("1", ["size", "age", "city"]), ("2", ["size", "age", "city"]), ("3", ["size", "city"])):
        numbers = [c for c in columns if c != "city"]
        model = make_pipeline(
            ColumnTransformer(
                [("n", StandardScaler(), numbers), ("c", OneHotEncoder(handle_unknown="ignore"), ["city"])]
            ),
            LogisticRegression(C=float(version)),
        ).fit(frame[columns], label)  # fmt: skip
        out = folder / f"v{version}.anyport"
        anyport.pack(model, frame[columns], name="loan", version=version, out=out)
        made[version] = out
    return made


@pytest.fixture
def built(versions: dict[str, Path], tmp_path: Path) -> Any:
    def build(version: str = "1", **options: str) -> Artifact:
        out = tmp_path / f"{version}{len(list(tmp_path.iterdir()))}"
        return targets.build(versions[version], "postgres", out, **options)

    return build


def up(db: pg.PgSession, made: Artifact) -> None:
    db.run((made.path / "up.sql").read_text(encoding="utf-8"))


def down(db: pg.PgSession, made: Artifact) -> None:
    db.run((made.path / "down.sql").read_text(encoding="utf-8"))


def filled(db: pg.PgSession, table: str = "people") -> None:
    db.run(f"create table {table} (id bigint, size double precision, age integer, city varchar(40), note text)")
    rows = [(i, s, int(a), c, "x") for i, (s, a, c) in enumerate(data(300).itertuples(index=False, name=None))]
    db.fill(table, ["id", "size", "age", "city", "note"], rows)


def there(db: pg.PgSession) -> list[Any]:
    """Everything in the database that is not PostgreSQL's own."""
    return db.ask(
        "select 'f', p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = pronamespace "
        "where nspname !~ '^(pg_|information)' union all "
        "select 'r', c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = relnamespace "
        "where nspname !~ '^(pg_|information)' union all "
        "select 't', t.oid::regtype::text from pg_type t join pg_namespace n on n.oid = typnamespace "
        "where nspname !~ '^(pg_|information)' union all "
        "select 's', nspname::text from pg_namespace where nspname !~ '^(pg_|information)' order by 1, 2"
    )


def answered(db: pg.PgSession, function: str = "anyport.loan") -> list[Any]:
    return db.ask(f"select t.id, p.* from people t cross join lateral {function}(t.size, t.age, t.city) p order by 1")


# -- one version


def test_up_twice_is_up_once_and_down_leaves_nothing(db: pg.PgSession, built: Any) -> None:
    before = there(db)
    made = built()
    up(db, made)
    once = there(db)
    assert len(once) > len(before)
    up(db, made)
    assert there(db) == once
    down(db, made)
    assert there(db) == before
    down(db, made)
    assert there(db) == before


def test_a_schema_of_the_user_is_not_dropped(db: pg.PgSession, built: Any) -> None:
    db.run("create schema mine")
    made = built(schema="mine")
    up(db, made)
    down(db, made)
    assert ("s", "mine") in there(db)
    db.run("create schema anyport; create table anyport.other (x int)")
    made = built()
    up(db, made)
    down(db, made)
    assert ("r", "anyport.other") in there(db)


def test_the_function_answers_any_number_type_and_every_text_type(db: pg.PgSession, built: Any) -> None:
    up(db, built())
    kinds = [("real", "varchar(9)"), ("numeric", "char(9)"), ("integer", "text"), ("smallint", "text")]
    found = {
        tuple(db.ask(f"select * from anyport.loan(50::{n}, 30::{n}, 'rome'::{t})")[0]) for n, t in kinds
    } | {tuple(db.ask("select * from anyport.loan(city => 'rome', age => 30, size => 50)")[0])}  # fmt: skip
    assert len(found) == 1
    with pytest.raises(db.errors, match="does not exist"):
        db.ask("select * from anyport.loan('2024-01-01'::date, 30, 'rome')")


def test_a_row_without_an_answer_has_nulls_and_the_reason(db: pg.PgSession, built: Any) -> None:
    up(db, built())
    (row,) = db.ask("select * from anyport.loan(null, null, null)")
    assert row[:-1] == (None, None, None)
    assert row[-1].startswith("column 'size': expected float64")
    assert db.ask("select anyport.loan_v1_prediction(null, 1, 'rome')") == [(None,)]
    filled(db)
    db.run("truncate people")
    assert answered(db) == []


def test_answers_stand_in_generated_columns_and_indexes_and_parallel_scans(db: pg.PgSession, built: Any) -> None:
    up(db, built())
    filled(db)
    db.run(
        "alter table people add score double precision generated always as "
        "(anyport.loan_v1_probability_1(size, age, city)) stored"
    )
    db.run("create index on people (anyport.loan_v1_prediction(size, age, city))")
    direct = {r[0]: (r[1], r[3]) for r in answered(db)}
    assert {r[0]: r[1] for r in db.ask("select id, score from people")} == {k: v[1] for k, v in direct.items()}
    db.run("set enable_seqscan = off; analyze people")
    yes = "select id from people where anyport.loan_v1_prediction(size, age, city) = 'yes'"
    assert "Index" in str(db.ask(f"explain {yes}"))
    assert {r[0] for r in db.ask(yes)} == {k for k, v in direct.items() if v[0] == "yes"}
    db.run("reset enable_seqscan; set parallel_setup_cost = 0; set parallel_tuple_cost = 0; "
           "set min_parallel_table_scan_size = 0; set max_parallel_workers_per_gather = 2")  # fmt: skip
    scan = "select count(*), sum(p.probability_1) from people t cross join lateral anyport.loan(size, age, city) p"
    assert "Gather" in str(db.ask(f"explain {scan}"))
    (count, total), = db.ask(scan)  # fmt: skip
    assert count == 300
    assert math.isclose(total, sum(v[1] for v in direct.values()))
    with pytest.raises(db.errors, match="set-returning functions are not allowed in index"):
        db.run("create index on people (((anyport.loan(size, age, city)).prediction))")


# -- versions


def test_an_upgrade_and_a_rollback_are_one_statement_each(db: pg.PgSession, built: Any) -> None:
    one, two = built("1", table="people"), built("2")
    filled(db)
    up(db, one)
    first, seen = answered(db), db.ask("select id, prediction from anyport.loan_of_people order by 1")
    assert seen == [(r[0], r[1]) for r in first]
    clean = there(db)
    up(db, two)
    second = answered(db)
    assert second != first
    assert second == answered(db, "anyport.loan_v2")
    assert first == answered(db, "anyport.loan_v1")
    shown = "select id, prediction, probability_0, probability_1, refusal from anyport.loan_of_people order by 1"
    assert db.ask(shown) == second
    db.run("call anyport.loan_v1_use()")
    assert answered(db) == first == db.ask(shown)
    db.run("call anyport.loan_v2_use()")
    assert answered(db) == second
    down(db, two)
    assert answered(db) == first == db.ask(shown)
    assert there(db) == clean
    down(db, one)
    assert [r for r in there(db) if "people" not in r[1]] == [("s", "public")]


def test_a_version_that_takes_other_columns_takes_the_name_over(db: pg.PgSession, built: Any) -> None:
    one, three = built("1", table="people"), built("3")
    filled(db)
    up(db, one)
    up(db, three)
    assert db.ask("select count(*) from people t cross join lateral anyport.loan(size, city) p") == [(300,)]
    assert db.ask("select * from anyport.loan_of_people limit 0") == []
    assert db.ask("select count(prediction) from anyport.loan_of_people") == [(300,)]
    with pytest.raises(db.errors, match="does not exist"):
        answered(db)
    down(db, one)
    assert db.ask("select count(prediction) from anyport.loan_of_people") == [(300,)]
    down(db, three)
    assert [r for r in there(db) if "people" not in r[1]] == [("s", "public")]


def test_a_version_that_something_hangs_on_is_not_removed(db: pg.PgSession, built: Any) -> None:
    made = built()
    up(db, made)
    filled(db)
    db.run("create index on people (anyport.loan_v1_prediction(size, age, city))")
    before = there(db)
    with pytest.raises(db.errors, match="other objects depend on it"):
        down(db, made)
    db.run("rollback")
    assert there(db) == before


def test_a_function_of_that_name_that_is_not_ours_is_left_alone(db: pg.PgSession, built: Any) -> None:
    db.run("create schema anyport; create function anyport.loan(x int) returns int language sql as 'select 1'")
    before = there(db)
    with pytest.raises(db.errors, match="that anyport did not make"):
        up(db, built())
    db.run("rollback")
    assert there(db) == before


# -- rights


def test_the_roles_named_may_use_the_model_and_no_other(db: pg.PgSession, built: Any) -> None:
    db.run("drop role if exists analyst; drop role if exists guest; create role analyst; create role guest")
    filled(db)
    db.run("grant usage on schema public to analyst, guest; grant select on people to analyst")
    made = built(grant="analyst", table="people")
    up(db, made)
    try:
        db.run("set role analyst")
        assert len(answered(db)) == 300
        assert db.ask("select anyport.loan_v1_prediction(1, 2, 'rome') is not null") == [(True,)]
        assert db.ask("select * from anyport.loan(1e300, 1, 'rome')")[0][0] in ("yes", "no")
        assert len(db.ask("select * from anyport.loan_of_people")) == 300
        db.run("set role guest")
        with pytest.raises(db.errors, match="permission denied for schema anyport"):
            db.ask("select * from anyport.loan(1, 2, 'rome')")
        db.run("reset role; grant usage on schema anyport to guest; set role guest")
        with pytest.raises(db.errors, match="permission denied for function"):
            db.ask("select * from anyport.loan(1, 2, 'rome')")
    finally:
        db.run("reset role")
    down(db, made)
    assert not [r for r in there(db) if "anyport" in r[1]]


def test_what_is_lacking_is_told_with_the_line_that_gives_it(db: pg.PgSession, dsn: str, built: Any) -> None:
    db.run("drop role if exists nobody_much; create role nobody_much login")
    made, live = built(), beside(dsn).replace("user=postgres", "user=nobody_much")
    with pytest.raises(Mistake, match="permission denied for database tested") as error:
        conformance.check_artifact(made.path, live={"dsn": live})
    assert 'GRANT CREATE ON DATABASE "tested" TO CURRENT_USER;' in error.value.fix
    with pytest.raises(Unreachable, match="no PostgreSQL server lets us in") as gone:
        conformance.check_artifact(made.path, live={"dsn": "postgresql://u:hidden@127.0.0.1:1/x"})
    assert "hidden" not in str(gone.value)
    with pytest.raises(Mistake, match="is no connection string"):
        conformance.check_artifact(made.path, live={"dsn": "nonsense"})


def test_a_server_without_plpython_is_told_the_extension(
    shelf: packed.Shelf, db: pg.PgSession, dsn: str, tmp_path: Path
) -> None:
    made = targets.build(shelf.bundle("documents"), "postgres", tmp_path / "a")
    if db.ask("select 1 from pg_available_extensions where name = 'plpython3u'"):
        pytest.skip("this server has PL/Python")
    before = there(db)
    with pytest.raises(Missing, match="the server has no PL/Python") as error:
        conformance.check_artifact(made.path, live={"dsn": beside(dsn)})
    assert "CREATE EXTENSION plpython3u;" in error.value.fix
    assert there(db) == before


# -- the user's own server


def test_a_live_check_leaves_nothing_behind(db: pg.PgSession, dsn: str, built: Any) -> None:
    before, made = there(db), built(grant="someone_else", table="not_there")
    report = conformance.check_artifact(made.path, live={"dsn": beside(dsn)})
    assert report.ok
    assert report.proof == "live"
    assert "anyport_check_" in report.engine["process"]
    assert there(db) == before


def test_a_live_check_that_fails_leaves_nothing_behind(db: pg.PgSession, dsn: str, built: Any) -> None:
    before, made = there(db), built()
    inside = []

    def fail() -> None:
        with postgres.connect(made, postgres.Live(dsn=beside(dsn))):
            inside.append(there(db))
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert inside != [before]
    assert there(db) == before


def test_a_lost_connection_is_said_plainly_and_leaves_nothing_behind(db: pg.PgSession, dsn: str, built: Any) -> None:
    before, made = there(db), built()
    bundle = read(made.path / "bundle")
    few = take(read_golden(bundle.path / "golden.npz", bundle.signature).inputs, slice(0, 5))
    with postgres.connect(made, postgres.Live(dsn=beside(dsn))) as running:
        assert len(running.predictor.predict(few).outputs["prediction"]) == 5
        db.ask("select pg_terminate_backend(pid, 5000) from pg_stat_activity "
               "where datname = 'tested' and pid <> pg_backend_pid()")  # fmt: skip
        with pytest.raises(Unreachable, match=r"the connection to .* was lost"):
            running.predictor.predict(few)
        assert len(running.predictor.predict(few).outputs["prediction"]) == 5
    assert there(db) == before


def test_an_artefact_that_was_changed_is_not_checked_as_if_it_were_ours(dsn: str, built: Any) -> None:
    made = built()
    (made.path / "up.sql").write_text("select 1;")
    with pytest.raises(BadBundle, match=r"up\.sql is not what this anyport writes"):
        conformance.check_artifact(made.path, live={"dsn": dsn})


def test_a_plan_whose_connection_is_lost_is_said_plainly_and_leaves_nothing(db: pg.PgSession, dsn: str) -> None:
    before = there(db)
    lost = Sql(("create table half (x int)", "select pg_terminate_backend(pg_backend_pid())"))
    with postgres.transactions(postgres.Live(dsn=beside(dsn))) as run, pytest.raises(Unreachable, match="was lost"):
        run(lost)
    with postgres.transactions(postgres.Live(dsn=beside(dsn))) as run, pytest.raises(BadData, match="does not exist"):
        run(Sql(("create table half (x int)", "select nothing()")))
    assert there(db) == before


def test_the_plan_is_the_migration_and_its_undo(db: pg.PgSession, built: Any) -> None:
    made = built()
    (step,) = postgres.plan(made, postgres.Options(), None)
    assert isinstance(step.do, Sql)
    assert isinstance(step.undo, Sql)
    before = there(db)
    db.run("begin;" + ";".join(step.do.statements) + "commit")
    assert db.ask("select prediction from anyport.loan(1, 2, 'rome')")[0][0] in ("yes", "no")
    db.run("begin;" + ";".join(step.undo.statements) + "commit")
    assert there(db) == before


# -- names, values, sizes


def test_hostile_names_and_categories(db: pg.PgSession, tmp_path: Path) -> None:
    frame = data()
    columns = {"size": 'sélect "$a0$ {x}', "age": "refusal", "city": "x0'; --"}
    frame = frame.rename(columns=columns)
    model = make_pipeline(
        ColumnTransformer(
            [("n", "passthrough", [columns["size"], "refusal"]), ("c", OneHotEncoder(), [columns["city"]])]
        ),
        DecisionTreeRegressor(random_state=0),
    ).fit(frame, frame["refusal"] * 2)  # fmt: skip
    anyport.pack(model, frame, name="odd.name-x_", version="1.0", out=tmp_path / "odd.anyport")
    before = there(db)
    made = targets.build(tmp_path / "odd.anyport", "postgres", tmp_path / "a", schema='Sch"ema $$', grant='ro"le')
    db.run('drop role if exists "ro""le"; create role "ro""le"')
    up(db, made)
    up(db, made)
    function = '"Sch""ema $$"."odd.name-x_"'
    for i in range(0, 60, 7):
        size, age, city = frame.iloc[i]
        given = f"{float(size)!r}, {float(age)!r}, {POSTGRES.literal(city)}"
        cell = db.ask(f"select p.prediction, p.refusal from {function}({given}) p")
        assert cell == [(model.predict(frame.iloc[[i]])[0], None)]
    down(db, made)
    assert there(db) == before
    assert conformance.check_artifact(made.path).ok


def test_a_name_that_postgresql_would_cut_is_refused(versions: dict[str, Path], tmp_path: Path) -> None:
    frame = data()
    model = LinearRegression().fit(frame[["size", "age"]], frame["age"])
    anyport.pack(model, frame[["size", "age"]], name="n" * 60, version="1", out=tmp_path / "long.anyport")
    with pytest.raises(Impossible, match="more than the 63 bytes that PostgreSQL keeps") as error:
        targets.build(tmp_path / "long.anyport", "postgres", tmp_path / "a")
    assert "--name" in error.value.fix
    with pytest.raises(Impossible, match="63 bytes"):
        targets.build(versions["1"], "postgres", tmp_path / "a", schema="s" * 64)
    with pytest.raises(Mistake, match="expected a table"):
        targets.build(versions["1"], "postgres", tmp_path / "a", table="a.b.c")
    assert not (tmp_path / "a").exists()


def test_more_columns_than_a_table_has_are_refused_with_the_limit() -> None:
    broad = tuple(Field(name=f"c{i}", dtype="float64") for i in range(1700))
    answer = Field(name="prediction", dtype="float64")
    with pytest.raises(Impossible, match=r"1,701 columns; .* has at most 1,600 .*limits\.html"):
        shape(Signature(inputs=broad, outputs=(answer,)))
    with pytest.raises(Impossible, match=r"1,801 columns of answers"):
        shape(Signature(inputs=broad[:3], outputs=(Field(name="probability", dtype="float64", shape=(1800,)),)))
    assert shape(Signature(inputs=broad[:100], outputs=(answer,))).row is False
    assert shape(Signature(inputs=broad[:101], outputs=(answer,))).row is True
    timed = (*broad[:101], Field(name="at", dtype="datetime"))
    with pytest.raises(Impossible, match="times among them"):
        shape(Signature(inputs=timed, outputs=(answer,)))


def test_two_hundred_columns_come_as_one_row(shelf: packed.Shelf, db: pg.PgSession, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("wide"))
    made = targets.build(bundle, "postgres", tmp_path / "a", table="wide_rows")
    named = postgres.texts(bundle, postgres.Options()).shape
    assert named.row
    columns = zip(named.inputs, named.kinds(), strict=True)
    db.run(f"create table wide_rows ({', '.join(f'{POSTGRES.ident(n)} {k}' for (n, _), k in columns)})")
    before = there(db)
    up(db, made)
    up(db, made)
    db.run("insert into wide_rows default values")
    assert db.ask("select count(*) from anyport.wide_of_wide_rows") == [(1,)]
    down(db, made)
    assert there(db) == before


EXTREME = st.floats(allow_nan=False) | st.sampled_from(
    [
        0.0,
        -0.0,
        5e-324,
        -5e-324,
        2.2e-308,
        1.7976931348623157e308,
        1e154,
        1.5e-154,
        1e-162,
        math.inf,
        -math.inf,
        2.0**-400,
    ]
)


@pytest.fixture(scope="module")
def ieee(dsn: str) -> Iterator[pg.PgSession]:
    with pg.connected(dsn) as session:
        session.run("create schema ieee")
        session.run(arithmetic(Names("ieee", "m", "1")))
        yield session


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(EXTREME, EXTREME), min_size=30, max_size=30))
@example([(1.7976931348623157e308, 9.9e291), (1.7976931348623157e308, 1e292), (5e-324, 0.5), (5e-324, 0.51)])
def test_careful_arithmetic_is_that_of_ieee_754(ieee: pg.PgSession, pairs: Sequence[tuple[float, float]]) -> None:
    listed = ", ".join(f"({POSTGRES.double(a)}, {POSTGRES.double(b)})" for a, b in pairs)
    found = ieee.ask(
        "select ieee.m_v1_add(a, b), ieee.m_v1_mul(a, b), ieee.m_v1_div(a, b) "
        f"from (values {listed}) v(a, b)"
    )  # fmt: skip
    with np.errstate(all="ignore"):
        for (a, b), row in zip(pairs, found, strict=True):
            for op, got in zip((np.add, np.multiply, np.divide), row, strict=True):
                wanted = float(op(a, b))
                if op is np.divide and b == 0 and a != 0:
                    wanted = math.copysign(math.inf, a)  # SQL knows no sign of zero
                assert (got is None and math.isnan(wanted)) or got == wanted, (op.__name__, a, b)


def test_rows_that_postgresql_would_call_out_of_range_are_answered(db: pg.PgSession, tmp_path: Path) -> None:
    frame = data()[["size", "age"]]
    model = LinearRegression().fit(frame, 3 * frame["size"] - 2 * frame["age"])
    anyport.pack(model, frame, name="line", version="1", out=tmp_path / "line.anyport")
    up(db, targets.build(tmp_path / "line.anyport", "postgres", tmp_path / "a"))
    for size, age in [(1e308, 1.0), (1e305, -1e305), (5e-324, 1e-310), (1e-200, 0.0), (3.0, 4.0)]:
        cell = db.ask(f"select prediction from anyport.line({size!r}::float8, {age!r}::float8)")[0][0]
        with np.errstate(all="ignore"):
            wanted = size * model.coef_[0] + age * model.coef_[1] + model.intercept_
        assert cell == pytest.approx(wanted, rel=1e-12, abs=1e-300)


def test_no_text_ends_a_dollar_quote() -> None:
    assert tag("$a0$ $a1$") == "$a2$"
    assert tag("$$") == "$a0$"


def test_times_without_a_zone_are_utc_whatever_the_session_says(db: pg.PgSession) -> None:
    pool = Pool()
    at = Field(name="at", dtype="datetime", nullable=True)
    signature = Signature(inputs=(at,), outputs=(Field(name="prediction", dtype="float64"),))
    column = pool.node("column", (), ("at", True), "i")
    answer = Answer("prediction", signature.outputs[0], pool.apply("float", column))
    model = Compiled(signature, (answer,), (), Folder([]))
    made = Shape((("at", at),), (("prediction", "double precision"), ("refusal", "text")))
    called = Names("anyport", "timed", "1")
    own = migrate.Objects(tuple(of_model(model, called, made)))
    before = there(db)
    db.run(migrate.up(called, made, own, digest="", over="", grant=""))
    db.run("set timezone = 'Asia/Tokyo'")
    kinds = ["timestamptz '2024-03-01 00:00+00'", "timestamp '2024-03-01 00:00'", "date '2024-03-01'"]
    for function in ("timed", "timed_v1"):
        found = {db.ask(f"select prediction from anyport.{function}({k})")[0] for k in kinds}
        assert found == {(datetime(2024, 3, 1, tzinfo=UTC).timestamp() * 1e6,)}
    db.run(migrate.down(called, made, own))
    assert there(db) == before


# -- PL/Python


@pytest.fixture(scope="module")
def python_dsn() -> Iterator[str]:
    try:
        pg.binaries(python=True)
    except Missing as error:
        engines.must(False, error.what)
    with postgres.python_packages() as env, pg.server(python=True, env=env) as (dsn, _):
        yield dsn


@pytest.mark.parametrize("name", ["nullable_columns", "wide"])
def test_plpython_answers_as_the_original_did(python_dsn: str, shelf: packed.Shelf, tmp_path: Path, name: str) -> None:
    report = conforms(read(shelf.bundle(name)), "postgres", tmp_path / "a", engine="plpython")
    assert report.proof == "native"
    assert report.engine["process"].endswith("plpython")


def test_plpython_up_down_view_and_a_tampered_model(python_dsn: str, built: Any) -> None:
    with pg.connected(python_dsn) as db:
        filled(db)
        db.run("create extension plpython3u")
        before = there(db)
        made = built(engine="plpython", table="people")
        up(db, made)
        up(db, made)
        rows = answered(db)
        assert len(rows) == 300
        shown = "select id, prediction, probability_0, probability_1, refusal from anyport.loan_of_people order by 1"
        assert [r[:2] for r in db.ask(shown)] == [r[:2] for r in rows]
        # a sum of many rows at once may be rounded in another order than that of one
        assert [r[2] for r in db.ask(shown)] == pytest.approx([r[2] for r in rows], rel=1e-12)
        assert db.ask("select anyport.loan_v1_prediction(1, 2, 'rome')")[0][0] in ("yes", "no")
        (refused,) = db.ask("select * from anyport.loan(null, 2, 'rome')")
        assert refused[:-1] == (None, None, None)
        assert "size" in refused[-1]
        db.run("update anyport.loan_v1_model set bytes = substr(bytes, 1, 1000)")
        assert len(answered(db)) == 300  # this session has it open
        with pg.connected(python_dsn) as other, pytest.raises(other.errors, match="sha256 differs"):
            answered(other)
        down(db, made)
        assert there(db) == before


def test_options_are_kept_in_the_artefact(built: Any) -> None:
    made = built(schema="other", grant="a, b")
    kept = json.loads((made.path / "options.json").read_text())
    assert msgspec.convert(kept, postgres.Options) == postgres.Options(schema="other", grant="a, b")
