"""The artefact on a PostgreSQL: up.sql, rows into a table, fill.py as shipped, vectors and neighbours out of it."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from anyport import errors
from anyport.batch import Batch, Column, Outcome, rows, take
from anyport.bundle import Bundle, read
from anyport.conformance import Case, Setting
from anyport.errors import BadData, Missing, Mistake
from anyport.golden.compare import Comparison
from anyport.kit.database import plain, reason
from anyport.kit.lock import environment
from anyport.kit.process import Held, popen
from anyport.kit.runtime import view
from anyport.kit.vectors.command import load
from anyport.kit.vectors.read import settle
from anyport.kit.vectors.server import cluster, first_line, opened, version
from anyport.kit.vectors.spec import Filling
from anyport.predictor import blank, of
from anyport.pyform import LOCK, lock_text
from anyport.signature import Field
from anyport.sql.dialect import POSTGRES
from anyport.target import Artifact, Engine, Running
from anyport.targets.pgvector.scripts import script

RUNTIME = ("msgspec", "numpy", "psycopg", "psycopg-binary")
NEAREST = 10
"""The k of recall@k."""
LEAST = 0.95
QUERIES = 100
"""Golden vectors that are asked for their neighbours."""


def needed(bundle: Bundle) -> tuple[str, ...]:
    """The distributions that fill.py needs; a Python model has its own in a process of its own."""
    return (*RUNTIME, "onnxruntime") if bundle.form == "graph" else RUNTIME


class Table:
    """Answers a batch by putting its rows into the table, filling, and reading the vectors back. One batch at a time:
    there is one table."""

    def __init__(self, bundle: Bundle, spec: Filling, dsn: str, worker: Held) -> None:
        self.bundle = bundle
        self.signature = bundle.signature
        self.spec = spec
        self.dsn = dsn
        self.worker = worker
        self.lock = threading.Lock()

    def predict(self, inputs: Batch, /) -> Outcome:
        """What the table holds after a fill."""
        with self.lock:
            self.put(inputs)
            self.fill()
            with opened(self.dsn) as connection:
                return self.answers(connection, rows(inputs))

    def put(self, inputs: Batch) -> None:
        """The table of rows anew, with just these columns, and no vectors."""
        ident = POSTGRES.ident
        names, kinds, cells = [], [], []
        for name, column in inputs.items():
            field = kind_of(name, column)
            names.append(ident(self.spec.columns.get(name, name)))
            kinds.append(POSTGRES.type_of(field) + "[]" * (column.plain().values.ndim - 1))
            cells.append(plain(column.plain().values, column, field))
        key = ident(self.spec.key)
        listed = ", ".join(f"{n} {k}" for n, k in zip(names, kinds, strict=True))
        with opened(self.dsn) as connection:
            connection.execute(f"drop table if exists {self.spec.rows}")
            connection.execute(f"create table {self.spec.rows} ({key} bigint primary key, {listed})")
            connection.execute(f"truncate {self.spec.vectors}")
            with connection.cursor().copy(f"copy {self.spec.rows} ({key}, {', '.join(names)}) from stdin") as copy:
                for row in zip(range(rows(inputs)), *cells, strict=True):
                    copy.write_row(row)

    def fill(self) -> dict[str, Any]:
        """fill.py once; what it raised is raised here."""
        try:
            self.worker.stdin.write(b"\n")
            self.worker.stdin.flush()
            reply = self.worker.stdout.readline()
        except BrokenPipeError as error:
            raise self.worker.died() from error
        if not reply:
            raise self.worker.died()
        said: dict[str, Any] = msgspec.json.decode(reply)
        if "error" in said:
            raise getattr(errors, said["error"])(said["what"], fix=said["fix"])
        return said

    def answers(self, connection: Any, n: int) -> Outcome:
        """Vectors and refusals of n rows."""
        import numpy as np

        found = connection.execute(
            f"select embedding::real[], unsearchable, refusal from {self.spec.vectors} order by key"
        ).fetchall()
        if len(found) != n:
            raise BadData(f"{self.spec.vectors} holds {len(found)} of {n} rows")
        field = self.signature.outputs[0]
        values = blank(self.signature, n)[field.name].values.copy()
        valid = np.ones(n, bool)
        refused = {}
        for row, (embedding, unsearchable, why) in enumerate(found):
            held = embedding if embedding is not None else unsearchable
            if held is None:
                refused[row], valid[row] = (reason(why),), False
            else:
                values[row] = np.array(held, np.float32 if embedding is not None else np.float64)
        return Outcome({field.name: Column(values, None if valid.all() else valid)}, refused)


def kind_of(name: str, column: Column) -> Field:
    """A column of the values' own type."""
    dtype = column.plain().values.dtype
    kind: Any = {"O": "string", "M": "datetime"}.get(dtype.kind, dtype.name)
    return Field(name=name, dtype=kind)


