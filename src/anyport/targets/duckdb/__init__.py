"""duckdb: macros in plain SQL over a table of lists, or an Arrow function on ONNX Runtime for what SQL cannot hold."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from string import Template
from typing import Any, Literal

import msgspec

from anyport.bundle import Bundle, read
from anyport.errors import Impossible, Mistake, need
from anyport.kit.database import KEY, TablePredictor, answers, transaction
from anyport.kit.runtime import carry as carry_runtime
from anyport.kit.runtime import closure
from anyport.sql.compile import compiled
from anyport.sql.dialect import DUCKDB as D
from anyport.target import Artifact, Engine, Reason, Running, Spec, Sql, Step
from anyport.targets import carry
from anyport.targets.duckdb.forest import Grown, grown
from anyport.targets.duckdb.macro import Names, by_function, macros, statements
from anyport.targets.duckdb.session import Connected

SPEC = Spec(name="duckdb", title="macros in DuckDB", kind="database", takes=("graph",), extra="duckdb")
SETTINGS = "duckdb.json"
FUNCTION = ("duckdb", "msgspec", "numpy", "onnxruntime", "pyarrow")
"""What connect.py needs."""
VIEW = "create or replace view "
"""What the last statement starts with, where there is a view."""
WAYS = {
    "case": "expressions alone; trees as nested CASE, since there are few splits or none",
    "bits": "the trees' splits as lists of bits, one list for each bin of a column (`bits`)",
    "walk": "the trees' nodes as lists, followed from the roots (`walk`)",
    "udf": "an Arrow function on ONNX Runtime, registered by connect.py",
}


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which engine, and what things are called."""

    engine: Literal["auto", "sql", "udf"] = "auto"
    """`auto`: SQL where the model can be SQL."""
    name: str = ""
    """What the macros' names start with; "": the bundle's name."""
    table: str = ""
    """A table that a view of the macro reads; "": no view."""
    view: str = ""
    """"": NAME_view."""


