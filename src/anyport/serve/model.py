"""One model as the server holds it: its predictor, its hot path, and the reply to a request body."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
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
from anyport.serve.loops import elsewhere
from anyport.serve.metrics import Slot
from anyport.serve.mirror import Mirror
from anyport.serve.record import Record, copied
from anyport.serve.reply import Headers, Problem, Reply, current, fault
from anyport.serve.watch import Watch
from anyport.serve.wire import Wire
from anyport.signature import Signature

SLOW = 0.002
"""Seconds of one row from which on a graph runs off the event loop."""


class Served:
    """One model. `load` makes it answer; until then it is not ready."""

    def __init__(self, bundle: Bundle, slot: Slot, name: str = "") -> None:
        self.bundle = bundle
        self.name = name or bundle.name
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
        self.waiting = 0
        """Requests that wait for a thread, or are in one."""
        self.took = 0.0
        """Seconds that the last of them took."""
        self.lasted = 0.0
        """Seconds of the last run off the hot path."""
        self.closing = ExitStack()
        """Ends what the predictor has started."""
        self.shows: Headers = ()
        """What its answers say of it beside themselves: see choice.py."""
        self.mirror: Mirror | None = None
        """Where its answers are compared with a shadow's."""
        self.record: Record | None = None
        """Where what it was asked and what it answered is written down."""
        self.tick: hot.Tick | None = None
        """The only one: its rows lie in `hot`'s only tensor."""
        self.users = 0
        """Requests that hold it; loop only."""
        self.leaving = False

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
        self.predictor = self.hot = self.tick = None  # the joiner and this hold each other; a graph's memory goes now

    @contextmanager
    def used(self) -> Iterator[None]:
        """Around everything that asks it: it is not closed before."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1
            if self.leaving and not self.users:
                elsewhere(self.close)

    def leave(self) -> None:
        """On the loop: no new request gets it; close it, off the loop, when the last that has it is answered."""
        self.leaving = True
        with self.used():
            if self.tick is not None:
                self.tick.flush()

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
        found = self.predictor.predict(batch)
        self.lasted = perf_counter() - started
        if self.mirror is not None:
            self.mirror.offer((self, batch, found))
        return found

    async def respond(self, body: bytes, asked: Wire, *, partial: bool, queue: int = 1024) -> Reply:
        """The reply to a body: short work here, long bodies and slow models in their thread, for which at most
        `queue` requests wait. Raises Problem."""
        came = perf_counter()
        if not self.off and len(body) <= SMALL:
            return self.at_once(body, asked, partial, came)
        if self.waiting >= queue:
            what = f"{self.waiting} requests wait for {self.name} already"
            seconds = min(max(1, math.ceil(self.took)), 60)
            raise Problem(
                429, "Busy", what, f"ask again in {seconds} s, or another replica",
                headers=((b"retry-after", b"%d" % seconds),),
            )  # fmt: skip
        self.waiting += 1
        self.slot.opened(1)
        try:
            with self.used():
                return await self.later(body, asked, partial, came)
        finally:
            self.slot.opened(-1)
            self.waiting -= 1
            self.took = perf_counter() - came

    def at_once(self, body: bytes, asked: Wire, partial: bool, came: float) -> Reply:
        """The reply to a body that came at a time (perf_counter's), all of it in this thread."""
        begun = perf_counter()
        read = wire.decode(asked, body, self.signature)
        wanted, decoded = wire.wants(read, partial), perf_counter()
        try:
            found = self.noted(wanted) if wanted is not None else None
        except Exception as error:
            raise fault(error) from error
        ran = perf_counter()
        reply = wire.encode(asked, read, found, self.signature, partial=partial)
        if wanted is not None and found is not None:
            self.watch.batch(wanted, found, (decoded - begun, begun - came, ran - decoded, perf_counter() - ran))
            self.log(wanted, found, len(body))
        return reply

    async def later(self, body: bytes, asked: Wire, partial: bool, came: float) -> Reply:
        """The same, off the event loop."""
        if not self.off:
            # the thread sees the request that it works for
            answer = functools.partial(self.at_once, body, asked, partial, came)
            return await elsewhere(copy_context().run, answer, pool=self.pool)
        short = len(body) <= SMALL
        if short:
            read = wire.decode(asked, body, self.signature)
        else:
            read = await elsewhere(wire.decode, asked, body, self.signature)
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
                self.watch.batch(wanted, found, (decoded - came, queued, lasted, perf_counter() - ran))
                self.log(wanted, found, len(body))
            return reply

        return worded() if short else await elsewhere(copy_context().run, worded)

    def log(self, batch: Batch, outcome: Outcome, size: int) -> None:
        """Offer a request that was answered, and whose body had `size` bytes, to the prediction log."""
        record, note = self.record, current.get()
        if record is not None and record.wanted():
            copy = copied(
                self, batch, outcome, now=record.clock(), size=size, id=note.id if note is not None else ""
            )  # fmt: skip
            if copy is not None:
                record.offer(copy)

    def noted(self, batch: Batch) -> Outcome:
        """`run`, with its time and size written down for the request that is answered here."""
        note = current.get()
        if note is None:
            return self.run(batch)
        note.running, note.batch = perf_counter(), rows(batch)
        try:
            return self.run(batch)
        finally:
            note.ran = perf_counter()


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


def golden_row(bundle: Bundle, *, whole: bool = False) -> Batch | None:
    """The first golden row that the original answers, or None where the bundle carries none. `whole`: the first of
    them without nulls, if there is one."""
    file = bundle.member("golden.npz")
    if file is None:
        return None
    from anyport.golden.store import read

    golden = read(file, bundle.signature)
    good = [row for row in range(rows(golden.inputs)) if row not in golden.outcome.refused]
    if whole:
        listed = [codec.cells(golden.inputs[field.name], field) for field in bundle.signature.inputs]
        good = [row for row in good if all(cells[row] is not None for cells in listed)] or good
    return take(golden.inputs, good[:1]) if good else None
