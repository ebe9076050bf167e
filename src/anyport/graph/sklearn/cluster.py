"""Clusterers that can place a new row: the nearest centre, or the likeliest Gaussian."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features, distances
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.sklearn.bayes import of_joint

if TYPE_CHECKING:
    from numpy.typing import NDArray


def k_means(b: Builder, estimator: Any, x: Features) -> Answers:
    return Answers(prediction=m.argmin(b, distances.products(b, x.tensor(), estimator.cluster_centers_)))


def bisecting(b: Builder, estimator: Any, x: Features) -> Answers:
    """BisectingKMeans walks down its tree: at each node the nearer of two centres, the left one of equals."""
    import numpy as np

    centres: list[NDArray[Any]] = []

    def collect(node: Any) -> None:
        if node.left is not None:
            centres.extend((node.left.center, node.right.center))
            collect(node.left)
            collect(node.right)

    root = estimator._bisecting_tree
    collect(root)
    value = x.tensor()
    if not centres:
        return Answers(prediction=m.repeated(b, value, np.int64(root.label)))
    offset = getattr(estimator, "_X_mean", 0.0)
    far = distances.products(b, value, np.asarray(centres) + offset)
    place = iter(range(0, len(centres), 2))

    def label(node: Any) -> str:
        if node.left is None:
            return b.constant(int(node.label), "int64")
        here = next(place)
        right = b.add("Less", [m.column(b, far, here + 1), m.column(b, far, here)])
        left_label, right_label = label(node.left), label(node.right)
        return b.add("Where", [right, right_label, left_label])

    return Answers(prediction=label(root))


def nearest_centre(b: Builder, estimator: Any, x: Features) -> Answers:
    """MeanShift and AffinityPropagation."""
    import numpy as np

    centres = getattr(estimator, "cluster_centers_", None)
    if centres is None:
        raise Impossible(f"{type(estimator).__name__} was fitted on precomputed affinities and cannot place a new row")
    if len(centres) == 0:
        return Answers(prediction=m.repeated(b, x.tensor(), np.int64(-1)))
    return Answers(prediction=distances.nearest(b, x.tensor(), m.dense(centres)))


def birch(b: Builder, estimator: Any, x: Features) -> Answers:
    nearest = distances.nearest(b, x.tensor(), m.dense(estimator.subcluster_centers_))
    return Answers(prediction=m.choose(b, estimator.subcluster_labels_, nearest))


def mixture(b: Builder, estimator: Any, x: Features) -> Answers:
    """GaussianMixture and BayesianGaussianMixture."""
    import numpy as np

    # What the model adds to every component's quadratic form is the log probability of a row at its mean.
    quadratic = mahalanobis(b, estimator, x.tensor())
    means = estimator.means_
    rows = (estimator._estimate_weighted_log_prob(mean.reshape(1, -1))[0] for mean in means)
    at_means = np.array([row[k] for k, row in enumerate(rows)])
    own = own_quadratic(estimator)
    return of_joint(b, m.shift(b, m.scale(b, quadratic, -0.5), at_means + 0.5 * own))


def own_quadratic(estimator: Any) -> NDArray[Any]:
    """What rounding leaves of the quadratic form at each component's own mean (0, or nearly)."""
    import numpy as np

    means, precisions = estimator.means_, estimator.precisions_cholesky_
    if estimator.covariance_type == "diag":
        p = precisions**2
        every = (means**2 * p).sum(axis=1) - 2.0 * (means @ (means * p).T) + (means**2 @ p.T)
        return np.asarray(np.diag(every))
    if estimator.covariance_type == "spherical":
        p = precisions**2
        norms = (means**2).sum(axis=1)
        return np.asarray(np.diag(norms * p - 2 * (means @ means.T * p) + np.outer(norms, p)))
    return np.zeros(len(means))


def mahalanobis(b: Builder, estimator: Any, value: str) -> str:
    """The quadratic form of every component, [N, components], in the original's own arithmetic."""
    means, precisions = estimator.means_, estimator.precisions_cholesky_
    kind = estimator.covariance_type
    if kind in ("full", "tied"):
        parts = []
        for k, mean in enumerate(means):
            root = precisions[k] if kind == "full" else precisions
            parts.append(m.total(b, m.square(b, m.affine(b, value, root, -(mean @ root)))))
        return m.beside(b, parts)
    p = precisions**2
    if kind == "diag":
        inner = m.affine(b, value, -2.0 * (means * p).T, (means**2 * p).sum(axis=1))
        return b.add("Add", [inner, b.add("MatMul", [m.square(b, value), b.constant(p.T)])])
    inner = m.affine(b, value, -2.0 * means.T * p, (means**2).sum(axis=1) * p)
    return b.add("Add", [inner, b.add("Mul", [m.total(b, m.square(b, value)), b.constant(p)])])


CONVERTERS = {
    **dict.fromkeys(("KMeans", "MiniBatchKMeans"), k_means),
    "BisectingKMeans": bisecting,
    **dict.fromkeys(("MeanShift", "AffinityPropagation"), nearest_centre),
    "Birch": birch,
    **dict.fromkeys(("GaussianMixture", "BayesianGaussianMixture"), mixture),
}
