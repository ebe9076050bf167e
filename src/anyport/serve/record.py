"""Record: a sample of answered requests goes into Parquet files, written by one thread that no request waits for.

`offer` leaves a request's bytes or rows in a queue with an end; everything else, decoding too, happens in the thread.
What goes wrong there is logged and counted, and reaches no caller.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Lock, Thread
from time import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from anyport import codec
from anyport.batch import Batch, Outcome, concat, rows, take
from anyport.errors import need
from anyport.serve import parquet
from anyport.serve.parquet import File, Layout

if TYPE_CHECKING:
    from anyport.serve.model import Served
    from anyport.serve.settings import Settings

log = logging.getLogger("anyport.serve")

WAITING = 65_536
"""Rows that may wait; what comes when there are so many is dropped, and counted."""
WAITING_BYTES = 64 << 20
"""The same in bytes of request bodies."""
PAUSE = 0.2
"""Seconds between two looks at the queue. Waking the thread for each request would cost the request."""
JOINED = 256
"""Rows that are decoded at once: other threads wait for as long."""
REST = 1.0
"""Seconds after a failure in which nothing is tried; what comes is dropped."""
AGAIN = 60.0
"""Seconds between two complaints in the log."""
LAST = 20.0
"""Seconds that the end waits for the disk."""


class Copy(NamedTuple):
    """One answered request."""

    model: Served
    time: float
    id: str
    """"" where nobody gave it one."""
    rows: int
    size: int
    """Bytes of the request's body."""
    question: bytes | Batch
    """JSON, or rows; and so is the answer."""
    answer: bytes | Outcome


class Record:
    """One worker's log. `clock` tells Unix seconds, `draw` numbers from 0 to 1."""

    def __init__(
        self, settings: Settings, *, clock: Callable[[], float] = time, draw: Callable[[], float] = random.random
    ) -> None:
        assert settings.log_dir is not None
        self.settings = settings
        self.folder = settings.log_dir
        self.clock = clock
        self.draw = draw
        self._lock = Lock()
        self._queue: deque[Copy] = deque()
        self._rows = self._bytes = 0
        self._turned = self._closed = False
        self._woken = Event()
        self._layouts: dict[Served, Layout] = {}
        self._files: dict[Served, File] = {}
        self._number = 0
        self._rest = self._complained = 0.0
        self._thread: Thread | None = None

    def start(self) -> Record:
        """Begin to write. Not before the fork, which neither this thread nor Arrow survives; nor on the event loop."""
        need("pyarrow.parquet")
        self._thread = Thread(target=self._work, name="anyport-log", daemon=True)
        self._thread.start()
        return self

    def wanted(self) -> bool:
        """Whether a request falls into the sample. Asked once a request."""
        share = self.settings.log_sample
        return share >= 1 or self.draw() < share

    def offer(self, copy: Copy) -> None:
        """Log an answered request if there is room. From any thread."""
        with self._lock:
            full = self._rows + copy.rows > WAITING or self._bytes + copy.size > WAITING_BYTES
            if self._closed or (full and self._queue):  # one long batch alone is no longer than `max_body` lets it be
                copy.model.slot.logged(dropped=copy.rows)
                return
            self._rows += copy.rows
            self._bytes += copy.size
            self._queue.append(copy)

    def turn(self) -> None:
        """Finish the files that are open, soon: the plan has changed."""
        self._turned = True
        self._woken.set()

    def close(self) -> None:
        """Write what waits, finish every file, and end. Not on the event loop: it waits for the disk."""
        with self._lock:
            self._closed = True
        self._woken.set()
        if self._thread is None:
            self._end()
            return
        self._thread.join(LAST)
        if self._thread.is_alive():
            log.error("the prediction log in %s did not end within %g s; what was open is lost", self.folder, LAST)

    def _work(self) -> None:
        while not self._closed:
            self._woken.wait(PAUSE)
            self._woken.clear()
            self.step()
        self._end()

    def _end(self) -> None:
        self.step()
        self._finish(list(self._files))

    def step(self) -> None:
        """Write all that waits, and finish the files whose time has come."""
        turned, self._turned = self._turned, False
        while True:
            copies = self._taken()
            if not copies:
                break
            try:
                self._write(copies)
            except Exception:  # one of them is to blame, and none of them is written yet
                for copy in copies:
                    self._alone(copy)
        now = self.clock()
        age = self.settings.log_seconds
        self._finish([model for model, file in self._files.items() if turned or now - file.began >= age])
        if turned:
            self._layouts = {}

    def _alone(self, copy: Copy) -> None:
        try:
            self._write([copy])
        except Exception as error:  # it must go on whatever came
            self._lost(copy.model, copy.rows, error)

    def _taken(self) -> list[Copy]:
        """The first that wait, all of one model and about as many as JOINED rows."""
        taken: list[Copy] = []
        count = 0
        with self._lock:
            while self._queue and count < JOINED and (not taken or self._queue[0].model is taken[0].model):
                taken.append(self._queue.popleft())
                count += taken[-1].rows
            self._rows -= count
            self._bytes -= sum(copy.size for copy in taken)
        return taken

    def _write(self, copies: Sequence[Copy]) -> None:
        model = copies[0].model
        count = sum(copy.rows for copy in copies)
        if self.clock() < self._rest:
            self._count(model, dropped=count)
            return
        layout = self._layouts.get(model)
        if layout is None:
            layout = self._layouts[model] = Layout(model.bundle, model.name, self.settings.log_columns)
        ids = [copy.id or os.urandom(8).hex() for copy in copies]
        spread = [i for i, copy in enumerate(copies) for _ in range(copy.rows)]
        inputs, outcome = together(copies)
        batch = layout.batch(inputs, outcome, [copies[i].time for i in spread], [ids[i] for i in spread])
        start = 0
        while start < count:
            file = self._files.get(model)
            if file is None:
                try:
                    file = self._files[model] = File(self.folder, layout, self.clock(), self._number)
                except OSError as error:
                    self._lost(model, count - start, error)
                    return
                self._number = file.number + 1
            part = batch.slice(start, self.settings.log_rows - file.rows)
            start += part.num_rows
            try:
                file.add(part)
            except Exception as error:
                self._files.pop(model).abandon()
                self._lost(model, file.rows + count - start, error)
                return
            if file.rows >= self.settings.log_rows:
                self._finish([model])

    def _finish(self, models: Sequence[Served]) -> None:
        for model in models:
            file = self._files.pop(model)
            try:
                file.finish()
            except Exception as error:
                file.abandon()
                self._lost(model, file.rows, error)
            else:
                self._count(model, rows=file.rows)

    def _lost(self, model: Served, count: int, error: Exception) -> None:
        """Rows that will be in no file, and why."""
        self._count(model, dropped=count)
        now = self.clock()
        if isinstance(error, OSError):
            self._rest = now + REST
        if now - self._complained < AGAIN:
            return
        self._complained = now
        said = f"{type(error).__name__}: {error}"
        log.error(
            "the prediction log cannot be written to %s: %s; %d rows of %s %s are dropped, answers go on",
            self.folder, said, count, model.name, model.version, exc_info=not isinstance(error, OSError),
        )  # fmt: skip

    def _count(self, model: Served, *, rows: int = 0, dropped: int = 0) -> None:
        with self._lock:  # `offer` counts too
            model.slot.logged(rows=rows, dropped=dropped)


