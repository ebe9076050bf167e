"""The hot path: rows decoded straight into one tensor, one run for all that arrived in a turn of the event loop."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import starmap
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import msgspec

from anyport import codec
from anyport.graph.straight import Straight, straight
from anyport.predictor import GraphPredictor, Predictor
from anyport.serve.metrics import Slot
from anyport.signature import Field, Signature

if TYPE_CHECKING:
    import asyncio

    from numpy.typing import NDArray

    from anyport.serve.watch import Watch

CAPACITY = 256
"""Rows of the tensor; a run starts early when it is full."""
SHORT = 32
"""Longest list of rows that is answered here; a longer one would keep the others waiting."""
SMALL = 16 << 10
"""Bytes of a body that is read on the event loop, for the same reason."""

ODD = re.compile(r'["\\\x00-\x1f]')
"""Characters that msgspec takes in no field's name."""

_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
_lines: Callable[[Any], bytes] = msgspec.json.Encoder().encode_lines
_columns = msgspec.structs.astuple


class Caller(Protocol):
    """Who waits for an answer: a connection."""

    def answered(self, body: bytes, now: float, keep: bool) -> None:
        """Write a 200. `now` is perf_counter's."""

    def failed(self, error: Exception, now: float, keep: bool) -> None:
        """Write a 500."""


class Hot:
    """Decodes the common request of one graph model. Whatever it cannot decode, codec.py judges.

    `row` and `rows` raise for anything out of the ordinary: infinities, refused values, wrong or missing keys,
    another form of body. They never accept what codec.py would refuse.
    """

    def __init__(self, predictor: GraphPredictor, fill: Callable[[Any, NDArray[Any]], Any], kind: type[Any]) -> None:
        import numpy as np

        assert predictor.encoder is not None
        self.signature = predictor.signature
        self.fill = fill
        self.columns = len(predictor.signature.inputs)
        self.row: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode
        self.rows: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]
        self.matrix = np.zeros((CAPACITY, predictor.encoder.width), predictor.encoder.tensor)
        self.ready = self.matrix
        """What the model reads; after steps that are done for many rows at once, another one than `fill` writes to."""
        self.pack: Callable[..., bytes] | None = None
        """Makes a row of the tensor from a record's columns as they are, where it is no more than they."""
        self.steps: tuple[tuple[Any, NDArray[Any]], ...] = ()
        direct = straight(self.signature, predictor.encoder)
        if direct is not None:
            self.fill = packer(direct)
            self.pack = direct.form.pack
            self.steps = direct.steps
            self.ready = np.zeros_like(self.matrix) if self.steps else self.matrix
        self.memory = memoryview(self.matrix.data).cast("B")
        self.views = [self.matrix[i] for i in range(CAPACITY)]
        # session.run checks names and types at 1 µs a call; both are right here by construction
        self._run = predictor.session._sess.run
        self._names = predictor.outputs
        self._makers = [maker(field, predictor) for field in self.signature.outputs]
        self._answer = answer_type(self.signature)
        # plain arithmetic on floats does not warn either
        self._quiet = partial(np.errstate, all="ignore")

    def answers(self, start: int, stop: int) -> list[Any]:
        """Run the model on rows start … stop of the tensor; one JSON-ready answer a row."""
        tensor = self.ready[start:stop]
        if self.steps:
            rows = self.matrix[start:stop]
            with self._quiet():
                for step, value in self.steps:
                    rows = step(rows, value, tensor)
        raw = dict(zip(self._names, self._run(self._names, {"X": tensor}, None), strict=True))
        return list(map(self._answer, *[make(raw) for make in self._makers]))


def of(predictor: Predictor) -> Hot | None:
    """The hot path of a predictor, or None where there is none: no encoder, or columns that no plain cell holds."""
    if not isinstance(predictor, GraphPredictor) or predictor.encoder is None:
        return None
    fields = predictor.signature.inputs
    if any(field.shape or field.dtype == "datetime" for field in fields):
        return None
    if any(ODD.search(field.name) for field in fields):
        return None
    from anyport.graph.rows import compile_row

    fill = compile_row(predictor.signature, predictor.encoder, access="attribute")
    return Hot(predictor, fill, row_type(predictor.signature))


