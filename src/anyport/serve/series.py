"""The recent past of one model: requests, latency and errors a second, kept in shared memory for charts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from time import time
from typing import TYPE_CHECKING, Any

from anyport.serve.metrics import COUNTERS, SECONDS, SERIES, Slot, Totals

if TYPE_CHECKING:
    from numpy.typing import NDArray

RINGS: Mapping[int, int] = {1: 120, 10: 360}
"""Seconds a bucket → buckets: two minutes in seconds, an hour in tens of seconds."""
LATENCY = 7
CELLS = LATENCY + len(SECONDS) + 1
"""Of one bucket: its number, answers, caller's faults, ours, rows, runs, seconds in all, latency histogram."""
assert CELLS * sum(RINGS.values()) <= SERIES


class Recorder:
    """Writes one worker's recent past, from the difference its counters make between two calls of `tick`."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.before = counted(slot)

    def tick(self, now: float) -> None:
        """Add what has happened since the last call to the buckets of `now` (Unix time)."""
        after = counted(self.slot)
        gone = [a - b for a, b in zip(after, self.before, strict=True)]
        self.before = after
        if not any(gone):
            return
        for seconds, ring in rings(self.slot).items():
            number = int(now) // seconds
            row = ring[number % len(ring)]
            if row[0] != number:
                row[:] = 0.0
                row[0] = number
            row[1:] += gone


def counted(slot: Slot) -> list[float]:
    """What the buckets hold, of everything so far."""
    now = Totals(slot.cells[:COUNTERS])
    ok = sum(n for code, n in now.codes.items() if code < 400)
    ours = sum(n for code, n in now.codes.items() if code >= 500)
    faults = sum(now.codes.values()) - ok - ours
    return [ok, faults, ours, now.rows, sum(now.runs), now.seconds_sum, *now.seconds]


def rings(slot: Slot) -> dict[int, NDArray[Any]]:
    """Views of the slot's rings by their seconds a bucket."""

    cells = slot.area("series")
    found = {}
    start = 0
    for seconds, count in RINGS.items():
        found[seconds] = cells[start : start + count * CELLS].reshape(count, CELLS)
        start += count * CELLS
    return found


def recent(slots: Sequence[Slot], seconds: int, *, now: float | None = None) -> dict[str, Any]:
    """The last buckets of all workers together, oldest first, without the one that is still being filled.

    Lists of equal length: `requests`, `faults` (4xx), `failures` (5xx) and `rows` per second; `p50`, `p95`, `p99` of
    the latency in milliseconds, None where there was no request; `batch`, rows a run, None where there was no run.
    """
    import numpy as np

    count = RINGS[seconds]
    last = int(time() if now is None else now) // seconds
    numbers = np.arange(last - count, last)
    summed = np.zeros((count, CELLS))
    for slot in slots:
        ring = rings(slot)[seconds]
        held = ring[numbers % count]
        summed += np.where((held[:, 0] == numbers)[:, None], held, 0.0)
    rate = summed[:, 1:5] / seconds
    runs = summed[:, 5]
    histograms = summed[:, LATENCY:].tolist()
    return {
        "seconds": seconds, "until": last * seconds,
        "requests": (rate[:, 0] + rate[:, 1] + rate[:, 2]).tolist(), "faults": rate[:, 1].tolist(),
        "failures": rate[:, 2].tolist(), "rows": rate[:, 3].tolist(),
        "batch": [rows / n if n else None for rows, n in zip(summed[:, 4].tolist(), runs.tolist(), strict=True)],
        **{f"p{q}": [milliseconds(one, q / 100) for one in histograms] for q in (50, 95, 99)},
    }  # fmt: skip


def milliseconds(counts: Sequence[float], share: float) -> float | None:
    """`quantile`, in milliseconds to three digits."""
    found = quantile(counts, share)
    return None if found is None else float(f"{found * 1000:.3g}")


def quantile(counts: Sequence[float], share: float) -> float | None:
    """A quantile in seconds of a histogram over SECONDS; None for an empty one.

    Within a bucket, values are taken to be evenly spread, as Prometheus' histogram_quantile takes them
    (https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile); of what is above the
    last bound nothing is known but that.
    """
    total = sum(counts)
    if total <= 0:
        return None
    summed = []
    below = 0.0
    for count in counts:
        below += count
        summed.append(below)
    rank = share * total
    at = min(bisect_right(summed, rank - 1e-9), len(summed) - 1)
    if at >= len(SECONDS):
        return SECONDS[-1]
    low = SECONDS[at - 1] if at else 0.0
    start = summed[at - 1] if at else 0.0
    inside = (rank - start) / counts[at] if counts[at] else 0.0
    return low + (SECONDS[at] - low) * min(max(inside, 0.0), 1.0)
