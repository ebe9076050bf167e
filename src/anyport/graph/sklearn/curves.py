"""Functions of single features that are no encoder steps: of a table exactly by the original, else in the graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.encoder import Float32, Step
from anyport.graph.sklearn import Features
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.sklearn.cells import Cell, Const, Feature, elementwise, number
from anyport.graph.sklearn.erf import ratio
from anyport.graph.sklearn.frame import Frame, graph_frame, lift
from anyport.graph.sklearn.inverse import interpolate
from anyport.graph.sklearn.scale import standard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Curve = Callable[[Builder, str], str]
"""[N] → [N], in the builder's float dtype."""


def curves(x: Frame, t: Any, emit: Callable[[int], Curve], *, dtype: str, base: float = 1.0) -> Frame:
    """Feature i through its own function: asked of `t` where a table holds all its values, else `emit(i)`.

    `base` is a value that `t` takes in every column.
    """
    done: dict[int, Feature] = {}
    rest: list[int] = []
    for i, feature in enumerate(x.numeric):
        if isinstance(feature, (Cell, Const)):
            done[i] = elementwise(feature, column_of(t, i, x.width, dtype, base), dtype)
        else:
            rest.append(i)
    if rest:
        value = x.select(rest).tensor()
        parts = [emit(i)(x.b, m.column(x.b, value, at)) for at, i in enumerate(rest)]
        made = rounded(graph_frame(x.b, m.stack(x.b, parts), len(rest), dtype=dtype, like=x), dtype)
        done.update(zip(rest, made.features, strict=True))
    return x.having(done[i] for i in range(x.width))


def rounded(x: Frame, dtype: str) -> Frame:
    """What is computed in the graph, rounded as the original stores it."""
    steps: tuple[Step, ...] = (Float32(),) if dtype == "float32" else ()
    return retyped(x.steps([steps] * x.width), dtype)


def retyped(x: Frame, dtype: str) -> Frame:
    """The same values, held in another dtype."""
    return x.having(f if f.dtype == dtype else replace(f, dtype=dtype) for f in x.features)


def column_of(t: Any, index: int, width: int, dtype: str, base: float) -> Callable[[NDArray[np.float64]], NDArray[Any]]:
    """Column `index` of what `t` makes of numbers in that column."""
    import warnings

    import numpy as np

    def ask(values: NDArray[np.float64]) -> NDArray[Any]:
        rows = np.full((len(values), width), base, dtype=dtype)
        rows[:, index] = values
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            made = t.transform(rows)
        return np.asarray(made.toarray() if hasattr(made, "toarray") else made)[:, index].astype(np.float64)

    return ask


def log1p(b: Builder, value: str) -> str:
    """log(1 + v), also for tiny v: v log(u) / (u - 1) with u = 1 + v (Kahan)."""
    one = b.constant(1.0)
    u = b.add("Add", [value, one])
    gap = b.add("Sub", [u, one])
    made = b.add("Div", [b.add("Mul", [b.add("Log", [u]), value]), gap])
    still = b.add("Or", [b.add("Equal", [gap, b.constant(0.0)]), b.add("Equal", [value, b.constant(math.inf)])])
    return b.add("Where", [still, value, made])


def expm1(b: Builder, value: str) -> str:
    """exp(v) - 1, also for tiny v: v (u - 1) / log(u) with u = exp(v) (Kahan)."""
    one = b.constant(1.0)
    u = b.add("Exp", [value])
    gap = b.add("Sub", [u, one])
    made = b.add("Div", [b.add("Mul", [gap, value]), b.add("Log", [u])])
    far = b.add("Or", [b.add("Equal", [gap, b.constant(-1.0)]), b.add("Equal", [u, b.constant(math.inf)])])
    made = b.add("Where", [far, gap, made])
    return b.add("Where", [b.add("Equal", [u, one]), value, made])


def power(b: Builder, t: Any, x: Features) -> Frame:
    """PowerTransformer: Yeo-Johnson and Box-Cox, then its own scaler."""
    features = lift(x)
    dtype = features.float_dtype()
    each = yeo_johnson if t.method == "yeo-johnson" else box_cox

    class Bare:
        """The transformer without its scaler, which is steps."""

        @staticmethod
        def transform(rows: NDArray[Any]) -> NDArray[Any]:
            from scipy import special, stats

            for i, one in enumerate(t.lambdas_):
                f = stats.yeojohnson if t.method == "yeo-johnson" else special.boxcox
                rows[:, i] = f(rows[:, i], one)
            return rows

    made = curves(features, Bare, lambda i: each(float(t.lambdas_[i])), dtype=dtype)
    return standard(b, t._scaler, made) if t.standardize else made


