"""Naive Bayes and quadratic discriminants: a log likelihood for each class, the largest wins."""

from __future__ import annotations

from typing import Any

from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features
from anyport.graph.sklearn import arithmetic as m


def of_joint(b: Builder, joint: str) -> Answers:
    """argmax of the joint log likelihood, and exp(joint - logsumexp)."""
    log_share = b.add("Sub", [joint, m.log_sum_exp(b, joint)])
    return Answers(prediction=m.argmax(b, joint), probability=b.add("Exp", [log_share]))


def gaussian(b: Builder, estimator: Any, x: Features) -> Answers:
    import numpy as np

    value = x.tensor()
    parts = []
    for mean, variance in zip(estimator.theta_, estimator.var_, strict=True):
        far = m.divide(b, m.square(b, m.shift(b, value, -mean)), variance)
        parts.append(m.total(b, far))
    constant = np.log(estimator.class_prior_) - 0.5 * np.sum(np.log(2.0 * np.pi * estimator.var_), axis=1)
    return of_joint(b, m.shift(b, m.scale(b, m.beside(b, parts), -0.5), constant))


def multinomial(b: Builder, estimator: Any, x: Features) -> Answers:
    return of_joint(b, m.affine(b, x.tensor(), estimator.feature_log_prob_.T, estimator.class_log_prior_))


def complement(b: Builder, estimator: Any, x: Features) -> Answers:
    prior = estimator.class_log_prior_ if len(estimator.classes_) == 1 else 0.0
    return of_joint(b, m.affine(b, x.tensor(), estimator.feature_log_prob_.T, prior))


def bernoulli(b: Builder, estimator: Any, x: Features) -> Answers:
    import numpy as np

    value = x.tensor()
    if estimator.binarize is not None:
        value = b.cast(m.above(b, value, estimator.binarize), b.float)
    absent = np.log(1 - np.exp(estimator.feature_log_prob_))
    weights = (estimator.feature_log_prob_ - absent).T
    return of_joint(b, m.affine(b, value, weights, estimator.class_log_prior_ + absent.sum(axis=1)))


def categorical(b: Builder, estimator: Any, x: Features) -> Answers:
    """Values are truncated to int, as the original does; values it never saw are refused before they get here."""
    import numpy as np

    index = b.cast(x.tensor(), "int64")
    parts = []
    for feature, table in enumerate(estimator.feature_log_prob_):
        last = table.shape[1] - 1
        inside = b.add("Clip", [m.column(b, index, feature), b.constant(0, "int64"), b.constant(last, "int64")])
        parts.append(m.choose(b, np.ascontiguousarray(table.T), inside))
    return of_joint(b, m.shift(b, m.added(b, parts), estimator.class_log_prior_))


def quadratic(b: Builder, estimator: Any, x: Features) -> Answers:
    """QuadraticDiscriminantAnalysis."""
    import numpy as np

    value = x.tensor()
    parts = []
    for mean, rotation, scaling in zip(estimator.means_, estimator.rotations_, estimator.scalings_, strict=True):
        turned = m.affine(b, m.shift(b, value, -mean), rotation * scaling**-0.5)
        parts.append(m.total(b, m.square(b, turned)))
    logs = np.array([np.sum(np.log(s)) for s in estimator.scalings_])
    scores = m.scale(b, m.shift(b, m.beside(b, parts), logs), -0.5)
    return of_scores(b, m.shift(b, scores, np.log(estimator.priors_)), len(estimator.classes_))


def of_scores(b: Builder, scores: str, classes: int) -> Answers:
    """DiscriminantAnalysisPredictionMixin: argmax, softmax, and their difference when there are two."""
    decision = scores
    if classes == 2:
        decision = b.add("Sub", [m.column(b, scores, 1), m.column(b, scores, 0)])
    top = b.add("ReduceMax", [scores, b.constant([1], "int64")], keepdims=1)
    likelihood = b.add("Sub", [scores, top])
    log_share = b.add("Sub", [likelihood, b.add("Log", [m.total(b, b.add("Exp", [likelihood]))])])
    return Answers(m.argmax(b, scores), b.add("Exp", [log_share]), decision)


CONVERTERS = {
    "GaussianNB": gaussian,
    "MultinomialNB": multinomial,
    "ComplementNB": complement,
    "BernoulliNB": bernoulli,
    "CategoricalNB": categorical,
    "QuadraticDiscriminantAnalysis": quadratic,
}
