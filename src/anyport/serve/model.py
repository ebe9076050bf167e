"""One model as the server holds it: its predictor, its hot path, and the reply to a request body."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import perf_counter
from typing import Any

from anyport import codec, predictor
from anyport.batch import Batch, Outcome, rows, take
from anyport.bundle import Bundle
from anyport.errors import Missing
from anyport.predictor import Predictor
from anyport.serve import hot, wire
from anyport.serve.hot import SMALL
from anyport.serve.join import Joiner
from anyport.serve.metrics import Slot
from anyport.serve.reply import Reply, fault
from anyport.serve.watch import Watch
from anyport.serve.wire import Wire
from anyport.signature import Signature

SLOW = 0.002
"""Seconds of one row from which on a graph runs off the event loop."""


class Served:
    """One model. `load` makes it answer; until then it is not ready."""

    def __init__(self, bundle: Bundle, slot: Slot) -> None:
        self.bundle = bundle
        self.name = bundle.name
        self.version = bundle.version
        self.signature: Signature = bundle.signature
        self.slot = slot
        self.watch = Watch(bundle)
        self.predictor: Predictor | None = None
        self.hot: hot.Hot | None = None
        self.off = bundle.form == "python"
        """Whether it runs off the event loop, joining what waits: Python models and slow graphs."""
        self.golden: Batch | None = None
        self.pool = ThreadPoolExecutor(1, thread_name_prefix=f"anyport-{bundle.name}")
        """One thread: a Python model may not be safe with two, and a graph's run fills a core anyway."""
        self.joiner = Joiner(self.run, self.pool)
        self.lasted = 0.0
        """Seconds of the last run off the hot path."""
        self.closing = ExitStack()
        """Ends what the predictor has started."""

    def load(self, *, trust: Any, threads: int) -> None:
        """Read the model and ask it a golden row, so that the first caller does not pay for first times; and a few
        times more, to know how long a row takes."""
        made = opened(self.bundle, self.closing, trust=trust, threads=threads)
        warm = self.golden = golden_row(self.bundle)
        if warm is not None:
            made.predict(warm)
            self.off = self.off or quickest(lambda: made.predict(warm)) > SLOW
        self.hot = None if self.off else hot.of(made)
        self.predictor = made

    def close(self) -> None:
        """Let go of threads and processes."""
        self.pool.shutdown()
        self.closing.close()

    def example(self) -> dict[str, Any] | None:
        """A row that the model answers, JSON-ready."""
        if self.golden is None:
            return None
        return {field.name: codec.cells(self.golden[field.name], field)[0] for field in self.signature.inputs}

    def run(self, batch: Batch) -> Outcome:
        """One run of the model, counted. No rows, no run: what originals do with none differs."""
        assert self.predictor is not None, "asked before it was loaded"
        if rows(batch) == 0:
            return Outcome(predictor.blank(self.signature, 0), {})
        self.slot.run(rows(batch))
        started = perf_counter()
        outcome = self.predictor.predict(batch)
        self.lasted = perf_counter() - started
        return outcome

    async def respond(self, body: bytes, asked: Wire, *, partial: bool) -> Reply:
        """The reply to a body: short work here, long bodies and slow models in their thread. Raises Problem."""
        self.slot.opened(1)
        try:
            return await self.responded(body, asked, partial=partial)
        finally:
            self.slot.opened(-1)

    async def responded(self, body: bytes, asked: Wire, *, partial: bool) -> Reply:
        """`respond`, not counted as under way."""
        loop = asyncio.get_running_loop()
        short = len(body) <= SMALL
        started = perf_counter()

        def whole() -> Reply:
            begun = perf_counter()
            read = wire.decode(asked, body, self.signature)
            wanted, decoded = wire.wants(read, partial), perf_counter()
            try:
                found = self.run(wanted) if wanted is not None else None
            except Exception as error:
                raise fault(error) from error
            ran = perf_counter()
            reply = wire.encode(asked, read, found, self.signature, partial=partial)
            if wanted is not None and found is not None:
                self.watch.batch(wanted, found, (decoded - begun, begun - started, ran - decoded, perf_counter() - ran))
            return reply

        if not self.off:
            return whole() if short else await loop.run_in_executor(self.pool, whole)
        if short:
            read = wire.decode(asked, body, self.signature)
        else:
            read = await loop.run_in_executor(None, wire.decode, asked, body, self.signature)
        wanted, decoded = wire.wants(read, partial), perf_counter()
        try:
            found = await self.joiner.ask(wanted) if wanted is not None else None
        except Exception as error:
            raise fault(error) from error

        ran, lasted = perf_counter(), self.lasted

        def worded() -> Reply:
            reply = wire.encode(asked, read, found, self.signature, partial=partial)
            if wanted is not None and found is not None:
                queued = max(ran - decoded - lasted, 0.0)
                self.watch.batch(wanted, found, (decoded - started, queued, lasted, perf_counter() - ran))
            return reply

        return worded() if short else await loop.run_in_executor(None, worded)


def quickest(call: Callable[[], object]) -> float:
    """Seconds of the quickest of a few calls: a busy machine makes any one of them slow. A slow one is not repeated
    for long."""
    best, end = math.inf, perf_counter() + 0.25
    for _ in range(20):
        started = perf_counter()
        call()
        now = perf_counter()
        best = min(best, now - started)
        if best <= SLOW or now > end:
            break
    return best


def opened(bundle: Bundle, closing: ExitStack, *, trust: Any, threads: int) -> Predictor:
    """The bundle's predictor. A Python model answers in this process where this is the environment it was locked in,
    else in a process of its own, in that environment."""
    if bundle.form == "graph":
        return predictor.of(bundle, threads=threads)
    from anyport import pyform

    try:
        return pyform.predictor(bundle, trust=trust)
    except Missing:
        return closing.enter_context(pyform.apart(bundle, trust=trust))


def golden_row(bundle: Bundle) -> Batch | None:
    """The first golden row that the original answers, or None where the bundle carries none."""
    file = bundle.member("golden.npz")
    if file is None:
        return None
    from anyport.golden.store import read

    golden = read(file, bundle.signature)
    good = [row for row in range(rows(golden.inputs)) if row not in golden.outcome.refused]
    return take(golden.inputs, good[:1]) if good else None
