"""Nearest neighbours: distances to every training row, the k smallest (or those within the radius), their vote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features, Tensor, distances
from anyport.graph.sklearn import arithmetic as m

if TYPE_CHECKING:
    from numpy.typing import NDArray


def nearest(b: Builder, estimator: Any, x: Features, count: int) -> tuple[str, str]:
    """Distances and indices of the nearest training rows, nearest first.

    Of equals the one that scikit-learn meets first is first: a search tree's rows lie in its own order, and
    from far away (where all are equally far) it is walked from left to right.
    """
    import numpy as np

    points = distances.remembered(estimator._fit_X)
    order = np.arange(len(points)) if estimator._tree is None else np.asarray(estimator._tree.idx_array)
    points = points[order]
    if len(points) < count:
        raise Impossible(f"{type(estimator).__name__} needs {count} neighbours and remembers {len(points)} rows")
    metric, params = metric_of(estimator)
    rank, node, power = distances.ranked(b, x.tensor(), points, metric, params)
    top, index = b.add_many("TopK", [rank, b.constant([count], "int64")], outputs=2, axis=1, largest=0, sorted=1)
    # Where nothing is nearer than infinity, scikit-learn's heap stays as it was made: training row 0.
    index = b.add("Where", [b.add("IsInf", [top]), b.constant(0, "int64"), m.choose(b, order, index)])
    return distances.distance_of(b, top, node, power), index


def metric_of(estimator: Any) -> tuple[str, dict[str, Any]]:
    """The metric and its parameters, as resolved when the model was fitted."""
    metric = estimator.effective_metric_
    if not isinstance(metric, str) or metric == "precomputed":
        raise Impossible(f"the metric {metric!r} is not one that a graph can compute")
    return metric, dict(estimator.effective_metric_params_ or {})


def inverse(b: Builder, distance: str, estimator: Any) -> str | None:
    """Weights of the neighbours; None when they all weigh the same. A neighbour at distance 0 outweighs all others."""
    if estimator.weights in (None, "uniform"):
        return None
    if estimator.weights != "distance":
        raise Impossible("weights is the user's own function")
    share = b.add("Div", [b.constant(1.0), distance])
    same = b.cast(b.add("IsInf", [share]), b.float)
    any_same = b.add("ReduceMax", [same, b.constant([1], "int64")], keepdims=1)
    return b.add("Where", [b.cast(any_same, "bool"), same, share])


def hot(codes: NDArray[Any], classes: int) -> NDArray[Any]:
    """Class codes [m] → one-hot rows [m, classes]."""
    import numpy as np

    return np.eye(classes)[np.asarray(codes, np.int64)]


def classify(b: Builder, estimator: Any, x: Features) -> Answers:
    distance, index = nearest(b, estimator, x, estimator.n_neighbors)
    weights = inverse(b, distance, estimator)

    def votes(codes: NDArray[Any], classes: int) -> str:
        each = m.choose(b, hot(codes, classes), index)
        if weights is not None:
            each = b.add("Mul", [each, b.add("Unsqueeze", [weights, b.constant([2], "int64")])])
        return m.total(b, each, keep=False)

    def answer(codes: NDArray[Any], classes: int) -> Answers:
        counts = votes(codes, classes)
        return Answers(m.argmax(b, counts), b.add("Div", [counts, m.total(b, counts)]))

    if not estimator.outputs_2d_:
        return answer(estimator._y, len(estimator.classes_))
    each = [answer(estimator._y[:, k], len(c)) for k, c in enumerate(estimator.classes_)]
    return Answers(per_target=tuple(each))


def regress(b: Builder, estimator: Any, x: Features) -> Answers:
    import numpy as np

    distance, index = nearest(b, estimator, x, estimator.n_neighbors)
    weights = inverse(b, distance, estimator)
    targets = np.asarray(estimator._y, np.float64)
    each = m.choose(b, targets.reshape(len(targets), -1), index)  # [N, k, targets]
    if weights is None:
        mean = m.divide(b, m.total(b, each, keep=False), float(estimator.n_neighbors))
    else:
        weighted = b.add("Mul", [each, b.add("Unsqueeze", [weights, b.constant([2], "int64")])])
        mean = b.add("Div", [m.total(b, weighted, keep=False), m.total(b, weights)])
    return Answers(prediction=m.flat(b, mean) if targets.ndim == 1 else mean)


def inside(b: Builder, estimator: Any, x: Features) -> tuple[str, str]:
    """Which training rows are within the radius of which row, bool [N, m], and how far they are."""
    points = distances.remembered(estimator._fit_X)
    metric, params = metric_of(estimator)
    rank, node, power = distances.ranked(b, x.tensor(), points, metric, params)
    radius = float(estimator.radius)
    limit = radius if not node else radius * radius if node == "Sqrt" else radius ** (1.0 / power)
    return b.add("LessOrEqual", [rank, b.constant(limit)]), distances.distance_of(b, rank, node, power)


def within(b: Builder, estimator: Any, x: Features) -> str:
    """The weight of every training row for every row, [N, m]; 0 outside the radius."""
    near, distance = inside(b, estimator, x)
    weights = inverse(b, distance, estimator)
    if weights is None:
        return b.cast(near, b.float)
    return b.add("Where", [near, weights, b.constant(0.0)])


def classify_radius(b: Builder, estimator: Any, x: Features) -> Answers:
    import numpy as np

    if estimator.outputs_2d_:
        raise Impossible("RadiusNeighborsClassifier with several targets has no converter")
    if estimator.outlier_label_ is None:
        raise Impossible("rows without a neighbour in the radius are refused, which a graph cannot do")
    classes = np.asarray(estimator.classes_)
    known = np.flatnonzero(classes == estimator.outlier_label_[0])
    if not len(known):
        raise Impossible("outlier_label is not one of the classes, so its prediction has no index")
    votes = b.add("MatMul", [within(b, estimator, x), b.constant(hot(estimator._y, len(classes)))])
    sums = m.total(b, votes)
    alone = b.add("Equal", [sums, b.constant(0.0)])
    share = b.add("Div", [votes, b.add("Where", [alone, b.constant(1.0), sums])])
    outlier = np.zeros(len(classes))
    outlier[known[0]] = 1.0
    probability = b.add("Where", [alone, b.constant(outlier), share])
    return Answers(prediction=m.argmax(b, probability), probability=probability)


def regress_radius(b: Builder, estimator: Any, x: Features) -> Answers:
    """A row with no neighbour gets what the original gives: NaN, or the integer that NaN becomes."""
    import numpy as np

    targets = np.asarray(estimator._y)
    with np.errstate(invalid="ignore"):
        empty = float(np.full_like(targets.reshape(len(targets), -1)[0], np.nan)[0])
    weights = within(b, estimator, x)
    sums = m.total(b, weights)
    values = b.constant(targets.reshape(len(targets), -1).astype(np.float64))
    alone = b.add("Equal", [sums, b.constant(0.0)])
    mean = b.add("Div", [b.add("MatMul", [weights, values]), b.add("Where", [alone, b.constant(1.0), sums])])
    answer = b.add("Where", [alone, b.constant(empty), mean])
    return Answers(prediction=m.flat(b, answer) if targets.ndim == 1 else answer)


def centroid(b: Builder, estimator: Any, x: Features) -> Answers:
    """NearestCentroid: the nearest one, or the best discriminant score when the priors differ."""
    import numpy as np

    from anyport.graph.sklearn.bayes import of_scores

    points, value = m.dense(estimator.centroids_), x.tensor()
    classes = len(estimator.classes_)
    if estimator.metric not in ("euclidean", "manhattan"):
        raise Impossible(f"the metric {estimator.metric!r} of NearestCentroid has no converter")
    spread = np.where(estimator.within_class_std_dev_ != 0, estimator.within_class_std_dev_, 1.0)
    scaled, centres = m.divide(b, value, spread), points / spread
    if estimator.metric == "euclidean":
        far = distances.squared(b, scaled, centres)
    else:
        far = m.square(b, distances.manhattan(b, scaled, centres))
    scores = m.shift(b, b.add("Neg", [far]), 2.0 * np.log(estimator.class_prior_))
    answers = of_scores(b, scores, classes)
    prediction = answers.prediction
    if np.isclose(estimator.class_prior_, 1 / classes).all():
        if estimator.metric == "euclidean":
            prediction = distances.nearest(b, value, points)
        else:
            prediction = m.argmin(b, distances.manhattan(b, value, points))
    if estimator.metric != "euclidean":
        return Answers(prediction=prediction)
    return Answers(prediction, answers.probability, answers.decision)


def neighbour_graph(b: Builder, estimator: Any, x: Features) -> Tensor:
    """KNeighborsTransformer: distances (of one neighbour more), or ones, in the columns of the neighbours."""
    import numpy as np

    far = estimator.mode == "distance"
    distance, index = nearest(b, estimator, x, estimator.n_neighbors + far)
    blank = m.repeated(b, x.tensor(), np.zeros(estimator.n_samples_fit_))
    said = distance if far else b.add("CastLike", [b.add("Equal", [index, index]), distance])
    return Tensor(b, b.add("ScatterElements", [blank, index, said], axis=1), estimator.n_samples_fit_)


def radius_graph(b: Builder, estimator: Any, x: Features) -> Tensor:
    """RadiusNeighborsTransformer: distances, or ones, in the columns of the training rows within the radius."""
    near, distance = inside(b, estimator, x)
    said = distance if estimator.mode == "distance" else b.constant(1.0)
    return Tensor(b, b.add("Where", [near, said, b.constant(0.0)]), estimator.n_samples_fit_)


CONVERTERS = {
    "KNeighborsTransformer": neighbour_graph,
    "RadiusNeighborsTransformer": radius_graph,
    "KNeighborsClassifier": classify,
    "KNeighborsRegressor": regress,
    "RadiusNeighborsClassifier": classify_radius,
    "RadiusNeighborsRegressor": regress_radius,
    "NearestCentroid": centroid,
}