class Live(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The user's database."""

    path: str


class Settings(msgspec.Struct, frozen=True):
    """How an artefact was built."""

    name: str
    engine: Literal["sql", "udf"]
    view: str
    table: str


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """SQL where it can be SQL, else a function; a tensor of no fixed size has no columns."""
    try:
        made(bundle, settled(bundle, options))
    except Impossible as error:
        other = "-O engine=udf" if options.engine == "sql" else "anyport build … --to rest"
        return Reason(error.what, error.fix or other)
    return None


def settled(bundle: Bundle, options: Options) -> Settings:
    """The options with their defaults; `auto` decided. Impossible where SQL was asked for and cannot be."""
    engine: Literal["sql", "udf"] = "udf" if options.engine == "udf" else "sql"
    if options.engine == "auto":
        try:
            model_of(bundle.path, bundle.digest)
        except Impossible:
            engine = "udf"
    name = options.name or bundle.name
    return Settings(name, engine, (options.view or f"{name}_view") if options.table else "", options.table)


@lru_cache(maxsize=8)
def model_of(path: Path, digest: str) -> Grown:
    """The model as expressions and tables of lists. Impossible with the reason."""
    # sums stay whole: they become lists
    return grown(compiled(read(path), replace(D, terms=1_000_000)))


def made(bundle: Bundle, settings: Settings) -> tuple[str, ...]:
    """What model.sql holds."""
    names = Names(settings.name)
    if settings.engine == "sql":
        found = statements(model_of(bundle.path, bundle.digest), names)
    else:
        free = next((f.name for f in bundle.signature.inputs for a in f.shape if a is None), None)
        if free is not None:
            raise Impossible(f"column {free!r} is a tensor of no fixed size, which is no number of columns")
        found = macros(bundle.signature, names, lambda row: by_function(bundle.signature, names, row))
    if settings.view:
        query = f"select * from {names.predict}({D.literal(settings.table)})"
        found = (*found, f"{VIEW}{D.ident(settings.view)} as {query}")
    return found


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, model.sql and a README; for a function connect.py, runtime/ and requirements.txt too."""
    settings = settled(bundle, options)
    names, found = Names(settings.name), made(bundle, settings)
    carry(bundle, out)
    ways = sorted(set(model_of(bundle.path, bundle.digest).ways)) if settings.engine == "sql" else ["udf"]
    head = f"-- {' '.join(bundle.name.split())}, bundle {bundle.digest}: duckdb YOUR.duckdb < model.sql\n"
    (out / "model.sql").write_text(head + ";\n\n".join(found) + ";\n", encoding="utf-8")
    (out / SETTINGS).write_bytes(msgspec.json.format(msgspec.json.encode(settings)) + b"\n")
    if settings.engine == "udf":
        carry_runtime(out / "runtime", "anyport.predictor", "anyport.arrow", "anyport.arrow_out")
        shutil.copyfile(Path(__file__).with_name("connect.py"), out / "connect.py")
        pins = "".join(f"{name}=={version}\n" for name, version in closure(*FUNCTION).items())
        (out / "requirements.txt").write_text(pins)
    shown = {
        "name": bundle.name, "predict": names.predict, "row": names.row, "form": "; ".join(WAYS[w] for w in ways),
        "answers": ", ".join(f"`{a}`" for a in answers(bundle.signature)),
    }  # fmt: skip
    text = Path(__file__).with_name(f"{settings.engine}.md").read_text(encoding="utf-8")
    (out / "README.md").write_text(Template(text).substitute(shown), encoding="utf-8")
    return Artifact("duckdb", out, bundle.form, bundle.digest)


def settings_of(artifact: Artifact) -> Settings:
    """How this artefact was built."""
    return msgspec.json.decode((artifact.path / SETTINGS).read_bytes(), type=Settings)


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """model.sql, as shipped, in a database in memory, but for a view of the user's table; connect.py where there is
    one."""
    duckdb = need("duckdb")
    settings = settings_of(artifact)
    with duckdb.connect(":memory:") as connection:
        if settings.engine == "udf":
            registered(artifact, connection, macros=False)
        text = (artifact.path / "model.sql").read_text(encoding="utf-8")
        # a view cannot be made where its table is not
        connection.execute(text.rpartition(VIEW)[0] if settings.view else text)

        @contextmanager
        def opened() -> Iterator[Connected]:
            with connection.cursor() as own:
                yield Connected(own)

        engine = Engine("DuckDB", duckdb.__version__, f"this process: {settings.engine}", "native")
        yield Running(predictor(artifact, settings, opened), engine)


def registered(artifact: Artifact, connection: Any, *, macros: bool = True) -> None:
    """connect.py, as shipped, on a connection."""
    spec = importlib.util.spec_from_file_location("anyport_duckdb_connect", artifact.path / "connect.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.register(connection, macros=macros)


def predictor(
    artifact: Artifact, settings: Settings, opened: Callable[[], AbstractContextManager[Connected]]
) -> TablePredictor:
    """Rows go into a temporary table, the macro reads it."""
    signature = read(artifact.path / "bundle").signature
    listed = ", ".join(map(D.ident, [*answers(signature), KEY]))
    predict = Names(settings.name).predict
    return TablePredictor(signature, opened, lambda _, table: f"select {listed} from {predict}({D.literal(table)})")


@contextmanager
def connect(artifact: Artifact, live: Live) -> Iterator[Running]:
    """The user's database, opened for reading only: temporary macros over temporary rows, gone with the connection."""
    duckdb = need("duckdb")
    settings = settings_of(artifact)
    if not Path(live.path).is_file():
        raise Mistake(f"there is no database {live.path}", fix=f"duckdb {live.path} < {artifact.path / 'model.sql'}")
    found = made(read(artifact.path / "bundle"), settings)
    try:
        connection = duckdb.connect(live.path, read_only=True)
    except duckdb.Error as error:
        raise Mistake(
            f"{live.path} cannot be opened: {str(error).splitlines()[0]}",
            fix="close the program that writes to it, or give the path of a DuckDB database",
        ) from error
    with connection:
        if settings.engine == "udf":
            registered(artifact, connection, macros=False)

        @contextmanager
        def opened() -> Iterator[Connected]:
            with connection.cursor() as own:
                for statement in found[: len(found) - bool(settings.view)]:
                    own.execute(temporary(statement))
                yield Connected(own)

        engine = Engine("DuckDB", duckdb.__version__, f"{live.path}: temporary macros ({settings.engine})", "live")
        yield Running(predictor(artifact, settings, opened), engine)


def temporary(statement: str) -> str:
    """A statement of ours, its object gone with the connection."""
    return statement.replace("create or replace ", "create or replace temporary ", 1)


def plan(artifact: Artifact, options: Options, live: Live) -> Sequence[Step]:
    """The macros, their table and the view; a function is registered by each program that connects."""
    settings = settings_of(artifact)
    if settings.engine == "udf":
        return ()
    names = Names(settings.name)
    found = made(read(artifact.path / "bundle"), settings)
    undo = [
        *([f"drop view if exists {D.ident(settings.view)}"] if settings.view else []),
        f"drop macro if exists {names.row}", f"drop macro table if exists {names.predict}",
        *([f"drop table if exists {names.model}"] if found[0].startswith("create or replace table") else []),
    ]  # fmt: skip
    return (Step(f"create the macros {names.predict} and {names.row}", Sql(found), Sql(tuple(undo))),)


@contextmanager
def transactions(live: Live) -> Iterator[Callable[[Sql], None]]:
    """What runs a plan's SQL in the user's database, which is made where it is not there."""
    duckdb = need("duckdb")
    with duckdb.connect(live.path) as connection:
        yield partial(transaction, connection.execute, (duckdb.Error,))
