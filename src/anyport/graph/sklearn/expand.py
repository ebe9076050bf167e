"""Transformers that make more features of the ones there are, or bins of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.encoder import Float32
from anyport.graph.sklearn import Features
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.sklearn.cells import REFUSED, Ask, Cell, Const, Edges, Feature, Num, elementwise, tabled
from anyport.graph.sklearn.curves import function, normalizer, power, quantile, rounded
from anyport.graph.sklearn.frame import Frame, graph_frame, lift

if TYPE_CHECKING:
    from numpy.typing import NDArray


def polynomial(b: Builder, t: Any, x: Features) -> Frame:
    """Products of features, multiplied in scikit-learn's order: a term is its first factor times the rest."""
    features = lift(x)
    dtype = features.float_dtype()
    wanted = [
        tuple(int(i) for i in c)
        for c in t._combinations(
            n_features=features.width, min_degree=t._min_degree, max_degree=t._max_degree,
            interaction_only=t.interaction_only, include_bias=t.include_bias,
        )
    ]  # fmt: skip
    made: dict[tuple[int, ...], Feature] = {(): Const(1.0, dtype)}
    made.update(((i,), f) for i, f in enumerate(features.numeric))
    needed = {c[at:] for c in wanted for at in range(len(c) - 1)}
    for degree in range(2, max((len(c) for c in needed), default=1) + 1):
        terms = sorted(c for c in needed if len(c) == degree)
        first = features.having(made[c[:1]] for c in terms).tensor()
        rest = features.having(made[c[1:]] for c in terms).tensor()
        block = graph_frame(b, b.add("Mul", [rest, first]), len(terms), dtype=dtype, like=features)
        made.update(zip(terms, rounded(block, dtype).features, strict=True))
    return features.having(made[c] for c in wanted)


def spline(b: Builder, t: Any, x: Features) -> Frame:
    """SplineTransformer: every extrapolation; tables by asking it, numbers by de Boor's recursion."""
    features = lift(x)
    dtype = features.float_dtype()
    made: list[Feature] = []
    count = t.bsplines_[0].c.shape[1]
    kept = range(count if t.include_bias else count - 1)
    for i, feature in enumerate(features.numeric):
        if isinstance(feature, (Cell, Const)):
            made += tabled(feature, _ask_column(t, i, features.width, len(kept), dtype), (), dtype=dtype)
            continue
        value = m.column(b, features.select([i]).tensor(), 0)
        block = graph_frame(b, basis(b, t, i, m.tall(b, value)), count, dtype=dtype, like=features)
        made += rounded(block.select(kept), dtype).features
    return features.having(made, sparse=bool(t.sparse_output))


def _ask_column(t: Any, index: int, width: int, outputs: int, dtype: str) -> Ask:
    """What `t` makes of numbers in one column: `outputs` columns, which lie together."""
    import numpy as np

    base = [float(s.t[s.k]) for s in t.bsplines_]

    def ask(values: list[Any]) -> tuple[Any, Sequence[bool]]:
        rows = np.tile(np.array(base, dtype=dtype), (len(values), 1))
        rows[:, index] = values
        raises, kept = [], []
        for row in rows:
            try:
                made = t.transform(row.reshape(1, -1))
            except ValueError:
                raises.append(True)
                kept.append(np.zeros(outputs))
                continue
            made = made.toarray() if hasattr(made, "toarray") else np.asarray(made)
            raises.append(False)
            kept.append(made[0, index * outputs : (index + 1) * outputs].astype(np.float64))
        return np.array(kept).reshape(len(rows), outputs), raises

    return ask


def basis(b: Builder, t: Any, index: int, value: str) -> str:
    """[N, 1] → [N, n_splines], of feature `index`."""
    import numpy as np

    bspline = t.bsplines_[index]
    knots, k, coefficients = np.asarray(bspline.t, np.float64), int(bspline.k), np.asarray(bspline.c, np.float64)
    count = len(knots) - k - 1
    low, high = float(knots[k]), float(knots[count])
    inside = value
    if t.extrapolation == "periodic":
        inside = _wrapped(b, value, low, high)
    elif t.extrapolation in ("constant", "linear"):
        inside = b.add("Min", [b.add("Max", [value, b.constant(low)]), b.constant(high)])
    made = de_boor(b, inside, knots, k)
    if not np.array_equal(coefficients, np.eye(count)):
        made = b.add("MatMul", [made, b.constant(coefficients)])
    if t.extrapolation == "linear":
        # scikit-learn raises a degree below 2 by one at each feature, for that feature's ends and all after it
        degree = k if k > 1 else min(k + index, 2)
        made = _continued(b, bspline, value, made, degree)
    elif t.extrapolation == "constant" and k == 0:
        # scikit-learn copies the first `degree` splines below the range, and of degree 0 that is none
        made = b.add("Where", [b.add("Less", [value, b.constant(low)]), b.constant(0.0), made])
    return b.add("Where", [b.add("IsNaN", [value]), b.constant(0.0), made])


