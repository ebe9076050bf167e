"""Counters of all workers in one piece of shared memory; exposition.py writes them as Prometheus text."""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from time import time
from typing import TYPE_CHECKING, Any, Literal

from anyport.errors import Mistake

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODES = (
    200, 201, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 411, 412, 413, 414, 415, 417, 422, 424, 426, 428, 429,
    431, 499, 500, 501, 502, 503, 504, 507, 599,
)  # fmt: skip
"""Status codes that are counted on their own; any other is counted as 599."""
KINDS = (
    "BadAccept", "BadBody", "BadBundle", "BadData", "BadPlan", "BadQuery", "BadRequest", "Busy", "CannotLoad",
    "Changed", "Encoded", "Failed", "Full", "Impossible", "Loaded", "MethodNotAllowed", "Missing", "Mistake",
    "NoPlanBefore", "NotAcceptable", "NotFound", "NotReady", "NotTaken", "Offline", "Timeout", "TooLarge", "TooLong",
    "TooMany", "TooManyHeaders", "TooSlow", "Unauthorized", "Unsupported", "WorkerDied", "Untrusted", "Other",
)  # fmt: skip
"""Problems that are counted on their own, by their `error`; any other is counted as Other."""
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histograms; one bucket more holds the rest."""
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)
"""Upper bounds of the histogram of rows in one run of the model."""
STAGES = ("decode", "queue", "run", "encode")
"""Where the time of a request goes: bytes to rows, waiting for the model, the model, answers to bytes."""

_CODE: Mapping[int, int] = {code: i for i, code in enumerate(CODES)}
_TIME = len(CODES)
_TIME_SUM = _TIME + len(SECONDS) + 1
_RUN = _TIME_SUM + 1
_RUN_SUM = _RUN + len(ROWS) + 1
_REFUSED = _RUN_SUM + 1
_KIND = _REFUSED + 1
_KINDS: Mapping[str, int] = {kind: _KIND + i for i, kind in enumerate(KINDS)}
_STAGE = _KIND + len(KINDS)
_STAGE_WIDTH = len(SECONDS) + 2
_OPEN = _STAGE + len(STAGES) * _STAGE_WIDTH
_QUEUED = _OPEN + 1
_LOGGED = _QUEUED + 1
_DROPPED = _LOGGED + 1
_SHADOW = _DROPPED + 1
SHADOW = {
    "rows": "Rows that a shadow was asked and compared on.",
    "differing": "Of them, rows where it differs from what was answered.",
    "labels": "Of them, rows where the label differs.",
    "refusals": "Of them, rows that only one of the two refuses.",
    "failed": "Requests on which the shadow failed.",
    "dropped": "Requests that were not compared, because too many waited.",
    "largest": "Largest difference between two numbers.",
}
COUNTERS = _SHADOW + len(SHADOW)
"""Cells before the two areas below."""
SERIES = 120 * 24 + 360 * 24
"""Cells of the recent past, see series.py."""
SPREAD = 32 << 10
"""Cells of distributions, see watch.py. A page of memory that nobody has written to costs nothing."""
WIDTH = COUNTERS + SERIES + SPREAD

HOST = ("resident", "files", "cpu", "connections", "started", "seen")
"""What a worker says of itself once a second: bytes, open file descriptors, CPU seconds, open connections, and
the times (Unix) of its start and of this saying."""

CAPACITY = 256
"""Models and versions that have counters at any one time. Memory that none has used yet costs nothing."""


class Metrics:
    """Counts of every model in every worker. A worker writes to its own slot; whoever reads adds all slots.

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
        self._hosts = memoryview(mmap.mmap(-1, 8 * Host.WIDTH * workers)).cast("d")

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
        return Slot(self._cells[start : start + WIDTH], model, self)

    def slots(self, model: int) -> list[Slot]:
        """The slots of one model in every worker."""
        return [self.slot(model, worker) for worker in range(self.workers)]

    def host(self, worker: int) -> Host:
        """Where one worker counts what belongs to no model."""
        start = worker * Host.WIDTH
        return Host(self._hosts[start : start + Host.WIDTH])

    def hosts(self) -> list[Host]:
        """The same of every worker."""
        return [self.host(worker) for worker in range(self.workers)]

    def shadow(self, name: str, version: str) -> dict[str, float]:
        """How a version compared as a shadow: what `SHADOW` lists, over all workers."""
        place = self.models.index((name, version))
        slots = [self.slot(place, worker).cells[_SHADOW:COUNTERS] for worker in range(self.workers)]
        return {
            key: max(values) if key == "largest" else sum(values)
            for key, values in zip(SHADOW, zip(*slots, strict=True), strict=True)
        }


