"""ODBC: the session that SQL Server is asked through, on a real driver manager and SQLite's driver; no SQL Server."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import engines
import packed
import pytest
from test_sql import golden_inputs, judged

from anyport import deployment, targets
from anyport.bundle import read
from anyport.errors import BadBundle, Missing, Mistake, Unreachable
from anyport.kit.standin import StandIn
from anyport.target import Sql
from anyport.targets import sqlserver
from anyport.targets.sqlserver.rules import in_duckdb
from anyport.targets.sqlserver.session import Connection, Refused, connected, held, shown


@pytest.fixture
def dsn(tmp_path: Path) -> str:
    try:
        import pyodbc  # links to unixODBC

        there = "SQLite3" in pyodbc.drivers()
    except ImportError:
        there = False
    engines.must(there, "no ODBC driver to test with: apt-get install unixodbc libsqliteodbc")
    return f"Driver=SQLite3;Database={tmp_path / 'there.db'}"


@pytest.fixture
def session(dsn: str) -> Iterator[Connection]:
    with connected(dsn) as one:
        yield one


def test_rows_go_in_and_come_back(session: Connection) -> None:
    session.run("create table [a_b] ([x y] double, t text, b bigint, w timestamp, k integer)")
    session.run("create table [aXb] (z integer)")
    rows = [(1.5, "it's 🙂", 2**53 + 1, dt.datetime(2020, 1, 1, tzinfo=dt.UTC), 1), (None, None, None, None, 2)]
    session.fill("a_b", ["x y", "t", "b", "w", "k"], [*rows, (0.1, "?{d}", -5, None, 3)])
    found = session.ask("select * from [a_b] order by k")
    assert found[0] == (1.5, "it's 🙂", 2**53 + 1, dt.datetime(2020, 1, 1), 1)
    assert found[1:] == [(None, None, None, None, 2), (0.1, "?{d}", -5, None, 3)]
    assert list(session.columns("a_b")) == ["x y", "t", "b", "w", "k"]
    assert session.columns("never") == {}


def test_a_step_is_done_as_a_whole_or_not_at_all(dsn: str) -> None:
    with sqlserver.transactions(sqlserver.Live(dsn=dsn)) as transaction:
        transaction(Sql(("create table t (x integer)", "insert into t values (1)")))
        with pytest.raises(Mistake, match=r"no such table: nowhere.*nothing of this step was done"):
            transaction(Sql(("insert into t values (2)", "insert into nowhere values (1)")))
        transaction(Sql(("insert into t values (3)",)))
    with connected(dsn) as other:
        assert other.ask("select x from t order by x") == [(1,), (3,)]


def test_errors_are_in_the_servers_words(session: Connection) -> None:
    with pytest.raises(Refused, match=r"^no such table: nowhere"):
        session.ask("select * from nowhere")


def test_a_driver_or_server_that_is_not_there_is_said_without_the_password(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"PWD=\*\*\*;UID=u: this machine has no such ODBC driver") as lacking:
        connected("Driver={ODBC Driver 99 for SQL Server};Server=x;PWD={a;b}}c};UID=u").__enter__()
    assert "a;b" not in str(lacking.value)
    with pytest.raises(Unreachable, match="no SQL Server lets us in at Driver=SQLite3"):
        connected(f"Driver=SQLite3;Database={tmp_path / 'no' / 'where.db'}").__enter__()
    assert shown("UID=u;Password = p w;Server=x") == "UID=u;Password = ***;Server=x"


def test_values_are_what_odbc_carries() -> None:
    largest = 1.7976931348623157e308
    assert [held(v) for v in (float("inf"), float("-inf"), None, "x", 5)] == [largest, -largest, None, "x", 5]
    assert held(dt.datetime(2020, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2)))) == dt.datetime(2020, 1, 1)
    assert str(held(2**64 - 1)) == "18446744073709551615"


class Stead(StandIn):
    """DuckDB as the server that a check is made in: what is run is T-SQL, in the schema that it made."""

    schema = ""

    def enter(self, schema: str) -> None:
        self.raw.execute(f'create schema "{schema}"')
        self.schema = schema

    def run(self, sql: str) -> None:
        for text in in_duckdb(sql):
            self.raw.execute(text)

    def fill(self, table: str, columns: Any, values: Any) -> None:
        self.raw.execute(f'use "{self.schema}"')
        super().fill(table, columns, values)

    def columns(self, table: str) -> Any:
        self.raw.execute(f'use "{self.schema}"')
        return super().columns(table)


def test_a_live_check_is_made_in_schemas_that_are_gone_afterwards(shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("one_label"))
    stead = Stead("dbo", largest=1.7976931348623157e308)

    @contextmanager
    def where() -> Iterator[Stead]:
        yield stead

    def schemas() -> list[Any]:
        return stead.raw.execute("select schema_name from duckdb_schemas() where not internal order by 1").fetchall()

    before = schemas()
    with sqlserver.asked(bundle, sqlserver.Options(), where) as predictor:
        for _ in range(2):
            found = judged(bundle, predictor.predict(golden_inputs(bundle)))
            assert found.ok, found.says()
        assert [s for (s,) in schemas() if s.startswith("anyport_check_")]
    assert schemas() == before
    stead.raw.close()


def test_what_another_anyport_wrote_is_not_checked(dsn: str, shelf: packed.Shelf, tmp_path: Path) -> None:
    made = targets.build(shelf.bundle("one_label"), "sqlserver", tmp_path / "artefact")
    (made.path / "up.sql").write_text("select 1\nGO\n")
    with pytest.raises(BadBundle, match="not what this anyport writes"):
        sqlserver.connect(made, sqlserver.Live(dsn=dsn)).__enter__()


def test_deploying_asks_the_server_that_was_named(dsn: str, shelf: packed.Shelf, tmp_path: Path) -> None:
    made = targets.build(shelf.bundle("one_label"), "sqlserver", tmp_path / "artefact")
    with pytest.raises(deployment.plan.PlanFailed, match=r'near "or": syntax error.*nothing of this step was done'):
        deployment.deploy(made.path, live={"dsn": dsn})  # SQLite has no CREATE OR ALTER
