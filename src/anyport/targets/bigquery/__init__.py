"""bigquery: a view, or a query, that answers every row of a table: in pure GoogleSQL, or by an imported ONNX model."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from anyport.bundle import Bundle, read
from anyport.errors import BadBundle, Mistake, need
from anyport.kit import zetasql
from anyport.kit.joined import Asked, Form
from anyport.kit.standin import standing_in, transpiled
from anyport.kit.view import Named, ViewPredictor, chosen, columns, named_once, pooled, unfit, view_of
from anyport.sql.dialects import BIGQUERY
from anyport.target import Artifact, Call, Engine, File, Reason, Running, Spec, Sql, Step
from anyport.targets import carry
from anyport.targets.bigquery import model, nodes, predicted
from anyport.targets.bigquery.session import Connection, Live, apart, connected

SPEC = Spec(
    name="bigquery", title="a view in BigQuery", kind="database", takes=("graph",), extra="bigquery", tier="slow",
    limits={"query_characters": 1_024_000, "view_characters": 256_000, "columns": 10_000, "name_characters": 300,
            "model_mb": model.MOST_MB},
)  # fmt: skip
"""https://cloud.google.com/bigquery/quotas#query_jobs, #view_limits and #standard_tables. The first is
what the error message says ("maximum standard SQL query length is 1024.00K characters"); the second stands in a copy
of the page; columns and names are from memory, 2026-11, and to be held against it."""
INSTEAD = "build it with -O engine=onnx, or --to rest, whose server answers any model"
COLUMN = re.compile(r"[^\W\d][\w &%=+:'<>#|-]*")
RESERVED = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier")
"""https://cloud.google.com/bigquery/docs/schemas#column_names (flexible column names), from memory, 2026-11."""
TABLE = re.compile(r"[\w -]+")
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
"""https://cloud.google.com/storage/docs/buckets#naming."""
END = ";\n"
"""After a statement of a file: texts in it have \\n for a line feed."""


class Options(Named, frozen=True, forbid_unknown_fields=True):
    """What is made, where it is, what it is called and what it reads."""

    engine: Literal["sql", "onnx"] = "sql"
    """sql: the model is GoogleSQL; onnx: it is imported, and asked by ML.PREDICT."""
    dataset: str = "models"
    """DATASET of the view and of the table."""
    form: Form = "auto"
    """Of engine=sql. case: trees are nested CASE; joins: they are a table, which the query follows from the roots."""
    bucket: str = ""
    """Of Cloud Storage, for engine=onnx: where the model is imported from."""


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Models whose names BigQuery takes, that are SQL, or with engine=onnx a graph that it imports, within limits."""
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
    if options.engine == "onnx":
        if not BUCKET.fullmatch(options.bucket):
            raise Mistake(f"-O bucket={options.bucket}: BigQuery imports a model from a bucket of Cloud Storage",
                          fix="-O bucket=NAME")  # fmt: skip
        wide = next((f.name for f in bundle.signature.inputs if f.dtype == "uint64"), None)
        if wide is not None:
            return Reason(f"column {wide!r} is uint64, and a model's input in BigQuery has 63 bits", "-O engine=sql")
    return unfit(
        bundle, lambda: [t for each in files(bundle, options).values() for t in each], BIGQUERY, instead=INSTEAD
    )


def select(bundle: Bundle, options: Options, place: str = "") -> tuple[str, str, bytes]:
    """The query; and of engine=onnx the statement that imports the model from `place`, and the model."""
    view = view_of(bundle, options)
    source = within(options, view.table)
    if options.engine == "sql":
        return asked_of(bundle, options).text, "", b""
    data, name = model.graph(bundle), within(options, f"{view.view}_model")
    path = BIGQUERY.literal(place or model.place(bundle, options.bucket, data))
    imported = f"create or replace model {name} options(model_type = 'ONNX', model_path = {path})"
    return model.select(bundle, view, model=name, source=source), imported, data


def asked_of(bundle: Bundle, options: Options) -> Asked:
    """The query of engine=sql, and the table of nodes that it may join."""
    view = view_of(bundle, options)
    source, name = within(options, view.table), f"{view.view}_nodes_"
    return nodes.asked(bundle, view, source=source, form=options.form, table=lambda mark: within(options, name + mark))


def within(options: Options, name: str) -> str:
    """A table, view or model of the dataset."""
    return f"{BIGQUERY.ident(options.dataset)}.{BIGQUERY.ident(name)}"


def files(bundle: Bundle, options: Options, place: str = "") -> dict[str, list[str]]:
    """The statements of each file: up.sql and down.sql where there is something to make."""
    view = view_of(bundle, options)
    text, imported, _ = select(bundle, options, place)
    made: dict[str, list[str]] = {"query.sql": [text]}
    up, down = ([imported], [f"drop model if exists {within(options, f'{view.view}_model')}"]) if imported else ([], [])
    found = asked_of(bundle, options) if options.engine == "sql" else Asked(text)
    if found.lines:
        up, down = nodes.filling(found), [nodes.emptied(found)]
    if len(text) <= SPEC.limits["view_characters"]:
        up.append(f"create or replace view {within(options, view.view)} as\n{text}")
        down.insert(0, f"drop view if exists {within(options, view.view)}")
    return made | ({"up.sql": up, "down.sql": down} if up else {})


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, query.sql and a README; up.sql and down.sql where the query is short enough to be a view, or joins a
    table of nodes; of engine=onnx model.onnx."""
    carry(bundle, out)
    for file, statements in files(bundle, options).items():
        (out / file).write_text("".join(s + END for s in statements), encoding="utf-8", newline="\n")
    if options.engine == "onnx":
        (out / "model.onnx").write_bytes(model.graph(bundle))
    shutil.copyfile(Path(__file__).with_name("README.md"), out / "README.md")
    return Artifact("bigquery", out, bundle.form, bundle.digest)


