"""pgvector on a real PostgreSQL: fills cut off, names that break quoting, privileges that lack, wrong indexes."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import packed
import psycopg
import pytest

from anyport import conformance, targets
from anyport.batch import Batch, Column, Outcome, rows
from anyport.bundle import read
from anyport.errors import AnyportError, BadData, Impossible, Missing, Mistake, Unreachable
from anyport.kit.vectors.fill import Summary, fill, search, status
from anyport.kit.vectors.server import cluster, opened
from anyport.kit.vectors.spec import Filling
from anyport.signature import Field, Signature, refusals
from anyport.target import Command, Sql
from anyport.targets.pgvector import proof
from anyport.targets.pgvector.scripts import script, statements

pytestmark = pytest.mark.target_pgvector
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with cluster() as one:
        yield one.dsn


@pytest.fixture
def dsn(server: str) -> Iterator[str]:
    """A database of the test's own."""
    name = f"d{next(NUMBERS)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}")
    yield server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


TEXT = Signature(
    inputs=(Field(name="text", dtype="string"),), outputs=(Field(name="transform", dtype="float32", shape=(4,)),)
)  # fmt: skip


class Letters:
    """A model of texts: how often they hold a, b, c and anything else. It counts what it is asked."""

    def __init__(self, dsn: str = "", kill: int = -1) -> None:
        self.asked: list[str] = []
        self.dsn, self.kill = dsn, kill

    def predict(self, inputs: Batch, /) -> Outcome:
        texts = inputs["text"].plain().values.tolist()
        if 0 <= self.kill <= len(self.asked):
            self.kill = -1
            with psycopg.connect(self.dsn, autocommit=True) as other:
                other.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'anyport'"
                )
        self.asked += texts
        refused = refusals(inputs, TEXT)
        found = [[(t or "").count(c) for c in "abc"] + [sum(c not in "abc" for c in t or "")] for t in texts]
        return Outcome({"transform": Column(np.array(found, np.float32).reshape(-1, 4))}, refused)


def spec_of(**given: Any) -> Filling:
    plain: dict[str, Any] = {
        "name": "docs", "model": "1", "table_schema": "public", "table": "docs", "key": "id",
        "columns": {"text": "body"}, "schema": "public", "width": 4, "distance": "cosine", "m": 16,
        "ef_construction": 64, "ef_search": 100, "iterative": "relaxed_order",
    }  # fmt: skip
    return Filling(**(plain | given))


