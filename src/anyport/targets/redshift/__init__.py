"""redshift: a view that answers every row of a table in pure SQL for Amazon Redshift."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from anyport.bundle import Bundle
from anyport.kit import warehouse
from anyport.kit.warehouse import PRINTABLE, Options, Warehouse
from anyport.sql.warehouses import REDSHIFT
from anyport.target import Artifact, NoOptions, Reason, Running, Spec, Step
from anyport.targets import carry

SPEC = Spec(
    name="redshift", title="a view in Amazon Redshift", kind="database", takes=("graph",), extra="sql", tier="slow",
    limits={"statement_bytes": REDSHIFT.longest, "name_bytes": 127, "columns": REDSHIFT.columns},
)  # fmt: skip
HOUSE = Warehouse(
    SPEC, REDSHIFT, "redshift", columns=PRINTABLE, objects=PRINTABLE,
    says="at most 127 bytes, none of which is a control character",
    command=("psql", "--set", "ON_ERROR_STOP=1", "--file", "{}"),
)  # fmt: skip
"""https://docs.aws.amazon.com/redshift/latest/mgmt/connecting-from-psql.html: PGHOST, PGDATABASE, PGUSER say where."""
Live = NoOptions


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Models that are SQL, within Redshift's limits."""
    return warehouse.fits(HOUSE, bundle, options)


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, up.sql, down.sql, view.json (the names in them), schema.txt and a README."""
    carry(bundle, out)
    return warehouse.write(HOUSE, bundle, out, options, Path(__file__).with_name("README.md"))


def run(artifact: Artifact) -> AbstractContextManager[Running]:
    """up.sql in DuckDB, in Redshift's stead."""
    return warehouse.run(HOUSE, artifact)


def connect(artifact: Artifact, live: Any) -> AbstractContextManager[Running]:
    """Not yet."""
    return warehouse.connect(HOUSE, artifact, live)


def plan(artifact: Artifact, options: Options, live: Any) -> Sequence[Step]:
    """Make the view with psql, which Redshift answers."""
    return warehouse.plan(HOUSE, artifact)


__all__ = ["SPEC", "Live", "Options", "build", "connect", "fits", "plan", "run"]
