"""ClickHouse embedded in this process by chdb: a connection, and a database of its own for whoever asks for one."""

from __future__ import annotations

import datetime as dt
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from threading import Lock
from typing import Any

from anyport.errors import Impossible, need
from anyport.kit.database import first_line
from anyport.sql.clickhouse import CLICKHOUSE
from anyport.sql.dialect import Dialect

DATABASES = count()
"""All connections of a process are to one engine, so names are never used twice."""
ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
"""https://clickhouse.com/docs/interfaces/formats/TabSeparated"""
WRAPPED = ("Nullable(", "LowCardinality(")


class Connection:
    """A database.Session. A table that is made again as it was is emptied instead, so that the view over it stays:
    making a view takes as long as asking it."""

    dialect: Dialect = CLICKHOUSE

    def __init__(self, raw: Any, errors: tuple[type[Exception], ...]) -> None:
        self.raw, self.errors = raw, errors
        self.database = self.made = ""
        self.ready = False

    def run(self, sql: str) -> None:
        if sql.startswith("create table "):
            table = sql.removeprefix("create table ").partition(" (")[0]
            if sql == self.made:
                self.raw.query(f"truncate table {table}")
                return
            self.raw.query(f"drop table if exists {table}")
            self.made, self.ready = sql, False
        self.raw.query(sql)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows; an infinity or NaN as text, which `float` reads."""
        found = self.raw.query(sql, "JSONCompactEachRow").bytes().decode()
        return [tuple(json.loads(line)) for line in found.splitlines()]

    def fill(self, table: str, columns: Sequence[str], values: Iterable[tuple[Any, ...]]) -> None:
        lines = "".join("\t".join(map(cell, row)) + "\n" for row in values)
        if lines:  # no rows are an error
            listed = ", ".join(map(self.dialect.ident, columns))
            self.run(f"insert into {self.dialect.ident(table)} ({listed}) format TabSeparated\n{lines}")

    def columns(self, table: str) -> Mapping[str, str]:
        return {row[0]: bare(row[1]) for row in self.ask(f"describe table {self.dialect.ident(table)}")}

    def enter(self, database: str) -> None:
        """Make a database, and go there."""
        self.database = self.dialect.ident(database)
        self.anew()

    def anew(self) -> None:
        """The database that it is in, empty."""
        self.made, self.ready = "", False
        self.raw.query(f"drop database if exists {self.database}")
        self.raw.query(f"create database {self.database}")
        self.raw.query(f"use {self.database}")


def cell(value: Any) -> str:
    """A value of a TabSeparated row."""
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(ESCAPED)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f").rjust(26, "0")
    return repr(value)


def bare(kind: str) -> str:
    """A type without what says that it may be missing, or how it is stored."""
    for around in WRAPPED:
        if kind.startswith(around):
            return bare(kind.removeprefix(around).removesuffix(")"))
    return kind


Open = Callable[[], AbstractContextManager[Connection]]


@contextmanager
def sessions(database: str = "") -> Iterator[tuple[Open, str, str]]:
    """A way to get a connection that no other caller has, in a database of its own; the engine's version, and where it
    runs. With `database` it is that one, and callers wait for each other. Impossible where this process has another
    engine of chdb open, as there can be one."""
    chdb = need("chdb")
    # the wheels of chdb and chdb-core both bring chdb/__init__.py: whose is written last says what ChdbError is, and
    # the other's, a RuntimeError, is raised all the same (chdb 4.4.0, chdb-core 26.9.0)
    d, errors = CLICKHOUSE, (chdb.ChdbError, RuntimeError)
    free: deque[Connection] = deque()
    every: list[Connection] = []
    turn = Lock()

    def fresh() -> Connection:
        try:
            made = Connection(chdb.connect(":memory:"), errors)
        except errors as error:
            raise Impossible(f"chdb: {first_line(error)}", fix="anyport check, in a process of its own") from error
        if database and not every and made.ask(f"select 1 from system.tables where database = {d.literal(database)}"):
            made.raw.close()
            raise Impossible(f"chdb is open in this process, and has tables in a database {database!r}",
                             fix="anyport check, in a process of its own")  # fmt: skip
        every.append(made)
        made.enter(database or f"anyport_{next(DATABASES)}")
        made.run("set default_table_engine = 'Memory', output_format_json_quote_denormals = 1")
        return made

    @contextmanager
    def opened() -> Iterator[Connection]:
        try:
            session = free.popleft()
        except IndexError:
            session = fresh()
        yield session
        free.append(session)  # after an error it is left alone

    @contextmanager
    def in_turn() -> Iterator[Connection]:
        with turn, opened() as session:
            yield session

    try:
        with opened() as first:
            [(version,)] = first.ask("select version()")
        yield (in_turn if database else opened), str(version), f"this process: chdb {chdb.__version__}"
    finally:
        for session in every:
            session.run(f"drop database if exists {session.database}")
            session.raw.close()