def yeo_johnson(power_of: float) -> Curve:
    """scipy.stats.yeojohnson with a given lambda."""
    import numpy as np

    def emit(b: Builder, value: str) -> str:
        zero = b.constant(0.0)
        above = b.add("Max", [value, zero])
        below = b.add("Max", [b.add("Neg", [value]), zero])
        sides = []
        for side, exponent in ((above, power_of), (below, 2.0 - power_of)):
            log = log1p(b, side)
            flat = abs(exponent) < np.spacing(1.0)
            sides.append(log if flat else m.divide(b, expm1(b, m.scale(b, log, exponent)), exponent))
        made = b.add("Where", [b.add("GreaterOrEqual", [value, zero]), sides[0], b.add("Neg", [sides[1]])])
        return b.add("Where", [b.add("IsNaN", [value]), value, made])

    return emit


def box_cox(power_of: float) -> Curve:
    """scipy.special.boxcox with a given lambda."""

    def emit(b: Builder, value: str) -> str:
        log = b.add("Log", [value])
        return log if power_of == 0 else m.divide(b, expm1(b, m.scale(b, log, power_of)), power_of)

    return emit


def quantile(b: Builder, t: Any, x: Features) -> Frame:
    """QuantileTransformer: the mean of interpolating up and down, then Φ⁻¹ where asked."""
    features = lift(x)
    if features.sparse:
        raise Impossible("QuantileTransformer on sparse data")
    dtype = features.float_dtype()
    return curves(features, t, lambda i: _level(t, t.quantiles_[:, i]), dtype=dtype)


THRESHOLD = 1e-7
"""scikit-learn's BOUNDS_THRESHOLD."""


def _level(t: Any, known: Any) -> Curve:
    import numpy as np

    def emit(b: Builder, value: str) -> str:
        normal = t.output_distribution == "normal"
        up = interpolate(b, value, known, t.references_)
        down = interpolate(b, b.add("Neg", [value]), -known[::-1], -t.references_[::-1])
        made = m.scale(b, b.add("Sub", [up, down]), 0.5)
        low, high = float(known[0]), float(known[-1])
        if normal:
            edge = THRESHOLD - float(np.spacing(1))
            made = inverse_normal(b, b.add("Clip", [made, b.constant(edge), b.constant(1 - edge)]))
            under = b.add("Less", [m.shift(b, value, -THRESHOLD), b.constant(low)])
            over = b.add("Greater", [m.shift(b, value, THRESHOLD), b.constant(high)])
        else:
            under, over = b.add("Equal", [value, b.constant(low)]), b.add("Equal", [value, b.constant(high)])
        ends = _normal_ends() if normal else (0.0, 1.0)
        made = b.add("Where", [over, b.constant(ends[1]), made])
        made = b.add("Where", [under, b.constant(ends[0]), made])
        return b.add("Where", [b.add("IsNaN", [value]), value, made])

    return emit


def _normal_ends() -> tuple[float, float]:
    import numpy as np
    from scipy import stats

    edge = THRESHOLD - np.spacing(1)
    return float(stats.norm.ppf(edge)), float(stats.norm.ppf(1 - edge))


# Cephes' ndtri (Moshier, 1989), which scipy uses: lowest power first
P0 = (-1.23916583867381258016e0, 1.39312609387279679503e1, -5.66762857469070293439e1, 9.80010754185999661536e1,
      -5.99633501014107895267e1)  # fmt: skip
Q0 = (-1.18331621121330003142e0, 1.59056225126211695515e1, -8.20372256168333339912e1, 2.00260212380060660359e2,
      -2.25462687854119370527e2, 8.63602421390890590575e1, 4.67627912898881538453e0, 1.95448858338141759834e0,
      1.0)  # fmt: skip
P1 = (-8.57456785154685413611e-4, -3.50424626827848203418e-2, -1.40256079171354495875e-1, 2.18663306850790267539e0,
      1.46849561928858024014e1, 4.40805073893200834700e1, 5.71628192246421288162e1, 3.15251094599893866154e1,
      4.05544892305962419923e0)  # fmt: skip
