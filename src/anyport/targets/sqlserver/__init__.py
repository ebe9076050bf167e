"""sqlserver: a view that answers every row of a table in pure T-SQL, for SQL Server 2016 and Azure SQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from anyport.bundle import Bundle, read
from anyport.errors import Impossible, need
from anyport.kit.database import answers
from anyport.kit.standin import standing_in
from anyport.kit.view import View, columns, keep, kept, named_once, query, unfit, view_of
from anyport.sql.compile import compiled, levelled
from anyport.sql.dialects import LARGEST, TSQL
from anyport.target import Artifact, Engine, NoOptions, Reason, Running, Spec, Sql, Step
from anyport.targets import carry
from anyport.targets.sqlserver.rules import LEVELS, in_duckdb, lawful

SPEC = Spec(
    name="sqlserver", title="a view in SQL Server", kind="database", takes=("graph",), extra="sql", tier="slow",
    limits={"name_characters": 128, "view_columns": 1024, "select_columns": 4096, "case_levels": 10,
            "subquery_levels": LEVELS, "batch_bytes": 268_435_456},
)  # fmt: skip
INSTEAD = "build it --to rest, whose server answers any model"
Live = NoOptions


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the view is, what it is called and what it reads."""

    schema: str = "dbo"
    """Of the view and of the table."""
    table: str = ""
    """The table or view of rows: "" is NAME_rows."""
    view: str = ""
    """"" is NAME, that of the bundle."""
    keys: str = ""
    """Columns that the view passes on, joined by commas; "" is id."""


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Models that are SQL, within SQL Server's limits."""
    view = view_of(bundle, options)
    named_once(view)
    for name in (*columns(bundle.signature), *view.keys, options.schema, view.table, view.view):
        if len(name.encode("utf-16-le")) > 256:
            return Reason(f"SQL Server has no names of more than 128 characters: {name!r}", INSTEAD)
    shown = len(view.keys) + len(answers(bundle.signature))
    if shown > SPEC.limits["view_columns"]:
        return Reason(f"the model has {shown:,} columns of answers; a view in SQL Server takes 1,024", INSTEAD)
    return unfit(bundle, lambda: [up(bundle, options, view)], TSQL, instead=INSTEAD)


def up(bundle: Bundle, options: Options, view: View) -> str:
    """The statement that makes the view. Impossible where its layers are too many."""
    model = compiled(bundle, TSQL)
    layers = len(levelled(model)) + 2
    if layers > LEVELS:
        raise Impossible(f"the model needs {layers} layers of values; SQL Server nests {LEVELS}")
    text = query(model, TSQL, view, named(options, view.table))
    return f"create or alter view {named(options, view.view)} as\n{text}"


def named(options: Options, name: str) -> str:
    """A table or view of the schema, in brackets."""
    return f"{TSQL.ident(options.schema)}.{TSQL.ident(name)}"


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, up.sql, down.sql, view.json (the names in them) and a README."""
    carry(bundle, out)
    view = view_of(bundle, options)
    (out / "up.sql").write_text(up(bundle, options, view) + ";\n", encoding="utf-8", newline="\n")
    down = f"drop view if exists {named(options, view.view)};\n"
    (out / "down.sql").write_text(down, encoding="utf-8", newline="\n")
    keep(view, out)
    (out / "schema.txt").write_text(options.schema + "\n", encoding="utf-8", newline="\n")
    shutil.copyfile(Path(__file__).with_name("README.md"), out / "README.md")
    return Artifact("sqlserver", out, bundle.form, bundle.digest)


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """up.sql, parsed strictly as T-SQL, held to SQL Server's rules, and executed by DuckDB in its stead."""
    view, schema = kept(artifact.path), (artifact.path / "schema.txt").read_text(encoding="utf-8").removesuffix("\n")
    text = (artifact.path / "up.sql").read_text(encoding="utf-8")
    lawful(text)
    made = in_duckdb(text)
    signature = read(artifact.path / "bundle").signature
    with standing_in(signature, view, schema, made, largest=float(LARGEST)) as (predictor, version):
        process = f"this process: up.sql by sqlglot {need('sqlglot').__version__}"
        yield Running(predictor, Engine("DuckDB in SQL Server's stead", version, process, "stand-in"))


@contextmanager
def connect(artifact: Artifact, live: Any) -> Iterator[Running]:
    """Not yet."""
    raise Impossible(
        "anyport does not ask SQL Server itself yet", fix="sqlcmd -S HOST -d DATABASE -i up.sql, and compare"
    )
    yield


def plan(artifact: Artifact, options: Options, live: Any) -> Sequence[Step]:
    """Make the view; undone by dropping it."""
    view = kept(artifact.path)
    made, gone = ((artifact.path / f).read_text(encoding="utf-8").removesuffix(";\n") for f in ("up.sql", "down.sql"))
    return (Step(f"make the view {view.view} over {view.table}", Sql((made,)), Sql((gone,))),)
