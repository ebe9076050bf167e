"""Counters of all workers in one piece of shared memory, and their Prometheus text."""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence

from anyport.errors import Mistake

CODES = (200, 400, 401, 404, 405, 408, 413, 414, 415, 422, 429, 431, 500, 503, 504)
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histogram; one bucket more holds the rest."""
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)
"""Upper bounds of the histogram of rows in one run of the model."""

_TIME = len(CODES)
_TIME_SUM = _TIME + len(SECONDS) + 1
_RUN = _TIME_SUM + 1
_RUN_SUM = _RUN + len(ROWS) + 1
_REFUSED = _RUN_SUM + 1
_SHADOW = _REFUSED + 1
SHADOW = {
    "rows": "Rows that a shadow was asked and compared on.",
    "differing": "Of them, rows where it differs from what was answered.",
    "labels": "Of them, rows where the label differs.",
    "refusals": "Of them, rows that only one of the two refuses.",
    "failed": "Requests on which the shadow failed.",
    "dropped": "Requests that were not compared, because too many waited.",
    "largest": "Largest difference between two numbers.",
}
WIDTH = _SHADOW + len(SHADOW)


CAPACITY = 256
"""Models and versions that have counters at any one time. Memory that none has used yet costs nothing."""


class Metrics:
    """Counts of every model in every worker. A worker writes to its own slot; the text sums all slots.

    The memory is anonymous and shared, so it must be made before the workers are forked, with room for models that
    come later. A restarted worker goes on in its predecessor's slot: counters never fall. Counters of a version that
    left stay, and go on if it comes back, until its place is needed for another (see `place`).
    """

    def __init__(self, models: Sequence[tuple[str, str]], workers: int) -> None:
        if len(models) > CAPACITY:
            raise Mistake(f"{len(models)} models: one server serves at most {CAPACITY}", fix="start another server")
        self.models: list[tuple[str, str]] = list(models)
        """Name and version at each place."""
        self.workers = workers
        self._turn = -1
        self._cells = memoryview(mmap.mmap(-1, 8 * WIDTH * CAPACITY * workers)).cast("d")

    def place(self, places: list[tuple[str, str]], name: str, version: str, keep: Collection[tuple[str, str]]) -> None:
        """Give a model that is about to be loaded a place: its old one, a free one, or that of a version that left,
        whose counters are dropped.

        `places` will be `models` once all workers have the model; `keep` are models whose counters must stay.
        Mistake where there is no room.
        """
        if (name, version) in places:
            return
        if len(places) < CAPACITY:
            places.append((name, version))
            return
        for _ in range(CAPACITY):  # in turn, so that those that left last are kept longest
            self._turn = (self._turn + 1) % CAPACITY
            if places[self._turn] not in keep:
                places[self._turn] = (name, version)
                for worker in range(self.workers):
                    self.slot(self._turn, worker).clear()
                return
        raise Mistake(
            f"there is no room for {name} version {version}: one server serves at most {CAPACITY} models, counting"
            " those of the plan before",
            fix="serve fewer, or start another server",
        )

    def slot(self, model: int, worker: int) -> Slot:
        """Where one worker counts for one model, by its place."""
        start = (worker * CAPACITY + model) * WIDTH
        return Slot(self._cells[start : start + WIDTH])

    def text(self) -> str:
        """All counters in Prometheus' text format 0.0.4."""
        totals = []
        for model in range(len(self.models)):
            slots = [self.slot(model, worker).cells for worker in range(self.workers)]
            totals.append([sum(values) for values in zip(*slots, strict=True)])
        named = [
            (f'model="{name}",version="{version}"', values)
            for (name, version), values in zip(self.models, totals, strict=True)
        ]
        lines = ["# HELP anyport_requests_total Prediction requests by status code."]
        lines += ["# TYPE anyport_requests_total counter"]
        lines += [
            f'anyport_requests_total{{{label},code="{code}"}} {values[i]:.0f}'
            for label, values in named
            for i, code in enumerate(CODES)
            if values[i]
        ]
        lines += ["# HELP anyport_request_seconds Time from a whole request read to its answer written."]
        lines += ["# TYPE anyport_request_seconds histogram"]
        for label, values in named:
            lines += histogram("anyport_request_seconds", label, SECONDS, values[_TIME:_TIME_SUM], values[_TIME_SUM])
        lines += ["# HELP anyport_run_rows Rows in one run of the model.", "# TYPE anyport_run_rows histogram"]
        for label, values in named:
            lines += histogram("anyport_run_rows", label, ROWS, values[_RUN:_RUN_SUM], values[_RUN_SUM])
        lines += ["# HELP anyport_refused_rows_total Rows that the model does not answer."]
        lines += ["# TYPE anyport_refused_rows_total counter"]
        lines += [f"anyport_refused_rows_total{{{label}}} {values[_REFUSED]:.0f}" for label, values in named]
        lines += shadows([((name, version), self.shadow(name, version)) for name, version in self.models])
        return "\n".join(lines) + "\n"

    def shadow(self, name: str, version: str) -> dict[str, float]:
        """How a version compared as a shadow: what `SHADOW` lists, over all workers."""
        place = self.models.index((name, version))
        slots = [self.slot(place, worker).cells[_SHADOW:WIDTH] for worker in range(self.workers)]
        return {
            key: max(values) if key == "largest" else sum(values)
            for key, values in zip(SHADOW, zip(*slots, strict=True), strict=True)
        }


