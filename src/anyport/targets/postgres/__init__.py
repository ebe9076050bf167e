"""postgres: the model inside PostgreSQL: versioned functions in plain SQL, or on ONNX Runtime in PL/Python; a view."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from anyport.bundle import Bundle, read
from anyport.errors import AnyportError, BadBundle, Impossible, Missing, need
from anyport.kit import postgres as pg
from anyport.kit.database import KEY, TablePredictor, answers
from anyport.kit.inside import RUNTIME
from anyport.kit.runtime import closure
from anyport.sql.dialect import POSTGRES as D
from anyport.target import Artifact, Engine, Reason, Running, Spec, Sql, Step
from anyport.targets import carry
from anyport.targets.postgres import functions, migrate, names, plpython
from anyport.targets.postgres.names import Names, Shape

SPEC = Spec(
    name="postgres", title="functions and a view in PostgreSQL", kind="database", takes=("graph",), extra="postgres",
    limits=names.LIMITS,
)  # fmt: skip
SHORTER = "shorter names: of columns, or anyport pack --name NAME --version VERSION"


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`-O`: what is built. `table`: a view of this table's rows with their answers; `grant`: the roles that may use the
    model, by comma; `python_path`: where the server's Python finds ONNX Runtime."""

    engine: Literal["auto", "sql", "plpython"] = "auto"
    schema: str = "anyport"
    table: str = ""
    grant: str = ""
    python_path: str = ""


