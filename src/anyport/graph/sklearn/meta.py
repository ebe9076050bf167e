"""Estimators around other estimators: voting, stacking, calibration, thresholds, searches.

Each passes its features on untouched, so that a pipeline inside still sees raw columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features, Tensor, convert, transform
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.sklearn.others import isotonic_value


def answers_of(b: Builder, estimator: Any, x: Features) -> Answers:
    """A sub-estimator's answers, one target each."""
    made = convert(b, estimator, x)
    if not isinstance(made, Answers) or made.per_target is not None:
        raise Impossible(f"{type(estimator).__name__} with several targets inside another estimator has no converter")
    return made


def response(estimator: Any, answers: Answers, methods: Sequence[str]) -> tuple[str, str]:
    """The first of `methods` that the original has, as a graph value, and its name."""
    values = {
        "predict_proba": answers.probability, "decision_function": answers.decision, "predict": answers.prediction,
    }  # fmt: skip
    for method in methods:
        if hasattr(estimator, method):
            value = values.get(method)
            if value is None:
                raise Impossible(f"{type(estimator).__name__}.{method} has no converter")
            return value, method
    raise Impossible(f"{type(estimator).__name__} has none of {', '.join(methods)}")


def labels(b: Builder, estimator: Any, answers: Answers) -> str:
    """What the original's `predict` gives, as numbers [N] in the builder's float dtype."""
    import numpy as np

    if answers.prediction is None:
        raise Impossible(f"{type(estimator).__name__} has no prediction in the graph")
    classes = getattr(estimator, "classes_", None)
    if classes is None:  # a regressor, a clusterer, an outlier detector
        return b.add("Reshape", [b.cast(answers.prediction, b.float), b.constant([-1], "int64")])
    if np.asarray(classes).dtype.kind not in "iufb":
        raise Impossible(f"{type(estimator).__name__} predicts text, which another estimator cannot read")
    return m.choose(b, np.asarray(classes, np.float64), answers.prediction)


def code(b: Builder, estimator: Any, answers: Answers, classes: Any) -> str:
    """The prediction as an index into `classes`, which holds all of the estimator's own, int64 [N]."""
    import numpy as np

    if answers.prediction is None:
        raise Impossible(f"{type(estimator).__name__} has no prediction in the graph")
    own = np.asarray(estimator.classes_)
    place = [int(np.flatnonzero(np.asarray(classes) == label)[0]) for label in own]
    return answers.prediction if place == list(range(len(place))) else m.choose(b, place, answers.prediction)


def mean(b: Builder, values: Sequence[str], weights: Any = None) -> str:
    """np.average over several values of one shape."""
    if weights is None:
        return m.divide(b, m.added(b, values), float(len(values)))
    weighted = [m.scale(b, v, float(w)) for v, w in zip(values, weights, strict=True)]
    return m.divide(b, m.added(b, weighted), float(sum(weights)))


def voting_classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    import numpy as np

    weights, classes = estimator._weights_not_none, len(estimator.classes_)
    each = [(e, answers_of(b, e, x)) for e in estimator.estimators_]
    if estimator.voting == "soft":
        probability = mean(b, [response(e, a, ["predict_proba"])[0] for e, a in each], weights)
        return Answers(prediction=m.argmax(b, probability), probability=probability)
    votes = []
    for (e, a), weight in zip(each, weights if weights is not None else [1.0] * len(each), strict=True):
        votes.append(m.scale(b, m.one_hot(b, code(b, e, a, np.arange(classes)), classes), float(weight)))
    return Answers(prediction=m.argmax(b, m.added(b, votes)))


def voting_regressor(b: Builder, estimator: Any, x: Features) -> Answers:
    each = [labels(b, e, answers_of(b, e, x)) for e in estimator.estimators_]
    return Answers(prediction=mean(b, each, estimator._weights_not_none))


def voting_features(b: Builder, estimator: Any, x: Features) -> Tensor:
    """transform of both: probabilities side by side, or predictions."""
    each = [(e, answers_of(b, e, x)) for e in estimator.estimators_]
    if getattr(estimator, "voting", "hard") == "hard":
        return Tensor(b, m.stack(b, [labels(b, e, a) for e, a in each]), len(each))
    if not estimator.flatten_transform:
        raise Impossible("VotingClassifier(flatten_transform=False) makes a cube, which no step after it takes")
    parts = [response(e, a, ["predict_proba"])[0] for e, a in each]
    return Tensor(b, m.beside(b, parts), len(parts) * len(estimator.classes_))


def stacked(b: Builder, estimator: Any, x: Features) -> Tensor:
    """transform of stacking: what the final estimator reads."""
    if isinstance(getattr(estimator, "_label_encoder", None), list):
        raise Impossible("stacking with several targets has no converter")
    binary = len(getattr(estimator, "classes_", ())) == 2
    parts = []
    for inner, method in zip(estimator.estimators_, estimator.stack_method_, strict=True):
        answers = answers_of(b, inner, x)
        if method == "predict":
            parts.append(m.tall(b, labels(b, inner, answers)))
            continue
        value = response(inner, answers, [method])[0]
        if method == "predict_proba":
            parts.append(m.columns(b, value, [1]) if binary else value)
        else:
            parts.append(m.tall(b, value) if len(inner.classes_) == 2 else value)
    width = sum(estimator._n_feature_outs)
    if estimator.passthrough:
        parts.append(x.tensor())
        width += x.width
    return Tensor(b, m.beside(b, parts), width)


def stacking(b: Builder, estimator: Any, x: Features) -> Answers:
    import numpy as np

    final = answers_of(b, estimator.final_estimator_, stacked(b, estimator, x))
    if not hasattr(estimator, "classes_"):
        return final
    own = code(b, estimator.final_estimator_, final, np.arange(len(estimator.classes_)))
    return Answers(own, final.probability, final.decision)


