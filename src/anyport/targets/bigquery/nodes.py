"""The table of nodes behind a query of joins: statements that fill it, each as short as BigQuery takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anyport.bundle import Bundle
from anyport.kit import joined
from anyport.kit.joined import Asked, Form
from anyport.kit.view import View
from anyport.sql.compile import Compiled
from anyport.sql.dialects import BIGQUERY
from anyport.sql.joins import COLUMNS

TEXT = 900_000
"""Characters of entries in one statement, which may have 1,024,000 (https://cloud.google.com/bigquery/quotas#query_jobs).
They are one literal and no parameters, of which a query has at most 10,000, nor rows of VALUES, each of which is
planned."""
MADE = "create or replace table "
WHOLE = ("node", "slot", "low", "high")


def asked(bundle: Bundle, view: View, *, source: str, form: Form, table: Callable[[str], str]) -> Asked:
    """The query in the form that fits."""
    return joined.asked(bundle, ENGINE, view, source=source, form=form, table=table)


def held(model: Compiled) -> None:
    """Nothing but the text is limited."""


ENGINE = joined.Engine(BIGQUERY, "", held)


def filling(found: Asked) -> list[str]:
    """Fill another table, and put it in place in one statement. It is called by what is in it, so the view that is
    there has its own until it is replaced."""
    fresh = f"{found.table.removesuffix('`')}_new`"
    kinds = ", ".join(f"{c} {kind(c)}" for c in found.columns)
    listed = ", ".join(found.columns)
    cells = ", ".join(cell(c, i + 1) for i, c in enumerate(found.columns))
    return [
        f"{MADE}{fresh} ({kinds})",
        *(
            f"insert into {fresh} ({listed}) select {cells} from "
            f"(select split(line, ',') as cells from unnest(split('{';'.join(batch)}', ';')) as line)"
            for batch in joined.batches(found.lines, TEXT)
        ),
        f"{MADE}{found.table} as select * from {fresh}",
        f"drop table {fresh}",
    ]


def fills(up: Sequence[str]) -> list[str]:
    """Of the statements of up.sql those that fill the table."""
    return [t for t in up if t.startswith((MADE, "insert into ", "drop table "))]


def cell(column: str, i: int) -> str:
    """A column's value out of a line; what a line has not is empty."""
    text = f"cells[ordinal({i})]"
    there = text if column in COLUMNS else f"nullif({text}, '')"
    return f"cast({there} as {kind(column)}) as {column}"


def kind(column: str) -> str:
    """The type of a column."""
    return BIGQUERY.types["bigint" if column in WHOLE else "double"]


def emptied(found: Asked) -> str:
    """The statement that takes it away."""
    return f"drop table if exists {found.table}"


__all__ = ["asked", "emptied", "filling", "fills"]
