"""Another engine's SQL, parsed strictly and executed by DuckDB in its stead: what sqlglot cannot carry is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from anyport.errors import Impossible, need
from anyport.kit.view import View, ViewPredictor
from anyport.signature import Signature
from anyport.sql.dialect import DUCKDB, Dialect
from anyport.sql.dialects import LARGEST


def transpiled(text: str, dialect: str, change: Callable[[Any], Any] | None = None) -> list[str]:
    """Statements of a dialect (sqlglot's name) as DuckDB's. Impossible where sqlglot cannot read one, knows no such
    function, or has no words for it in DuckDB. `change` says of a node of sqlglot's tree what it is in DuckDB."""
    sqlglot = need("sqlglot")
    strict = sqlglot.ErrorLevel.RAISE
    found = []
    try:
        for tree in sqlglot.parse(text, read=dialect, error_level=strict):
            if tree is None:
                continue
            for unknown in tree.find_all(sqlglot.exp.Command, sqlglot.exp.Anonymous):
                raise Impossible(f"sqlglot does not know {str(unknown)[:80]!r} of {dialect}")
            tree = tree.transform(change) if change is not None else tree
            found.append(tree.sql(dialect="duckdb", unsupported_level=strict))
    except sqlglot.errors.SqlglotError as error:
        raise Impossible(f"sqlglot cannot carry this {dialect} text to DuckDB: {str(error)[:400]}") from error
    return found


FINITE = replace(DUCKDB, types={**DUCKDB.types, "float32": DUCKDB.types["double"]}, infinity=None, most=LARGEST)
"""Where the largest double stands for an infinity; single precision cannot hold it."""


class StandIn:
    """DuckDB as a database.Session. A table that is made again as it was is emptied instead, so that the view over it
    and the plan of a query stay."""

    def __init__(self, schema: str, *, largest: float = math.inf) -> None:
        """`largest`: what stands for an infinity, in an engine that has none."""
        self.largest = largest
        self.dialect: Dialect = DUCKDB if largest == math.inf else FINITE
        duckdb = need("duckdb")
        self.errors: tuple[type[Exception], ...] = (duckdb.Error,)
        self.raw = duckdb.connect(config={"threads": 1})
        name = DUCKDB.ident(schema)
        # the optimizer takes 6 times as long as the answer of one row by a forest, and rewrites what is to be proven
        settings = ("set timezone = 'UTC'", "pragma disable_optimizer")
        for text in (*settings, f"create schema if not exists {name}", f"use {name}"):
            self.raw.execute(text)
        self.made = self.asked = ""
        self.ready = False

    def run(self, sql: str) -> None:
        if sql.startswith("create table "):
            table = sql.removeprefix("create table ").partition(" (")[0]
            if sql == self.made:
                self.raw.execute(f"delete from {table}")
                return
            self.raw.execute(f"drop table if exists {table} cascade")
            self.made, self.asked, self.ready = sql, "", False
        self.raw.execute(sql)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        if sql != self.asked:
            self.raw.execute(f"prepare answers as {sql}")
            self.asked = sql
        found: list[tuple[Any, ...]] = self.raw.execute("execute answers").fetchall()
        return found

    def fill(self, table: str, columns: Sequence[str], values: Iterable[tuple[Any, ...]]) -> None:
        arrow = need("pyarrow")
        infinite = {math.inf: self.largest, -math.inf: -self.largest}
        rows = [[infinite.get(v, v) if isinstance(v, float) else v for v in row] for row in values]
        if rows:
            every = {f"c{i}": arrow.array(list(column)) for i, column in enumerate(zip(*rows, strict=True))}
            self.raw.register("given", arrow.table(every))
            self.raw.execute(f"insert into {DUCKDB.ident(table)} select * from given")
            self.raw.unregister("given")

    def columns(self, table: str) -> Mapping[str, str]:
        return {row[0]: row[1] for row in self.raw.execute(f"describe {DUCKDB.ident(table)}").fetchall()}


@contextmanager
def stand_ins(schema: str, *, largest: float = math.inf) -> Iterator[Callable[[], AbstractContextManager[StandIn]]]:
    """A way to get one that no other caller has; all of them are closed with the block. After an error one is left
    alone."""
    free: list[StandIn] = []
    every: list[StandIn] = []

    @contextmanager
    def opened() -> Iterator[StandIn]:
        try:
            session = free.pop()
        except IndexError:
            session = StandIn(schema, largest=largest)
            every.append(session)
        yield session
        free.append(session)

    try:
        yield opened
    finally:
        for session in every:
            session.raw.close()


@contextmanager
def standing_in(
    signature: Signature, view: View, schema: str, up: Sequence[str], *, largest: float = math.inf
) -> Iterator[tuple[ViewPredictor, str]]:
    """A predictor that runs `up`, statements for DuckDB, in databases of its own; and DuckDB's version."""

    def made(session: Any) -> None:
        if not session.ready:
            for text in up:
                session.raw.execute(text)
            session.ready = True

    with stand_ins(schema, largest=largest) as opened:
        yield ViewPredictor(signature, view, opened, made), str(need("duckdb").__version__)


__all__ = ["StandIn", "stand_ins", "standing_in", "transpiled"]
