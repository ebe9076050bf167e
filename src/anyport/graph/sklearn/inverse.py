"""`inverse_transform` of the transformers that people put on a target: [N, targets] → [N, targets]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.sklearn.erf import normal_cdf

if TYPE_CHECKING:
    from numpy.typing import NDArray

FUNCTIONS = {
    "exp": ("Exp",), "log": ("Log",), "sqrt": ("Sqrt",), "square": ("Square",), "negative": ("Neg",),
    "absolute": ("Abs",), "reciprocal": ("Reciprocal",), "tanh": ("Tanh",), "expm1": ("Exp", "-1"),
    "log1p": ("+1", "Log"), "expit": ("Sigmoid",), "exp2": ("*2", "Exp"), "log2": ("Log", "/2"),
    "log10": ("Log", "/10"),
}  # fmt: skip
"""numpy and scipy functions by name, as steps in the graph."""


def inverse(b: Builder, transformer: Any, value: str) -> str:
    """The transformer's inverse_transform of [N, targets]."""
    kind = type(transformer).__name__
    if kind not in INVERSES:
        raise Impossible(f"the inverse of {kind} has no converter")
    return INVERSES[kind](b, transformer, value)


def function(b: Builder, transformer: Any, value: str) -> str:
    wanted = transformer.inverse_func
    if wanted is None:
        return value
    module = (getattr(wanted, "__module__", None) or "numpy").partition(".")[0]
    name = getattr(wanted, "__name__", "?")
    is_library = type(wanted).__name__ == "ufunc" or module in ("numpy", "scipy")
    if not is_library or name not in FUNCTIONS or transformer.inv_kw_args:
        raise Impossible(f"inverse_func={name!r} is not a function that a graph knows")
    for step in FUNCTIONS[name]:
        value = one(b, step, value)
    return value


def one(b: Builder, step: str, value: str) -> str:
    import math

    if step == "Square":
        return m.square(b, value)
    if step in ("-1", "+1"):
        return m.shift(b, value, float(step))
    if step.startswith(("*", "/")):
        base = math.log(float(step[1:]))
        return m.scale(b, value, base) if step[0] == "*" else m.divide(b, value, base)
    return b.add(step, [value])


def standard(b: Builder, transformer: Any, value: str) -> str:
    if transformer.with_std:
        value = m.scale(b, value, transformer.scale_)
    return m.shift(b, value, transformer.mean_) if transformer.with_mean else value


def min_max(b: Builder, transformer: Any, value: str) -> str:
    return m.divide(b, m.shift(b, value, -transformer.min_), transformer.scale_)


def max_abs(b: Builder, transformer: Any, value: str) -> str:
    return m.scale(b, value, transformer.scale_)


def robust(b: Builder, transformer: Any, value: str) -> str:
    if transformer.with_scaling:
        value = m.scale(b, value, transformer.scale_)
    return m.shift(b, value, transformer.center_) if transformer.with_centering else value


def power(b: Builder, transformer: Any, value: str) -> str:
    if transformer.standardize:
        value = standard(b, transformer._scaler, value)
    each = box_cox if transformer.method == "box-cox" else yeo_johnson
    lambdas = enumerate(transformer.lambdas_)
    return m.stack(b, [each(b, m.column(b, value, i), float(lmbda)) for i, lmbda in lambdas])


def box_cox(b: Builder, value: str, lmbda: float) -> str:
    if lmbda == 0:
        return b.add("Exp", [value])
    return b.add("Exp", [m.divide(b, b.add("Log", [m.shift(b, m.scale(b, value, lmbda), 1.0)]), lmbda)])


def yeo_johnson(b: Builder, value: str, lmbda: float) -> str:
    import numpy as np

    if abs(lmbda) < np.spacing(1.0):
        above = m.shift(b, b.add("Exp", [value]), -1.0)
    else:
        base = m.shift(b, m.scale(b, value, lmbda), 1.0)
        above = m.shift(b, b.add("Pow", [base, b.constant(1.0 / lmbda)]), -1.0)
    if abs(lmbda - 2) > np.spacing(1.0):
        base = m.shift(b, m.scale(b, value, -(2.0 - lmbda)), 1.0)
        below = b.add("Pow", [base, b.constant(1.0 / (2.0 - lmbda))])
    else:
        below = b.add("Exp", [b.add("Neg", [value])])
    below = b.add("Sub", [b.constant(1.0), below])
    return b.add("Where", [b.add("GreaterOrEqual", [value, b.constant(0.0)]), above, below])


def quantile(b: Builder, transformer: Any, value: str) -> str:
    """Interpolation on the quantiles; both ends are theirs exactly."""
    parts = []
    for i in range(transformer.quantiles_.shape[1]):
        level, quantiles = m.column(b, value, i), transformer.quantiles_[:, i]
        normal = transformer.output_distribution == "normal"
        if normal:
            level = normal_cdf(b, level)
        answer = interpolate(b, level, transformer.references_, quantiles)
        edge = 1e-7 if normal else 0.0  # scikit-learn's BOUNDS_THRESHOLD
        ends = (("Greater", m.shift(b, level, edge), 1.0, -1), ("Less", m.shift(b, level, -edge), 0.0, 0))
        for test, moved, limit, end in ends if normal else ():
            beyond = b.add(test, [moved, b.constant(limit)])
            answer = b.add("Where", [beyond, b.constant(float(quantiles[end])), answer])
        parts.append(answer)
    return m.stack(b, parts)


def interpolate(b: Builder, value: str, xs: NDArray[Any], ys: NDArray[Any]) -> str:
    """np.interp(value, xs, ys) for value [N]: flat beyond both ends; NaN stays NaN."""
    import numpy as np

    xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    if len(xs) == 1:
        return b.add("Where", [b.add("IsNaN", [value]), value, b.constant(float(ys[0]))])
    passed = b.cast(b.add("GreaterOrEqual", [m.tall(b, value), b.constant(xs.reshape(1, -1))]), "int64")
    count = m.total(b, passed, keep=False)
    last = b.constant(len(xs) - 2, "int64")
    low = b.add("Clip", [b.add("Sub", [count, b.constant(1, "int64")]), b.constant(0, "int64"), last])
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.diff(ys) / np.diff(xs)
    far = b.add("Sub", [value, m.choose(b, xs, low)])
    answer = b.add("Add", [b.add("Mul", [m.choose(b, slopes, low), far]), m.choose(b, ys, low)])
    answer = b.add("Where", [b.add("Less", [value, b.constant(float(xs[0]))]), b.constant(float(ys[0])), answer])
    above = b.add("GreaterOrEqual", [value, b.constant(float(xs[-1]))])
    return b.add("Where", [above, b.constant(float(ys[-1])), answer])


def pipeline(b: Builder, transformer: Any, value: str) -> str:
    for _, step in reversed(transformer.steps):
        if step is not None and step != "passthrough":
            value = inverse(b, step, value)
    return value


INVERSES = {
    "FunctionTransformer": function,
    "StandardScaler": standard,
    "MinMaxScaler": min_max,
    "MaxAbsScaler": max_abs,
    "RobustScaler": robust,
    "PowerTransformer": power,
    "QuantileTransformer": quantile,
    "Pipeline": pipeline,
}