@contextmanager
def private(artifact: Artifact) -> Iterator[Running]:
    """The artefact as shipped on a server of our own, where down.sql must leave nothing behind."""
    spec = load(artifact.path / "fill.json")
    with cluster() as server:
        with opened(server.dsn) as connection:
            for schema in {spec.table_schema, spec.schema} - {"public"}:
                connection.execute(f"create schema {POSTGRES.ident(schema)}")
            if spec.reader:
                connection.execute(f"create role {POSTGRES.ident(spec.reader)}")
            empty(connection, spec)
            execute(connection, (artifact.path / "up.sql").read_text(encoding="utf-8"))
            says = f"{server.version}, pgvector {extension(connection)}"
        with filling(artifact, server.dsn) as table:
            yield Running(table, Engine("PostgreSQL", says, f"pid {server.pid}: postgres; fill.py", "native"))
        with opened(server.dsn) as connection:
            execute(connection, (artifact.path / "down.sql").read_text(encoding="utf-8"))
            gone(connection, spec)


@contextmanager
def live(artifact: Artifact, dsn: str) -> Iterator[Running]:
    """The same scripts in a schema of their own on the user's server, removed whatever happens."""
    schema = f"anyport_check_{secrets.token_hex(4)}"
    spec = msgspec.structs.replace(load(artifact.path / "fill.json"), schema=schema, table_schema=schema, reader="")
    with opened(dsn) as connection:
        if extension(connection) is None:
            raise Missing("the extension vector is not in this database", fix="create extension vector;")
        role, database, may = connection.execute(
            "select quote_ident(current_user), quote_ident(current_database()), "
            "has_database_privilege(current_database(), 'create')"
        ).fetchone()
        if not may:
            raise Mistake(f"role {role} may not make the schema that the check needs",
                          fix=f"grant create on database {database} to {role};")  # fmt: skip
        connection.execute(f"create schema {schema}")
        try:
            empty(connection, spec)
            execute(connection, script("up.sql", spec))
            says = f"{version(connection)}, pgvector {extension(connection)}"
            where = f"{connection.info.host}:{connection.info.port}/{connection.info.dbname}"
            with tempfile.TemporaryDirectory(prefix="anyport-") as folder:
                told = Path(folder) / "fill.json"
                told.write_bytes(msgspec.json.encode(spec))
                with filling(artifact, dsn, "--spec", str(told), spec=spec) as table:
                    yield Running(table, Engine("PostgreSQL", says, where, "live"))
        finally:
            connection.execute(f"drop schema {schema} cascade")


@contextmanager
def filling(artifact: Artifact, dsn: str, *argv: str, spec: Filling | None = None) -> Iterator[Table]:
    """fill.py in a process that can import nothing but what requirements.txt names; the dsn is no argument of it,
    because others can read those."""
    bundle = read(artifact.path / "bundle")
    more = list(argv)
    if bundle.form == "python":
        assert bundle.member(LOCK) is not None, "a bundle of form python is locked"
        more += ["--python", str(environment(lock_text(bundle), python=bundle.manifest.python))]
    command: list[str | Path] = [view(*needed(bundle)), "-IB", artifact.path / "fill.py", "--lines", *more]
    with popen(command, pipes=True, env={"DATABASE_URL": dsn}) as worker:
        yield Table(bundle, spec or load(artifact.path / "fill.json"), dsn, worker)


def empty(connection: Any, spec: Filling) -> None:
    """A table of rows as up.sql wants to find it."""
    ident = POSTGRES.ident
    listed = "".join(f", {ident(c)} text" for c in dict.fromkeys(spec.columns.values()) if c != spec.key)
    connection.execute(f"create table {spec.rows} ({ident(spec.key)} bigint primary key{listed})")


def execute(connection: Any, text: str) -> None:
    """A script. Mistake with the server's own words and hint."""
    from anyport.errors import need

    psycopg = need("psycopg")
    try:
        connection.execute(text)
    except psycopg.Error as error:
        connection.execute("rollback")
        raise Mistake(first_line(error), fix=str(error.diag.message_hint or "")) from error


def extension(connection: Any) -> str | None:
    """pgvector's version in this database, or None."""
    found = connection.execute("select extversion from pg_extension where extname = 'vector'").fetchone()
    return None if found is None else str(found[0])


