"""Small sums that many converters share, as graph nodes: affine maps, softmax, thresholds, rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anyport.graph.build import Builder

if TYPE_CHECKING:
    from numpy.typing import NDArray


def dense(values: Any) -> NDArray[Any]:
    """A numpy array of what may be a scipy sparse matrix (estimators after `sparsify()`)."""
    import numpy as np

    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def affine(b: Builder, value: str, weights: Any, bias: Any = 0.0) -> str:
    """value [N, d] @ weights [d, k] + bias [k] → [N, k]."""
    import numpy as np

    weights = dense(weights).astype(np.float64)
    row = np.broadcast_to(np.asarray(bias, np.float64).reshape(-1), (weights.shape[1],))
    return b.add("Gemm", [value, b.constant(weights), b.constant(row)])


def line(b: Builder, value: str, weights: Any, bias: Any = 0.0) -> str:
    """value [N, d] @ weights [d] + bias → [N]."""
    import numpy as np

    return flat(b, affine(b, value, dense(weights).reshape(-1, 1), np.asarray(bias).reshape(-1)[:1]))


def flat(b: Builder, value: str) -> str:
    """[N, 1] → [N]."""
    return b.add("Squeeze", [value, b.constant([1], "int64")])


def tall(b: Builder, value: str) -> str:
    """[N] → [N, 1]."""
    return b.add("Unsqueeze", [value, b.constant([1], "int64")])


def reshaped(b: Builder, value: str, width: int) -> str:
    """[N] or [N, width] → [N, width]; regressors of one target answer either [N] or [N, 1]."""
    return b.add("Reshape", [value, b.constant([-1, width], "int64")])


def column(b: Builder, value: str, index: int) -> str:
    """Column `index` of [N, k] → [N]."""
    return b.add("Gather", [value, b.constant(index, "int64")], axis=1)


def columns(b: Builder, value: str, indices: Sequence[int]) -> str:
    """Some columns of [N, k], in the order given."""
    return b.add("Gather", [value, b.constant(list(indices), "int64")], axis=1)


def stack(b: Builder, values: Sequence[str]) -> str:
    """k values of [N] → [N, k]."""
    return beside(b, [tall(b, v) for v in values])


def beside(b: Builder, values: Sequence[str]) -> str:
    """[N, i], [N, j] … → [N, i + j + …]."""
    return values[0] if len(values) == 1 else b.add("Concat", list(values), axis=1)


def total(b: Builder, value: str, *, axis: int = 1, keep: bool = True) -> str:
    """Sum over one axis."""
    return b.add("ReduceSum", [value, b.constant([axis], "int64")], keepdims=int(keep))


def added(b: Builder, values: Sequence[str]) -> str:
    """The sum of several values, from the left, as Python's `sum` does it."""
    result = values[0]
    for value in values[1:]:
        result = b.add("Add", [result, value])
    return result


def scale(b: Builder, value: str, factor: Any) -> str:
    """value * factor (a scalar, or a row that broadcasts)."""
    import numpy as np

    return b.add("Mul", [value, b.constant(np.asarray(factor, np.float64))])


def shift(b: Builder, value: str, offset: Any) -> str:
    """value + offset (a scalar, or a row that broadcasts)."""
    import numpy as np

    return b.add("Add", [value, b.constant(np.asarray(offset, np.float64))])


def divide(b: Builder, value: str, by: Any) -> str:
    """value / by (a scalar, or a row that broadcasts)."""
    import numpy as np

    return b.add("Div", [value, b.constant(np.asarray(by, np.float64))])


def square(b: Builder, value: str) -> str:
    """value²."""
    return b.add("Mul", [value, value])


def argmax(b: Builder, value: str) -> str:
    """Index of each row's largest, the first of equals, int64 [N]."""
    return b.add("ArgMax", [value], axis=1, keepdims=0)


def argmin(b: Builder, value: str) -> str:
    """Index of each row's smallest, the first of equals, int64 [N]."""
    return b.add("ArgMin", [value], axis=1, keepdims=0)


def above(b: Builder, value: str, threshold: float = 0.0) -> str:
    """1 where value > threshold, else 0, int64. NaN is not above anything."""
    return b.cast(b.add("Greater", [value, b.constant(float(threshold))]), "int64")


def at_least(b: Builder, value: str, threshold: float = 0.0) -> str:
    """1 where value >= threshold, else 0, int64."""
    return b.cast(b.add("GreaterOrEqual", [value, b.constant(float(threshold))]), "int64")


def choose(b: Builder, table: Any, index: str) -> str:
    """table[index], along the table's first axis; integers become int64, the rest floats."""
    import numpy as np

    table = np.asarray(table)
    return b.add("Gather", [b.constant(table, "int64" if table.dtype.kind in "iub" else None), index], axis=0)


def halves(b: Builder, positive: str) -> str:
    """The positive class's probability [N] → [N, 2]: (1 - p, p)."""
    other = b.add("Sub", [b.constant(1.0), positive])
    return stack(b, [other, positive])


def softmax(b: Builder, value: str) -> str:
    """exp(v - max) over its sum, row by row."""
    top = b.add("ReduceMax", [value, b.constant([1], "int64")], keepdims=1)
    powers = b.add("Exp", [b.add("Sub", [value, top])])
    return b.add("Div", [powers, total(b, powers)])


def log_sum_exp(b: Builder, value: str) -> str:
    """log Σ exp(v), row by row, [N, 1]."""
    top = b.add("ReduceMax", [value, b.constant([1], "int64")], keepdims=1)
    powers = b.add("Exp", [b.add("Sub", [value, top])])
    return b.add("Add", [b.add("Log", [total(b, powers)]), top])


def shares(b: Builder, value: str, classes: int) -> str:
    """Rows over their sums; a row of zeros becomes uniform, as scikit-learn's one-vs-rest does."""
    sums = total(b, value)
    zero = b.add("Equal", [sums, b.constant(0.0)])
    safe = b.add("Where", [zero, b.constant(1.0), sums])
    return b.add("Where", [zero, b.constant(1.0 / classes), b.add("Div", [value, safe])])


def one_hot(b: Builder, index: str, classes: int) -> str:
    """int64 [N] → float [N, classes]."""
    same = b.add("Equal", [tall(b, index), b.constant(list(range(classes)), "int64")])
    return b.cast(same, b.float)


def repeated(b: Builder, like: str, row: Any) -> str:
    """One row (or scalar) repeated for every row of `like`: [N, k], or [N] of a scalar."""
    import numpy as np

    row = np.asarray(row)
    row = row.astype(np.int64) if row.dtype.kind in "iub" else row
    rows = b.add("Shape", [like], start=0, end=1)
    shape = b.add("Concat", [rows, b.constant([len(row)], "int64")], axis=0) if row.ndim else rows
    return b.add("Expand", [b.constant(row), shape])


def inlier(b: Builder, good: str) -> str:
    """1 for inliers, -1 for outliers, of int64 1 / 0."""
    two = b.add("Mul", [good, b.constant(2, "int64")])
    return b.add("Sub", [two, b.constant(1, "int64")])