def packer(direct: Straight) -> Callable[[Any, Any], None]:
    """Fills a row with a record's columns as they are. Raises struct.error for what does not fit."""
    pack, columns = direct.form.pack_into, msgspec.structs.astuple

    def fill(record: Any, out: Any) -> None:
        pack(out, 0, *columns(record))

    return fill


def row_type(signature: Signature) -> type[Any]:
    """A msgspec Struct that takes exactly the rows the model answers; its attributes are c0, c1, … in order."""
    fields = [(f"c{i}", cell_type(field)) for i, field in enumerate(signature.inputs)]
    rename = {f"c{i}": field.name for i, field in enumerate(signature.inputs)}
    return msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, gc=False)


def cell_type(field: Field) -> Any:
    """The type of one JSON cell; narrower than the field where JSON types cannot say its rule."""
    kind: Any
    if field.is_float:
        kind = Annotated[float, msgspec.Meta(**bounds(field))] if bounds(field) else float
    elif field.is_int:
        kind = Annotated[int, msgspec.Meta(**bounds(field))]
    elif field.dtype == "bool":
        kind = bool
    else:
        level = type(field.levels[0]) if field.levels and field.dtype == "category" else str
        kind = Literal[field.levels] if field.closed and field.levels and level in (str, int) else level
    return kind | None if field.nullable else kind


def bounds(field: Field) -> dict[str, Any]:
    """The closed interval of a number as msgspec's constraints: the field's own, within what its dtype holds."""
    import numpy as np

    low, high = field.low, field.high
    if field.is_int:
        limits = np.iinfo(field.dtype)
        # msgspec's bounds end at int64; larger values of a uint64 are left to codec.py
        most = min(int(limits.max), (1 << 63) - 1)
        floor = int(limits.min) if low is None else max(math.ceil(low), int(limits.min))
        return {"ge": floor, "le": most if high is None else min(math.floor(high), most)}
    if field.dtype != "float64":
        largest = float(np.finfo(field.dtype).max)
        low = -largest if low is None else max(low, -largest)
        high = largest if high is None else min(high, largest)
    return {key: value for key, value in (("ge", low), ("le", high)) if value is not None}


def answer_type(signature: Signature) -> Callable[..., Any]:
    """Makes one answer from one value an output, in order."""
    return keyed([field.name for field in signature.outputs], Any)


def keyed(names: Sequence[str], kind: Any) -> Callable[..., Any]:
    """Makes an object of these keys from one value each: a Struct, which msgspec writes twice as fast as a dict."""
    if any(ODD.search(name) for name in names):
        return lambda *values: dict(zip(names, values, strict=True))
    fields = [(f"k{i}", kind) for i in range(len(names))]
    return msgspec.defstruct("Keyed", fields, rename={f"k{i}": name for i, name in enumerate(names)}, gc=False)


def maker(field: Field, predictor: GraphPredictor) -> Callable[[dict[str, NDArray[Any]]], Sequence[Any]]:
    """Turns the graph's raw outputs into one JSON-ready value a row. As `GraphPredictor.named`, without columns."""
    import numpy as np

    name, named = field.name, codec.keys(field)
    scores = name.replace("prediction", "probability")
    labels = predictor.labels.get(name)
    if labels is not None and name.startswith("prediction") and not field.shape:
        words = labels.tolist()
        if name in predictor.outputs:
            return lambda raw: [words[i] for i in raw[name].ravel().tolist()]
        return lambda raw: [words[i] for i in raw[scores].argmax(axis=1).tolist()]
    if named is not None and name in predictor.outputs:
        made = keyed(named, float)
        return lambda raw: list(starmap(made, raw[name].tolist()))
    if field.is_float and not field.shape and name in predictor.outputs:

        def numbers(raw: dict[str, NDArray[Any]]) -> Sequence[Any]:
            values = raw[name].ravel()
            if values.dtype != field.dtype:
                values = values.astype(field.dtype)
            # NaN is written as null by msgspec; an infinity must be text
            return codec.finite(values.tolist()) if np.isinf(values).any() else values.tolist()

        return numbers
    return lambda raw: codec.cells(predictor.named(raw)[name], field)