Q1 = (-9.33259480895457427372e-4, -3.80806407691578277194e-2, -1.42182922854787788574e-1, 2.50464946208309415979e0,
      1.50425385692907503408e1, 4.13172038254672030440e1, 4.53907635128879210584e1, 1.57799883256466749731e1,
      1.0)  # fmt: skip


def inverse_normal(b: Builder, level: str) -> str:
    """Φ⁻¹ for levels between 1e-14 and 1 - 1e-14 (beyond, Cephes has a third range)."""
    near = math.exp(-2)
    upper = b.add("Greater", [level, b.constant(1 - near)])
    low = b.add("Where", [upper, b.add("Sub", [b.constant(1.0), level]), level])
    half = m.shift(b, level, -0.5)
    square = m.square(b, half)
    middle = b.add("Add", [half, b.add("Mul", [half, b.add("Mul", [square, ratio(b, square, P0, Q0)])])])
    middle = m.scale(b, middle, 2.50662827463100050242)
    root = b.add("Sqrt", [m.scale(b, b.add("Log", [low]), -2.0)])
    start = b.add("Sub", [root, b.add("Div", [b.add("Log", [root]), root])])
    inverse = b.add("Div", [b.constant(1.0), root])
    tail = b.add("Sub", [start, b.add("Mul", [inverse, ratio(b, inverse, P1, Q1)])])
    tail = b.add("Where", [upper, tail, b.add("Neg", [tail])])
    return b.add("Where", [b.add("Greater", [low, b.constant(near)]), middle, tail])


def function(b: Builder, t: Any, x: Features) -> Frame:
    """FunctionTransformer of the identity, or of a numpy function that is elementwise."""
    import numpy as np

    features = lift(x)
    if t.func is None:
        return features
    emit = next((made for known, made in _functions() if known is t.func), None)
    if emit is None or t.kw_args:
        named = getattr(t.func, "__qualname__", repr(t.func))
        raise Impossible(f"FunctionTransformer of {getattr(t.func, '__module__', '')}.{named}, which is Python code")
    made: list[Feature] = []
    for i, f in enumerate(features.features):
        kind = "float64" if f.dtype == "object" else f.dtype
        dtype = t.func(np.ones(1, kind)).dtype.name
        if dtype == "float16":
            raise Impossible(f"{t.func.__name__} in float16")
        if isinstance(number(f), (Cell, Const)):
            made.append(elementwise(number(f), lambda v, kind=kind: t.func(v.astype(kind)), dtype))  # type: ignore[misc]
        else:
            value = m.stack(b, [emit(b, m.column(b, features.select([i]).tensor(), 0))])
            made += rounded(graph_frame(b, value, 1, dtype=dtype, like=features), dtype).features
    return features.having(made)


def _functions() -> Sequence[tuple[Any, Curve]]:
    """numpy's function → the same in the graph."""
    import numpy as np

    def one(op: str) -> Curve:
        return lambda b, value: b.add(op, [value])

    def log_of(base: float) -> Curve:
        return lambda b, value: m.divide(b, b.add("Log", [value]), math.log(base))

    return (
        (np.log1p, log1p), (np.expm1, expm1), (np.log, one("Log")), (np.log2, log_of(2)), (np.log10, log_of(10)),
        (np.sqrt, one("Sqrt")), (np.exp, one("Exp")), (np.square, m.square), (np.absolute, one("Abs")),
        (np.fabs, one("Abs")), (np.sin, one("Sin")), (np.cos, one("Cos")), (np.tanh, one("Tanh")),
        (np.reciprocal, one("Reciprocal")), (np.negative, one("Neg")), (np.sign, one("Sign")),
        (np.floor, one("Floor")), (np.ceil, one("Ceil")), (np.rint, one("Round")), (np.positive, one("Identity")),
    )  # fmt: skip


def normalizer(b: Builder, t: Any, x: Features) -> Frame:
    """Rows over their norm; rows of zeros stay."""
    features = lift(x)
    value = features.tensor()
    if t.norm == "l2":
        norm = b.add("Sqrt", [m.total(b, m.square(b, value))])
    elif t.norm == "l1":
        norm = m.total(b, b.add("Abs", [value]))
    else:
        norm = b.add("ReduceMax", [b.add("Abs", [value]), b.constant([1], "int64")], keepdims=1)
    zero = b.add("Equal", [norm, b.constant(0.0)])
    made = b.add("Div", [value, b.add("Where", [zero, b.constant(1.0), norm])])
    dtype = features.float_dtype()
    return rounded(graph_frame(b, made, features.width, dtype=dtype, like=features), dtype)
