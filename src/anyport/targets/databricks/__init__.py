"""databricks: a view that answers every row of a table in pure Databricks SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from anyport.bundle import Bundle
from anyport.kit import warehouse
from anyport.kit.warehouse import Options, Warehouse
from anyport.sql.warehouses import DATABRICKS
from anyport.target import Artifact, NoOptions, Reason, Running, Spec, Step
from anyport.targets import carry

SPEC = Spec(
    name="databricks", title="a view in Databricks SQL", kind="database", takes=("graph",), extra="sql", tier="slow",
    limits={"statement_bytes": DATABRICKS.longest, "name_characters": 255},
)  # fmt: skip
HOUSE = Warehouse(
    SPEC, DATABRICKS, "databricks", columns=re.compile(r"(?:(?!\$\{)[^\x00-\x1f\x7f]){1,255}"),
    objects=re.compile(r"(?:(?!\$\{)[^\x00-\x20./\x7f]){1,255}"),
    says="at most 255 characters; no control characters, no ${ and, but in columns, no period, space or slash",
    command=("dbsqlcli", "-e", "{}"),
)  # fmt: skip
"""https://docs.databricks.com/sql/language-manual/sql-ref-names.html and .../dev-tools/databricks-sql-cli.html"""
Live = NoOptions


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Models that are SQL, within Databricks' limits."""
    return warehouse.fits(HOUSE, bundle, options)


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, up.sql, down.sql, view.json (the names in them), schema.txt and a README."""
    carry(bundle, out)
    return warehouse.write(HOUSE, bundle, out, options, Path(__file__).with_name("README.md"))


def run(artifact: Artifact) -> AbstractContextManager[Running]:
    """up.sql in DuckDB, in Databricks' stead."""
    return warehouse.run(HOUSE, artifact)


def connect(artifact: Artifact, live: Any) -> AbstractContextManager[Running]:
    """Not yet."""
    return warehouse.connect(HOUSE, artifact, live)


def plan(artifact: Artifact, options: Options, live: Any) -> Sequence[Step]:
    """Make the view with Databricks' own SQL CLI."""
    return warehouse.plan(HOUSE, artifact)


__all__ = ["SPEC", "Live", "Options", "build", "connect", "fits", "plan", "run"]
