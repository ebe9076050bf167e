"""One feature, while it still knows its raw column: a number through steps, or a table over levels or intervals."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible, need
from anyport.graph.encoder import Add, Clip, Divide, Float32, Impute, Level, Multiply, Step, Subtract, Text
from anyport.signature import Field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Sentinel:
    """A value that stands only for itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


SELF = Sentinel("SELF")
"""In a Cell: the raw value itself."""
REFUSED = Sentinel("REFUSED")
"""In a Cell: the original raises for this value, so its row never gets here."""


@dataclass(frozen=True, eq=False)
class Levels:
    """The values of a raw column that some encoder knows; shared by all features made of them."""

    column: str
    keys: tuple[Level, ...]


@dataclass(frozen=True, eq=False)
class Edges:
    """The len(edges) + 1 intervals of a raw number after `steps`; x is in interval i when i edges are <= x."""

    column: str
    steps: tuple[Step, ...]
    edges: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Num:
    """A numeric column through steps."""

    column: str
    steps: tuple[Step, ...] = ()
    dtype: str = "float64"
    gone: Any = math.nan
    """What the raw column holds where it is missing."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One value per level or interval: `hits[i]`, else `default`; `missing` and `other` for the rest.

    Before an encoder the values may be text, None or NaN; after it they are numbers.
    """

    source: Levels | Edges
    default: Any
    hits: Mapping[int, Any]
    missing: Any
    other: Any
    dtype: str = "float64"

    @property
    def size(self) -> int:
        return len(self.source.keys) if isinstance(self.source, Levels) else len(self.source.edges) + 1

    def values(self) -> list[Any]:
        """The value of every level or interval."""
        return [self.hits.get(i, self.default) for i in range(self.size)]


@dataclass(frozen=True, eq=False)
class Const:
    """The same number in every row."""

    value: float
    dtype: str = "float64"


@dataclass(frozen=True, eq=False)
class Term:
    """The count of one term of a text column."""

    text: Text
    index: int
    dtype: str = "int64"


@dataclass(frozen=True, eq=False)
class Part:
    """Column `index` of a graph value [N, width]."""

    value: str
    index: int
    width: int
    dtype: str = "float64"


@dataclass(frozen=True, eq=False)
class Opaque:
    """A column that may only be dropped."""

    column: str
    why: str
    dtype: str = "object"


Feature = Num | Cell | Const | Term | Part | Opaque


def raw(f: Field) -> Feature:
    """A signature's column as scikit-learn gets it."""
    if f.shape:
        return Opaque(f.name, "holds tensors")
    if f.dtype == "datetime":
        return Opaque(f.name, "holds datetimes, which scikit-learn has no arithmetic for")
    if f.is_text:
        gone: Any = None if f.missing == "none" else need("pandas").NA if f.missing == "na" else math.nan
        numbers = f.levels is not None and not any(isinstance(v, str) for v in f.levels)
        keys = f.levels if numbers and f.levels is not None else ()
        return Cell(Levels(f.name, keys), None, dict(enumerate(keys)), gone, SELF, "float64" if numbers else "object")
    if f.native == "object":
        return Num(f.name, (), "object", None if f.missing == "none" else math.nan)
    return Num(f.name, (), "float64" if f.nullable and not f.is_float else f.dtype)


def missing(value: Any) -> bool:
    """None, NaN, or pandas' NA."""
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and value != value)


def number(feature: Feature) -> Feature:
    """A feature as a number, or Impossible."""
    if isinstance(feature, Opaque):
        raise Impossible(f"column {feature.column!r} {feature.why}")
    if not isinstance(feature, Cell):
        return feature
    values = {*feature.hits.values(), feature.missing, *(() if feature.other is SELF else (feature.other,))}
    if (feature.other is SELF and feature.size == 0) or any(isinstance(v, str) for v in values):
        raise Impossible(f"column {feature.source.column!r} is text where the model wants numbers")
    if feature.other is SELF or feature.missing is None:
        other = REFUSED if feature.other is SELF else feature.other
        return replace(feature, other=other, missing=math.nan if feature.missing is None else feature.missing)
    return feature


ARITHMETIC: Mapping[type, tuple[str, Callable[[Any, Any], Any]]] = {
    Subtract: ("Sub", operator.sub),
    Add: ("Add", operator.add),
    Multiply: ("Mul", operator.mul),
    Divide: ("Div", operator.truediv),
}
"""Step → its ONNX operator and its function."""


