"""Outlier detectors: 1 for a row like those of the training data, -1 for one unlike them."""

from __future__ import annotations

from typing import Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.sklearn.neighbours import nearest


def local_factor(b: Builder, estimator: Any, x: Features) -> Answers:
    """LocalOutlierFactor(novelty=True)."""
    if not estimator.novelty:
        raise Impossible("LocalOutlierFactor has predict only with novelty=True")
    distance, index = nearest(b, estimator, x, estimator.n_neighbors_)
    reach = m.choose(b, estimator._distances_fit_X_[:, estimator.n_neighbors_ - 1], index)
    far = b.add("Max", [distance, reach])
    count = float(estimator.n_neighbors_)
    density = b.add("Div", [b.constant(1.0), m.shift(b, m.divide(b, m.total(b, far), count), 1e-10)])
    ratios = b.add("Div", [m.choose(b, estimator._lrd, index), density])
    score = b.add("Neg", [m.divide(b, m.total(b, ratios, keep=False), count)])
    decision = m.shift(b, score, -estimator.offset_)
    return Answers(prediction=m.inlier(b, m.at_least(b, decision)), decision=decision)


def envelope(b: Builder, estimator: Any, x: Features) -> Answers:
    """EllipticEnvelope: squared Mahalanobis distance."""
    centred = m.shift(b, x.tensor(), -estimator.location_)
    turned = b.add("MatMul", [centred, b.constant(estimator.get_precision())])
    distance = b.add("Sqrt", [m.total(b, b.add("Mul", [turned, centred]), keep=False)])
    decision = m.shift(b, b.add("Neg", [m.square(b, distance)]), -estimator.offset_)
    return Answers(prediction=m.inlier(b, m.at_least(b, decision)), decision=decision)


CONVERTERS = {"LocalOutlierFactor": local_factor, "EllipticEnvelope": envelope}
