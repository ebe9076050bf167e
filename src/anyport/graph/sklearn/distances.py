"""Distances and kernels between the rows and points that the model remembers, [N, d] x [m, d] → [N, m]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import arithmetic as m

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXACT_FEATURES = 64
"""Up to so many features, differences are taken feature by feature, as scikit-learn's trees and scipy's cdist
do: equal distances stay equal, and a row that is a training row is at distance 0. Beyond it, one product."""

REMEMBERED = 20_000
"""More training rows than this and comparing with all of them is slower than the original's search tree."""


def remembered(points: Any) -> NDArray[Any]:
    """The training rows, dense and in double."""
    import numpy as np

    rows = m.dense(points).astype(np.float64)
    if len(rows) > REMEMBERED:
        raise Impossible(
            f"the model compares each row with {len(rows)} training rows; a graph has no search tree, "
            f"so beyond {REMEMBERED} it would be slower than the original"
        )
    return rows


def products(b: Builder, value: str, points: NDArray[Any]) -> str:
    """|p|² - 2 x·p: ranks points as their squared distances do, in scikit-learn's own arithmetic.

    The norms are added after the product, as it adds them: equal distances then tie as they do there.
    """
    inner = b.add("MatMul", [value, b.constant(-2.0 * points.T)])
    return m.shift(b, inner, (points**2).sum(axis=1))


def nearest(b: Builder, value: str, points: NDArray[Any]) -> str:
    """sklearn.metrics.pairwise_distances_argmin, int64 [N], with its sums in its order: (|x|² - 2 x·p) + |p|²,
    not below 0. Where two points are equally far, which one wins hangs on the last bit; infinity minus
    infinity counts as 0, as it does in C."""
    inner = b.add("MatMul", [value, b.constant(-2.0 * points.T)])
    far = b.add("Add", [m.total(b, m.square(b, value)), inner])
    far = m.shift(b, far, (points**2).sum(axis=1))
    zero = b.constant(0.0)
    return m.argmin(b, b.add("Where", [b.add("Greater", [far, zero]), far, zero]))


def differences(b: Builder, value: str, points: NDArray[Any]) -> list[str]:
    """x - p feature by feature: d values of [N, m]."""
    width = points.shape[1]
    if width == 1:
        parts = [value]
    else:
        sizes = b.constant([1] * width, "int64")
        parts = b.add_many("Split", [value, sizes], outputs=width, axis=1)
    return [b.add("Sub", [part, b.constant(points[:, i].reshape(1, -1))]) for i, part in enumerate(parts)]


def squared(b: Builder, value: str, points: NDArray[Any]) -> str:
    """Squared Euclidean distances."""
    import numpy as np

    if points.shape[1] <= EXACT_FEATURES:
        return m.added(b, [m.square(b, d) for d in differences(b, value, points)])
    # Around the points' own mean the two squares cancel less.
    middle = points.mean(axis=0)
    value, points = m.shift(b, value, -middle), points - middle
    far = b.add("Add", [products(b, value, points), m.total(b, m.square(b, value))])
    return b.add("Max", [far, b.constant(np.float64(0.0))])


def euclidean(b: Builder, value: str, points: NDArray[Any]) -> str:
    return b.add("Sqrt", [squared(b, value, points)])


def manhattan(b: Builder, value: str, points: NDArray[Any]) -> str:
    return m.added(b, [b.add("Abs", [d]) for d in differences(b, value, points)])


def unit(b: Builder, value: str) -> str:
    """Rows of length 1; a row of zeros stays."""
    length = b.add("Sqrt", [m.total(b, m.square(b, value))])
    zero = b.add("Equal", [length, b.constant(0.0)])
    return b.add("Div", [value, b.add("Where", [zero, b.constant(1.0), length])])


def cosine_similarity(b: Builder, value: str, points: NDArray[Any]) -> str:
    import numpy as np

    lengths = np.sqrt((points**2).sum(axis=1, keepdims=True))
    return m.affine(b, unit(b, value), (points / np.where(lengths == 0, 1.0, lengths)).T)


def cosine(b: Builder, value: str, points: NDArray[Any]) -> str:
    distance = b.add("Sub", [b.constant(1.0), cosine_similarity(b, value, points)])
    return b.add("Clip", [distance, b.constant(0.0), b.constant(2.0)])