def run_steps(steps: Iterable[Step], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers through steps, in double; never in place."""
    import numpy as np

    with np.errstate(all="ignore"):
        for step in steps:
            if isinstance(step, Impute):
                x = np.where(np.isnan(x), step.value, x)
            elif isinstance(step, Clip):
                x = np.minimum(np.maximum(x, step.low), step.high)
            elif isinstance(step, Float32):
                x = x.astype(np.float32).astype(np.float64)
            else:
                x = ARITHMETIC[type(step)][1](x, step.value)
    return x


def stepped(feature: Feature, steps: tuple[Step, ...], dtype: str) -> Feature:
    """A feature that is not in the graph yet, through steps."""
    if isinstance(feature, Num):
        return Num(feature.column, feature.steps + steps, dtype)
    return elementwise(feature, lambda x: run_steps(steps, x), dtype)


def elementwise(feature: Feature, f: Callable[[NDArray[np.float64]], NDArray[Any]], dtype: str) -> Feature:
    """A numeric table or constant through `f`, asked once with all its values (NaN among them)."""
    import numpy as np

    if isinstance(feature, Const):
        return Const(float(f(np.array([feature.value]))[0]), dtype)
    if not isinstance(feature, Cell):
        raise Impossible(f"arithmetic on a {type(feature).__name__.lower()} of the encoder")
    asked: list[Any] = [feature.default, feature.missing, feature.other, *feature.hits.values()]
    live = [v is not REFUSED and v is not None for v in asked]
    answers = iter(f(np.array([v for v, ok in zip(asked, live, strict=True) if ok], dtype=np.float64)).tolist())
    default, gone, other, *hits = (float(next(answers)) if ok else v for v, ok in zip(asked, live, strict=True))
    return Cell(feature.source, default, dict(zip(feature.hits, hits, strict=True)), gone, other, dtype)


def telling(feature: Feature, points: Sequence[Any]) -> Cell | None:
    """The feature as a Cell that tells all of `points` apart; None for one of the graph.

    Points that are missing values are the Cell's `missing` already.
    """
    import numpy as np

    if isinstance(feature, Num):
        known = sorted({float(p) for p in points if isinstance(p, (int, float)) and not missing(p)})
        if all(isinstance(s, Impute) for s in feature.steps):
            gone = next((s.value for s in feature.steps if isinstance(s, Impute)), feature.gone)
            return Cell(Levels(feature.column, tuple(known)), None, dict(enumerate(known)), gone, SELF, feature.dtype)
        edges = sorted({e for p in known for e in (p, float(np.nextafter(p, np.inf)))})
        at = {p: edges.index(p) + 1 for p in known}
        gone = float(run_steps(feature.steps, np.array([np.nan]))[0])
        hits = {i: p for p, i in at.items()}
        return Cell(Edges(feature.column, feature.steps, tuple(edges)), SELF, hits, gone, SELF, feature.dtype)
    if not isinstance(feature, Cell):
        return None
    if feature.other is not SELF or not isinstance(feature.source, Levels):
        return feature
    have = set(feature.source.keys)
    new = tuple(p for p in dict.fromkeys(points) if not missing(p) and p not in have)
    hits = dict(feature.hits) | dict(enumerate(new, len(have)))
    return replace(feature, source=Levels(feature.source.column, feature.source.keys + new), hits=hits)


def renamed(feature: Feature, f: Callable[[Any], Any], points: Sequence[Any]) -> Feature:
    """A table through a function of single values, which may give text, and SELF for SELF.

    `points`: all values that `f` treats in a way of their own.
    """
    if isinstance(feature, Const):
        return Const(f(feature.value), feature.dtype)
    cell = telling(feature, points)
    if cell is None:
        raise Impossible("a table of values behind arithmetic of the whole row")

    def ask(value: Any) -> Any:
        return REFUSED if value is REFUSED else f(value)

    hits = {i: ask(v) for i, v in cell.hits.items()}
    default = ask(cell.default) if len(hits) < cell.size else cell.default
    return Cell(cell.source, default, hits, ask(cell.missing), ask(cell.other), cell.dtype)


Ask = Callable[[list[Any]], "tuple[Any, Sequence[bool]]"]
"""values → (matrix [len(values), outputs], dense or sparse; for which values the original raises instead).
One of the values may be SELF: any value it was not fitted on."""


def tabled(feature: Feature, ask: Ask, points: Sequence[Any], *, dtype: str = "float64") -> list[Feature]:
    """A table of one column into several outputs, as `ask` says. Values that most levels share are stored once."""
    import numpy as np

    if isinstance(feature, Const):
        matrix, _ = ask([feature.value])
        return [Const(float(v), dtype) for v in (matrix if isinstance(matrix, np.ndarray) else matrix.toarray())[0]]
    cell = telling(feature, points)
    if cell is None:
        raise Impossible("a table of values behind arithmetic of the whole row")
    keyed = {("missing", type(v).__name__) if missing(v) else v: v for v in (*cell.values(), cell.missing, cell.other)}
    keyed.pop(REFUSED, None)
    values = list(keyed.values())
    matrix, raises = ask(values)
    row = {key: i for i, (key, no) in enumerate(zip(keyed, raises, strict=True)) if not no}
    holders: dict[int, list[int]] = {}
    for i, v in enumerate(cell.values()):
        holders.setdefault(row.get(("missing", type(v).__name__) if missing(v) else v, -1), []).append(i)
    refused = dict.fromkeys(holders.pop(-1, []), REFUSED)
    gone, other = (row.get(("missing", type(v).__name__) if missing(v) else v) for v in (cell.missing, cell.other))
    sparse = not isinstance(matrix, np.ndarray)
    by_column = matrix.tocsc() if sparse else matrix
    made: list[Feature] = []
    for j in range(matrix.shape[1]):
        if sparse:
            part = slice(by_column.indptr[j], by_column.indptr[j + 1])
            filled = dict(zip(by_column.indices[part].tolist(), by_column.data[part].tolist(), strict=True))
            default = 0.0
        else:
            filled = dict(enumerate(by_column[:, j].tolist()))
            counts = Counter({filled[r]: len(held) for r, held in holders.items()})
            default = counts.most_common(1)[0][0] if counts else 0.0
        hits = {i: v for r, v in filled.items() if v != default for i in holders.get(r, ())}
        ends = [REFUSED if r is None else filled.get(r, 0.0) for r in (gone, other)]
        made.append(Cell(cell.source, default, {**hits, **refused}, ends[0], ends[1], dtype))
    return made
