"""sqlserver: a view that answers every row of a table in pure T-SQL, or a procedure on ONNX Runtime in its Python."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from anyport.bundle import Bundle, read
from anyport.errors import BadBundle, Impossible, Mistake, need
from anyport.kit import joined, tsql
from anyport.kit.database import answers
from anyport.kit.joined import Asked, Form
from anyport.kit.standin import standing_in
from anyport.kit.view import Named, View, ViewPredictor, chosen, columns, named_once, pooled, unfit, view_of
from anyport.ort import runtime
from anyport.sql.compile import Compiled, levelled
from anyport.sql.dialects import LARGEST, TSQL
from anyport.target import Artifact, Engine, Reason, Running, Spec, Sql, Step
from anyport.targets import carry
from anyport.targets.sqlserver import contract, nodes, python
from anyport.targets.sqlserver.rules import LEVELS, in_duckdb, lawful
from anyport.targets.sqlserver.session import Connection, connected, shown

SPEC = Spec(
    name="sqlserver", title="a view or a procedure in SQL Server", kind="database", takes=("graph",), extra="sqlserver",
    tier="slow",
    limits={"name_characters": 128, "view_columns": 1024, "select_columns": 4096, "case_levels": 10,
            "subquery_levels": LEVELS, "batch_bytes": 268_435_456, "model_mb": python.MOST_MB},
)  # fmt: skip
INSTEAD = "build it with -O engine=python, or --to rest, whose server answers any model"
END = "\nGO\n"
"""Between two batches of a file (https://learn.microsoft.com/sql/t-sql/language-elements/sql-server-utilities-statements-go)."""


class Options(Named, frozen=True, forbid_unknown_fields=True):
    """What is made, where it is, what it is called and what it reads."""

    engine: Literal["sql", "python"] = "sql"
    """sql: a view; python: a procedure that needs Machine Learning Services."""
    schema: str = "dbo"
    """Of the view or procedure, and of the table."""
    form: Form = "auto"
    """Of engine=sql. case: trees are nested CASE; joins: they are a table, which the view follows from the roots."""
    language: str = "Python"
    """What the server calls its Python: another where CREATE EXTERNAL LANGUAGE named one."""


class Live(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The user's own server."""

    dsn: str
    """An ODBC connection string: Driver={ODBC Driver 18 for SQL Server};Server=HOST;Database=NAME;UID=…;PWD=…"""


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Models that are SQL, or any graph for engine=python, within SQL Server's limits."""
    view = view_of(bundle, options)
    named_once(view)
    for name in (*columns(bundle.signature), *view.keys, options.schema, view.table, view.view, f"{view.view}_model"):
        if len(name.encode("utf-16-le")) > 256:
            return Reason(f"SQL Server has no names of more than 128 characters: {name!r}", INSTEAD)
    if view.table.lower() == f"{view.view}_nodes".lower():
        raise Mistake(f"the table {view.table!r} is called as the view's own table of nodes",
                      fix="choose another with -O view=NAME")  # fmt: skip
    shown_ = len(view.keys) + len(answers(bundle.signature))
    if shown_ > SPEC.limits["view_columns"]:
        return Reason(f"the model has {shown_:,} columns of answers; a view in SQL Server takes 1,024", INSTEAD)
    return unfit(bundle, lambda: up(bundle, options), TSQL, instead=INSTEAD)


def up(bundle: Bundle, options: Options) -> list[str]:
    """The statements that make it, each a batch. Impossible where its layers are too many."""
    view = view_of(bundle, options)
    if options.engine == "python":
        return list(python.statements(bundle, view, called(view, options), language=options.language))
    found = asked_of(bundle, options)
    filled = nodes.filling(found) if found.lines else []
    return [*filled, f"create or alter view {within(options, view.view)} as\n{found.text}"]


def asked_of(bundle: Bundle, options: Options) -> Asked:
    """The query of engine=sql, and the table of nodes that it may join."""
    view = view_of(bundle, options)
    name = within(options, f"{view.view}_nodes")
    source = within(options, view.table)
    return joined.asked(bundle, ENGINE, view, source=source, form=options.form, table=lambda _: name)


def held(model: Compiled) -> None:
    """Impossible where its layers are too many."""
    layers = len(levelled(model)) + 2
    if layers > LEVELS:
        raise Impossible(f"the model needs {layers} layers of values; SQL Server nests {LEVELS}")


ENGINE = joined.Engine(TSQL, "null", held)


def down(bundle: Bundle, options: Options) -> list[str]:
    """The statements that take it away."""
    view = view_of(bundle, options)
    if options.engine == "python":
        return python.taken_away(called(view, options))
    found = asked_of(bundle, options)
    gone = [f"drop table if exists {found.table}"] if found.lines else []
    return [f"drop view if exists {within(options, view.view)}", *gone]


def called(view: View, options: Options) -> python.Names:
    """What the statements of engine=python are about."""
    of = (within(options, name) for name in (view.view, f"{view.view}_model", view.table))
    return python.Names(*of)


def within(options: Options, name: str) -> str:
    """A table or view of the schema, in brackets."""
    return f"{TSQL.ident(options.schema)}.{TSQL.ident(name)}"


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, up.sql, down.sql and a README."""
    carry(bundle, out)
    made = up(bundle, options)
    framed = [nodes.FRAME[0], *made, nodes.FRAME[1]] if options.engine == "sql" and len(made) > 1 else made
    for file, statements in (("up.sql", framed), ("down.sql", down(bundle, options))):
        (out / file).write_text(END.join([*statements, ""]), encoding="utf-8", newline="\n")
    shutil.copyfile(Path(__file__).with_name("README.md"), out / "README.md")
    return Artifact("sqlserver", out, bundle.form, bundle.digest)


def shipped(artifact: Artifact, file: str = "up.sql") -> list[str]:
    """The statements of a file, without the transaction around them."""
    text = (artifact.path / file).read_text(encoding="utf-8")
    return [one for one in text.removesuffix(END).split(END) if one not in nodes.FRAME]


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """up.sql, parsed strictly as T-SQL, held to SQL Server's rules, and executed by DuckDB in its stead; with
    engine=python its query of the rows, and its script in another process under the documented contract."""
    bundle, options = read(artifact.path / "bundle"), chosen(artifact, Options)
    view, statements = view_of(bundle, options), shipped(artifact)
    parser = f"sqlglot {need('sqlglot').__version__}"
    if (tools := tsql.folder()) is not None:
        tsql.bound(tools, bundle.signature, view, TSQL, schema=options.schema, statements=held_to(statements, options))
        parser = f"Microsoft's SqlParser of mssql-scripter {tsql.VERSION}, by {parser}"
    if options.engine == "python":
        with contract.answering(bundle.signature, view, options.schema, statements) as (predictor, host):
            process = f"pid {host.held.pid}: the script of up.sql; its query of the rows by {parser} and DuckDB"
            version = str(runtime().__version__)  # the process has this machine's own
            yield Running(predictor, Engine("ONNX Runtime in SQL Server's stead", version, process, "stand-in"))
        return
    lawful(statements[-1])
    made = [one for text in statements for one in in_duckdb(text)]
    with standing_in(bundle.signature, view, options.schema, made, largest=float(LARGEST)) as (predictor_, version):
        yield Running(
            predictor_, Engine("DuckDB in SQL Server's stead", version, f"this process: up.sql by {parser}", "stand-in")
        )


def held_to(statements: Sequence[str], options: Options) -> list[str]:
    """What is shipped, and the query that it holds as a text."""
    inner = [contract.called(statements).rows] if options.engine == "python" else []
    return [*statements, *inner]


@contextmanager
def connect(artifact: Artifact, live: Live) -> Iterator[Running]:
    """The user's own server: everything in schemas of its own, which are dropped afterwards."""
    bundle, options = read(artifact.path / "bundle"), chosen(artifact, Options)
    if up(bundle, options) != shipped(artifact):
        raise BadBundle(f"{artifact.path / 'up.sql'} is not what this anyport writes for its bundle",
                        fix="anyport build again")  # fmt: skip
    with connected(live.dsn) as session:
        version = str(session.ask("select cast(serverproperty('ProductVersion') as nvarchar(128))")[0][0])
    with asked(bundle, options, lambda: connected(live.dsn)) as predictor:
        yield Running(predictor, Engine("SQL Server", version, f"{shown(live.dsn)}, {options.engine}", "live"))


@contextmanager
def asked(bundle: Bundle, options: Options, where: Callable[[], Any]) -> Iterator[ViewPredictor]:
    """What is shipped, each caller in a schema of its own, which are all gone afterwards."""
    view = view_of(bundle, options)

    @contextmanager
    def fresh() -> Iterator[Connection]:
        with where() as session:
            session.enter(f"anyport_check_{secrets.token_hex(6)}")
            try:
                yield session
            finally:
                emptied(session)
                session.run(f"drop schema if exists {TSQL.ident(session.schema)}")

    def own(session: Connection) -> Options:
        return msgspec.structs.replace(options, schema=session.schema)

    def emptied(session: Connection) -> None:
        gone = [f"drop table if exists {within(own(session), name)}" for name in (view.table, contract.RESULTS)]
        for text in (*down(bundle, own(session)), *gone):
            session.run(text)

    def made(session: Any) -> None:
        for text in up(bundle, own(session)):
            session.run(text)
        if options.engine == "python":
            for text in python.filling(
                bundle, view, within(own(session), contract.RESULTS), within(own(session), view.view)
            ):
                session.run(text)

    with pooled(fresh, emptied) as opened:
        shows = View(view.table, contract.RESULTS if options.engine == "python" else view.view, view.keys)
        yield ViewPredictor(bundle.signature, shows, opened, made)


def plan(artifact: Artifact, options: Options, live: Any) -> Sequence[Step]:
    """Make it; undone by dropping it."""
    options = chosen(artifact, Options)
    view = view_of(read(artifact.path / "bundle"), options)
    what = "view" if options.engine == "sql" else "procedure"
    why = f"make the {what} {view.view} over {view.table}"
    return (Step(why, Sql(tuple(shipped(artifact))), Sql(tuple(shipped(artifact, "down.sql")))),)


@contextmanager
def transactions(live: Live) -> Iterator[Callable[[Sql], None]]:
    """What runs a plan's SQL in the user's database."""
    with connected(live.dsn) as session:
        yield session.transaction
