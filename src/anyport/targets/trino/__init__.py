"""trino: a view that answers every row of a table in pure SQL for Trino, where the catalog's connector keeps views."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from anyport.bundle import Bundle
from anyport.kit import warehouse
from anyport.kit.warehouse import PRINTABLE, Options, Warehouse
from anyport.sql.warehouses import TRINO
from anyport.target import Artifact, NoOptions, Reason, Running, Spec, Step
from anyport.targets import carry

SPEC = Spec(
    name="trino", title="a view in Trino", kind="database", takes=("graph",), extra="sql", tier="slow",
    limits={"query_characters": TRINO.longest, "name_characters": 255},
)  # fmt: skip
HOUSE = Warehouse(
    SPEC, TRINO, "trino", columns=PRINTABLE, objects=PRINTABLE,
    says="at most 255 characters, none of which is a control character",
    command=("trino", "--file", "{}"),
)  # fmt: skip
"""https://trino.io/docs/current/client/cli.html"""
Live = NoOptions


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Models that are SQL, within Trino's limits."""
    return warehouse.fits(HOUSE, bundle, options)


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, up.sql, down.sql, view.json (the names in them), schema.txt and a README."""
    carry(bundle, out)
    return warehouse.write(HOUSE, bundle, out, options, Path(__file__).with_name("README.md"))


def run(artifact: Artifact) -> AbstractContextManager[Running]:
    """up.sql in DuckDB, in Trino's stead."""
    return warehouse.run(HOUSE, artifact)


def connect(artifact: Artifact, live: Any) -> AbstractContextManager[Running]:
    """Not yet."""
    return warehouse.connect(HOUSE, artifact, live)


def plan(artifact: Artifact, options: Options, live: Any) -> Sequence[Step]:
    """Make the view with Trino's own CLI."""
    return warehouse.plan(HOUSE, artifact)


__all__ = ["SPEC", "Live", "Options", "build", "connect", "fits", "plan", "run"]