def _wrapped(b: Builder, value: str, low: float, high: float) -> str:
    """low + (v - low) mod (high - low), with the sign of Python's %."""
    if high <= low:
        return m.scale(b, value, 0.0)
    rest = b.add("Mod", [m.shift(b, value, -low), b.constant(high - low)], fmod=1)
    rest = b.add("Where", [b.add("Less", [rest, b.constant(0.0)]), m.shift(b, rest, high - low), rest])
    return m.shift(b, rest, low)


def de_boor(b: Builder, value: str, knots: NDArray[Any], k: int) -> str:
    """All B-splines of degree k at [N, 1]; the first and the last interval go on for ever."""
    import numpy as np

    count = len(knots) - k - 1
    lower = np.where(np.arange(len(knots) - 1) <= k, -np.inf, knots[:-1])
    upper = np.where(np.arange(len(knots) - 1) >= count - 1, np.inf, knots[1:])
    live = (np.arange(len(knots) - 1) >= k) & (np.arange(len(knots) - 1) < count)
    lower, upper = np.where(live, lower, np.inf), np.where(live, upper, np.inf)
    above = b.add("GreaterOrEqual", [value, b.constant(lower.reshape(1, -1))])
    under = b.add("Less", [value, b.constant(upper.reshape(1, -1))])
    made = b.cast(b.add("And", [above, under]), b.float)
    for p in range(1, k + 1):
        n = len(knots) - 1 - p
        width = knots[p : p + n + 1] - knots[: n + 1]
        share = m.divide(b, made, np.where(width > 0, width, np.inf).reshape(1, -1))
        left = b.add("Mul", [_columns(b, share, 0, n), m.shift(b, value, -knots[:n].reshape(1, -1))])
        far = b.add("Sub", [b.constant(knots[p + 1 : p + 1 + n].reshape(1, -1)), value])
        made = b.add("Add", [left, b.add("Mul", [_columns(b, share, 1, n + 1), far])])
    return made


def _columns(b: Builder, value: str, start: int, stop: int) -> str:
    return b.add("Slice", [value, *(b.constant([v], "int64") for v in (start, stop, 1))])


def _continued(b: Builder, bspline: Any, value: str, made: str, degree: int) -> str:
    """Beyond both ends, a straight line with the slope at the end."""
    import numpy as np

    count = bspline.c.shape[1]
    low, high = float(bspline.t[degree]), float(bspline.t[-degree - 1])
    own = degree + 1 if degree <= 1 else degree
    for end, test, those in ((low, "Less", range(own)), (high, "Greater", range(count - own, count))):
        use = np.isin(np.arange(count), those)
        at, slope = np.where(use, bspline(end), 0.0), np.where(use, bspline(end, nu=1), 0.0)
        line = b.add("Mul", [m.shift(b, value, -end), b.constant(slope.reshape(1, -1))])
        line = m.shift(b, line, at.reshape(1, -1))
        made = b.add("Where", [b.add(test, [value, b.constant(end)]), line, made])
    return made


def bins(b: Builder, t: Any, x: Features) -> Frame:
    """KBinsDiscretizer: how many inner edges are <= x, as a number or one-hot."""
    import numpy as np

    features = lift(x)
    dtype = features.float_dtype() if t.dtype is None else np.dtype(t.dtype).name
    if dtype == "float32" and features.float_dtype() == "float64":
        features = features.steps([(Float32(),)] * features.width)
    made: list[Feature] = []
    for i, feature in enumerate(features.numeric):
        inner = np.asarray(t.bin_edges_[i][1:-1], np.float64)
        code = binned(features, i, feature, inner, dtype)
        made += [code] if t.encode == "ordinal" else one_hot(features, code, len(inner) + 1, dtype)
    return features.having(made, sparse=t.encode == "onehot")