class Live(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`--live`: the user's own server."""

    dsn: str


@dataclass(frozen=True)
class Texts:
    """What is written, and how the version's functions are asked."""

    engine: str
    up: str
    down: str
    names: Names
    shape: Shape


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Why SQL (or, asked for it, PL/Python) cannot hold the bundle."""
    try:
        texts(bundle, options)
    except Impossible as error:
        return Reason(error.what, error.fix)
    return None


@lru_cache(maxsize=4)
def written(path: Path, digest: str, options: Options) -> Texts:
    """The texts of a bundle, made once: `fits` needs them to know, `build` to write them."""
    bundle = read(path)
    assert bundle.digest == digest
    made = names.shape(bundle.signature)
    called = names.of(bundle, options.schema)
    if options.table:
        D.ident(f"{called.model}_of_{options.table.rpartition('.')[2]}")
    own, engine = objects(bundle, called, made, options)
    up = migrate.up(called, made, own, digest=bundle.digest, over=options.table, grant=options.grant)
    return Texts(engine, up, migrate.down(called, made, own), called, made)


def texts(bundle: Bundle, options: Options) -> Texts:
    """What is to be written. Impossible with the reason and what would help."""
    try:
        return written(bundle.path, bundle.digest, options)
    except Impossible as error:
        if "bytes that PostgreSQL keeps" in error.what and not error.fix:
            raise Impossible(error.what, fix=SHORTER) from error
        raise


def objects(
    bundle: Bundle, called: Names, made: Shape, options: Options
) -> tuple[migrate.Objects, str]:  # fmt: skip
    """What the engine needs, and which one it is: SQL where it holds the model, else PL/Python."""
    if options.engine != "plpython":
        try:
            statements = tuple(functions.statements(bundle, called, made))
        except Impossible as error:
            if "bytes that PostgreSQL keeps" in error.what:
                raise
            if options.engine == "sql":
                fix = error.fix or "-O engine=plpython, which runs the graph itself"
                raise Impossible(error.what, fix=fix) from error
        else:
            parts = ("add", "mul", "div") if len(statements) > len(made.variants()) else ()
            double = D.types["double"]
            own = (f"{called.of('careful')}({made.identity(called)})",) if parts else ()
            view = f"select t.*, p.* from {{0}} t cross join lateral {called.of()}({made.of_table(called, 't')}) p"
            drops = (*own, *(f"{called.of(p)}({double}, {double})" for p in parts))
            return migrate.Objects(statements, drops, (), formatted(view)), "sql"
    statements = tuple(plpython.statements(bundle, called, made, python_path=options.python_path))
    identity = plpython.batch_arguments(called, made)
    view = f"select p.* from {plpython.over(called, made, '{0}', 'array_agg(s.r)')} p"
    own = (f"{called.of('batch')}({identity})",)
    return migrate.Objects(statements, own, (called.of("model"),), formatted(view), plpython.NEEDS), "plpython"


def formatted(view: str) -> str:
    """A view's text for PostgreSQL's own format()."""
    before, table, after = view.partition("{0}")
    return before.replace("%", "%%") + ("%1$s" if table else "") + after.replace("%", "%%")


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """up.sql, down.sql, options.json, a README, and the bundle."""
    made = texts(bundle, options)
    carry(bundle, out)
    write(out / "up.sql", f"begin;\n{made.up}commit;\n")
    write(out / "down.sql", f"begin;\n{made.down}commit;\n")
    write(out / "options.json", json.dumps(msgspec.structs.asdict(options), indent=2) + "\n")
    readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    shown = ", ".join(f"t.{D.ident(n)}" for n, _ in made.shape.inputs[:4])
    called = f"{shown}{', …' if len(made.shape.inputs) > 4 else ''}"
    values = {"alias": made.names.alias, "base": made.names.of(), "use": made.names.of("use"), "columns": called,
              "scalar": made.names.of(made.shape.answers[0][0]), "version": made.names.version,
              "model": made.names.model}  # fmt: skip
    for key, value in values.items():
        readme = readme.replace(f"<{key}>", value)
    write(out / "README.md", readme)
    return Artifact("postgres", out, bundle.form, bundle.digest)


def write(path: Path, text: str) -> None:
    path.write_bytes(text.encode())


def chosen(artifact: Artifact) -> Options:
    """The options that an artefact was built with."""
    try:
        return msgspec.json.decode((artifact.path / "options.json").read_bytes(), type=Options)
    except (OSError, msgspec.DecodeError) as error:
        raise BadBundle(f"{artifact.path} is no artefact for PostgreSQL: options.json cannot be read") from error


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """up.sql as shipped, in a private PostgreSQL server that is removed afterwards."""
    bundle, options = read(artifact.path / "bundle"), chosen(artifact)
    made = texts(bundle, options)
    with ExitStack() as stack:
        python = made.engine == "plpython"
        env = stack.enter_context(python_packages()) if python and not options.python_path else None
        dsn, held = stack.enter_context(pg.server(python=python, env=env))
        with pg.connected(dsn) as session:
            for role in migrate.roles(options.grant):
                session.run(f"create role {D.ident(role)}")
            if options.table:
                given(session, options.table, made)
            try:
                session.run((artifact.path / "up.sql").read_text(encoding="utf-8"))
            except session.errors as error:
                raise pg.in_words(error, "up.sql") from error
            engine = Engine("PostgreSQL", pg.version(session).removeprefix("PostgreSQL "),
                            f"pid {held.pid}: postgres, {made.engine}", "native")  # fmt: skip
        yield Running(stack.enter_context(asking(bundle, made, dsn)), engine)


def given(session: pg.PgSession, table: str, made: Texts) -> None:
    """The table that a view is asked for, empty."""
    schema = table.rpartition(".")[0]
    if schema and schema != "public":
        session.run(f"create schema if not exists {D.ident(schema)}")
    kinds = zip(made.shape.inputs, made.shape.kinds(), strict=True)
    session.run(f"create table {migrate.table(table)} ({', '.join(f'{D.ident(n)} {k}' for (n, _), k in kinds)})")


@contextmanager
def asking(bundle: Bundle, made: Texts, dsn: str) -> Iterator[TablePredictor]:
    """The predictor of what is installed there."""
    pool = pg.Pool(dsn)
    try:
        yield TablePredictor(bundle.signature, pool.session, lambda _, table: question(bundle, made, table))
    finally:
        pool.close()


def question(bundle: Bundle, made: Texts, table: str) -> str:
    """The SELECT of a table's answers: by the stable name, or by the function over arrays."""
    listed = [D.ident(a) for a in answers(bundle.signature)]
    key, source = D.ident(KEY), D.ident(table)
    shown = ", ".join(f"p.{a}" for a in listed)
    if made.engine == "sql":
        passed = made.shape.of_table(made.names, "t")
        return f"select {shown}, t.{key} from {source} t cross join lateral {made.names.alias}({passed}) p"
    batches = plpython.over(made.names, made.shape, source, f"array_agg((s.r).{key})")
    return f"select {shown}, p.{key} from {batches} p({', '.join([key, *listed])})"


@contextmanager
def python_packages() -> Iterator[Mapping[str, str]]:
    """PYTHONPATH for a server of our own: what PL/Python needs, as it is installed here, and nothing else."""
    import importlib.metadata
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="anyport-py-"))
    try:
        folder.chmod(0o755)
        for name in closure(*RUNTIME):
            dist = importlib.metadata.distribution(name)
            for top in {f.parts[0] for f in dist.files or ()} - {"..", "__pycache__"}:
                real = Path(str(dist.locate_file(top))).resolve()
                closed = [p for p in (real, *real.parents) if not p.stat().st_mode & 0o005]
                if closed and os.geteuid() == 0:
                    raise Missing(f"the server's user cannot read {closed[0]}, where {name} is", fix="-O python_path=…")
                (folder / top).symlink_to(real)
        yield {"PYTHONPATH": str(folder)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def connect(artifact: Artifact, live: Live) -> Iterator[Running]:
    """The user's own server: everything in a schema of its own, which is dropped afterwards, come what may."""
    bundle, options = read(artifact.path / "bundle"), chosen(artifact)
    if f"begin;\n{texts(bundle, options).up}commit;\n" != (artifact.path / "up.sql").read_text(encoding="utf-8"):
        raise BadBundle(f"{artifact.path / 'up.sql'} is not what this anyport writes for its bundle",
                        fix="anyport build again")  # fmt: skip
    schema = f"anyport_check_{secrets.token_hex(4)}"
    made = texts(bundle, msgspec.structs.replace(options, schema=schema, table="", grant=""))
    with pg.connected(live.dsn) as session:
        try:
            try:
                session.run(f"begin;\n{made.up}commit;\n")
            except session.errors as error:
                raise pg.in_words(error, "up.sql") from error
            where = f"{pg.shown(live.dsn)}, schema {schema}, {made.engine}"
            engine = Engine("PostgreSQL", pg.version(session).removeprefix("PostgreSQL "), where, "live")
            with asking(bundle, made, live.dsn) as predictor:
                yield Running(predictor, engine)
        finally:
            removed(session, live.dsn, schema)


def removed(session: pg.PgSession, dsn: str, schema: str) -> None:
    """Drop the schema of a check; over a new connection where the first is gone."""
    drop = f"drop schema if exists {D.ident(schema)} cascade"
    try:
        session.run("rollback")
        session.run(drop)
    except session.errors as error:
        failing = sys.exc_info()[1]
        try:
            with pg.connected(dsn) as again:
                again.run(drop)
        except AnyportError as lost:
            raise pg.in_words(error, f"the schema {schema} is still there") from (failing or lost)


def plan(artifact: Artifact, options: Options, live: Any) -> Sequence[Step]:
    """One transaction that puts this version beside the others and in use; its undo removes it, and the version before
    is in use again."""
    need("psycopg")
    made = texts(read(artifact.path / "bundle"), chosen(artifact))
    why = f"{made.names.base} in schema {made.names.schema}, put to use as {made.names.model}"
    return (Step(why, Sql((made.up,)), Sql((made.down,))),)


@contextmanager
def transactions(live: Live) -> Iterator[Callable[[Sql], None]]:
    """What runs a plan's SQL in the user's database."""
    with pg.connected(live.dsn) as session:

        def run_(sql: Sql) -> None:
            try:
                session.run("begin;\n" + ";\n".join(sql.statements) + "\ncommit")
            except session.errors as error:
                if not session.connection.closed:
                    session.run("rollback")
                raise pg.in_words(error, "the plan") from error

        yield run_
