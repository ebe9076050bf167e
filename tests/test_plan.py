"""Deployment plans: shown before anything is done, run in order, undone backwards where a step fails."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyport import plan
from anyport.errors import Mistake
from anyport.target import Command, Sql, Step


class Database:
    """A real database that a plan runs in, one transaction a step."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)

    def __call__(self, sql: Sql) -> None:
        self.connection.execute("begin")
        try:
            for statement in sql.statements:
                self.connection.execute(statement)
        except sqlite3.Error as error:
            self.connection.execute("rollback")
            raise Mistake(str(error), fix="look at the statement") from error
        self.connection.execute("commit")

    def tables(self) -> list[str]:
        return [r[0] for r in self.connection.execute("select name from sqlite_master order by name")]


@pytest.fixture
def database() -> Iterator[Database]:
    made = Database()
    yield made
    made.connection.close()


def step(name: str, *more: str) -> Step:
    return Step(f"create {name}", Sql((f"create table {name} (x)", *more)), Sql((f"drop table {name}",)))


def quiet(_: str) -> None:
    """Nobody listens."""


def test_steps_run_in_order_and_are_said(database: Database) -> None:
    said: list[str] = []
    plan.run([step("a"), step("b", "insert into a values (1)")], database, say=said.append)
    assert database.tables() == ["a", "b"]
    assert said == ["create a", "create b"]


def test_a_failed_step_leaves_nothing_and_undoes_those_before_it(database: Database) -> None:
    said: list[str] = []
    with pytest.raises(plan.PlanFailed, match=r"create c: no such table: nowhere; what was done before is undone") as e:
        plan.run([step("a"), step("b"), step("c", "insert into nowhere values (1)")], database, say=said.append)
    assert e.value.fix == "look at the statement"
    assert database.tables() == []
    assert said[-2:] == ["undo: create b", "undo: create a"]


def test_what_cannot_be_undone_is_said(database: Database) -> None:
    odd = Step("create b", Sql(("create table b (x)",)), Sql(("drop table other",)))
    with pytest.raises(plan.PlanFailed, match=r"not undone: create b \(no such table: other\)"):
        plan.run([step("a"), odd, step("c", "bad statement")], database, say=quiet)
    assert database.tables() == ["b"]


def test_commands_run_and_their_failure_undoes_the_sql(database: Database, tmp_path: Path) -> None:
    write = Step("write", Command((sys.executable, "-c", f"open({str(tmp_path / 'x')!r}, 'w')")))
    fail = Step("fail", Command((sys.executable, "-c", "raise SystemExit('it broke')")))
    with pytest.raises(plan.PlanFailed, match=r"fail: .*it broke"):
        plan.run([step("a"), write, fail], database, say=quiet)
    assert (tmp_path / "x").exists()
    assert database.tables() == []


def test_sql_without_a_database_is_the_callers_mistake() -> None:
    with pytest.raises(plan.PlanFailed, match="no database was named") as error:
        plan.run([step("a")], None, say=quiet)
    assert error.value.fix == "add --live dsn=…"


def test_a_plan_is_shown_with_its_way_back() -> None:
    long = Step("fill", Sql(("\n".join(f"line {i}" for i in range(40)),)), Command(("rm", "a file")))
    text = plan.shown([step("a"), long])
    assert text.splitlines()[:3] == ["1. create a", "     create table a (x)", "   undo: drop table a"]
    assert "… 28 more lines" in text
    assert "undo: rm 'a file'" in text
    assert plan.as_data([step("a")]) == [
        {"why": "create a", "do": {"sql": ["create table a (x)"]}, "undo": {"sql": ["drop table a"]}}
    ]
