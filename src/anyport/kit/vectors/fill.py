"""Fill a table of vectors by batches of rows: new, changed, or of another model; goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec

from anyport.errors import AnyportError, BadData, Missing, Mistake, Unreachable, need
from anyport.kit.vectors import read
from anyport.kit.vectors.encode import Embedded, embed
from anyport.kit.vectors.read import Opened
from anyport.kit.vectors.server import first_line, opened
from anyport.kit.vectors.spec import OPERATORS, Filling
from anyport.kit.vectors.write import stage, write
from anyport.predictor import Predictor
from anyport.signature import Signature
from anyport.stream.answer import chunk_rows

PATIENCE = 5
"""Lost connections, one after the other without a batch in between, after which a fill gives up."""
ENDING = 2000
"""Milliseconds that a fill waits for the lock of another."""
EVERY = 2.0
"""Seconds between two words of progress."""

Tell = Callable[[str], None]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a fill did."""

    embedded: int
    """Rows that went through the model."""
    refused: int
    """Of them: without a vector, because the model refused them."""
    unsearchable: int
    """Of them: with a vector that pgvector cannot search."""
    removed: int
    """Vectors whose rows are gone."""
    left: int
    """Rows still waiting, because of --limit."""
    reconnected: int
    index: str
    """'there', 'rebuilt', or 'absent' where this role may not make it."""
    seconds: float


@dataclass
class Work:
    """A fill under way; it outlives its connections."""

    dsn: str
    spec: Filling
    predictor: Predictor
    signature: Signature
    rows: int
    """Of a batch."""
    tell: Tell
    limit: int | None = None
    after: str | None = None
    """Key of the last row written."""
    embedded: int = 0
    refused: int = 0
    unsearchable: int = 0
    lost: int = 0
    rebuilt: bool = False
    start: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)


def fill(dsn: str, spec: Filling, predictor: Predictor, signature: Signature, *, rows: int = 1000,
         limit: int | None = None, patience: int = PATIENCE, tell: Tell = lambda _: None) -> Summary:  # fmt: skip
    """Embed every row that waits, at most `limit`. A connection that is lost is made anew `patience` times.

    Unreachable when that does not help (what is written stays, and the next fill goes on), Mistake with the exact
    GRANT, BadData for columns that the model does not take, Missing without the extension.
    """
    if rows < 1 or (limit is not None and limit < 0):
        raise Mistake("a batch has at least one row, and a limit is not negative")
    psycopg = need("psycopg")
    work = Work(dsn, spec, predictor, signature, chunk_rows(rows, signature), tell, limit)
    failed = 0
    while True:
        before = work.embedded
        try:
            with opened(dsn) as connection:
                try:
                    return once(connection, work)
                except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                    if not connection.closed:
                        raise
                    raise Unreachable(f"the connection was lost: {first_line(error)}") from error
        except Unreachable as error:
            failed = 1 if work.embedded > before else failed + 1
            if patience == 0 or failed > patience or (work.lost == 0 and "was lost" not in error.what):
                written = f"; {work.embedded:,} rows are written and stay" if work.embedded else ""
                raise Unreachable(error.what + written, fix="run it again: it goes on where it stopped") from error
            work.lost += 1
            wait = min(2.0 ** (failed - 2), 10.0)
            tell(f"{error.what}; trying again in {wait:g} s")
            time.sleep(wait)
        except psycopg.Error as error:
            raise refused(error, spec) from error


def refused(error: Any, spec: Filling) -> AnyportError:
    """What the server would not do, as the caller's error."""
    code = str(error.sqlstate or "")
    said = first_line(error)
    if code.startswith("22"):
        return BadData(f"{spec.rows}: {said}")
    return Mistake(f"PostgreSQL refused a statement of the fill ({code}): {said}",
                   fix=str(getattr(error.diag, "message_hint", None) or ""))  # fmt: skip


def once(connection: Any, work: Work) -> Summary:
    """A fill on one connection, from wherever the last one got to."""
    spec = work.spec
    connection.add_notice_handler(lambda notice: work.tell(str(notice.message_primary)))
    read.settle(connection)
    ready = read.ready(connection, spec, work.signature)
    alone(connection, spec)
    stage(connection)
    waiting, total = connection.execute(
        f"select count(*) filter (where {spec.waiting}), count(*) {spec.joined}"
    ).fetchone()
    every = waiting + work.embedded
    goal = every if work.limit is None else min(every, work.limit)
    if work.limit is None and waiting * 2 > total and ready.owner:
        connection.execute(f"drop index if exists {spec.index}")
    while work.embedded < goal:
        size = min(work.rows, goal - work.embedded)
        found = read.batch(connection, spec, ready, work.after, size)
        if not found:
            break  # rows were deleted meanwhile
        cells = {name: [row[2 + i] for row in found] for i, name in enumerate(ready.cells)}
        vectors = embed(cells, len(found), spec, work.predictor, work.signature)
        keyed = [(row[0], bytes(row[1]), vector) for row, vector in zip(found, vectors, strict=True)]
        write(connection, spec, ready.key_type, keyed)
        noted(work, keyed, goal)
    removed = 0
    if work.limit is None:
        removed = connection.execute(
            f"delete from {spec.vectors} v where not exists "
            f"(select from {spec.rows} t where t.{quoted_key(spec)} = v.key)"
        ).rowcount
    left = max(0, every - work.embedded)
    return Summary(
        embedded=work.embedded, refused=work.refused, unsearchable=work.unsearchable, removed=removed, left=left,
        reconnected=work.lost, index=indexed(connection, work, ready),
        seconds=round(time.monotonic() - work.start, 3),
    )  # fmt: skip