class Tick:
    """Joins the rows of all connections that arrive in one turn of the event loop. Not thread-safe."""

    def __init__(
        self, hot: Hot, slot: Slot, watch: Watch, loop: asyncio.AbstractEventLoop, *, unique: bool = True
    ) -> None:
        self.hot = hot
        self.unique = unique
        """Whether a key that comes twice is refused."""
        self.slot = slot
        self.watch = watch
        self.seen: list[Any] | None = None
        """The rows of this turn, where the watch wants them."""
        self.decoded = 0.0
        """When the first of them had been decoded."""
        self.loop = loop
        self.used = 0
        self.packed: list[bytes] = []
        """Their rows of the tensor, where `hot.pack` makes them: copied into it all at once."""
        self.waiting: list[tuple[Caller, int, int, bool, bool, float]] = []
        """caller, first row, last row + 1, was it a list, keep the connection, when it was read."""

    def take(self, caller: Caller, body: bytes, keep: bool) -> bool:
        """Whether the rows in `body` were taken; if not, nothing has changed."""
        if len(body) > SMALL:
            return False
        started = perf_counter()
        hot = self.hot
        try:
            if body[0] == 91:  # "["
                rows = hot.rows(body)
                count = len(rows)
                if not 0 < count <= SHORT:
                    return False
                if self.unique and body.count(58) != hot.columns * count:
                    codec.once(body)
                if self.used + count > CAPACITY:
                    self.flush()
                at = self.used
                if hot.pack is not None:
                    self.packed += [hot.pack(*_columns(row)) for row in rows]
                else:
                    for i, row in enumerate(rows, at):
                        if hot.fill(row, hot.views[i]) is not None:
                            return False
            else:
                row = hot.row(body)
                if self.unique and body.count(58) != hot.columns:  # 58 is ":", and msgspec takes the last of two keys
                    codec.once(body)
                count = 0
                if self.used == CAPACITY:
                    self.flush()
                at = self.used
                if hot.pack is not None:
                    self.packed.append(hot.pack(*_columns(row)))
                elif hot.fill(row, hot.views[at]) is not None:
                    return False
        except Exception:  # whatever it is, codec.py decides what to say of it
            return False
        stop = at + (count or 1)
        if not self.waiting:
            self.loop.call_soon(self.flush)
            self.seen = self.watch.begin()
            if self.seen is not None:
                self.decoded = perf_counter()
        if self.seen is not None:
            self.seen.append(rows if count else row)
        self.used = stop
        self.waiting.append((caller, at, stop, count > 0, keep, started))
        return True

    def flush(self) -> None:
        """Run the model on everything taken so far and answer every caller, in order of arrival."""
        waiting, used = self.waiting, self.used
        if not waiting:
            return
        self.waiting, self.used = [], 0
        seen, self.seen = self.seen, None
        if self.packed:
            whole, self.packed = b"".join(self.packed), []
            self.hot.memory[: len(whole)] = whole
        begun = perf_counter() if seen is not None else 0.0
        try:
            answers = self.hot.answers(0, used)
            ran = perf_counter() if seen is not None else 0.0
            # one call for all; text in JSON holds no line's end
            lines = _lines(answers).split(b"\n")
            bodies = [b"[%b]" % b",".join(lines[at:stop]) if many else lines[at] for _, at, stop, many, _, _ in waiting]
        except Exception:
            self.apart(waiting)
            return
        self.slot.run(used)
        now = perf_counter()
        self.slot.ok([now - one[5] for one in waiting])
        if seen is not None:
            self.watch.add(seen, answers, (self.decoded - waiting[0][5], begun - self.decoded, ran - begun, now - ran))
        for (caller, _, _, _, keep, _), body in zip(waiting, bodies, strict=True):
            caller.answered(body, now, keep)

    def apart(self, waiting: Sequence[tuple[Caller, int, int, bool, bool, float]]) -> None:
        """The joined run failed: run every request alone, so that only the guilty one fails."""
        for caller, at, stop, many, keep, started in waiting:
            try:
                answers = self.hot.answers(at, stop)
                body = _encode(answers if many else answers[0])
            except Exception as error:
                now = perf_counter()
                self.slot.request(500, now - started, "Failed")
                caller.failed(error, now, keep)
            else:
                self.slot.run(stop - at)
                now = perf_counter()
                self.slot.ok([now - started])
                caller.answered(body, now, keep)