def gone(connection: Any, spec: Filling) -> None:
    """AnyportError where down.sql left something of ours."""
    kept = [name for name in (spec.vectors, spec.index) if connection.execute(
        "select to_regclass(%s)", [name]).fetchone()[0] is not None]  # fmt: skip
    if kept or connection.execute("select to_regclass(%s)", [spec.rows]).fetchone()[0] is None:
        did = f"left {', '.join(kept)}" if kept else "took the table of rows away"
        raise errors.AnyportError(f"down.sql {did}")


def recall(s: Setting) -> Comparison | str | None:
    """Golden vectors as queries: of the nearest by exact search, how many the index finds."""
    table = s.predictor
    assert isinstance(table, Table), "this target's own predictor"
    with table.lock:
        return neighbours(table, s.golden.inputs)


def neighbours(table: Table, inputs: Batch) -> Comparison | str | None:
    """recall@k of the index over a table filled with these rows; as a Comparison, whose `worst` is what it missed."""
    table.put(inputs)
    table.fill()
    spec = table.spec
    with opened(table.dsn) as connection:
        settle(connection)
        keys = [row[0] for row in connection.execute(
            f"select key from {spec.vectors} where embedding is not null order by key").fetchall()]  # fmt: skip
        if len(keys) < 2:
            return None
        asked = sorted({keys[round(i * (len(keys) - 1) / (QUERIES - 1))] for i in range(QUERIES)})
        hits = wanted = 0
        with connection.transaction():
            for setting in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):  # a small table is faster without
                connection.execute(f"set local {setting} = off")
            question = (f"select s.distance from {spec.vectors} v, {spec.search}(v.embedding, {NEAREST}, "
                        "exact => {}) s where v.key = {} order by 1")  # fmt: skip
            for key in asked:
                exact = [row[0] for row in connection.execute(question.format("true", key)).fetchall()]
                got = [row[0] for row in connection.execute(question.format("false", key)).fetchall()]
                wanted += len(exact)
                hits += sum(d <= exact[-1] + slack(exact[-1], spec) for d in got[: len(exact)])
            scans = connection.execute("select pg_stat_get_xact_numscans(to_regclass(%s))", [spec.index]).fetchone()[0]
    if scans < len(asked):
        return f"{spec.index} was used in {scans} of {len(asked)} searches"
    share = hits / wanted
    if share < LEAST:
        return f"recall@{NEAREST} is {share:.3f} over {len(asked)} queries; at least {LEAST} is needed"
    return Comparison(len(asked), (), 0, 0, 1 - share)


def slack(distance: float, spec: Filling) -> float:
    """Rows at the same distance are as good as each other: what single precision cannot tell apart. Of a cosine it is
    a part of 1, however near the rows are."""
    return 1e-6 * (1.0 if spec.distance == "cosine" else abs(distance)) + 1e-12


def vectors(s: Setting) -> Comparison | str | None:
    """What is stored is what the model gives, rounded to float4 and nothing more."""
    import numpy as np

    table = s.predictor
    assert isinstance(table, Table), "this target's own predictor"
    few = take(s.golden.inputs, slice(0, 500))
    name = s.signature.outputs[0].name
    if table.bundle.form == "graph":
        expected = of(table.bundle).predict(few)
    else:
        kept = range(rows(few))
        refused = {row: s.golden.outcome.refused[row] for row in kept if row in s.golden.outcome.refused}
        expected = Outcome(take(s.golden.outcome.outputs, slice(0, 500)), refused)
    got = table.predict(few)
    answered = [r for r in range(rows(few)) if r not in expected.refused and r not in got.refused]
    if not answered:
        return None
    a = expected.outputs[name].values[answered].astype(np.float64)
    b = got.outputs[name].values[answered].astype(np.float64)
    with np.errstate(all="ignore"):
        off = np.abs(a - b).max(axis=1) / np.maximum(np.abs(a).max(axis=1), 1e-30)
    off = np.where(np.isfinite(a).all(axis=1), off, 0.0)
    row = int(off.argmax())
    if off[row] > 1e-6:
        return f"row {answered[row]}: the stored vector is {off[row]:.2g} of its largest number off"
    return Comparison(len(answered), (), 0, 0, float(off[row]))


CASES: tuple[Case, ...] = (
    Case("vectors", "stored vectors are the model's own, as float4", vectors),
    Case("recall", f"recall@{NEAREST} of the index against exact search", recall),
)

__all__ = ["CASES", "Table", "live", "needed", "private"]
