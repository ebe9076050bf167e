"""Watch: a sample of rows and answers of one model, counted once a second into distributions that all workers share.

Requests only leave their rows here, and only while there is room: the first `watch_rows` rows of each second. What
is counted, and how long stages took, is worked out by `tick`, away from any request.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from operator import attrgetter, itemgetter
from time import time
from typing import TYPE_CHECKING, Any

import msgspec

from anyport.batch import Batch, Outcome, rows, take
from anyport.bundle import Bundle
from anyport.serve import drift
from anyport.serve.drift import Axis, Drift
from anyport.serve.metrics import SPREAD, Slot
from anyport.serve.series import Recorder
from anyport.serve.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

BUCKETS = range(3, 13)
"""Parts of the sliding window: it moves on by one at a time. The more columns, the fewer parts fit into memory."""
Stages = tuple[float, float, float, float]
"""Seconds of metrics.STAGES."""
log = logging.getLogger("anyport.serve")


class Watch:
    """The sample of one model in one worker."""

    def __init__(self, bundle: Bundle) -> None:
        file = bundle.member("baseline.json")
        baseline = None if file is None else msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        self.signature = bundle.signature
        self.axes = fitting(drift.axes(bundle.signature, baseline), bundle.name)
        self.width = 1 + sum(axis.width for axis in self.axes)
        """Cells of one part of the window: its number, and the bins of every axis."""
        self.buckets = min(BUCKETS[-1], SPREAD // self.width - 1)
        self.base_rows = 0 if baseline is None else int(baseline["rows"])
        self.room = 0
        """Rows that are still wanted in this second."""
        self.taken: list[tuple[Sequence[Any], Sequence[Any], Stages]] = []
        self.batches: list[tuple[Batch, Outcome]] = []
        self.measured: list[Stages] = []
        self.recorder: Recorder | None = None
        self.lock = threading.Lock()
        """One `tick` at a time: /metrics calls it too, to tell the present."""

    def begin(self) -> list[Any] | None:
        """A list for the rows of a run that is about to be joined, or None where they are not wanted."""
        return [] if self.room > 0 else None

    def add(self, records: list[Any], answers: Sequence[Any], stages: Stages) -> None:
        """Rows of the hot path (or lists of them) with one answer a row."""
        self.room -= len(answers)
        self.taken.append((records, answers, stages))

    def batch(self, batch: Batch, outcome: Outcome, stages: Stages) -> None:
        """Rows of any other path. Called from any thread."""
        room = self.room
        if room <= 0:
            return
        self.measured.append(stages)
        if outcome.refused:
            import numpy as np

            good = np.setdiff1d(np.arange(rows(batch)), list(outcome.refused))[:room]
            batch, outcome = take(batch, good), Outcome(take(outcome.outputs, good), {})
        elif rows(batch) > room:
            batch, outcome = take(batch, slice(0, room)), Outcome(take(outcome.outputs, slice(0, room)), {})
        self.room -= rows(batch)
        self.batches.append((batch, outcome))

    def tick(self, slot: Slot, settings: Settings, now: float | None = None) -> None:
        """Count what has come since the last call, and make room for more. Call it once a second."""
        with self.lock:
            self.ticked(slot, settings, time() if now is None else now)

    def ticked(self, slot: Slot, settings: Settings, now: float) -> None:
        if self.recorder is None or self.recorder.slot is not slot:
            self.recorder = Recorder(slot)
        self.recorder.tick(now)
        taken, self.taken = self.taken, []
        batches, self.batches = self.batches, []
        measured, self.measured = self.measured, []
        for stages in (*measured, *(one[2] for one in taken)):
            slot.stages(*stages)
        self.room = settings.watch_rows
        if not taken and not batches:
            return
        counts = [0] * len(self.axes)
        for one in (*map(self.hot, taken), *map(self.cold, batches)):
            counts = [a + b for a, b in zip(counts, one, strict=True)]
        number = int(now / (settings.drift_window / self.buckets))
        kept = self.kept(slot)
        row = kept[1 + number % self.buckets]
        if row[0] != number:
            row[:] = 0.0
            row[0] = number
        start = 1
        for axis, counted in zip(self.axes, counts, strict=False):
            for target in (kept[0], row):
                target[start : start + axis.width] += counted
            start += axis.width

    def hot(self, taken: tuple[Sequence[Any], Sequence[Any], Stages]) -> list[Any]:
        """Counts of rows as the hot path has them: attributes c0, c1, …, and k0, k1, … of the answers."""
        records: list[Any] = []
        for one in taken[0]:
            if isinstance(one, list):
                records += one
            else:
                records.append(one)
        answers = taken[1]
        keyed = bool(answers) and isinstance(answers[0], dict)
        found = []
        for axis in self.axes:
            if axis.side == "input":
                found.append(axis.count([*map(attrgetter(f"c{axis.at}"), records)]))
            else:
                get = itemgetter(axis.name) if keyed else attrgetter(f"k{axis.at}")
                values = [*map(get, answers)]
                found.append(axis.count(values if axis.levels is not None else [*map(finite, values)]))
        return found

    def cold(self, taken: tuple[Batch, Outcome]) -> list[Any]:
        """Counts of a Batch and its answers."""
        sides = {"input": taken[0], "output": taken[1].outputs}
        return [axis.count(sides[axis.side][axis.name]) for axis in self.axes]

    def kept(self, slot: Slot) -> NDArray[Any]:
        """A slot's distributions: row 0 since the start, then the buckets of the window, each with its number first."""

        cells = slot.area("spread")
        return cells[: (1 + self.buckets) * self.width].reshape(1 + self.buckets, self.width)

    def counts(self, slots: Sequence[Slot], settings: Settings, now: float | None = None) -> tuple[Counts, Counts]:
        """Rows in each bin of each axis, of all workers: since the start, and within the window."""
        import numpy as np

        number = int((time() if now is None else now) / (settings.drift_window / self.buckets))
        ever = window = np.zeros(self.width - 1)
        for slot in slots:
            kept = self.kept(slot)
            live = kept[1:][(kept[1:, 0] > number - self.buckets) & (kept[1:, 0] <= number)]
            ever = ever + kept[0, 1:]
            window = window + live[:, 1:].sum(axis=0)
        ends = np.cumsum([axis.width for axis in self.axes])[:-1]
        parts = [np.split(one, ends) for one in (ever, window)]
        return (
            {(axis.side, axis.name): cells for axis, cells in zip(self.axes, parts[0], strict=True)},
            {(axis.side, axis.name): cells for axis, cells in zip(self.axes, parts[1], strict=True)},
        )

    def drifts(self, window: Counts) -> list[Drift]:
        """The drift of every column that has a baseline; outputs first."""
        return [
            drift.of(axis, window[axis.side, axis.name], self.base_rows)
            for axis in self.axes
            if axis.expected is not None
        ]


Counts = Mapping[tuple[str, str], Any]
"""(side, column) → rows in each bin."""


def fitting(axes: Sequence[Axis], name: str) -> tuple[Axis, ...]:
    """As many axes as shared memory has cells for: some 680 columns of numbers. The log names those left out."""
    most = SPREAD // (1 + BUCKETS[0]) - 1
    kept = []
    for axis in axes:
        most -= axis.width
        if most < 0:
            log.warning("model %s: the drift of columns from %s on is not watched: there are too many", name, axis.name)
            break
        kept.append(axis)
    return tuple(kept)


def finite(value: Any) -> Any:
    """A JSON-ready number as a number again: infinities were made text."""
    return {"Infinity": float("inf"), "-Infinity": float("-inf")}.get(value, value) if isinstance(value, str) else value