def calibrated(b: Builder, estimator: Any, x: Features) -> Answers:
    """CalibratedClassifierCV: the mean of what its calibrated classifiers say."""
    each = [one_calibrated(b, c, x) for c in estimator.calibrated_classifiers_]
    probability = mean(b, each)
    return Answers(prediction=m.argmax(b, probability), probability=probability)


def one_calibrated(b: Builder, calibrated: Any, x: Features) -> str:
    import numpy as np

    inner, classes = calibrated.estimator, np.asarray(calibrated.classes)
    answers = answers_of(b, inner, x)
    value, method = response(inner, answers, ["decision_function", "predict_proba"])
    if len(inner.classes_) < 2 or (len(classes) == 2) != (len(inner.classes_) == 2):
        raise Impossible("a calibrated classifier that saw only some of the classes has no converter")
    if len(classes) == 2 and method == "predict_proba":
        value = m.column(b, value, 1)
    if calibrated.method == "temperature":
        share = temperature(b, calibrated.calibrators[0], value, method, len(classes))
    elif len(classes) == 2:
        share = m.halves(b, calibrate(b, calibrated.calibrators[0], value))
    else:
        parts = [m.repeated(b, value, np.float64(0.0))] * len(classes)
        for k, (label, calibrator) in enumerate(zip(inner.classes_, calibrated.calibrators, strict=True)):
            place = int(np.flatnonzero(classes == label)[0])
            parts[place] = calibrate(b, calibrator, m.column(b, value, k))
        share = m.shares(b, m.stack(b, parts), len(classes))
    return b.add("Min", [share, b.constant(1.0)])


def calibrate(b: Builder, calibrator: Any, value: str) -> str:
    """One class's calibrator on [N]."""
    if type(calibrator).__name__ == "IsotonicRegression":
        return isotonic_value(b, calibrator, value)
    inside = m.shift(b, m.scale(b, value, calibrator.a_), calibrator.b_)
    return b.add("Sigmoid", [b.add("Neg", [inside])])


def temperature(b: Builder, calibrator: Any, value: str, method: str, classes: int) -> str:
    if classes == 2:
        logits = m.halves(b, value) if method == "predict_proba" else m.stack(b, [b.add("Neg", [value]), value])
    else:
        logits = value
    if method == "predict_proba":
        logits = b.add("Log", [m.shift(b, logits, 1e-12)])
    return m.softmax(b, m.scale(b, logits, calibrator.beta_))


def threshold(b: Builder, estimator: Any, x: Features) -> Answers:
    """FixedThresholdClassifier and TunedThresholdClassifierCV."""
    import numpy as np

    inner = getattr(estimator, "estimator_", None) or estimator.estimator
    answers = answers_of(b, inner, x)
    methods = estimator._get_response_method()
    score, method = response(inner, answers, [methods] if isinstance(methods, str) else methods)
    classes = np.asarray(inner.classes_)
    if hasattr(estimator, "best_threshold_"):
        limit, positive = estimator.best_threshold_, estimator._curve_scorer._get_pos_label()
    else:
        limit, positive = estimator.threshold, estimator.pos_label
        limit = (0.5 if method == "predict_proba" else 0.0) if isinstance(limit, str) else limit
    place = len(classes) - 1 if positive is None else int(np.flatnonzero(classes == positive)[0])
    if method == "predict_proba":
        score = m.column(b, score, place)
    elif place == 0:
        score = b.add("Neg", [score])
    over = m.at_least(b, score, float(limit))
    prediction = over if place == 1 else b.add("Sub", [b.constant(1, "int64"), over])
    return Answers(prediction, answers.probability, answers.decision)


def best(b: Builder, estimator: Any, x: Features) -> Any:
    """A search answers as its best estimator does."""
    if not hasattr(estimator, "best_estimator_"):
        raise Impossible(f"{type(estimator).__name__} was fitted with refit=False and has no model to answer with")
    return convert(b, estimator.best_estimator_, x)


def best_features(b: Builder, estimator: Any, x: Features) -> Features:
    return transform(b, estimator.best_estimator_, x)


def inner_model(b: Builder, estimator: Any, x: Features) -> Any:
    """SelfTrainingClassifier and RANSACRegressor: what their `estimator_` answers."""
    return convert(b, estimator.estimator_, x)


def kept(b: Builder, estimator: Any, x: Features) -> Features:
    """transform of RFE and RFECV: the features they kept."""
    return x.select([int(i) for i in estimator.get_support(indices=True)])


def eliminated(b: Builder, estimator: Any, x: Features) -> Any:
    return convert(b, estimator.estimator_, kept(b, estimator, x))


SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")

CONVERTERS = {
    "VotingClassifier": voting_classifier,
    "VotingRegressor": voting_regressor,
    **dict.fromkeys(("StackingClassifier", "StackingRegressor"), stacking),
    "CalibratedClassifierCV": calibrated,
    **dict.fromkeys(("FixedThresholdClassifier", "TunedThresholdClassifierCV"), threshold),
    **dict.fromkeys(SEARCHES, best),
    **dict.fromkeys(("SelfTrainingClassifier", "RANSACRegressor"), inner_model),
    **dict.fromkeys(("RFE", "RFECV"), eliminated),
}

TRANSFORMS = {
    **dict.fromkeys(("VotingClassifier", "VotingRegressor"), voting_features),
    **dict.fromkeys(("StackingClassifier", "StackingRegressor"), stacked),
    **dict.fromkeys(SEARCHES, best_features),
    **dict.fromkeys(("RFE", "RFECV"), kept),
}
