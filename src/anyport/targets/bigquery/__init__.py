"""bigquery: a view, or a query, that answers every row of a table in pure GoogleSQL."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from anyport.bundle import Bundle, read
from anyport.errors import Impossible, need
from anyport.kit.standin import standing_in, transpiled
from anyport.kit.view import View, columns, keep, kept, named_once, query, unfit, view_of
from anyport.sql.compile import compiled
from anyport.sql.dialects import BIGQUERY
from anyport.target import Artifact, Command, Engine, NoOptions, Reason, Running, Spec, Step
from anyport.targets import carry

SPEC = Spec(
    name="bigquery", title="a view in BigQuery", kind="database", takes=("graph",), extra="sql", tier="slow",
    limits={"query_characters": 1_024_000, "view_characters": 256_000, "columns": 10_000, "name_characters": 300},
)  # fmt: skip
"""https://cloud.google.com/bigquery/quotas#query_jobs, #view_limits and #standard_tables. The first is
what the error message says ("maximum standard SQL query length is 1024.00K characters"); the second stands in a copy
of the page; columns and names are from memory, 2026-11, and to be held against it."""
INSTEAD = "build it --to rest, whose server answers any model"
COLUMN = re.compile(r"[^\W\d][\w &%=+:'<>#|-]*")
RESERVED = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier")
"""https://cloud.google.com/bigquery/docs/schemas#column_names (flexible column names), from memory, 2026-11."""
TABLE = re.compile(r"[\w -]+")
Live = NoOptions


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the view is, what it is called and what it reads."""

    dataset: str = "models"
    """DATASET of the view and of the table."""
    table: str = ""
    """The table or view of rows: "" is NAME_rows."""
    view: str = ""
    """"" is NAME, that of the bundle."""
    keys: str = ""
    """Columns that the view passes on, joined by commas; "" is id."""


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Models that are SQL, whose names BigQuery takes, within its limits."""
    view = view_of(bundle, options)
    named_once(view)
    for name in (*columns(bundle.signature), *view.keys):
        if not COLUMN.fullmatch(name) or name.lower().startswith(RESERVED):
            return Reason(
                f"BigQuery has no column {name!r}: letters, digits, _ and a few signs, no digit first", INSTEAD
            )
    for name in (options.dataset, view.table, view.view):
        if not TABLE.fullmatch(name):
            return Reason(f"BigQuery has no table or dataset {name!r}: letters, digits, _, - and spaces", INSTEAD)
    return unfit(bundle, lambda: [select(bundle, options, view)], BIGQUERY, instead=INSTEAD)


def select(bundle: Bundle, options: Options, view: View) -> str:
    """The query."""
    source = f"{BIGQUERY.ident(options.dataset)}.{BIGQUERY.ident(view.table)}"
    return query(compiled(bundle, BIGQUERY), BIGQUERY, view, source)


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, query.sql, view.json (the names in it) and a README; up.sql and down.sql where the query is short enough
    to be a view."""
    carry(bundle, out)
    view = view_of(bundle, options)
    text = select(bundle, options, view)
    written = {"query.sql": text}
    if len(text) <= SPEC.limits["view_characters"]:
        name = f"{BIGQUERY.ident(options.dataset)}.{BIGQUERY.ident(view.view)}"
        written["up.sql"] = f"create or replace view {name} as\n{text}"
        written["down.sql"] = f"drop view if exists {name}"
    for file, statement in written.items():
        (out / file).write_text(statement + ";\n", encoding="utf-8", newline="\n")
    keep(view, out)
    (out / "dataset.txt").write_text(options.dataset + "\n", encoding="utf-8", newline="\n")
    shutil.copyfile(Path(__file__).with_name("README.md"), out / "README.md")
    return Artifact("bigquery", out, bundle.form, bundle.digest)


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """The shipped query, parsed strictly as GoogleSQL and executed by DuckDB in BigQuery's stead."""
    view, dataset = kept(artifact.path), (artifact.path / "dataset.txt").read_text(encoding="utf-8").strip()
    file = artifact.path / ("up.sql" if (artifact.path / "up.sql").is_file() else "query.sql")
    up = transpiled(file.read_text(encoding="utf-8"), "bigquery")
    if file.name == "query.sql":
        up = [f'create or replace view "{dataset}"."{view.view}" as {up[0]}']
    with standing_in(read(artifact.path / "bundle").signature, view, dataset, up) as (predictor, version):
        process = f"this process: {file.name} by sqlglot {need('sqlglot').__version__}"
        yield Running(predictor, Engine("DuckDB in BigQuery's stead", version, process, "stand-in"))


@contextmanager
def connect(artifact: Artifact, live: Any) -> Iterator[Running]:
    """Not yet."""
    raise Impossible(
        "anyport does not ask BigQuery itself yet", fix="bq query --use_legacy_sql=false < up.sql, and compare"
    )
    yield


def plan(artifact: Artifact, options: Options, live: Any) -> Sequence[Step]:
    """Make the view with Google's own command; a query that is too long for a view is run by hand."""
    if not (artifact.path / "up.sql").is_file():
        return ()
    view = kept(artifact.path)
    dataset = (artifact.path / "dataset.txt").read_text(encoding="utf-8").strip()
    up, down = (
        Command(("bq", "query", "--use_legacy_sql=false", (artifact.path / file).read_text(encoding="utf-8")))
        for file in ("up.sql", "down.sql")
    )
    return (Step(f"make the view {dataset}.{view.view} over {dataset}.{view.table}", up, down),)
