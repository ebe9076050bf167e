"""Multi-layer perceptrons."""

from __future__ import annotations

from typing import Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features
from anyport.graph.sklearn import arithmetic as m

NODES = {"tanh": "Tanh", "logistic": "Sigmoid", "relu": "Relu", "exp": "Exp"}


def activate(b: Builder, value: str, name: str) -> str:
    if name == "identity":
        return value
    if name == "softmax":
        return m.softmax(b, value)
    if name not in NODES:
        raise Impossible(f"the activation {name!r} has no converter")
    return b.add(NODES[name], [value])


def forward(b: Builder, estimator: Any, x: Features) -> str:
    value = x.tensor()
    last = estimator.n_layers_ - 2
    for i, (weights, bias) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        value = m.affine(b, value, weights, bias)
        value = activate(b, value, estimator.activation if i < last else estimator.out_activation_)
    return value


def classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    out = forward(b, estimator, x)
    if estimator._label_binarizer.y_type_ == "multilabel-indicator":
        each = [m.column(b, out, i) for i in range(estimator.n_outputs_)]
        return Answers(per_target=tuple(Answers(m.above(b, p, 0.5), m.halves(b, p)) for p in each))
    if estimator.n_outputs_ == 1:
        share = m.flat(b, out)
        return Answers(prediction=m.above(b, share, 0.5), probability=m.halves(b, share))
    return Answers(prediction=m.argmax(b, out), probability=out)


def regressor(b: Builder, estimator: Any, x: Features) -> Answers:
    out = forward(b, estimator, x)
    return Answers(prediction=m.flat(b, out) if estimator.n_outputs_ == 1 else out)


CONVERTERS = {"MLPClassifier": classifier, "MLPRegressor": regressor}
