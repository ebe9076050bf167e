"""sqlite: one view over a table of SQLite, in plain SQL; nothing else runs, and nothing has to be installed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from string import Template
from typing import Any

import msgspec

from anyport.bundle import Bundle, read
from anyport.errors import Impossible, Missing, Mistake
from anyport.kit.database import KEY, TablePredictor, answers, transaction
from anyport.sql.compile import Compiled, compiled, scalars
from anyport.sql.dialect import SQLITE as D
from anyport.target import Artifact, Engine, Reason, Running, Spec, Sql, Step
from anyport.targets import carry
from anyport.targets.sqlite.view import selected

SPEC = Spec(name="sqlite", title="a view in SQLite", kind="database", takes=("graph",), extra="sqlite")
OLDEST = (3, 35, 0)
"""The first with MATERIALIZED: https://sqlite.org/releaselog/3_35_0.html"""
SETTINGS = "sqlite.json"


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What the view is called, and which table it reads."""

    table: str = ""
    """"": NAME_input, which model.sql creates where it is not there."""
    view: str = ""
    """"": the bundle's name."""
    key: str = "rowid"
    """Columns that the view shows as they are, separated by commas; "" for none."""


class Live(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The user's database."""

    path: str


class Names(msgspec.Struct, frozen=True):
    """What things are called in this artefact."""

    table: str
    view: str
    keys: tuple[str, ...]
    own: bool
    """The table is made by model.sql where it is not there."""


def named(bundle: Bundle, options: Options) -> Names:
    """The options with their defaults."""
    view = options.view or bundle.name
    keys = tuple(k.strip() for k in options.key.split(",") if k.strip())
    return Names(options.table or f"{view}_input", view, keys, own=not options.table)


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """What SQL or SQLite has no words for goes to DuckDB, which may ask ONNX Runtime, or to a server."""
    try:
        statements(bundle, named(bundle, options))
    except Impossible as error:
        return Reason(error.what, error.fix or "anyport build … --to duckdb (with ONNX Runtime inside), or --to rest")
    return None


@lru_cache(maxsize=8)
def model_of(path: Path, digest: str) -> Compiled:
    """The model as expressions that SQLite can nest."""
    return compiled(read(path), D)


def statements(bundle: Bundle, names: Names) -> tuple[str, ...]:
    """What model.sql holds."""
    for what, name in (("table", names.table), ("view", names.view)):
        if name.lower().startswith("sqlite_"):
            raise Impossible(f"SQLite keeps names that start with 'sqlite_' for itself: {what} {name!r}",
                             fix=f"-O {what}=ANOTHER")  # fmt: skip
    if names.table.lower() == names.view.lower():
        raise Impossible(f"the view and the table it reads are both called {names.view!r}", fix="-O view=ANOTHER")
    query = selected(model_of(bundle.path, bundle.digest), names.table, names.keys)
    view = D.ident(names.view)
    columns = ",\n  ".join(
        f"{D.ident(name)} {D.type_of(f)}" for f in bundle.signature.inputs for name in scalars(f)
    )  # fmt: skip
    table = (f"create table if not exists {D.ident(names.table)} (\n  {columns}\n)",) if names.own else ()
    return (*table, f"drop view if exists {view}", f"create view {view} as\n{query}")


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, model.sql and a README."""
    names = named(bundle, options)
    made = statements(bundle, names)
    carry(bundle, out)
    head = f"-- {comment(bundle.name)}, bundle {bundle.digest}: sqlite3 YOUR.db < model.sql\n"
    (out / "model.sql").write_text(head + ";\n\n".join(made) + ";\n", encoding="utf-8")
    (out / SETTINGS).write_bytes(msgspec.json.format(msgspec.json.encode(names)) + b"\n")
    shown = {"name": bundle.name, "table": D.ident(names.table), "view": D.ident(names.view),
             "answers": ", ".join(f"`{a}`" for a in answers(bundle.signature)),
             "keys": ", ".join(f"`{k}`" for k in names.keys) or "none"}  # fmt: skip
    text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    (out / "README.md").write_text(Template(text).substitute(shown), encoding="utf-8")
    return Artifact("sqlite", out, bundle.form, bundle.digest)


def comment(text: str) -> str:
    """A text that cannot end a comment."""
    return " ".join(text.split())


class Connected:
    """A connection as a database.Session."""

    dialect = D
    errors = (sqlite3.Error,)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def run(self, sql: str) -> None:
        """One statement."""
        self.connection.execute(sql)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows."""
        return self.connection.execute(sql).fetchall()

    def fill(self, table: str, columns: Sequence[str], values: Iterable[tuple[Any, ...]]) -> None:
        """Rows in; times as microseconds."""
        listed = ", ".join(map(D.ident, columns))
        marks = ", ".join("?" * len(columns))
        cells = (tuple(map(cell, row)) for row in values)
        self.connection.executemany(f"insert into {D.ident(table)} ({listed}) values ({marks})", cells)

    def columns(self, table: str) -> Mapping[str, str]:
        """Columns and the types they were declared with."""
        return {row[1]: row[2] for row in self.ask(f"pragma table_info({D.ident(table)})")}


def cell(value: Any) -> Any:
    """A value as SQLite keeps it: a time as microseconds since 1970, an integer beyond 64 bits as a double."""
    if hasattr(value, "timestamp"):
        import datetime as dt

        return (value - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    return float(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def able() -> None:
    """Missing where this SQLite is too old."""
    if sqlite3.sqlite_version_info < OLDEST:
        oldest = ".".join(map(str, OLDEST[:2]))
        raise Missing(f"SQLite here is {sqlite3.sqlite_version}; the view needs {oldest} or newer (MATERIALIZED)",
                      fix="a Python whose sqlite3 is newer")  # fmt: skip


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """model.sql, as shipped, in a database in memory; each caller has one of its own."""
    able()
    text = (artifact.path / "model.sql").read_text(encoding="utf-8")

    @contextmanager
    def opened() -> Iterator[Connected]:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.executescript(text)
            yield Connected(connection)

    engine = Engine("SQLite", sqlite3.sqlite_version, "this process: Python's sqlite3", "native")
    yield Running(predictor(artifact, opened, ""), engine)


def predictor(artifact: Artifact, opened: Any, temporary: str) -> TablePredictor:
    """Rows go into the very table that the view reads; its answers come in the order of the rows."""
    names = settings(artifact)
    bundle = read(artifact.path / "bundle")
    inputs = {name for f in bundle.signature.inputs for name in scalars(f)}

    def query(session: Any, table: str) -> str:
        extra = [f"{KEY} as {D.ident(k)}" for k in names.keys if k not in inputs and k.lower() not in ROWIDS]
        session.run(f"drop table if exists {'temp' if temporary else 'main'}.{D.ident(names.table)}")
        session.run(f"create {temporary}table {D.ident(names.table)} as select {', '.join(['*', *extra])} "
                    f"from {D.ident(table)} order by {KEY}")  # fmt: skip
        listed = ", ".join(map(D.ident, answers(bundle.signature)))
        return f"select {listed}, row_number() over () - 1 as {KEY} from {D.ident(names.view)}"

    return TablePredictor(bundle.signature, opened, query, temporary=temporary)


ROWIDS = ("rowid", "oid", "_rowid_")
"""Names of the key that every ordinary table has."""


def settings(artifact: Artifact) -> Names:
    """The names that this artefact was built with."""
    return msgspec.json.decode((artifact.path / SETTINGS).read_bytes(), type=Names)


@contextmanager
def connect(artifact: Artifact, live: Live) -> Iterator[Running]:
    """The user's database, opened for reading only: a temporary view over temporary rows, gone with the connection.
    Mistake where the database holds a view of this name that is not this model's."""
    able()
    file, names = Path(live.path), settings(artifact)
    if not file.is_file():
        raise Mistake(f"there is no database {live.path}", fix=f"sqlite3 {live.path} < {artifact.path / 'model.sql'}")
    made = statements(read(artifact.path / "bundle"), names)[-1]

    @contextmanager
    def opened() -> Iterator[Connected]:
        uri = f"{file.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.execute(made.replace("create view", "create temporary view", 1))
            yield Connected(connection)

    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            there = connection.execute("select sql from sqlite_master where name = ?", (names.view,)).fetchone()
    except sqlite3.DatabaseError as error:
        raise Mistake(f"{live.path} is no SQLite database that can be read: {error}") from error
    if there is not None and there[0].lower().split() != made.lower().split():
        raise Mistake(f"{names.view!r} in {live.path} is not this artefact's view",
                      fix=f"sqlite3 {live.path} < {artifact.path / 'model.sql'}")  # fmt: skip
    engine = Engine("SQLite", sqlite3.sqlite_version, f"{live.path}: a temporary view", "live")
    yield Running(predictor(artifact, opened, "temporary "), engine)


def plan(artifact: Artifact, options: Options, live: Live) -> Sequence[Step]:
    """The view, over a table that stays where it is when the view goes."""
    names = settings(artifact)
    made = statements(read(artifact.path / "bundle"), names)
    undo = Sql((f"drop view if exists {D.ident(names.view)}",))
    return (Step(f"create the view {names.view!r} over the table {names.table!r}", Sql(made), undo),)


@contextmanager
def transactions(live: Live) -> Iterator[Callable[[Sql], None]]:
    """What runs a plan's SQL in the user's database."""
    with closing(sqlite3.connect(live.path, isolation_level=None)) as connection:
        yield partial(transaction, connection.execute, (sqlite3.Error,))