class Host:
    """One worker's counts of requests that reached no model, and what the process says of itself."""

    __slots__ = ("cells",)
    KIND = len(CODES)
    SAID = KIND + len(KINDS)
    WIDTH = SAID + len(HOST)

    def __init__(self, cells: memoryview[float]) -> None:
        self.cells = cells

    def request(self, code: int, kind: str = "") -> None:
        """One request answered without a model; `kind` is its Problem's `error`."""
        self.cells[_CODE.get(code, len(CODES) - 1)] += 1
        if kind:
            self.cells[self.KIND + _KINDS.get(kind, _KINDS["Other"]) - _KIND] += 1

    def say(self, **said: float) -> None:
        """Set some of HOST; `seen` is set to now."""
        for name, value in said.items():
            self.cells[self.SAID + HOST.index(name)] = value
        self.cells[self.WIDTH - 1] = time()

    def said(self) -> dict[str, float]:
        """All of HOST."""
        return dict(zip(HOST, self.cells[self.SAID : self.WIDTH], strict=True))


class Slot:
    """One worker's counters of one model."""

    __slots__ = ("cells", "metrics", "model")

    def __init__(self, cells: memoryview[float], model: int, metrics: Metrics) -> None:
        self.cells = cells
        self.model = model
        self.metrics = metrics

    def clear(self) -> None:
        """Every counter to 0."""
        self.cells[:] = memoryview(bytes(8 * WIDTH)).cast("d")

    def everywhere(self) -> list[Slot]:
        """This model's slots in every worker."""
        return self.metrics.slots(self.model)

    def request(self, code: int, seconds: float, kind: str = "") -> None:
        """One request answered; `kind` is its Problem's `error`."""
        cells = self.cells
        cells[_CODE.get(code, len(CODES) - 1)] += 1
        if kind:
            cells[_KINDS.get(kind, _KINDS["Other"])] += 1
        cells[_TIME + bisect_left(SECONDS, seconds)] += 1
        cells[_TIME_SUM] += seconds

    def ok(self, seconds: Sequence[float]) -> None:
        """Requests answered with 200 in one go, in order of arrival: none waited longer than one before it."""
        cells = self.cells
        cells[0] += len(seconds)
        first = bisect_left(SECONDS, seconds[0])
        if first == bisect_left(SECONDS, seconds[-1]):  # then so are all between them
            cells[_TIME + first] += len(seconds)
        else:
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
        self.cells[COUNTERS - 1] = max(self.cells[COUNTERS - 1], largest)

    def compare_anew(self) -> None:
        """Forget what was compared: it shadows another version now."""
        for place in range(_SHADOW, COUNTERS):
            self.cells[place] = 0.0

    def stages(self, decode: float, queue: float, run: float, encode: float) -> None:
        """Where the time of one request went, in seconds. Not every request is measured, see watch.py."""
        cells = self.cells
        at = _STAGE
        for seconds in (decode, queue, run, encode):
            cells[at + bisect_left(SECONDS, seconds)] += 1
            cells[at + _STAGE_WIDTH - 1] += seconds
            at += _STAGE_WIDTH

    def opened(self, by: int) -> None:
        """Requests under way: 1 more or, with -1, fewer."""
        self.cells[_OPEN] += by

    def queued(self, requests: int) -> None:
        """Requests that wait for a slow model now."""
        self.cells[_QUEUED] = requests

    def logged(self, *, rows: int = 0, dropped: int = 0) -> None:
        """Rows in finished files of the prediction log, and rows that found it full or could not be written."""
        self.cells[_LOGGED] += rows
        self.cells[_DROPPED] += dropped

    def begin(self) -> None:
        """A worker starts in this slot: nothing is under way, whatever its predecessor died of."""
        self.cells[_OPEN] = self.cells[_QUEUED] = 0.0

    def area(self, name: Literal["series", "spread"]) -> NDArray[Any]:
        """The cells of series.py or of watch.py, as an array that writes to them."""
        import numpy as np

        cells: NDArray[Any] = np.asarray(self.cells)
        return cells[COUNTERS : COUNTERS + SERIES] if name == "series" else cells[COUNTERS + SERIES : WIDTH]


class Totals:
    """The sum of a model's slots (or some cells of one), by name."""

    def __init__(self, cells: Sequence[float]) -> None:
        self.cells = cells
        self.codes = {code: cells[i] for i, code in enumerate(CODES) if cells[i]}
        self.kinds = {kind: cells[_KIND + i] for i, kind in enumerate(KINDS) if cells[_KIND + i]}
        self.seconds = cells[_TIME:_TIME_SUM]
        """Counts in the buckets of SECONDS, and of what is above."""
        self.seconds_sum = cells[_TIME_SUM]
        self.runs = cells[_RUN:_RUN_SUM]
        self.rows = cells[_RUN_SUM]
        self.refused = cells[_REFUSED]
        self.open = cells[_OPEN]
        self.queued = cells[_QUEUED]
        self.logged = cells[_LOGGED]
        self.dropped = cells[_DROPPED]

    def stage(self, name: str) -> tuple[Sequence[float], float]:
        """Counts and sum of a stage's seconds."""
        at = _STAGE + STAGES.index(name) * _STAGE_WIDTH
        return self.cells[at : at + _STAGE_WIDTH - 1], self.cells[at + _STAGE_WIDTH - 1]


def total(slots: Sequence[Slot]) -> Totals:
    """All workers' counts of one model."""
    return Totals([sum(values) for values in zip(*(slot.cells[:COUNTERS] for slot in slots), strict=True)])
