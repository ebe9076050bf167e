"""Linear models: one matrix product, then the link or the threshold that each applies to it."""

from __future__ import annotations

from typing import Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features
from anyport.graph.sklearn import arithmetic as m


def value(b: Builder, estimator: Any, x: Features) -> str:
    """x @ coef_.T + intercept_: [N] of a 1-d coef_, else [N, targets]."""
    coef = m.dense(estimator.coef_)
    if coef.ndim == 1:
        return m.line(b, x.tensor(), coef, estimator.intercept_)
    return m.affine(b, x.tensor(), coef.T, estimator.intercept_)


def regressor(b: Builder, estimator: Any, x: Features) -> Answers:
    return Answers(prediction=value(b, estimator, x))


def flat_regressor(b: Builder, estimator: Any, x: Features) -> Answers:
    """SGD and PassiveAggressive: always one target."""
    return Answers(prediction=m.line(b, x.tensor(), estimator.coef_, estimator.intercept_))


def generalised(b: Builder, estimator: Any, x: Features) -> Answers:
    """Poisson, gamma and Tweedie: the inverse of the link."""
    raw = m.line(b, x.tensor(), estimator.coef_, estimator.intercept_)
    link = type(estimator._base_loss.link).__name__
    if link == "LogLink":
        return Answers(prediction=b.add("Exp", [raw]))
    if link == "IdentityLink":
        return Answers(prediction=raw)
    raise Impossible(f"{type(estimator).__name__} has the link {link}, which has no inverse in ONNX here")


def decision(b: Builder, estimator: Any, x: Features) -> tuple[str, bool]:
    """decision_function: [N] (and True) when there is one row of coefficients, else [N, classes]."""
    coef = m.dense(estimator.coef_)
    if coef.ndim == 1 or coef.shape[0] == 1:
        return m.line(b, x.tensor(), coef, estimator.intercept_), True
    return m.affine(b, x.tensor(), coef.T, estimator.intercept_), False


def classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    """Perceptron, PassiveAggressive, LinearSVC: a decision without probabilities."""
    raw, binary = decision(b, estimator, x)
    return Answers(prediction=m.above(b, raw) if binary else m.argmax(b, raw), decision=raw)


def ridge_classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    if not estimator._label_binarizer.y_type_.startswith("multilabel"):
        return classifier(b, estimator, x)
    raw = m.affine(b, x.tensor(), m.dense(estimator.coef_).T, estimator.intercept_)
    targets = range(len(m.dense(estimator.coef_)))
    return Answers(per_target=tuple(Answers(prediction=m.above(b, m.column(b, raw, i))) for i in targets))


def one_vs_rest(b: Builder, estimator: Any, raw: str, binary: bool) -> str:
    """LinearClassifierMixin._predict_proba_lr: sigmoids, normalised where there are several."""
    sigmoid = b.add("Sigmoid", [raw])
    return m.halves(b, sigmoid) if binary else m.shares(b, sigmoid, len(estimator.classes_))


def logistic(b: Builder, estimator: Any, x: Features) -> Answers:
    """Two classes: sigmoid; more: softmax."""
    raw, binary = decision(b, estimator, x)
    if len(estimator.classes_) <= 2:
        probability = one_vs_rest(b, estimator, raw, binary)
    else:
        probability = m.softmax(b, raw)
    return Answers(m.above(b, raw) if binary else m.argmax(b, raw), probability, raw)


def sgd_classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    raw, binary = decision(b, estimator, x)
    probability = None
    if estimator.loss == "log_loss":
        probability = one_vs_rest(b, estimator, raw, binary)
    elif estimator.loss == "modified_huber":
        clipped = b.add("Clip", [raw, b.constant(-1.0), b.constant(1.0)])
        share = m.divide(b, m.shift(b, clipped, 1.0), 2.0)
        probability = m.halves(b, share) if binary else m.shares(b, share, len(estimator.classes_))
    return Answers(m.above(b, raw) if binary else m.argmax(b, raw), probability, raw)


def discriminant(b: Builder, estimator: Any, x: Features) -> Answers:
    """LinearDiscriminantAnalysis."""
    raw, binary = decision(b, estimator, x)
    if len(estimator.classes_) == 2:
        return Answers(m.above(b, raw), m.halves(b, b.add("Sigmoid", [raw])), raw)
    return Answers(m.above(b, raw) if binary else m.argmax(b, raw), m.softmax(b, raw), raw)


def one_class_sgd(b: Builder, estimator: Any, x: Features) -> Answers:
    raw = m.line(b, x.tensor(), estimator.coef_, -estimator.offset_)
    return Answers(prediction=m.inlier(b, m.at_least(b, raw)), decision=raw)


def partial_least_squares(b: Builder, estimator: Any, x: Features) -> Answers:
    centred = m.shift(b, x.tensor(), -estimator._x_mean)
    answer = m.affine(b, centred, estimator.coef_.T, estimator.intercept_)
    return Answers(prediction=m.flat(b, answer) if estimator._predict_1d else answer)


CONVERTERS = {
    **dict.fromkeys(
        (
            "LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "Lars", "LarsCV",
            "LassoLars", "LassoLarsCV", "LassoLarsIC", "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV",
            "BayesianRidge", "ARDRegression", "HuberRegressor", "TheilSenRegressor", "QuantileRegressor", "LinearSVR",
            "MultiTaskLasso", "MultiTaskLassoCV", "MultiTaskElasticNet", "MultiTaskElasticNetCV",
        ),
        regressor,
    ),
    **dict.fromkeys(("SGDRegressor", "PassiveAggressiveRegressor"), flat_regressor),
    **dict.fromkeys(("PoissonRegressor", "GammaRegressor", "TweedieRegressor"), generalised),
    **dict.fromkeys(("Perceptron", "PassiveAggressiveClassifier", "LinearSVC"), classifier),
    **dict.fromkeys(("RidgeClassifier", "RidgeClassifierCV"), ridge_classifier),
    **dict.fromkeys(("LogisticRegression", "LogisticRegressionCV"), logistic),
    "SGDClassifier": sgd_classifier,
    "LinearDiscriminantAnalysis": discriminant,
    "SGDOneClassSVM": one_class_sgd,
    **dict.fromkeys(("PLSRegression", "PLSCanonical", "CCA"), partial_least_squares),
}  # fmt: skip
