"""mariadb: a view that answers every row of a table in pure SQL, for MariaDB 10.6 and MySQL 8.0.29 or newer."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from anyport.bundle import Bundle, read
from anyport.kit.database import Session, transaction
from anyport.kit.view import Named, View, ViewPredictor, keep, kept, named_once, pooled, query, unfit, view_of
from anyport.sql.compile import compiled
from anyport.sql.dialects import MARIADB
from anyport.target import Artifact, Engine, Reason, Running, Spec, Sql, Step
from anyport.targets import carry
from anyport.targets.mariadb.session import Connection, Open, parsed, private

SPEC = Spec(
    name="mariadb", title="a view in MariaDB or MySQL", kind="database", takes=("graph",), extra="mysql",
    programs=("mariadbd", "mariadb-install-db"), tier="slow",
    limits={"name_characters": 64, "statement_bytes": 16_777_216, "columns": 4096},
)  # fmt: skip
INSTEAD = "build it --to rest, whose server answers any model, or --to duckdb"
BACKSLASHES = "set session sql_mode = replace(@@session.sql_mode, 'NO_BACKSLASH_ESCAPES', '')"
"""The texts are written with backslashes as escapes, which is the default."""


class Options(Named, frozen=True, forbid_unknown_fields=True):
    """What the view is called and what it reads, in the database that it is made in."""


class Live(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The user's own server."""

    dsn: str
    """mysql://USER:PASSWORD@HOST:PORT/DATABASE, or ?socket=PATH instead of a host."""


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Models that are SQL, whose names MariaDB keeps, within its limits."""
    view = view_of(bundle, options)
    named_once(view)
    for name in (*(f.name for f in bundle.signature.inputs), *view.keys, view.table, view.view):
        if name.endswith(" ") or any(ord(c) > 0xFFFF for c in name):
            return Reason(
                f"MariaDB has no names that end with a space or hold characters beyond U+FFFF: {name!r}", INSTEAD
            )
    return unfit(bundle, lambda: up(bundle, view), MARIADB, instead=INSTEAD)


def up(bundle: Bundle, view: View) -> list[str]:
    """The statements that make the view."""
    text = query(compiled(bundle, MARIADB), MARIADB, view, MARIADB.ident(view.table))
    return [BACKSLASHES, f"create or replace view {MARIADB.ident(view.view)} as\n{text}"]


def down(view: View) -> list[str]:
    """The statements that take it away."""
    return [f"drop view if exists {MARIADB.ident(view.view)}"]


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, up.sql, down.sql, view.json (the names in them) and a README."""
    carry(bundle, out)
    view = view_of(bundle, options)
    head = f"-- {bundle.name} {bundle.version}, {bundle.digest[:12]}: made by anyport".replace("\n", " ")
    (out / "up.sql").write_text(head + "\n" + script(up(bundle, view)), encoding="utf-8", newline="\n")
    (out / "down.sql").write_text(head + "\n" + script(down(view)), encoding="utf-8", newline="\n")
    keep(view, out)
    shutil.copyfile(Path(__file__).with_name("README.md"), out / "README.md")
    return Artifact("mariadb", out, bundle.form, bundle.digest)


END = ";\n-- next\n"
"""Between two statements of a file: literals cannot hold it, as line feeds in them are written as \\n."""


def script(statements: Sequence[str]) -> str:
    """Statements as a file."""
    return END.join(statements) + ";\n"


def statements(file: Path) -> list[str]:
    """The statements of a file."""
    text = file.read_text(encoding="utf-8").partition("\n")[2]
    return text.removesuffix(";\n").split(END, 1)


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """up.sql in a private MariaDB, each batch in a database of its own."""
    with private() as (held, connect_):
        with connect_() as session:
            version = str(session.ask("select version()")[0][0])
        with asked(artifact, connect_) as predictor:
            yield Running(predictor, Engine("MariaDB", version, f"pid {held.pid}: mariadbd", "native"))
        if not held.alive():
            raise held.died()


@contextmanager
def connect(artifact: Artifact, live: Live) -> Iterator[Running]:
    """up.sql in the user's own server, in databases that are gone afterwards."""
    where = parsed(live.dsn)
    with where() as session:
        version, comment = session.ask("select version(), @@version_comment")[0]
    name = "MariaDB" if "mariadb" in f"{version}{comment}".lower() else "MySQL"
    with asked(artifact, where) as predictor:
        yield Running(predictor, Engine(name, str(version), live.dsn.rpartition("@")[2], "live"))


@contextmanager
def asked(artifact: Artifact, where: Open) -> Iterator[ViewPredictor]:
    """The shipped files, each caller in a database of its own, which are all gone afterwards."""
    made, gone = statements(artifact.path / "up.sql"), statements(artifact.path / "down.sql")
    view = kept(artifact.path)

    @contextmanager
    def fresh() -> Iterator[Connection]:
        with where() as session:
            session.enter(f"anyport_check_{secrets.token_hex(6)}")
            try:
                yield session
            finally:
                session.leave()

    def emptied(session: Connection) -> None:
        for text in (*gone, f"drop table if exists {MARIADB.ident(view.table)}"):
            session.run(text)

    def up(session: Session) -> None:
        for text in made:
            session.run(text)

    with pooled(fresh, emptied) as opened:
        yield ViewPredictor(read(artifact.path / "bundle").signature, view, opened, up)


def plan(artifact: Artifact, options: Options, live: Any) -> Sequence[Step]:
    """Make the view; undone by dropping it."""
    view = kept(artifact.path)
    return (
        Step(
            f"make the view {view.view} over {view.table}",
            Sql(tuple(statements(artifact.path / "up.sql"))),
            Sql(tuple(statements(artifact.path / "down.sql"))),
        ),
    )


@contextmanager
def transactions(live: Live) -> Iterator[Callable[[Sql], None]]:
    """What runs a plan's SQL in the user's database. MariaDB commits a CREATE or DROP by itself, so the statements of a
    step are such that each may be repeated."""
    with parsed(live.dsn)() as connection:
        yield partial(transaction, connection.run, connection.errors)