def ranked(b: Builder, value: str, points: NDArray[Any], metric: str, params: dict[str, Any]) -> tuple[str, str, float]:
    """A quantity that orders points as the metric does (scikit-learn's "reduced distance"), the node that makes
    a distance of it ("" if it is one), and the power to apply where that node is Pow."""
    import numpy as np

    power = {"euclidean": 2.0, "l2": 2.0, "manhattan": 1.0, "cityblock": 1.0, "l1": 1.0}.get(metric)
    if metric == "minkowski":
        power = float(params.get("p", 2.0))
    weights = params.get("w")
    if weights is not None and metric != "minkowski":
        raise Impossible(f"the metric {metric!r} with weights has no converter")
    if metric == "sqeuclidean":
        return squared(b, value, points), "", 1.0
    if metric == "cosine":
        return cosine(b, value, points), "", 1.0
    if metric == "chebyshev" or power == np.inf:
        far = [b.add("Abs", [d]) for d in differences(b, value, points)]
        return (far[0] if len(far) == 1 else b.add("Max", far)), "", 1.0
    if power is None:
        raise Impossible(f"the metric {metric!r} has no converter")
    if weights is None and power == 2.0:
        return squared(b, value, points), "Sqrt", 0.5
    if weights is None and power == 1.0:
        return manhattan(b, value, points), "", 1.0
    parts = [b.add("Abs", [d]) for d in differences(b, value, points)]
    parts = [b.add("Pow", [p, b.constant(power)]) for p in parts]
    if weights is not None:
        parts = [m.scale(b, p, w) for p, w in zip(parts, np.asarray(weights), strict=True)]
    return m.added(b, parts), "Pow", 1.0 / power


def distance_of(b: Builder, rank: str, node: str, power: float) -> str:
    """The distance of a reduced distance (see `ranked`)."""
    if not node:
        return rank
    return b.add("Sqrt", [rank]) if node == "Sqrt" else b.add("Pow", [rank, b.constant(power)])


def kernel(b: Builder, value: str, points: NDArray[Any], name: Any, params: dict[str, Any]) -> str:
    """sklearn.metrics.pairwise.pairwise_kernels(X, points, metric=name, filter_params=True, **params)."""
    gamma = params.get("gamma")
    gamma = 1.0 / points.shape[1] if gamma is None else float(gamma)
    if name == "linear":
        return m.affine(b, value, points.T)
    if name in ("poly", "polynomial"):
        inner = m.affine(b, value, gamma * points.T, params.get("coef0", 1.0))
        return power_of(b, inner, float(params.get("degree", 3)))
    if name == "sigmoid":
        return b.add("Tanh", [m.affine(b, value, gamma * points.T, params.get("coef0", 1.0))])
    if name == "rbf":
        return b.add("Exp", [m.scale(b, squared(b, value, points), -gamma)])
    if name == "laplacian":
        return b.add("Exp", [m.scale(b, manhattan(b, value, points), -gamma)])
    if name == "cosine":
        return cosine_similarity(b, value, points)
    if name in ("chi2", "additive_chi2"):
        gap = chi_square(b, value, points)
        if name == "additive_chi2":
            return gap
        gamma = params.get("gamma")
        return b.add("Exp", [m.scale(b, gap, 1.0 if gamma is None else float(gamma))])
    raise Impossible(f"the kernel {name!r} is not one that a graph can compute")


def power_of(b: Builder, value: str, degree: float) -> str:
    """value ** degree; small whole powers as products, which is how libsvm's powi and numpy agree best."""
    if degree == 1:
        return value
    if degree in (2, 3):
        twice = m.square(b, value)
        return twice if degree == 2 else b.add("Mul", [twice, value])
    return b.add("Pow", [value, b.constant(degree)])


def chi_square(b: Builder, value: str, points: NDArray[Any]) -> str:
    """-Σ (x - p)² / (x + p), where 0 / 0 is 0."""
    parts = []
    for i, gap in enumerate(differences(b, value, points)):
        both = b.add("Add", [m.tall(b, m.column(b, value, i)), b.constant(points[:, i].reshape(1, -1))])
        zero = b.add("Equal", [both, b.constant(0.0)])
        safe = b.add("Where", [zero, b.constant(1.0), both])
        share = b.add("Div", [m.square(b, gap), safe])
        parts.append(b.add("Where", [zero, b.constant(0.0), share]))
    return b.add("Neg", [m.added(b, parts)])
