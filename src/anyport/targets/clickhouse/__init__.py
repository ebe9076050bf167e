"""clickhouse: a view that answers every row of a table in pure SQL for ClickHouse; asked of version 26.9."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from anyport.bundle import Bundle, read
from anyport.kit import warehouse
from anyport.kit.view import ViewPredictor, kept
from anyport.kit.warehouse import INSTEAD, PRINTABLE, SCHEMA, Options, Warehouse
from anyport.sql.clickhouse import CLICKHOUSE
from anyport.target import Artifact, Engine, NoOptions, Reason, Running, Spec, Step
from anyport.targets import carry
from anyport.targets.clickhouse.session import Connection, sessions

QUERY_BYTES, ELEMENTS = 262_144, 50_000
"""What a statement may have before up.sql raises it: max_query_size, max_ast_elements
(https://clickhouse.com/docs/operations/settings/settings#max_query_size,
https://clickhouse.com/docs/operations/settings/query-complexity#max_ast_elements)."""
EXPANDED = 500_000
"""Elements that a query may have once its views are in it, whoever asks: max_expanded_ast_elements
(https://clickhouse.com/docs/operations/settings/query-complexity#max_expanded_ast_elements)."""
SUBQUERIES = 100
"""Layers of a query: max_subquery_depth
(https://clickhouse.com/docs/operations/settings/query-complexity#max_subquery_depth)."""
NAME, DATABASE = 150, 63
"""Characters of a table's name and of a database's, each but letters, digits and _ counted as three for each of its
bytes, which is how the names of their files are written: both together may have 213 (measured)."""
SPEC = Spec(
    name="clickhouse", title="a view in ClickHouse", kind="database", takes=("graph",), extra="clickhouse", tier="slow",
    limits={
        "statement_bytes": CLICKHOUSE.longest, "max_expanded_ast_elements": EXPANDED, "max_subquery_depth": SUBQUERIES,
        "name_characters": NAME,
    },
)  # fmt: skip
HOUSE = Warehouse(
    SPEC, CLICKHOUSE, "clickhouse", columns=PRINTABLE, objects=PRINTABLE,
    says="at most 255 characters, none of which is a control character",
    command=("clickhouse-client", "--queries-file", "{}"),
)  # fmt: skip
"""https://clickhouse.com/docs/interfaces/cli#command-line-options"""
Live = NoOptions


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Models that are SQL, within ClickHouse's limits."""
    if "." in options.schema:
        return Reason(f"ClickHouse has no schemas in a database: {options.schema!r}", "-O schema=DATABASE")
    for name, most in ((options.schema, DATABASE), (options.table, NAME), (options.view, NAME)):
        if filed(name) > most:
            what = f"the file of {name!r} would have a name of {filed(name)} characters"
            return Reason(f"{what}; ClickHouse takes {most}", INSTEAD)
    reason = warehouse.fits(HOUSE, bundle, options)
    return reason or large(warehouse.up(HOUSE, bundle, options))


def filed(name: str) -> int:
    """Characters of a name as ClickHouse calls its file."""
    return sum(1 if re.fullmatch(r"[A-Za-z0-9_]", c) else 3 * len(c.encode()) for c in name)


def large(text: str) -> Reason | None:
    """Which of the limits on every query that asks the view it would break."""
    found = elements(text) + text.count("select *,") * text.count(" as ")
    if found > EXPANDED:
        return Reason(f"a query of the view would have up to {found:,} elements; ClickHouse takes {EXPANDED:,} "
                      "(max_expanded_ast_elements)", INSTEAD)  # fmt: skip
    layers = text.count("\n  from ") + 1
    if layers >= SUBQUERIES:
        return Reason(f"the view would have {layers} layers; ClickHouse takes {SUBQUERIES} (max_subquery_depth)",
                      INSTEAD)  # fmt: skip
    return None


TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.|``)*`|[\w.]+|<=|>=|<>|[-+*/<>=(]", re.S)


def elements(text: str) -> int:
    """Elements of the tree that a statement is parsed to, at most: one for each word, number, name and text, two for
    an operator (itself and the list of its arguments), one for a parenthesis (the list)."""
    return sum(2 if found[0] in "-+*/<>=" else 1 for found in TOKEN.findall(text))


def settings(text: str) -> str:
    """What has to be set before a statement that ClickHouse would take for too large; "" where it would not."""
    size, tree = len(text.encode()), elements(text)
    query = f"set max_query_size = {2 * size};\n" if size > QUERY_BYTES else ""
    return query + (f"set max_ast_elements = {2 * tree};\n" if tree > ELEMENTS else "")


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, up.sql, down.sql, view.json (the names in them), schema.txt and a README."""
    carry(bundle, out)
    made = warehouse.write(HOUSE, bundle, out, options, Path(__file__).with_name("README.md"))
    file = out / "up.sql"
    text = file.read_text(encoding="utf-8")
    file.write_text(settings(text) + text, encoding="utf-8", newline="\n")
    return made


def statements(file: Path) -> list[str]:
    """The statements of a file: its texts and names hold no line feed."""
    return file.read_text(encoding="utf-8").removesuffix(";\n").split(";\n")


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """up.sql in ClickHouse itself, embedded in this process (https://clickhouse.com/docs/chdb); each caller in a
    database of its own, or, where the artefact names one, all of them in turn."""
    schema = (artifact.path / SCHEMA).read_text(encoding="utf-8").removesuffix("\n")
    made = statements(artifact.path / "up.sql")

    def up(session: Any) -> None:
        for text in made if not session.ready else ():
            session.run(text)
        session.ready = True

    with sessions(schema) as (opened, version, process):
        signature = read(artifact.path / "bundle").signature
        predictor = ViewPredictor(signature, kept(artifact.path), opened, up)
        yield Running(predictor, Engine("ClickHouse", version, process, "native"))


def connect(artifact: Artifact, live: Any) -> AbstractContextManager[Running]:
    """Not yet."""
    return warehouse.connect(HOUSE, artifact, live)


def plan(artifact: Artifact, options: Options, live: Any) -> Sequence[Step]:
    """Make the view with ClickHouse's own client."""
    return warehouse.plan(HOUSE, artifact)


__all__ = ["SPEC", "Connection", "Live", "Options", "build", "connect", "fits", "plan", "run"]