def run(dsn: str, *texts: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for text in texts:
            connection.execute(text)


def ask(dsn: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(text).fetchall()


def documents(dsn: str, n: int, spec: Filling | None = None) -> Filling:
    """n texts in table docs, and everything that up.sql makes."""
    run(dsn, "create table docs (id bigint primary key, body text, city text)",
        "insert into docs select i, repeat('a', 1 + i % 7) || repeat('b', i % 5) || repeat('c', i % 3) || i, "
        f"case when i % 50 = 0 then 'Oslo' else 'Rome' end from generate_series(1, {n}) i")  # fmt: skip
    spec = spec or spec_of()
    up(dsn, spec)
    return spec


def up(dsn: str, spec: Filling) -> None:
    with opened(dsn) as connection:
        proof.execute(connection, script("up.sql", spec))


def down(dsn: str, spec: Filling) -> None:
    with opened(dsn) as connection:
        proof.execute(connection, script("down.sql", spec))


def filled(dsn: str, spec: Filling, model: Letters | None = None, **given: Any) -> Summary:
    return fill(dsn, spec, model or Letters(), TEXT, **given)


CATALOG = (
    "with kept as (select oid, nspname from pg_namespace where nspname !~ '^pg_(toast|temp)') "
    "select 'class', relname::text from pg_class where relnamespace in (select oid from kept) union all "
    "select 'proc', proname::text from pg_proc union all select 'schema', nspname::text from kept union all "
    "select 'type', typname::text from pg_type where typnamespace in (select oid from kept) order by 1, 2"
)
"""Everything there is, but what belongs to sessions."""
HOSTILE = "we\"ird; drop table x; -- $anyport$ $$ 'q' %s {{key}} ü\n;\n\n\\"


@pytest.mark.parametrize("schema", ["public", "own", 'a "b" $anyport$'])
def test_up_twice_is_up_once_and_down_leaves_nothing(dsn: str, schema: str) -> None:
    run(dsn, "create extension vector", "create table docs (id bigint primary key, body text)",
        "insert into docs values (1, 'abc')")  # fmt: skip
    before = ask(dsn, CATALOG)
    spec = spec_of(schema=schema)
    up(dsn, spec)
    once = ask(dsn, CATALOG)
    assert len(once) > len(before)
    assert filled(dsn, spec).embedded == 1
    up(dsn, spec)
    assert ask(dsn, CATALOG) == once
    assert status(dsn, spec, TEXT)["embedded"] == 1
    down(dsn, spec)
    assert ask(dsn, CATALOG) == before
    down(dsn, spec)
    assert ask(dsn, "select count(*) from docs") == [(1,)]


def test_a_schema_that_was_there_stays(dsn: str) -> None:
    run(dsn, "create schema own", "create table docs (id bigint primary key, body text)")
    up(dsn, spec_of(schema="own"))
    down(dsn, spec_of(schema="own"))
    assert ask(dsn, "select count(*) from pg_namespace where nspname = 'own'") == [(1,)]


def test_names_that_break_quoting(dsn: str) -> None:
    """A table, its schema, key and columns, and the model's version, none of which may end the string it stands in."""
    spec = spec_of(name="we\"ird $anyport$ 'n'", table=HOSTILE[:40], table_schema="t'%s\"", key='k"e\'y {{rows}}',
                   columns={"text": HOSTILE[-30:]}, model="v'1\" $anyport$")  # fmt: skip
    ident = proof.POSTGRES.ident
    run(dsn, f"create schema {ident(spec.table_schema)}",
        f"create table {spec.rows} ({ident(spec.key)} text primary key, {ident(HOSTILE[-30:])} text, "
        "k int, query int, filter int, distance int, embedding text, exact int)",
        f"insert into {spec.rows} values ('o''ne\\', 'aab', 1), ('two', 'ccc', 2), ('', 'x', 2)")  # fmt: skip
    up(dsn, spec)
    assert filled(dsn, spec, rows=1).embedded == 3
    assert filled(dsn, spec).embedded == 0
    assert search(dsn, spec, Letters(), TEXT, {"text": "aab"}, k=1) == [("o'ne\\", pytest.approx(0, abs=1e-6))]
    only = search(dsn, spec, Letters(), TEXT, {"text": "aab"}, where='{"k": 2}')
    assert {key for key, _ in only} == {"two", ""}
    found = ask(dsn, f"select near from {spec.own('_like')}('two', 2)")
    assert set(found) == {("o'ne\\",), ("",)}
    down(dsn, spec)
    assert ask(dsn, f"select count(*) from {spec.rows}") == [(3,)]


def test_an_empty_table_is_filled_with_nothing(dsn: str) -> None:
    spec = documents(dsn, 0)
    done = filled(dsn, spec)
    assert (done.embedded, done.left, done.index) == (0, 0, "there")
    assert search(dsn, spec, Letters(), TEXT, {"text": "a"}) == []


def test_rows_that_the_model_refuses_say_why_and_are_not_asked_again(dsn: str) -> None:
    spec = documents(dsn, 3)
    run(dsn, "insert into docs values (4, null)")
    done = filled(dsn, spec)
    assert (done.embedded, done.refused) == (4, 1)
    found = ask(dsn, "select key, refusal from docs_vectors where embedding is null")
    assert found == [(4, "column 'text': expected string, got a missing value")]
    assert filled(dsn, spec).embedded == 0
    run(dsn, "update docs set body = 'abc' where id = 4")
    assert filled(dsn, spec).embedded == 1
    assert ask(dsn, "select count(*) from docs_vectors where refusal is not null") == [(0,)]


def test_a_vector_that_cannot_be_searched_is_kept_apart(dsn: str) -> None:
    class Odd(Letters):
        def predict(self, inputs: Batch, /) -> Outcome:
            found = [[float(v) for v in t.split()] for t in inputs["text"].plain().values.tolist()]
            return Outcome({"transform": Column(np.array(found, np.float64))}, {})

    spec = documents(dsn, 0)
    values = ["1 2 3 4", "0 0 0 0", "1e300 0 0 0", "nan 0 0 0", "inf 1 1 1", "1e-30 0 0 0", "1e30 0 0 0"]
    run(dsn, *(f"insert into docs values ({i}, '{v}')" for i, v in enumerate(values)))
    done = filled(dsn, spec, Odd())
    assert (done.refused, done.unsearchable) == (0, 6)
    found = ask(
        dsn, "select key, unsearchable[1]::text, refusal from docs_vectors where embedding is null order by key"
    )
    assert [(key, first) for key, first, _ in found] == [
        (1, "0"), (2, "1e+300"), (3, "NaN"), (4, "Infinity"), (5, "1e-30"), (6, "1e+30"),
    ]  # fmt: skip
    assert "no direction" in found[0][2]
    assert "single precision" in found[1][2]
    assert "element 0 is not a finite number" in found[2][2]
    assert [key for key, _ in search(dsn, spec, Odd(), TEXT, {"text": "1 1 1 1"})] == [0]
    with pytest.raises(BadData, match="no direction"):
        search(dsn, spec, Odd(), TEXT, {"text": "0 0 0 0"})


def test_a_connection_that_is_killed_is_made_anew_and_nothing_is_embedded_twice(dsn: str) -> None:
    spec = documents(dsn, 500)
    model, said = Letters(dsn, kill=200), []
    done = filled(dsn, spec, model, rows=50, tell=said.append)
    assert (done.embedded, done.reconnected) == (500, 1)
    assert any("connection was lost" in text and "terminating connection" in text for text in said)
    # the batch under way was lost with its connection; all others were written
    assert len(model.asked) == 550
    assert ask(dsn, "select count(*), count(embedding) from docs_vectors") == [(500, 500)]


def test_without_patience_the_next_fill_goes_on(dsn: str) -> None:
    spec = documents(dsn, 300)
    with pytest.raises(Unreachable, match="100 rows are written and stay") as raised:
        filled(dsn, spec, Letters(dsn, kill=100), rows=50, patience=0)
    assert raised.value.exit_code == 3
    assert raised.value.fix == "run it again: it goes on where it stopped"
    model = Letters()
    assert filled(dsn, spec, model).embedded == 200
    assert len(model.asked) == 200
    assert filled(dsn, spec).index == "there"


def test_only_what_changed_is_embedded_again_and_what_is_gone_is_removed(dsn: str) -> None:
    spec = documents(dsn, 100)
    filled(dsn, spec)
    run(dsn, "update docs set city = 'Bergen'", "update docs set body = 'ccc' where id in (7, 8)",
        "delete from docs where id = 9", "insert into docs values (101, 'abc')")  # fmt: skip
    assert status(dsn, spec, TEXT) == {
        "rows": 100, "waiting": 3, "embedded": 100, "refused": 0, "unsearchable": 0, "gone": 1,
    }  # fmt: skip
    model = Letters()
    done = filled(dsn, spec, model)
    assert sorted(model.asked) == ["abc", "ccc", "ccc"]
    assert (done.embedded, done.removed) == (3, 1)
    assert ask(dsn, "select embedding::text from docs_vectors where key = 7") == [("[0,0,3,0]",)]


def test_a_limit_leaves_the_rest_for_later(dsn: str) -> None:
    spec = documents(dsn, 100)
    first = filled(dsn, spec, limit=30, rows=20)
    assert (first.embedded, first.left) == (30, 70)
    assert filled(dsn, spec).embedded == 70


def test_another_version_of_the_model_fills_again_and_its_old_vectors_are_not_found(dsn: str) -> None:
    old = documents(dsn, 100)
    filled(dsn, old)
    new = spec_of(model="2")
    up(dsn, new)
    assert search(dsn, new, Letters(), TEXT, {"text": "a"}) == []
    done = filled(dsn, new)
    assert (done.embedded, done.index) == (100, "rebuilt")
    assert len(search(dsn, new, Letters(), TEXT, {"text": "a"})) == 10
    up(dsn, old)  # and back
    assert filled(dsn, old).embedded == 100
    wider = spec_of(model="3", width=5, distance="l2")
    up(dsn, wider)
    assert ask(dsn, "select count(*) from docs_vectors") == [(0,)]
    assert "vector_l2_ops" in ask(dsn, "select indexdef from pg_indexes where indexname = 'docs_vectors_hnsw'")[0][0]


def test_two_fills_at_once(dsn: str) -> None:
    spec = documents(dsn, 10)

    class Nested(Letters):
        def predict(self, inputs: Batch, /) -> Outcome:
            with pytest.raises(Mistake, match=r'another fill of "public"."docs_vectors" is running'):
                filled(dsn, spec)
            return super().predict(inputs)

    assert filled(dsn, spec, Nested()).embedded == 10


def test_a_fill_waits_for_the_server_to_end_the_last_one(dsn: str) -> None:
    """A connection that was closed keeps its locks for a moment."""
    spec = documents(dsn, 10)
    with psycopg.connect(dsn, autocommit=True) as leaving:
        leaving.execute("select pg_advisory_lock(hashtextextended('anyport fill ' || %s, 0))", [spec.vectors])
        thread = threading.Thread(target=lambda: (leaving.execute("select pg_sleep(0.5)"), leaving.close()))
        thread.start()
        assert filled(dsn, spec).embedded == 10
        thread.join()


@pytest.mark.parametrize("distance", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("width", [8, 2500])
def test_each_distance_finds_what_numpy_finds(dsn: str, distance: str, width: int) -> None:
    documents(dsn, 0, spec_of(distance=distance, width=width))
    rng = np.random.default_rng(0)
    held = rng.normal(size=(300, width)).astype(np.float32)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into docs select i, 'x' from generate_series(0, 299) i")
        connection.cursor().executemany(
            "insert into docs_vectors (key, embedding, model) values (%s, %s, '1')",
            [(i, str(v.tolist())) for i, v in enumerate(held)],
        )
        query = rng.normal(size=width).astype(np.float32)
        dot = held @ query
        far = {
            "ip": -dot, "l2": np.linalg.norm(held - query, axis=1),
            "cosine": 1 - dot / np.linalg.norm(held, axis=1) / np.linalg.norm(query),
        }[distance]  # fmt: skip
        for plan, exact in itertools.product(("on", "off"), ("true", "false")):
            for setting in ("seqscan", "sort"):
                connection.execute(f"set enable_{setting} = {plan}")
            found = connection.execute(
                f"select key, distance from docs_search(%s::vector, 10, exact => {exact})", [str(query.tolist())]
            ).fetchall()
            best = np.argsort(far)[:10].tolist()
            assert len({key for key, _ in found} & set(best)) >= (10 if exact == "true" or plan == "on" else 9)
            for key, d in found:
                assert d == pytest.approx(far[key], rel=2e-3 if width > 2000 else 1e-4, abs=1e-4)


def test_a_filter_finds_k_rows_however_rare_they_are(dsn: str) -> None:
    """2 rows in 100 are from Oslo; an index scan that stopped at ef_search would find hardly any."""
    spec = documents(dsn, 2000)
    filled(dsn, spec)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for setting in ("seqscan", "sort", "bitmapscan"):
            connection.execute(f"set enable_{setting} = off")
        call = (
            "select s.key, d.city from docs_search('[1,0,0,3]', 10, '{\"city\": \"Oslo\"}', 40) s "
            "join docs d on d.id = s.key"
        )
        found = connection.execute(call).fetchall()
        assert len(found) == 10
        assert {city for _, city in found} == {"Oslo"}
        assert connection.execute("show hnsw.ef_search").fetchone() == ("40",)
        mine = connection.execute(
            "select d.id from docs d join docs_vectors v on v.key = d.id where d.city = 'Oslo' and d.id > 1000 "
            "order by v.embedding <=> '[1,0,0,3]' limit 5"
        ).fetchall()
        assert len(mine) == 5


def test_more_neighbours_than_the_index_is_asked_for_at_once(dsn: str) -> None:
    spec = documents(dsn, 2000)
    filled(dsn, spec)
    assert len(search(dsn, spec, Letters(), TEXT, {"text": "abc"}, k=1500)) == 1500


def role(dsn: str, name: str, *grants: str) -> str:
    """The dsn of a role that may do just this."""
    run(dsn, f"drop role if exists {name}", f"create role {name} login", *grants)
    return dsn.replace("postgres:@", f"{name}:@")


def released(dsn: str, *names: str) -> None:
    for name in names:
        run(dsn, f"drop owned by {name}", f"drop role {name}")


def test_a_missing_extension_is_one_line(dsn: str) -> None:
    run(dsn, "create table docs (id bigint primary key, body text)", "revoke create on database "
        + dsn.split("/")[3].split("?")[0] + " from public")  # fmt: skip
    bob = role(dsn, "bob", "grant create on schema public to bob", "grant select on docs to bob")
    with pytest.raises(Mistake, match="is not in this database, and bob may not create it") as raised:
        up(bob, spec_of())
    assert raised.value.fix == "create extension vector;"
    with pytest.raises(Missing) as missing:
        filled(bob, spec_of())
    assert missing.value.fix == "create extension vector;"
    released(dsn, "bob")


def test_a_missing_privilege_is_the_exact_grant(dsn: str) -> None:
    """Following the grants one after the other leads to a fill."""
    run(dsn, "create extension vector", "create schema texts", "create schema \"o'wn\"",
        "create table texts.docs (id bigint primary key, body text)", "insert into texts.docs values (1, 'abc')",
        "revoke temporary on database " + dsn.split("/")[3].split("?")[0] + " from public")  # fmt: skip
    spec = spec_of(schema="o'wn", table_schema="texts")
    bob = role(dsn, "bob")
    for grant in (
        "grant usage, create on schema \"o'wn\" to bob;", 'grant usage on schema "texts" to bob;',
        'grant select on "texts"."docs" to bob;',
    ):  # fmt: skip
        with pytest.raises(Mistake) as raised:
            up(bob, spec)
        assert raised.value.fix == grant
        run(dsn, grant)
    up(bob, spec)
    amy = role(dsn, "amy")
    with pytest.raises(Mistake, match="role amy may not fill") as raised:
        filled(amy, spec)
    assert 'grant usage on schema "texts" to amy;' in raised.value.fix
    run(dsn, *raised.value.fix.split("; "))
    with pytest.raises(Mistake, match="role amy may not fill") as raised:
        filled(amy, spec)
    assert 'grant select, insert, update, delete on "o\'wn"."docs_vectors" to amy;' in raised.value.fix
    run(dsn, raised.value.fix)
    assert filled(amy, spec).embedded == 1
    released(dsn, "amy", "bob")


def test_a_reader_may_search(dsn: str) -> None:
    run(dsn, "drop role if exists reader", "create role reader login", "create extension vector",
        "alter default privileges revoke execute on functions from public")  # fmt: skip
    spec = documents(dsn, 20, spec_of(reader="reader"))
    run(dsn, "grant select on docs to reader")
    filled(dsn, spec)
    found = ask(dsn.replace("postgres:@", "reader:@"), "select count(*) from docs_like(3, 5)")
    assert found == [(5,)]
    released(dsn, "reader")


@pytest.mark.parametrize(
    ("table", "says", "fix"),
    [
        ("", 'there is no table "public"."docs"', "create it first, or build with -O table=NAME"),
        ("(id bigint primary key, text text)", "has no column body", "columns there: id, text"),
        ("(id bigint, body text)", 'column "id" of "public"."docs" is not unique',
         'create unique index on "public"."docs" ("id");'),
        ("(id bigint primary key, body text); create table docs_vectors (x int)", "is there already, and not ours",
         "-O name"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_named_before_anything_is_made(dsn: str, table: str, says: str, fix: str) -> None:
    run(dsn, "create extension vector", *(f"create table docs {table}".split("; ") if table else ()))
    before = ask(dsn, CATALOG)
    with pytest.raises(Mistake) as raised:
        up(dsn, spec_of())
    assert says in raised.value.what
    assert fix in raised.value.fix
    assert ask(dsn, CATALOG) == before


def test_columns_of_another_type_are_named(dsn: str) -> None:
    spec = documents(dsn, 1)
    run(dsn, "alter table docs alter column body type bigint using 1")
    with pytest.raises(BadData, match="column 'body' is bigint; the model takes string"):
        filled(dsn, spec)


def test_no_server_is_said_without_the_password() -> None:
    for dsn in ("postgresql://u:s3cret@127.0.0.1:1/d", "postgresql//u:s3cret@h"):
        with pytest.raises(AnyportError) as raised:
            filled(dsn, spec_of())
        assert "s3cret" not in str(raised.value)
        assert raised.value.exit_code in (2, 3)


class InHere(proof.Table):
    """The target's predictor with Letters in this process instead of a bundle in another."""

    def __init__(self, spec: Filling, dsn: str) -> None:
        nobody: Any = None
        self.signature, self.spec, self.dsn = TEXT, spec, dsn
        self.worker = self.bundle = nobody

    def fill(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(filled(self.dsn, self.spec, Wide(self.spec.width)))
        return found


class Wide(Letters):
    """Random directions, the same for the same text."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def predict(self, inputs: Batch, /) -> Outcome:
        found = [np.random.default_rng(int(t)).normal(size=self.width) for t in inputs["text"].plain().values.tolist()]
        return Outcome({"transform": Column(np.array(found, np.float32).reshape(-1, self.width))}, {})


def texts(n: int) -> Batch:
    values = np.empty(n, object)
    values[:] = [str(i) for i in range(n)]
    return {"text": Column(values)}


def test_recall_is_measured_and_a_poor_index_fails(dsn: str) -> None:
    spec = documents(dsn, 0, spec_of(width=32, columns={"text": "body"}))
    good = proof.neighbours(InHere(spec, dsn), texts(1000))
    assert isinstance(good, conformance.Comparison)
    assert good.worst <= 0.05
    poor = spec_of(width=32, m=2, ef_construction=4, ef_search=1, iterative="off")
    up(dsn, poor)
    found = proof.neighbours(InHere(poor, dsn), texts(1000))
    assert isinstance(found, str)
    assert "recall@10 is 0." in found


def test_an_index_of_another_distance_fails_the_recall_case(dsn: str) -> None:
    spec = documents(dsn, 0, spec_of(width=32))

    class Wrong(InHere):
        def fill(self) -> dict[str, Any]:
            done = super().fill()
            run(self.dsn, "drop index docs_vectors_hnsw",
                "create index docs_vectors_hnsw on docs_vectors using hnsw (embedding vector_l2_ops)")  # fmt: skip
            return done

    found = proof.neighbours(Wrong(spec, dsn), texts(200))
    assert found == '"public"."docs_vectors_hnsw" was used in 0 of 100 searches'


@pytest.fixture(scope="module")
def artefact(shelf: packed.Shelf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pgvector") / "made"
    bundle = read(shelf.bundle("components"))
    targets.build(bundle, "pgvector", folder, table="rows", key="no", columns="x0=first", name="parts")
    return folder


def script_of(artefact: Path, dsn: str, *argv: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-I", artefact / "fill.py", *argv], env={**os.environ, "DATABASE_URL": dsn},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def numbers(dsn: str, artefact: Path) -> None:
    """300 rows for the components, one of them without a number, deployed by the plan's own statements."""
    run(dsn, "create table rows (no text primary key, first float8, x1 real, x2 numeric, x3 int, x4 float8, x5 float8)",
        "insert into rows select 'r' || i, sin(i), cos(i), i % 7, i % 5, i % 3, i / 100.0 "
        "from generate_series(1, 300) i",
        "update rows set x2 = null where no = 'r5'")  # fmt: skip
    made, module = targets.artifact(artefact), targets.get("pgvector")
    first, second = module.plan(made, None, None)
    assert isinstance(first.do, Sql)
    assert second.do == Command(("python", "fill.py"))
    with psycopg.connect(dsn) as connection:
        for text in first.do.statements:
            connection.execute(text)


def test_the_script_fills_counts_and_searches(dsn: str, artefact: Path) -> None:
    numbers(dsn, artefact)
    part = script_of(artefact, dsn, "--limit", "100", "--json")
    assert part.returncode == 0, part.stderr
    assert json.loads(part.stdout)["left"] == 200
    done = script_of(artefact, dsn, "--batch", "50")
    assert done.returncode == 0, done.stderr
    assert '"public"."parts_vectors": 200 rows embedded' in done.stdout
    counted = script_of(artefact, dsn, "--status", "--json")
    assert json.loads(counted.stdout) == {
        "rows": 300, "waiting": 0, "embedded": 299, "refused": 1, "unsearchable": 0, "gone": 0,
    }  # fmt: skip
    row = {"x0": 0.8414709848078965, "x1": 0.5403023, "x2": 1, "x3": 1, "x4": 1, "x5": 0.01}
    found = script_of(artefact, dsn, "--search", json.dumps(row), "-k", "2", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)[0]["key"] == "r1"
    strict = script_of(artefact, dsn, "--max-refused", "0")
    assert strict.returncode == 0  # nothing waited
    run(dsn, "update rows set x3 = null where no = 'r6'")
    assert script_of(artefact, dsn, "--max-refused", "0").returncode == 2


def test_the_script_says_what_is_wrong_by_its_exit_code(dsn: str, artefact: Path, tmp_path: Path) -> None:
    assert script_of(artefact, "postgresql://127.0.0.1:1/none").returncode == 3
    run(dsn, "create extension vector")
    early = script_of(artefact, dsn)
    assert early.returncode == 2
    assert 'there is no table "public"."rows"' in early.stderr
    numbers(dsn, artefact)
    for argv, says in (
        (("--search", "[1]"), "no JSON object"), (("--search", "{"), "no JSON"), (("--search", '{"x9": 1}'), "x9"),
        (("--spec", str(tmp_path / "none.json")), "cannot be read"), (("--batch", "0"), "at least one row"),
    ):  # fmt: skip
        wrong = script_of(artefact, dsn, *argv)
        assert (wrong.returncode, says in wrong.stderr) == (2, True), wrong.stderr
        assert "Traceback" not in wrong.stderr


def test_undoing_the_plan_leaves_only_the_rows(dsn: str, artefact: Path) -> None:
    run(dsn, "create extension vector")
    numbers(dsn, artefact)
    module = targets.get("pgvector")
    undo = module.plan(targets.artifact(artefact), None, None)[0].undo
    assert isinstance(undo, Sql)
    with psycopg.connect(dsn) as connection:
        for text in undo.statements:
            connection.execute(text)
    assert ask(dsn, "select relname from pg_class where relname like 'parts%'") == []
    assert ask(dsn, "select count(*) from rows") == [(300,)]


def test_a_live_check_leaves_no_trace(dsn: str, artefact: Path) -> None:
    with pytest.raises(Missing) as raised:
        conformance.check_artifact(artefact, live={"dsn": dsn})
    assert raised.value.fix == "create extension vector;"
    run(dsn, "create extension vector")
    before = ask(dsn, CATALOG)
    report = conformance.check_artifact(artefact, live={"dsn": dsn})
    assert report.ok, report.cases
    assert report.proof == "live"
    assert ask(dsn, CATALOG) == before
    maid = role(dsn, "maid")
    with pytest.raises(Mistake, match="may not make the schema") as refused:
        conformance.check_artifact(artefact, live={"dsn": maid})
    assert refused.value.fix.startswith("grant create on database d")
    released(dsn, "maid")


def test_options_that_cannot_be(shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("components"))
    for given, says in (
        ({"columns": "x9=a"}, "the model takes no 'x9'"), ({"columns": "{"}, "no JSON object"),
        ({"columns": "x0="}, "no column for 'x0'"), ({"m": "1"}, "-O m=1"), ({"ef_search": "2000"}, "1 to 1000"),
        ({"ef_construction": "20"}, "32 to 1000"), ({"distance": "far"}, "distance"),
    ):  # fmt: skip
        with pytest.raises(Mistake) as raised:
            targets.build(bundle, "pgvector", tmp_path / "no", **given)
        assert says in raised.value.what
    with pytest.raises(Impossible, match="63 bytes"):
        targets.build(bundle, "pgvector", tmp_path / "no", name="n" * 60)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(("width", "fits"), [(2000, True), (2001, True), (4000, True), (4001, False)])
def test_dimensions(shelf: packed.Shelf, width: int, fits: bool) -> None:
    """The limit and where it is from; above 2,000 the index is in half precision, the vectors are not."""
    bundle = read(shelf.bundle("components"))
    output = msgspec.structs.replace(bundle.signature.outputs[0], shape=(width,))
    signature = msgspec.structs.replace(bundle.signature, outputs=(output,))
    wide: Any = type(bundle)(bundle.path, msgspec.structs.replace(bundle.manifest, signature=signature), bundle.digest)
    module = targets.get("pgvector")
    reason = module.fits(wide, module.Options())
    assert (reason is None) == fits
    if reason is not None:
        assert "4,001 dimensions" in reason.why
        assert "https://github.com/pgvector/pgvector" in reason.why
        return
    text = "\n".join(statements("up.sql", spec_of(width=width)))
    assert ("halfvec" in text) == (width > 2000)
    assert f"null::vector({width})" in text


@pytest.mark.parametrize("name", ["penguin_species", "counts", "two_answers", "outliers", "notebook_class"])
def test_what_gives_no_vector_is_sent_elsewhere(shelf: packed.Shelf, name: str) -> None:
    module = targets.get("pgvector")
    reason = targets.fits(module, read(shelf.bundle(name)), module.Options())
    assert reason is not None
    assert "whose one output is a vector" in reason.why
    assert "--to postgres" in reason.fix
    assert "--to rest" in reason.fix


def test_rows_in_the_table_are_the_batch(dsn: str) -> None:
    spec = documents(dsn, 0)
    table = InHere(spec, dsn)
    table.put(texts(3))
    assert ask(dsn, "select id, body from docs order by id") == [(0, "0"), (1, "1"), (2, "2")]
    assert rows(texts(3)) == 3
