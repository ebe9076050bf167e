"""snowflake: a view that answers every row of a table in pure Snowflake SQL."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from anyport.bundle import Bundle
from anyport.kit import warehouse
from anyport.kit.warehouse import PRINTABLE, Warehouse
from anyport.sql.warehouses import SNOWFLAKE
from anyport.target import Artifact, NoOptions, Reason, Running, Spec, Step
from anyport.targets import carry

SPEC = Spec(
    name="snowflake", title="a view in Snowflake", kind="database", takes=("graph",), extra="sql", tier="slow",
    limits={"statement_bytes": SNOWFLAKE.longest, "name_characters": 255},
)  # fmt: skip
HOUSE = Warehouse(
    SPEC, SNOWFLAKE, "snowflake", columns=PRINTABLE, objects=PRINTABLE,
    says="at most 255 characters, none of which is a control character",
    # what looks like a variable in a text is none
    command=("snow", "sql", "--enable-templating", "NONE", "--filename", "{}"),
)  # fmt: skip
"""https://docs.snowflake.com/en/developer-guide/snowflake-cli/sql/execute-sql"""
Live = NoOptions


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the view is, what it is called and what it reads."""

    schema: str = ""
    """SCHEMA, or DATABASE.SCHEMA, of the view and of the table; "" is the session's own."""
    table: str = ""
    """The table or view of rows: "" is NAME_rows."""
    view: str = ""
    """"" is NAME, that of the bundle."""
    keys: str = ""
    """Columns that the view passes on, joined by commas; "" is id."""
    case: Literal["upper", "exact"] = "upper"
    """upper: names are meant as Snowflake reads them without quotes (age is AGE). exact: as they are written."""


def house(options: Options) -> Warehouse:
    """HOUSE with names of the case that the options choose."""
    return replace(HOUSE, dialect=replace(SNOWFLAKE, capitals=options.case == "upper"))


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Models that are SQL, within Snowflake's limits."""
    return warehouse.fits(house(options), bundle, options)


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, up.sql, down.sql, view.json (the names in them), schema.txt and a README."""
    carry(bundle, out)
    return warehouse.write(house(options), bundle, out, options, Path(__file__).with_name("README.md"))


def run(artifact: Artifact) -> AbstractContextManager[Running]:
    """up.sql in DuckDB, in Snowflake's stead."""
    return warehouse.run(HOUSE, artifact)


def connect(artifact: Artifact, live: Any) -> AbstractContextManager[Running]:
    """Not yet."""
    return warehouse.connect(HOUSE, artifact, live)


def plan(artifact: Artifact, options: Options, live: Any) -> Sequence[Step]:
    """Make the view with Snowflake's own CLI."""
    return warehouse.plan(HOUSE, artifact)
