"""SQL Server through ODBC: a connection, where a connection string leads, and a schema that is gone afterwards."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any

from anyport.errors import Impossible, Missing, Mistake, Unreachable, need
from anyport.kit.database import first_line, named
from anyport.sql.dialect import Dialect
from anyport.sql.dialects import LARGEST, TSQL
from anyport.target import Sql

FIX = "dsn='Driver={ODBC Driver 18 for SQL Server};Server=HOST;Database=NAME;UID=USER;PWD=PASSWORD'"
NO_DRIVER = ("IM002", "01000", "IM003", "IM004")
"""SQLSTATE where the driver manager knows no such driver or cannot load it
(https://learn.microsoft.com/sql/odbc/reference/appendixes/appendix-a-odbc-error-codes; unixODBC says 01000)."""
SECONDS = 15
"""For logging in."""
DENIED = ("(262)", "(2760)")
"""Error numbers of a right that is lacking, as the driver's messages end (sys.messages)."""


class Refused(Exception):
    """What the server said of a statement."""


class Connection:
    """A database.Session. Infinities are stored as the largest double, which the view takes for one."""

    dialect: Dialect = TSQL
    errors: tuple[type[Exception], ...] = (Refused,)

    def __init__(self, raw: Any, schema: str = "") -> None:
        self.raw, self.schema = raw, schema
        self.foreign: type[Exception] = need("pyodbc").Error

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """A cursor whose errors are Refused."""
        try:
            with closing(self.raw.cursor()) as cursor:
                yield cursor
        except self.foreign as error:
            raise Refused(words(error)) from error

    def run(self, sql: str) -> None:
        with self.cursor() as cursor:
            cursor.execute(sql)
            while cursor.nextset():  # an error of a later statement of the batch is raised here
                pass

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with self.cursor() as cursor:
            return [tuple(row) for row in cursor.execute(sql).fetchall()]

    def fill(self, table: str, columns: Sequence[str], values: Iterable[tuple[Any, ...]]) -> None:
        rows = [tuple(map(held, row)) for row in values]
        if rows:
            listed, marks = ", ".join(map(self.dialect.ident, columns)), ", ".join(["?"] * len(columns))
            with self.cursor() as cursor:
                cursor.executemany(f"insert into {named(self, table)} ({listed}) values ({marks})", rows)

    def columns(self, table: str) -> Mapping[str, str]:
        pattern = {"schema": self.schema} if self.schema else {}  # _ and % stand for others in it
        with self.cursor() as cursor:
            found = cursor.columns(table=table, **pattern).fetchall()
        return {row.column_name: row.type_name for row in found if row.table_name == table}

    def transaction(self, sql: Sql) -> None:
        """Statements of a plan, each a batch, all or none. Mistake with the server's own words, nothing of it done."""
        self.raw.autocommit = False
        try:
            for statement in sql.statements:
                self.run(statement)
            self.raw.commit()
        except Refused as error:
            self.raw.rollback()
            raise Mistake(f"{first_line(error)}; nothing of this step was done") from error
        finally:
            self.raw.autocommit = True

    def enter(self, schema: str) -> None:
        """Make a schema and go there. Impossible with the GRANT that is lacking."""
        try:
            self.run(f"create schema {self.dialect.ident(schema)}")
        except Refused as error:
            if not any(number in str(error) for number in DENIED):
                raise
            fix = "GRANT CREATE SCHEMA, CREATE TABLE, CREATE VIEW, CREATE PROCEDURE TO " + str(
                self.ask("select user_name()")[0][0]
            )
            raise Impossible(f"the user may not make a schema to check in: {error}", fix=fix) from error
        self.schema = schema


def held(value: Any) -> Any:
    """A value as ODBC carries it: infinities as the largest double, UTC without a zone, long integers as decimals."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return float(LARGEST) if value > 0 else -float(LARGEST)
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC).replace(tzinfo=None)
    if isinstance(value, int) and value >= 2**63:
        return Decimal(value)
    return value


def words(error: Exception) -> str:
    """What a driver says, without the names of those who passed it on."""
    text = str(error.args[-1]) if error.args else str(error)
    return re.sub(r"^(\[[^\]]*\]\s*)+", "", first_line(Exception(text)))


def shown(dsn: str) -> str:
    """A connection string without its password."""
    return re.sub(r"(?i)\b(pwd|password)(\s*=\s*)(\{(?:[^}]|\}\})*\}|[^;]*)", r"\1\2***", dsn)


@contextmanager
def connected(dsn: str) -> Iterator[Connection]:
    """A connection that commits each statement. Missing where this machine has not the driver, Unreachable where the
    server does not let us in."""
    try:
        pyodbc = need("pyodbc")
    except ImportError as error:  # the wheel links to the driver manager, which is the system's
        raise Missing(f"pyodbc has no driver manager here: {error}", fix="apt-get install unixodbc") from error
    try:
        raw = pyodbc.connect(dsn, autocommit=True, timeout=SECONDS)
    except pyodbc.Error as error:
        state = str(error.args[0]) if error.args else ""
        if state in NO_DRIVER:
            there = ", ".join(pyodbc.drivers()) or "none"
            raise Missing(
                f"{shown(dsn)}: this machine has no such ODBC driver ({there})", fix=f"install it; {FIX}"
            ) from error
        raise Unreachable(f"no SQL Server lets us in at {shown(dsn)}: {words(error)}", fix=FIX) from error
    try:
        yield Connection(raw)
    finally:
        raw.close()


__all__ = ["Connection", "Refused", "connected", "shown"]