def shipped(artifact: Artifact, file: str) -> list[str]:
    """The statements of a file; none where there is no such file."""
    path = artifact.path / file
    return path.read_text(encoding="utf-8").removesuffix(END).split(END) if path.is_file() else []


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """The shipped query, evaluated by ZetaSQL where ANYPORT_ZETASQL says where that is; else parsed strictly as
    GoogleSQL and executed by DuckDB in BigQuery's stead. ML.PREDICT in it is done by ONNX Runtime with the model as it
    is shipped.
    """
    bundle, options = read(artifact.path / "bundle"), chosen(artifact, Options)
    view = view_of(bundle, options)
    up = shipped(artifact, "up.sql")
    file = "up.sql" if up and "create or replace view" in up[-1] else "query.sql"
    shown = up[-1] if file == "up.sql" else (
        f"create or replace view {within(options, view.view)} as {shipped(artifact, file)[0]}")  # fmt: skip
    process = f"this process: {file} by sqlglot {need('sqlglot').__version__}"
    if options.engine == "onnx":
        graph = artifact.path / "model.onnx"
        with predicted.predicting(bundle.signature, view, options.dataset, shown, graph) as (predictor, version):
            name = "ONNX Runtime in BigQuery's stead"
            yield Running(predictor, Engine(name, version, f"{process} and DuckDB", "stand-in"))
        return
    fills = nodes.fills(up)
    large = sum(map(len, fills)) > zetasql.FILLED
    if not large and (jars := zetasql.folder()) is not None:
        text = shown if file == "up.sql" else shipped(artifact, file)[0]
        with zetasql.answering(
            jars, bundle.signature, view, BIGQUERY, dataset=options.dataset, statement=text, before=fills
        ) as (google, pid):  # fmt: skip
            name = "ZetaSQL, Google's own implementation of GoogleSQL"
            yield Running(google, Engine(name, zetasql.VERSION, f"pid {pid}: {file}", "emulated"))
        return
    made = [one for text in (*fills, shown) for one in transpiled(text, "bigquery")]
    why = "its nodes are too many for ZetaSQL" if large else f"{zetasql.VARIABLE} names no ZetaSQL"
    with standing_in(bundle.signature, view, options.dataset, made) as (predictor, version):
        yield Running(predictor, Engine("DuckDB in BigQuery's stead", version, f"{process}; {why}", "stand-in"))


