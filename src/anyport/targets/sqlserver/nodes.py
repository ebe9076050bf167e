"""The table of nodes behind a view of joins: statements that fill it, and how DuckDB reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyport.errors import need
from anyport.kit.joined import Asked, batches
from anyport.sql.dialects import TSQL
from anyport.sql.joins import COLUMNS

TEXT = 1_000_000
"""Characters of entries in one statement. They are one literal, read by OPENJSON, which needs a database of
compatibility level 130, that of SQL Server 2016 (https://learn.microsoft.com/sql/t-sql/functions/openjson-transact-sql):
VALUES takes 1,000 rows (https://learn.microsoft.com/sql/t-sql/queries/table-value-constructor-transact-sql), each of
whose numbers is planned."""
FRAME = ("set xact_abort on;\nbegin transaction", "commit transaction")
"""Around the statements of a file, so that one that fails leaves the view and its table as they were
(https://learn.microsoft.com/sql/t-sql/statements/set-xact-abort-transact-sql). Each step of a plan is one anyway."""


def filling(found: Asked) -> list[str]:
    """Make and fill the table; the one that was there goes."""
    more = {"node": " not null primary key"} | dict.fromkeys(COLUMNS[1:], " not null")
    kinds = [f"{c} {kind(c)}{more.get(c, '')}" for c in found.columns]
    listed = ", ".join(found.columns)
    cells = ", ".join(f"{c} {kind(c)} '$[{i}]'" for i, c in enumerate(found.columns))
    into = f"insert into {found.table} ({listed}) select {listed} from openjson"
    return [
        f"drop table if exists {found.table}",
        f"create table {found.table} ({', '.join(kinds)})",
        *(f"{into}(N'[{joined_lines(batch)}]') with ({cells})" for batch in batches(found.lines, TEXT)),
    ]


def joined_lines(batch: Sequence[str]) -> str:
    """Entries as arrays; a line feed between some, since programs that send a file read it by lines."""
    return ",\n".join(",".join(f"[{line}]" for line in batch[i : i + 50]) for i in range(0, len(batch), 50))


def kind(column: str) -> str:
    """The type of a column."""
    return TSQL.types["double" if column == "cut" or column not in COLUMNS else "int32"]


def read_json(node: Any) -> Any:
    """OPENJSON … WITH of an array of arrays, as DuckDB says it."""
    sqlglot = need("sqlglot")
    text = node.this.sql(dialect="duckdb").removeprefix("N")
    cells = [
        f"cast(entry ->> {cell.args['path'].sql()} as {cell.args['kind'].sql(dialect='duckdb')}) as {cell.this.sql()}"
        for cell in node.expressions
    ]
    entries = f"(select unnest(cast({text} as json[])) as entry)"
    found = sqlglot.parse_one(f"select * from (select {', '.join(cells)} from {entries}) as entries", read="duckdb")
    return found.find(sqlglot.exp.Subquery)


__all__ = ["FRAME", "filling", "read_json"]
