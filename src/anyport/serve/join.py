"""Runs of a slow model in a thread of its own: what arrives while one run is under way goes together into the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from time import perf_counter
from typing import TYPE_CHECKING

from anyport.batch import Batch, Outcome, concat, rows, take
from anyport.serve.loops import elsewhere, running
from anyport.serve.note import Note
from anyport.serve.reply import current

if TYPE_CHECKING:
    import asyncio

ROWS = 1024
"""One run joins at most this many rows; a longer batch runs alone."""


class Joiner:
    """Asks `run` in `pool`, one run at a time. Lives on one event loop."""

    def __init__(self, run: Callable[[Batch], Outcome], pool: Executor) -> None:
        self.run = run
        self.pool = pool
        self.asked: list[tuple[Batch, asyncio.Future[Outcome], Note | None]] = []
        self.task: asyncio.Task[None] | None = None

    async def ask(self, batch: Batch) -> Outcome:
        """Answers to these rows; the exception is the model's own."""
        future: asyncio.Future[Outcome] = running().create_future()
        self.asked.append((batch, future, current.get()))
        if self.task is None:
            self.task = running().create_task(self.work())
        return await future

    async def work(self) -> None:
        """Run until nobody waits."""
        try:
            while taken := self.taken():
                started = perf_counter()
                found = await elsewhere(self.together, [batch for batch, _, _ in taken], pool=self.pool)
                size, now = sum(rows(batch) for batch, _, _ in taken), perf_counter()
                for (_, future, note), result in zip(taken, found, strict=True):
                    if note is not None:
                        note.running, note.ran, note.batch = started, now, size
                    if future.done():  # its caller has gone
                        continue
                    if isinstance(result, Outcome):
                        future.set_result(result)
                    else:
                        future.set_exception(result)
        finally:
            self.task = None

    def taken(self) -> list[tuple[Batch, asyncio.Future[Outcome], Note | None]]:
        """The first in the queue and as many after it as one run may join; none whose caller has gone."""
        self.asked = [one for one in self.asked if not one[1].done()]
        size = count = 0
        for batch, _, _ in self.asked:
            size += rows(batch)
            if count and size > ROWS:
                break
            count += 1
        taken, self.asked = self.asked[:count], self.asked[count:]
        return taken

    def together(self, batches: Sequence[Batch]) -> list[Outcome | Exception]:
        """One result a batch: from one run of all, or, where that fails, from each alone."""
        if len(batches) > 1:
            try:
                return list(parted(self.run(concat(batches)), [rows(batch) for batch in batches]))
            except Exception:  # one of them is to blame: the runs below find out which
                return [self.alone(batch) for batch in batches]
        return [self.alone(batches[0])]

    def alone(self, batch: Batch) -> Outcome | Exception:
        """The result of one batch."""
        try:
            return self.run(batch)
        except Exception as error:
            return error


def parted(outcome: Outcome, sizes: Sequence[int]) -> list[Outcome]:
    """An Outcome cut into pieces of these many rows."""
    pieces = []
    start = 0
    for size in sizes:
        stop = start + size
        refused = {row - start: said for row, said in outcome.refused.items() if start <= row < stop}
        pieces.append(Outcome(take(outcome.outputs, slice(start, stop)), refused))
        start = stop
    return pieces
