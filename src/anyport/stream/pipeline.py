"""Chunks through a pool of threads and out again in order: into the output, or into OUT.partial first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyport.errors import AnyportError
from anyport.predictor import Predictor
from anyport.signature import Signature
from anyport.stream import partial, place
from anyport.stream.answer import answer, free_axes
from anyport.stream.partial import Frame
from anyport.stream.rejects import Rejects, listed
from anyport.stream.source import Chunk, Decoded, Refused, Source, cut
from anyport.stream.writers import Writer

AHEAD = 2
"""Chunks that wait, beyond those being answered: read, or answered and not yet written."""

Tell = Callable[[int, float | None], None]


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs."""

    predictor: Predictor
    signature: Signature
    source: Source
    writer: Writer
    ids: tuple[str, ...]
    workers: int


@dataclass(frozen=True)
class Done:
    """An answered chunk; `refused` counts from its own first row."""

    rows: int
    payload: Any
    refused: Refused
    fraction: float | None


def straight(job: Job, chunks: Iterator[Chunk], out: Path, tell: Tell) -> tuple[int, int]:
    """Answer into the output itself; gives the rows and how many were refused."""
    rows = rejected = 0
    with Rejects(out) as rejects, place.replacing(out) as file, job.writer.open(file) as write:
        for done in answered(job, chunks):
            write(done.payload)
            rejects.write(listed(done.refused, rows))
            rows += done.rows
            rejected += len(done.refused)
            tell(rows, done.fraction)
    return rows, rejected


def resumed(job: Job, chunks: Iterator[Chunk], out: Path, identity: dict[str, Any], tell: Tell) -> tuple[int, int]:
    """Answer what OUT.partial lacks, then make the output of it."""
    path = partial.beside(out)
    file, held = partial.begin(path, identity)
    with file:
        rows, rejected = sum(r for r, _ in held), sum(r for _, r in held)
        for _ in held:
            next(chunks)
        for done in answered(job, chunks):
            said = listed(done.refused, rows)
            partial.add(file, Frame(done.rows, len(done.refused), job.writer.dump(done.payload), said))
            rows += done.rows
            rejected += len(done.refused)
            tell(rows, done.fraction)
        file.seek(0)
        file.readline()
        with Rejects(out) as rejects, place.replacing(out) as made, job.writer.open(made) as write:
            for frame in partial.frames(file):
                write(job.writer.load(frame.payload))
                rejects.write(frame.rejects)
    path.unlink()
    return rows, rejected


def answered(job: Job, chunks: Iterator[Chunk]) -> Iterator[Done]:
    """Every chunk's answers, in order; at most `workers + AHEAD` chunks are in memory."""
    waiting: deque[Future[Done]] = deque()
    pool = ThreadPoolExecutor(job.workers, thread_name_prefix="anyport-predict")
    try:
        for chunk in chunks:
            waiting.append(pool.submit(work, job, chunk))
            if len(waiting) >= job.workers + AHEAD:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result(future: Future[Done]) -> Done:
    try:
        return future.result()
    except OSError as error:  # the model's own; of the output's this is not
        raise AnyportError(f"answering failed: {error!r}") from error


def work(job: Job, chunk: Chunk) -> Done:
    """Decode, answer and encode one chunk."""
    payloads = []
    refused: dict[int, Any] = {}
    at = 0
    for part in _runs(job, chunk):
        outcome = answer(job.predictor, part.batch, part.refused, part.rows, job.signature)
        payloads.append(job.writer.encode(part.carried, outcome))
        refused.update({at + row: said for row, said in outcome.refused.items()})
        at += part.rows
    return Done(at, payloads[0] if len(payloads) == 1 else job.writer.join(payloads), refused, chunk.fraction)


def _runs(job: Job, chunk: Chunk) -> Iterator[Decoded]:
    """The decoded chunk; where tensors have free axes, one run of rows of the same shape after the other."""
    fields = job.signature.inputs
    free = free_axes(job.signature)
    at = 0
    while True:
        # a run's shape is that of its first good row; the row that does not fit it begins the next
        part = job.source.decode(cut(chunk, at), fields, job.ids)
        other = next((r for r, said in part.refused.items() if r and any(s.column in free for s in said)), None)
        if other is None:
            yield part
            return
        yield job.source.decode(cut(chunk, at, at + other), fields, job.ids)
        at += other
