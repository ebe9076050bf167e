"""Predictors of no family: dummies, isotonic regression, a transformed target, frozen estimators."""

from __future__ import annotations

from typing import Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features, Tensor, convert
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.sklearn.inverse import interpolate, inverse


def dummy_classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    """The same answer for every row; the strategies that draw at random cannot be reproduced."""
    if estimator._strategy in ("stratified", "uniform"):
        raise Impossible(f"DummyClassifier(strategy={estimator._strategy!r}) draws its answers at random")
    if estimator.n_outputs_ == 1:
        return constant_class(b, estimator, x, estimator.classes_, estimator.class_prior_, estimator.constant)
    constants = estimator.constant if estimator.constant is not None else [None] * estimator.n_outputs_
    every = zip(estimator.classes_, estimator.class_prior_, constants, strict=True)
    return Answers(per_target=tuple(constant_class(b, estimator, x, c, p, k) for c, p, k in every))


def constant_class(b: Builder, estimator: Any, x: Features, classes: Any, prior: Any, constant: Any) -> Answers:
    import numpy as np

    value = x.tensor()
    if estimator._strategy == "constant":
        index = int(np.flatnonzero(np.asarray(classes) == np.asarray(constant).ravel()[0])[0])
    else:
        index = int(np.argmax(prior))
    share = np.eye(len(classes))[index] if estimator._strategy != "prior" else np.asarray(prior, np.float64)
    return Answers(prediction=m.repeated(b, value, np.int64(index)), probability=m.repeated(b, value, share))


def dummy_regressor(b: Builder, estimator: Any, x: Features) -> Answers:
    import numpy as np

    row = np.asarray(estimator.constant_, np.float64).reshape(-1)
    return Answers(prediction=m.repeated(b, x.tensor(), row[0] if estimator.n_outputs_ == 1 else row))


def isotonic(b: Builder, estimator: Any, x: Features) -> Answers:
    return Answers(prediction=isotonic_value(b, estimator, m.flat(b, x.tensor())))


def isotonic_value(b: Builder, estimator: Any, value: str) -> str:
    """IsotonicRegression.predict of [N]. Values out of bounds are refused before they get here, or clipped, or NaN."""
    import numpy as np

    xs, ys = estimator.X_thresholds_, estimator.y_thresholds_
    if xs.dtype == np.float32 and b.float != "float32":
        value = b.cast(b.cast(value, "float32"), b.float)
    answer = interpolate(b, value, xs, ys)
    if estimator.out_of_bounds == "nan" and len(ys) > 1:
        low = b.add("Less", [value, b.constant(float(xs[0]))])
        outside = b.add("Or", [low, b.add("Greater", [value, b.constant(float(xs[-1]))])])
        answer = b.add("Where", [outside, b.constant(np.float64(np.nan)), answer])
    if xs.dtype == np.float32 and b.float != "float32":
        answer = b.cast(b.cast(answer, "float32"), b.float)
    return answer


def isotonic_transform(b: Builder, estimator: Any, x: Features) -> Features:
    answer = isotonic(b, estimator, x).prediction
    assert answer is not None
    return Tensor(b, m.tall(b, answer), 1)


def transformed_target(b: Builder, estimator: Any, x: Features) -> Answers:
    """The inner regressor's answer through the target transformer's inverse."""
    inner = convert(b, estimator.regressor_, x)
    if inner.prediction is None:
        raise Impossible("the inner regressor has no prediction in the graph")
    width = 1 if estimator._training_dim == 1 else int(estimator.transformer_.n_features_in_)
    answer = inverse(b, estimator.transformer_, m.reshaped(b, inner.prediction, width))
    return Answers(prediction=m.flat(b, answer) if estimator._training_dim == 1 else answer)


def frozen(b: Builder, estimator: Any, x: Features) -> Any:
    return convert(b, estimator.estimator, x)


CONVERTERS = {
    "DummyClassifier": dummy_classifier,
    "DummyRegressor": dummy_regressor,
    "IsotonicRegression": isotonic,
    "TransformedTargetRegressor": transformed_target,
    "FrozenEstimator": frozen,
}

TRANSFORMS = {"IsotonicRegression": isotonic_transform}