def binned(x: Frame, index: int, feature: Feature, edges: NDArray[Any], dtype: str) -> Feature:
    """How many edges are <= the feature."""
    import numpy as np

    if isinstance(feature, (Cell, Const)):
        return elementwise(feature, lambda v: np.searchsorted(edges, v, side="right").astype(np.float64), dtype)
    if isinstance(feature, Num):
        distinct, counts = np.unique(edges, return_counts=True)
        codes = [0.0, *np.cumsum(counts).astype(float).tolist()]
        source = Edges(feature.column, feature.steps, tuple(distinct.tolist()))
        return Cell(source, 0.0, dict(enumerate(codes)), REFUSED, REFUSED, dtype)
    value = x.select([index]).tensor()
    passed = x.b.cast(x.b.add("GreaterOrEqual", [value, x.b.constant(edges.reshape(1, -1))]), x.b.float)
    return graph_frame(x.b, m.total(x.b, passed), 1, dtype=dtype, like=x).features[0]


def one_hot(x: Frame, code: Feature, count: int, dtype: str) -> list[Feature]:
    """A code 0 … count - 1 as `count` features."""
    if isinstance(code, Cell):
        made: list[Feature] = []
        ends = [code.missing, code.other]
        for j in range(count):
            hits = {i: 1.0 for i in range(code.size) if code.hits.get(i, code.default) == j}
            both = [v if v is REFUSED else float(v == j) for v in ends]
            made.append(Cell(code.source, 0.0, hits, both[0], both[1], dtype))
        return made
    if isinstance(code, Const):
        return [Const(float(code.value == j), dtype) for j in range(count)]
    value = x.having([code]).tensor()
    same = x.b.add("Equal", [value, x.b.constant([[float(j) for j in range(count)]])])
    return list(graph_frame(x.b, x.b.cast(same, x.b.float), count, dtype=dtype, like=x).features)


def binarizer(b: Builder, t: Any, x: Features) -> Frame:
    """1 where x > threshold, else 0; the threshold takes the data's dtype."""
    import numpy as np

    features = lift(x)
    dtype = features.float_dtype()
    threshold = float(np.float32(t.threshold)) if dtype == "float32" else float(t.threshold)
    beyond = np.array([np.nextafter(threshold, np.inf)])
    kept = [binned(features, i, f, beyond, dtype) for i, f in enumerate(features.numeric)]
    return features.having(replace(f, dtype=dtype) for f in kept)


def count_sketch(b: Builder, t: Any, x: Features) -> Frame:
    """PolynomialCountSketch: circular convolution of count sketches, by discrete Fourier matrices."""
    import numpy as np

    features = lift(x)
    size, extra = t.n_components, t.coef0 != 0
    root, offset = np.sqrt(t.gamma), np.sqrt(t.coef0) if extra else 0.0
    angle = 2 * np.pi * np.outer(np.arange(size), np.arange(size)) / size
    cos, sin = np.cos(angle), np.sin(angle)
    real = imaginary = ""
    for hashes, signs in zip(t.indexHash_, t.bitHash_, strict=True):
        sketch = np.zeros((len(hashes), size))
        sketch[np.arange(len(hashes)), hashes] = signs
        bias = offset * sketch[-1] if extra else np.zeros(size)
        one = m.affine(b, features.tensor(), root * sketch[: features.width], bias)
        parts = m.affine(b, one, cos), m.affine(b, one, -sin)
        if not real:
            real, imaginary = parts
            continue
        (p, q), pairs = parts, ((0, 0), (1, 1), (0, 1), (1, 0))
        cross = [b.add("Mul", [(real, imaginary)[i], (p, q)[j]]) for i, j in pairs]
        real, imaginary = b.add("Sub", cross[:2]), b.add("Add", cross[2:])
    made = b.add("Sub", [m.affine(b, real, cos / size), m.affine(b, imaginary, sin / size)])
    return graph_frame(b, made, size, like=features)


def refuse_dicts(b: Builder, t: Any, x: Features) -> Frame:
    raise Impossible(f"{type(t).__name__} takes dicts or tokens of any kind, which are no columns")


CONVERTERS = {
    "PolynomialFeatures": polynomial, "SplineTransformer": spline, "KBinsDiscretizer": bins, "Binarizer": binarizer,
    "PowerTransformer": power, "QuantileTransformer": quantile, "FunctionTransformer": function,
    "Normalizer": normalizer, "PolynomialCountSketch": count_sketch,
    "DictVectorizer": refuse_dicts, "FeatureHasher": refuse_dicts,
}  # fmt: skip
