"""A DuckDB connection as a database.Session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anyport.errors import need
from anyport.sql.dialect import DUCKDB as D


class Connected:
    """A connection that one thread has."""

    dialect = D

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.errors: tuple[type[Exception], ...] = (need("duckdb").Error,)

    def run(self, sql: str) -> None:
        """One statement."""
        self.connection.execute(sql)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows."""
        return self.connection.execute(sql).fetchall()  # type: ignore[no-any-return]

    def fill(self, table: str, columns: Sequence[str], values: Iterable[tuple[Any, ...]]) -> None:
        """Rows by way of Arrow: DuckDB takes them one at a time a thousand times slower."""
        pa = need("pyarrow")
        cells = [list(column) for column in zip(*values, strict=True)]
        if not cells:
            return
        rows = pa.table({f"c{i}": pa.array(c, from_pandas=False) for i, c in enumerate(cells)})
        self.connection.register("anyport_incoming", rows)
        try:
            listed = ", ".join(map(D.ident, columns))
            self.connection.execute(f"insert into {D.ident(table)} ({listed}) select * from anyport_incoming")
        finally:
            self.connection.unregister("anyport_incoming")

    def columns(self, table: str) -> Mapping[str, str]:
        """Columns and their types."""
        found = self.ask(f"select column_name, data_type from (describe {D.ident(table)}) t(column_name, data_type)")
        return {row[0]: row[1] for row in found}
