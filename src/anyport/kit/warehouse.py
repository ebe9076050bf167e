"""A model as a view in a warehouse that does not run here: held to its documented limits, written, and executed by
DuckDB in its stead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from anyport.bundle import Bundle, read
from anyport.errors import Impossible, need
from anyport.kit.database import answers
from anyport.kit.standin import standing_in, transpiled
from anyport.kit.view import Chosen, columns, keep, kept, named_once, query, unfit, view_of
from anyport.sql.compile import compiled
from anyport.sql.dialect import Dialect
from anyport.target import Artifact, Command, Engine, Reason, Running, Spec, Step

INSTEAD = "build it --to rest, whose server answers any model"
PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
"""A name of at most 255 characters, none of which is a control character."""
SCHEMA = "schema.txt"


@dataclass(frozen=True)
class Warehouse:
    """What one engine's target is made of."""

    spec: Spec
    dialect: Dialect
    reads: str
    """What sqlglot calls the dialect."""
    columns: re.Pattern[str]
    """What a column may be called."""
    objects: re.Pattern[str]
    """What a schema, a table or a view may be called."""
    says: str
    """Both, in words."""
    command: tuple[str, ...]
    """The vendor's own program that runs a file of SQL; "{}" is the file."""


class Placed(Chosen, Protocol):
    """Options that say what a view is called and where it is."""

    @property
    def schema(self) -> str: ...


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the view is, what it is called and what it reads."""

    schema: str = ""
    """SCHEMA (or DATABASE.SCHEMA) of the view and of the table; "" is the session's own."""
    table: str = ""
    """The table or view of rows: "" is NAME_rows."""
    view: str = ""
    """"" is NAME, that of the bundle."""
    keys: str = ""
    """Columns that the view passes on, joined by commas; "" is id."""


def fits(house: Warehouse, bundle: Bundle, options: Placed) -> Reason | None:
    """Models that are SQL, whose names the engine takes, within its limits."""
    view = view_of(bundle, options)
    named_once(view)
    title = house.dialect.name
    for name in (*columns(bundle.signature), *view.keys):
        if not house.columns.fullmatch(name):
            return Reason(f"{title} has no column {name!r}: {house.says}", INSTEAD)
    for name in (*parts(options.schema), view.table, view.view):
        if not house.objects.fullmatch(name):
            return Reason(f"{title} has no schema, table or view {name!r}: {house.says}", INSTEAD)
    shown = len(view.keys) + len(answers(bundle.signature))
    if house.dialect.columns and shown > house.dialect.columns:
        return Reason(f"the view would have {shown:,} columns; {title} takes {house.dialect.columns:,}", INSTEAD)
    return unfit(bundle, lambda: [up(house, bundle, options)], house.dialect, instead=INSTEAD)


def parts(schema: str) -> list[str]:
    """The names in DATABASE.SCHEMA."""
    return schema.split(".") if schema else []


def named(house: Warehouse, options: Placed, name: str) -> str:
    """A table or view of the schema, in quotes."""
    return ".".join(map(house.dialect.ident, [*parts(options.schema), name]))


def up(house: Warehouse, bundle: Bundle, options: Placed) -> str:
    """The statement that makes the view."""
    view = view_of(bundle, options)
    text = query(compiled(bundle, house.dialect), house.dialect, view, named(house, options, view.table))
    return f"create or replace view {named(house, options, view.view)} as\n{text}"


def write(house: Warehouse, bundle: Bundle, out: Path, options: Placed, readme: Path) -> Artifact:
    """up.sql, down.sql, view.json (the names in them), schema.txt and the README beside the bundle that is there."""
    view = view_of(bundle, options)
    down = f"drop view if exists {named(house, options, view.view)}"
    for file, text in (("up.sql", up(house, bundle, options)), ("down.sql", down)):
        (out / file).write_text(text + ";\n", encoding="utf-8", newline="\n")
    keep(view, out)
    (out / SCHEMA).write_text(options.schema + "\n", encoding="utf-8", newline="\n")
    (out / "README.md").write_bytes(readme.read_bytes())
    return Artifact(house.spec.name, out, bundle.form, bundle.digest)


@contextmanager
def run(house: Warehouse, artifact: Artifact) -> Iterator[Running]:
    """up.sql, parsed strictly as the engine's dialect and executed by DuckDB in its stead."""
    schema = (artifact.path / SCHEMA).read_text(encoding="utf-8").removesuffix("\n")
    made = in_duckdb((artifact.path / "up.sql").read_text(encoding="utf-8"), house.reads)
    signature = read(artifact.path / "bundle").signature
    place = parts(schema)[-1] if schema else "main"
    with standing_in(signature, kept(artifact.path), place, made) as (predictor, version):
        process = f"this process: up.sql by sqlglot {need('sqlglot').__version__}"
        yield Running(predictor, Engine(f"DuckDB in {house.dialect.name}'s stead", version, process, "stand-in"))


def in_duckdb(text: str, reads: str) -> list[str]:
    """A dialect's statements as DuckDB's, which compares texts by their bytes and has no database around a schema."""
    exp = need("sqlglot").exp

    def change(node: Any) -> Any:
        if isinstance(node, exp.Cast) and node.to.this == exp.DataType.Type.FLOAT:
            return exp.TryCast(this=node.this.transform(change), to=node.to)  # beyond its range DuckDB raises an error
        if isinstance(node, exp.Collate):
            return node.this.transform(change)
        if isinstance(node, exp.Table):
            node.set("catalog", None)
        return node

    return transpiled(text, reads, change)


@contextmanager
def connect(house: Warehouse, artifact: Artifact, live: Any) -> Iterator[Running]:
    """Not yet."""
    command = " ".join(house.command).format("up.sql")
    raise Impossible(f"anyport does not ask {house.dialect.name} itself yet", fix=f"{command}, and compare")
    yield


def plan(house: Warehouse, artifact: Artifact) -> Sequence[Step]:
    """Make the view with the vendor's own program; undone by dropping it."""
    view = kept(artifact.path)
    made, gone = (
        Command(tuple(part.format(artifact.path / file) for part in house.command)) for file in ("up.sql", "down.sql")
    )
    return (Step(f"make the view {view.view} over {view.table}", made, gone),)


__all__ = ["PRINTABLE", "Options", "Warehouse", "connect", "fits", "in_duckdb", "plan", "run", "write"]