def quoted_key(spec: Filling) -> str:
    from anyport.sql.dialect import POSTGRES

    return POSTGRES.ident(spec.key)


def alone(connection: Any, spec: Filling) -> None:
    """Hold the lock of this table while the connection lasts; Mistake where another fill has it.

    A connection that was closed, or lost, keeps its lock until the server has ended it: that is waited for.
    """
    try:
        with connection.transaction():
            connection.execute(f"set local lock_timeout = {ENDING}")
            connection.execute("select pg_advisory_lock(hashtextextended('anyport fill ' || %s, 0))", [spec.vectors])
    except need("psycopg").errors.LockNotAvailable as error:
        raise Mistake(f"another fill of {spec.vectors} is running", fix="wait for it, or end it") from error


def noted(work: Work, keyed: list[tuple[str, bytes, Embedded]], goal: int) -> None:
    """Count a batch that is written, and say so every two seconds."""
    work.after = keyed[-1][0]
    work.embedded += len(keyed)
    work.refused += sum(found.values is None for _, _, found in keyed)
    work.unsearchable += sum(found.values is not None and bool(found.why) for _, _, found in keyed)
    now = time.monotonic()
    if now - work.said >= EVERY:
        work.said = now
        rate = work.embedded / max(now - work.start, 1e-9)
        rest = (goal - work.embedded) / max(rate, 1e-9)
        work.tell(f"{work.embedded:,} of {goal:,} rows, {rate:,.0f} rows/s, {rest:,.0f} s to go")


def indexed(connection: Any, work: Work, ready: Opened) -> str:
    """See that the index is there; what building it has done is said every two seconds."""
    spec = work.spec
    if connection.execute("select to_regclass(%s)", [spec.index]).fetchone()[0] is not None:
        return "there"
    if not ready.owner:
        work.tell(f"{spec.vectors} has no index, and only its owner can make it: {spec.create_index};")
        return "absent"
    pid = connection.info.backend_pid
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(connection.execute, spec.create_index)
        while True:
            try:
                building.result(EVERY)
                connection.execute(f"analyze {spec.vectors}")  # the planner thinks that it is empty
                return "rebuilt"
            except TimeoutError:
                if not building.done():
                    work.tell(building_says(work.dsn, pid))


def building_says(dsn: str, pid: int) -> str:
    """How far an index build of another connection is."""
    with opened(dsn) as second:
        found = second.execute(
            "select phase, tuples_done, tuples_total from pg_stat_progress_create_index where pid = %s", [pid]
        ).fetchone()
    if found is None:
        return "building the index"
    return str(found[0]) + (f", {found[1]:,} of {found[2]:,} rows" if found[2] else "")


def status(dsn: str, spec: Filling, signature: Signature) -> dict[str, int]:
    """Counts of rows: all, waiting, embedded, refused, unsearchable, and vectors whose rows are gone."""
    with opened(dsn) as connection:
        read.settle(connection)
        read.ready(connection, spec, signature)
        rows, waiting = connection.execute(
            f"select count(*), count(*) filter (where {spec.waiting}) {spec.joined}"
        ).fetchone()
        embedded, unsearchable, refusals, gone = connection.execute(
            "select count(v.embedding), count(v.unsearchable), "
            "count(*) filter (where v.embedding is null and v.unsearchable is null), "
            f"count(*) filter (where not exists (select from {spec.rows} t where t.{quoted_key(spec)} = v.key)) "
            f"from {spec.vectors} v"
        ).fetchone()
    return {"rows": rows, "waiting": waiting, "embedded": embedded, "refused": refusals,
            "unsearchable": unsearchable, "gone": gone}  # fmt: skip


def search(dsn: str, spec: Filling, predictor: Predictor, signature: Signature, row: dict[str, Any], *, k: int = 10,
           where: str | None = None) -> list[tuple[Any, float]]:  # fmt: skip
    """Keys and distances of the rows nearest to `row`, one of the model's own. `where`: JSON that they must hold."""
    psycopg = need("psycopg")
    unknown = [name for name in row if name not in spec.columns]
    absent = [name for name in spec.columns if name not in row]
    if unknown or absent:
        raise BadData(f"the query has {', '.join(row) or 'nothing'}; the model takes {', '.join(spec.columns)}")
    found = embed({name: [row[name]] for name in spec.columns}, 1, spec, predictor, signature)[0]
    if found.why or found.values is None:
        raise BadData(f"the query has no vector to search with: {found.why}")
    text = "[" + ",".join(map(repr, found.values.tolist())) + "]"
    with opened(dsn) as connection:
        read.settle(connection)
        try:
            answers: list[tuple[Any, float]] = connection.execute(
                f"select key, distance from {spec.search}(%s::vector, %s, %s::jsonb)", [text, k, where]
            ).fetchall()
        except psycopg.errors.UndefinedFunction as error:
            raise Missing(f"there is no function {spec.search}", fix="run up.sql first") from error
        except psycopg.Error as error:
            raise refused(error, spec) from error
    return answers


__all__ = ["OPERATORS", "Summary", "fill", "search", "status"]
