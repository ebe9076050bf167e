"""Features over raw columns: what per-column transformers make of them stays declarative data until asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.encoder import Clip, Float32, Impute, Step
from anyport.graph.sklearn import Features
from anyport.graph.sklearn.cells import ARITHMETIC, Feature, Opaque, Part, Term, number, raw, stepped
from anyport.graph.sklearn.slots import Encoding


@dataclass(frozen=True)
class Frame:
    """n rows of features, raw or in the graph. `sparse`: scikit-learn holds them as a sparse matrix here,
    and divides by multiplying with the reciprocal."""

    b: Builder
    encoding: Encoding | None
    features: tuple[Feature, ...]
    sparse: bool = False

    @property
    def width(self) -> int:
        return len(self.features)

    def select(self, indices: Sequence[int]) -> Frame:
        return self.having(self.features[i] for i in indices)

    def having(self, features: Iterable[Feature], *, sparse: bool | None = None) -> Frame:
        """The same rows with other features."""
        return Frame(self.b, self.encoding, tuple(features), self.sparse if sparse is None else sparse)

    @cached_property
    def numeric(self) -> tuple[Feature, ...]:
        """Every feature as a number; Impossible where text would be read as one."""
        return tuple(number(f) for f in self.features)

    def slots(self) -> list[int] | None:
        """Encoder slots, where nothing in the graph stands between; a second call gives the same."""
        if self.encoding is None or any(isinstance(f, (Part, Opaque)) for f in self.features):
            return None
        return self.encoding.place(self.numeric)

    def tensor(self) -> str:
        return self._joined

    @cached_property
    def _joined(self) -> str:
        """One value [N, width] out of runs of encoder slots and runs of graph values."""
        runs: list[list[Feature]] = []
        for f in self.numeric:
            if runs and _origin(runs[-1][-1]) == _origin(f):
                runs[-1].append(f)
            else:
                runs.append([f])
        if not runs:
            raise Impossible("the model has no features left")
        parts = [self._run(run) for run in runs]
        return parts[0] if len(parts) == 1 else self.b.add("Concat", parts, axis=1)

    def _run(self, run: list[Feature]) -> str:
        first = run[0]
        if isinstance(first, Part):
            return columns(self.b, first.value, [f.index for f in run if isinstance(f, Part)], first.width)
        if self.encoding is None:
            raise Impossible("raw columns without an encoder")
        return self.encoding.value(self.encoding.place(run))

    def float_dtype(self) -> Literal["float32", "float64"]:
        """What scikit-learn's `check_array(X, dtype=FLOAT_DTYPES)` makes of the features together."""
        import numpy as np

        kinds = {f.dtype for f in self.features}
        if kinds & {"bool", "object"} or not kinds:
            return "float64"
        joint = np.result_type(*sorted(kinds)).name
        if joint == "float16":
            raise Impossible("arithmetic in float16")
        return "float32" if joint == "float32" else "float64"

    def joined(self) -> Frame:
        """The features as one array holds them: all of the dtype that fits them all."""
        import numpy as np

        kinds = sorted({f.dtype for f in self.features})
        joint = "object" if "object" in kinds else np.result_type(*kinds).name if kinds else "float64"
        return self.having(f if f.dtype == joint else replace(f, dtype=joint) for f in self.features)

    def steps(self, chains: Sequence[Sequence[Step]], *, dtype: str = "float64") -> Frame:
        """Each feature through its own steps, exactly; `dtype` is what the original computes in: float32
        rounds after every operation."""
        features = self.numeric
        exact = [tuple(c) if dtype == "float64" else tuple(s for t in c for s in (t, Float32())) for c in chains]
        done: dict[int, Feature] = {}
        waiting: dict[Any, list[int]] = {}
        for i, (f, chain) in enumerate(zip(features, exact, strict=True)):
            if not chain:
                done[i] = f if f.dtype == dtype else replace(f, dtype=dtype)
            elif isinstance(f, (Part, Term)):
                waiting.setdefault((_origin(f), tuple(type(s) for s in chain)), []).append(i)
            else:
                done[i] = stepped(f, chain, dtype)
        for group in waiting.values():
            value = graph_steps(self.b, self.select(group).tensor(), [exact[i] for i in group])
            done.update((i, Part(value, at, len(group), dtype)) for at, i in enumerate(group))
        return self.having(done[i] for i in range(len(features)))


def frame(b: Builder, encoding: Encoding, order: Sequence[str]) -> Frame:
    """The raw columns, in the original's order."""
    fields = {f.name: f for f in encoding.fields}
    return Frame(b, encoding, tuple(raw(fields[name]) for name in order))


def graph_frame(b: Builder, value: str, width: int, *, dtype: str = "float64", like: Frame | None = None) -> Frame:
    """A graph value [N, width] as features."""
    return Frame(b, like.encoding if like else None, tuple(Part(value, i, width, dtype) for i in range(width)))


def lift(x: Features) -> Frame:
    """Any Features as a Frame."""
    if isinstance(x, Frame):
        return x
    return graph_frame(x.b, x.tensor(), x.width)  # type: ignore[attr-defined]  # Tensor, the only other one, has it


def beside(frames: Sequence[Frame], *, sparse: bool = False) -> Frame:
    """Features of several frames of the same rows, next to each other."""
    return frames[0].having((f for part in frames for f in part.features), sparse=sparse)


def _origin(f: Feature) -> str:
    return f.value if isinstance(f, Part) else ""


def columns(b: Builder, value: str, index: Sequence[int], width: int) -> str:
    """Columns of a graph value [N, width], by the cheapest operator."""
    first = index[0]
    if list(index) == list(range(width)):
        return value
    if list(index) == list(range(first, first + len(index))):
        limits = [b.constant([v], "int64") for v in (first, first + len(index), 1)]
        return b.add("Slice", [value, *limits])
    return b.add("Gather", [value, b.constant(list(index), "int64")], axis=1)


def graph_steps(b: Builder, value: str, chains: Sequence[tuple[Step, ...]]) -> str:
    """[N, k] through k chains of the same kinds of steps, in the builder's float dtype."""
    for row in zip(*chains, strict=True):
        first = row[0]
        if isinstance(first, Float32):
            if b.float != "float32":
                value = b.cast(b.cast(value, "float32"), b.float)
        elif isinstance(first, Clip):
            low = b.constant([[s.low for s in row if isinstance(s, Clip)]], b.float)
            high = b.constant([[s.high for s in row if isinstance(s, Clip)]], b.float)
            value = b.add("Min", [b.add("Max", [value, low]), high])
        else:
            vector = b.constant([[s.value for s in row if not isinstance(s, (Clip, Float32))]], b.float)
            if isinstance(first, Impute):
                value = b.add("Where", [b.add("IsNaN", [value]), vector, value])
            else:
                value = b.add(ARITHMETIC[type(first)][0], [value, vector])
    return value