def copied(model: Served, batch: Batch, outcome: Outcome, *, now: float, size: int, id: str) -> Copy | None:
    """A request whose rows are at hand; those that the model refused are left out. None where none is left."""
    if outcome.refused:
        import numpy as np

        good = np.setdiff1d(np.arange(rows(batch)), list(outcome.refused))
        batch, outcome = take(batch, good), Outcome(take(outcome.outputs, good), {})
    count = rows(batch)
    return Copy(model, now, id, count, size, batch, outcome) if count else None


def together(copies: Sequence[Copy]) -> tuple[Batch, Outcome]:
    """All their rows and answers, in order."""
    parts: list[tuple[Batch, Outcome]] = []
    start = 0
    while start < len(copies):
        stop = start + 1
        if isinstance(copies[start].question, bytes):
            while stop < len(copies) and isinstance(copies[stop].question, bytes):
                stop += 1
            parts.append(parsed(copies[start:stop]))
        else:
            question, answer = copies[start].question, copies[start].answer
            assert not isinstance(question, bytes)
            assert isinstance(answer, Outcome)
            parts.append((question, answer))
        start = stop
    return concat([batch for batch, _ in parts]), Outcome(concat([found.outputs for _, found in parts]), {})


def parsed(copies: Sequence[Copy]) -> tuple[Batch, Outcome]:
    """The rows and answers of JSON bodies that the hot path has answered: decoded as one list, which is quicker."""
    from anyport import client  # see mirror.asked

    signature = copies[0].model.signature
    asked = codec.decode(listed([copy.question for copy in copies]), signature)
    said = msgspec.json.decode(listed([copy.answer for copy in copies]))
    return asked.batch, client.decode_answers(said, signature)


def listed(bodies: Sequence[bytes | Batch | Outcome]) -> bytes:
    """Objects, and lists of objects that are not empty, as one list."""
    parts = []
    for body in bodies:
        assert isinstance(body, bytes)
        bare = body.strip()
        parts.append(bare[1:-1] if bare.startswith(b"[") else bare)
    return b"[" + b",".join(parts) + b"]"


def check(settings: Settings, columns: Sequence[str]) -> None:
    """Before anything is served: what the log needs is installed, and what can be known of its folder is said.

    `columns` are the inputs of all models. Missing without pyarrow. A folder that cannot be written to is no reason
    not to serve.
    """
    if settings.log_dir is None:
        return
    if importlib.util.find_spec("pyarrow") is None:  # importing it before a fork made workers hang in it
        need("pyarrow")
    for name in settings.log_columns:
        if name not in columns:
            log.warning("--log-columns %s: no model has such an input", name)
    with suppress(OSError):  # the first rows say it again, and go on saying it
        settings.log_dir.mkdir(parents=True, exist_ok=True)
    left = parquet.leftovers(settings.log_dir)
    if left:
        log.warning(
            "%s holds %d unfinished files of processes that ended in the middle, such as %s; nothing reads them",
            settings.log_dir, len(left), left[0].name,
        )  # fmt: skip