@contextmanager
def connect(artifact: Artifact, live: Live) -> Iterator[Running]:
    """The user's own project: everything in datasets of its own, which are gone afterwards, the model's file too."""
    bundle, options = read(artifact.path / "bundle"), chosen(artifact, Options)
    written = files(bundle, options)
    if any(shipped(artifact, file) != statements for file, statements in written.items()):
        raise BadBundle(f"{artifact.path} is not what this anyport writes for its bundle", fix="anyport build again")
    where = f"{live.project}{f' in {live.location}' if live.location else ''}, {options.engine}"
    with connected(live) as session:
        place = f"gs://{options.bucket}/anyport/check_{secrets.token_hex(6)}/model.onnx"
        try:
            if options.engine == "onnx":
                session.upload(artifact.path / "model.onnx", place)
            with asked(bundle, options, live, place) as predictor:
                if live.endpoint:  # whoever answers there, it is not Google
                    engine = Engine("BigQuery's interface", "an emulator's", f"{live.endpoint}, {where}", "stand-in")
                else:
                    engine = Engine("BigQuery", "as Google runs it", where, "live")
                yield Running(predictor, engine)
        finally:
            if options.engine == "onnx":
                session.remove(place)


@contextmanager
def asked(bundle: Bundle, options: Options, live: Live, place: str) -> Iterator[ViewPredictor]:
    """What is shipped, each caller in a dataset of its own; a query too long for a view makes a table."""
    import msgspec

    view = view_of(bundle, options)

    @contextmanager
    def fresh() -> Iterator[Connection]:
        with connected(live) as session, apart(session, live.location):
            yield session

    def emptied(session: Connection) -> None:
        for kind, name in (("view", view.view), ("table", view.view), ("table", view.table)):
            if kind == "view" or name == view.table or long:
                session.run(f"drop {kind} if exists {BIGQUERY.ident(session.schema)}.{BIGQUERY.ident(name)}")

    def made(session: Any) -> None:
        own = msgspec.structs.replace(options, dataset=session.schema)
        texts = files(bundle, own, place)
        up = texts.get("up.sql", [])
        for text in up:
            if session.schema not in filled or text not in nodes.fills(up):
                session.run(text)
        filled.add(session.schema)
        if long:
            session.run(f"create or replace table {within(own, view.view)} as\n{texts['query.sql'][0]}")

    filled: set[str] = set()  # datasets in which the table of nodes is: it stays there
    long = not any("create or replace view" in text for text in files(bundle, options).get("up.sql", []))
    with pooled(fresh, emptied) as opened:
        yield ViewPredictor(bundle.signature, view, opened, made)


def plan(artifact: Artifact, options: Options, live: Any) -> Sequence[Step]:
    """Import the model, make the view; undone by dropping them. A query too long for a view is run by hand."""
    bundle, options = read(artifact.path / "bundle"), chosen(artifact, Options)
    view, up, down = view_of(bundle, options), shipped(artifact, "up.sql"), shipped(artifact, "down.sql")[::-1]
    steps = []
    if options.engine == "onnx":
        place = model.place(bundle, options.bucket, (artifact.path / "model.onnx").read_bytes())
        kept = Call("storage", "upload", {"file": File(artifact.path / "model.onnx"), "to": place})
        steps.append(Step(f"keep the model at {place}", kept, Call("storage", "remove", {"of": place})))
    name, fills = f"{options.dataset}.{view.view}", nodes.fills(up)
    if fills:
        steps.append(Step(f"fill the table of the nodes of {name}", Sql(tuple(fills)), Sql((down[0],))))
    for what, undo in zip([t for t in up if t not in fills], down[bool(fills) :], strict=True):
        why = f"import the model {name}_model" if what.startswith("create or replace model") else (
            f"make the view {name} over {options.dataset}.{view.table}")  # fmt: skip
        steps.append(Step(why, Sql((what,)), Sql((undo,))))
    return tuple(steps)


@contextmanager
def transactions(live: Live) -> Iterator[Callable[[Sql | Call], None]]:
    """What runs a plan's statements in the user's project, and moves its files."""
    with connected(live) as session:
        yield session.do


calls = transactions


__all__ = ["SPEC", "Live", "Options", "build", "connect", "fits", "plan", "run", "transactions"]