def histogram(name: str, label: str, bounds: Sequence[float], counts: Sequence[float], total: float) -> list[str]:
    """The lines of one histogram; Prometheus wants its buckets cumulated."""
    lines = []
    below = 0.0
    for bound, count in zip(bounds, counts, strict=False):
        below += count
        lines.append(f'{name}_bucket{{{label},le="{bound:g}"}} {below:.0f}')
    below += counts[-1]
    return [
        *lines,
        f'{name}_bucket{{{label},le="+Inf"}} {below:.0f}',
        f"{name}_sum{{{label}}} {total!r}",
        f"{name}_count{{{label}}} {below:.0f}",
    ]


def shadows(found: Sequence[tuple[tuple[str, str], Mapping[str, float]]]) -> list[str]:
    """The lines of those that have shadowed."""
    lines = []
    for key, says in SHADOW.items():
        kind = "gauge" if key == "largest" else "counter"
        name = f"anyport_shadow_{key}" + ("_total" if kind == "counter" else "_difference")
        values = [
            f'{name}{{model="{model}",version="{version}"}} {counts[key]:g}'
            for (model, version), counts in found
            if any(counts.values())
        ]
        if values:
            lines += [f"# HELP {name} {says}", f"# TYPE {name} {kind}", *values]
    return lines


class Slot:
    """One worker's counters of one model."""

    __slots__ = ("cells",)

    def __init__(self, cells: memoryview[float]) -> None:
        self.cells = cells

    def clear(self) -> None:
        """Every counter to 0."""
        self.cells[:] = memoryview(bytes(8 * WIDTH)).cast("d")

    def request(self, code: int, seconds: float) -> None:
        """One request answered."""
        cells = self.cells
        cells[CODES.index(code)] += 1
        cells[_TIME + bisect_left(SECONDS, seconds)] += 1
        cells[_TIME_SUM] += seconds

    def ok(self, seconds: Sequence[float]) -> None:
        """Requests answered with 200 in one go."""
        cells = self.cells
        cells[0] += len(seconds)
        for s in seconds:
            cells[_TIME + bisect_left(SECONDS, s)] += 1
        cells[_TIME_SUM] += sum(seconds)

    def run(self, rows: int) -> None:
        """One run of the model."""
        cells = self.cells
        cells[_RUN + bisect_left(ROWS, rows)] += 1
        cells[_RUN_SUM] += rows

    def refused(self, rows: int) -> None:
        """Rows not answered."""
        self.cells[_REFUSED] += rows

    def shadowed(self, *, largest: float = 0.0, **counts: float) -> None:
        """What comparing it as a shadow found: counts by the names in `SHADOW`."""
        for place, key in enumerate(SHADOW, _SHADOW):
            self.cells[place] += counts.get(key, 0)
        self.cells[WIDTH - 1] = max(self.cells[WIDTH - 1], largest)

    def compare_anew(self) -> None:
        """Forget what was compared: it shadows another version now."""
        for place in range(_SHADOW, WIDTH):
            self.cells[place] = 0.0
