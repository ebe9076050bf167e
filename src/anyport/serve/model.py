"""One model as the server holds it: its predictor, its hot path, and the reply to a request body."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import perf_counter
from typing import Any, NamedTuple

import msgspec

from anyport import codec, predictor
from anyport.batch import Batch, Outcome, rows, take
from anyport.bundle import Bundle
from anyport.errors import BadData, Missing, Mistake
from anyport.predictor import Predictor
from anyport.serve import hot
from anyport.serve.hot import SMALL
from anyport.serve.join import Joiner
from anyport.serve.metrics import Slot
from anyport.signature import Signature

SLOW = 0.002
"""Seconds of one row from which on a graph runs off the event loop."""
log = logging.getLogger("anyport.serve")


class Reply(NamedTuple):
    """What goes back: status, body, and its content type."""

    status: int
    body: bytes
    kind: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


def told(status: int, error: str, what: str, fix: str = "", **more: Any) -> Reply:
    """An error as JSON: error, what, fix and whatever else there is to say."""
    return Reply(status, msgspec.json.encode({"error": error, "what": what, "fix": fix, **more}))


def failed(error: BaseException) -> Reply:
    """A 500 for what went wrong after the request was found good; the log has the reason under the same id."""
    number = secrets.token_hex(8)
    log.error("request %s failed", number, exc_info=error)
    return told(500, "Failed", "the model failed on this request; nothing is wrong with its form", id=number)


class Served:
    """One model. `load` makes it answer; until then it is not ready."""

    def __init__(self, bundle: Bundle, slot: Slot) -> None:
        self.bundle = bundle
        self.name = bundle.name
        self.version = bundle.version
        self.signature: Signature = bundle.signature
        self.slot = slot
        self.predictor: Predictor | None = None
        self.hot: hot.Hot | None = None
        self.off = bundle.form == "python"
        """Whether it runs off the event loop, joining what waits: Python models and slow graphs."""
        self.golden: Batch | None = None
        self.pool = ThreadPoolExecutor(1, thread_name_prefix=f"anyport-{bundle.name}")
        """One thread: a Python model may not be safe with two, and a graph's run fills a core anyway."""
        self.joiner = Joiner(self.run, self.pool)
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
        return self.predictor.predict(batch)

    async def respond(self, body: bytes, *, partial: bool) -> Reply:
        """The reply to a body: short work here, long bodies and slow models in their thread."""
        loop = asyncio.get_running_loop()
        short = len(body) <= SMALL
        if not self.off:
            if short:
                return self.reply(body, partial=partial)
            return await loop.run_in_executor(self.pool, lambda: self.reply(body, partial=partial))
        read = self.read(body) if short else await loop.run_in_executor(None, self.read, body)
        if isinstance(read, Reply):
            return read
        try:
            wanted = wants(read, partial)
            found = await self.joiner.ask(wanted) if wanted is not None else None
            if short:
                return self.worded(read, found, partial)
            return await loop.run_in_executor(None, self.worded, read, found, partial)
        except Exception as error:
            return failed(error)

    def reply(self, body: bytes, *, partial: bool) -> Reply:
        """The reply to a body, all of it in this thread."""
        read = self.read(body)
        if isinstance(read, Reply):
            return read
        try:
            wanted = wants(read, partial)
            return self.worded(read, self.run(wanted) if wanted is not None else None, partial)
        except Exception as error:
            return failed(error)

    def read(self, body: bytes) -> codec.Body | Reply:
        """The decoded body, or the 400 or 422 it deserves."""
        try:
            return codec.decode(body, self.signature)
        except BadData as error:
            return told(422, "BadData", error.what, error.fix, errors=[])
        except Mistake as error:
            return told(400, "BadJson", error.what, error.fix)

    def worded(self, read: codec.Body, found: Outcome | None, partial: bool) -> Reply:
        """The reply to rows and their answers: 200, or 422 with every bad row unless the caller takes part of it."""
        outcome = self.whole(read, found)
        if outcome.refused:
            self.slot.refused(len(outcome.refused))
        if outcome.refused and not partial:
            bad, count = len(outcome.refused), rows(read.batch)
            what = f"{bad} of {count} rows cannot be answered" if count > 1 else "the row cannot be answered"
            fix = "mend them, or ask with ?partial=true for the answers to the others"
            return told(422, "BadData", what, fix, errors=codec.problems(outcome.refused))
        return Reply(200, codec.answer(outcome, read.form, self.signature))

    def whole(self, read: codec.Body, found: Outcome | None) -> Outcome:
        """Answers of all rows of the body; `found` holds those that were asked for."""
        import numpy as np

        count = rows(read.batch)
        if found is None:
            return Outcome(predictor.blank(self.signature, count), read.refused)
        if not read.refused:
            return found
        good = np.setdiff1d(np.arange(count), list(read.refused))
        refused = {int(good[row]): said for row, said in found.refused.items()} | dict(read.refused)
        spread = {name: predictor.scatter(column.plain(), good, count) for name, column in found.outputs.items()}
        return Outcome(spread, refused)


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


def wants(read: codec.Body, partial: bool) -> Batch | None:
    """The rows of a body that the model must be asked; None for none, as no answer will leave anyway."""
    import numpy as np

    if not read.refused:
        return read.batch
    good = np.setdiff1d(np.arange(rows(read.batch)), list(read.refused))
    return take(read.batch, good) if partial and len(good) else None


def golden_row(bundle: Bundle) -> Batch | None:
    """The first golden row that the original answers, or None where the bundle carries none."""
    file = bundle.member("golden.npz")
    if file is None:
        return None
    from anyport.golden.store import read

    golden = read(file, bundle.signature)
    good = [row for row in range(rows(golden.inputs)) if row not in golden.outcome.refused]
    return take(golden.inputs, good[:1]) if good else None
