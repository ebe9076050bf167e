"""Many estimators for one question or many: one-vs-rest, one-vs-one, codes, outputs, chains, bags, boosts."""

from __future__ import annotations

from typing import Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features, Tensor
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.sklearn.distances import nearest
from anyport.graph.sklearn.meta import answers_of, code, labels, mean, response
from anyport.graph.sklearn.svm import one_vs_rest as pair_scores


def constant(b: Builder, estimator: Any, x: Features) -> Answers:
    """multiclass._ConstantPredictor: a class that was everywhere or nowhere in the training data."""
    import numpy as np

    y = float(np.asarray(estimator.y_).ravel()[0])
    value = x.tensor()
    return Answers(
        prediction=m.repeated(b, value, np.int64(y)),
        probability=m.repeated(b, value, [1.0 - y, y]),
        decision=m.repeated(b, value, np.float64(y)),
    )


def binary_score(b: Builder, estimator: Any, answers: Answers) -> str:
    """multiclass._predict_binary: decision, or the positive class's probability, or a regressor's value. [N]."""
    from sklearn.base import is_regressor

    if is_regressor(estimator):
        return labels(b, estimator, answers)
    value, method = response(estimator, answers, ["decision_function", "predict_proba"])
    return value if method == "decision_function" else m.column(b, value, 1)


def limit_of(estimator: Any) -> float:
    """multiclass._threshold_for_binary_predict."""
    from sklearn.base import is_classifier

    return 0.0 if hasattr(estimator, "decision_function") and is_classifier(estimator) else 0.5


def one_vs_rest(b: Builder, estimator: Any, x: Features) -> Answers:
    inner = [(e, answers_of(b, e, x)) for e in estimator.estimators_]
    scores = [binary_score(b, e, a) for e, a in inner]
    limit = limit_of(estimator.estimators_[0])
    shares = None
    if hasattr(estimator, "predict_proba"):
        shares = [m.column(b, response(e, a, ["predict_proba"])[0], 1) for e, a in inner]
    if estimator.multilabel_:
        each = [Answers(m.above(b, s, limit), m.halves(b, shares[i]) if shares else None) for i, s in enumerate(scores)]
        return Answers(per_target=tuple(each))
    decision = None
    if hasattr(estimator, "decision_function"):
        decision = scores[0] if len(scores) == 1 else m.stack(b, scores)
    if len(scores) == 1:
        probability = m.halves(b, shares[0]) if shares else None
        return Answers(m.above(b, scores[0], limit), probability, decision)
    probability = None
    if shares:
        rows = m.stack(b, shares)
        sums = m.total(b, rows)
        none = b.add("Equal", [sums, b.constant(0.0)])
        probability = b.add("Div", [rows, b.add("Where", [none, b.constant(1.0), sums])])
    return Answers(m.argmax(b, m.stack(b, scores)), probability, decision)


def one_vs_one(b: Builder, estimator: Any, x: Features) -> Answers:
    from sklearn.base import is_regressor

    if estimator.pairwise_indices_ is not None:
        raise Impossible("one-vs-one over a precomputed kernel has no converter")
    if any(is_regressor(e) for e in estimator.estimators_):
        raise Impossible("one-vs-one over regressors has no converter")
    inner = [(e, answers_of(b, e, x)) for e in estimator.estimators_]
    second = m.stack(b, [labels(b, e, a) for e, a in inner])
    confidence = m.stack(b, [binary_score(b, e, a) for e, a in inner])
    scores = pair_scores(b, second, confidence, len(estimator.classes_))
    if estimator.n_classes_ == 2:
        decision = m.column(b, scores, 1)
        return Answers(prediction=m.above(b, decision, limit_of(estimator.estimators_[0])), decision=decision)
    return Answers(prediction=m.argmax(b, scores), decision=scores)


def output_code(b: Builder, estimator: Any, x: Features) -> Answers:
    """The nearest row of the code book."""
    import numpy as np

    scores = [binary_score(b, e, answers_of(b, e, x)) for e in estimator.estimators_]
    book = np.asarray(estimator.code_book_, np.float64)
    return Answers(prediction=nearest(b, m.stack(b, scores), book))


def multi_classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    return Answers(per_target=tuple(answers_of(b, e, x) for e in estimator.estimators_))


def multi_regressor(b: Builder, estimator: Any, x: Features) -> Answers:
    return Answers(prediction=m.stack(b, [labels(b, e, answers_of(b, e, x)) for e in estimator.estimators_]))


def links(b: Builder, estimator: Any, x: Features) -> list[tuple[Any, Answers]]:
    """The estimators of a chain, in the targets' order: each also reads what those before it said."""
    value = x.tensor()
    known: list[str] = []
    made: dict[int, tuple[Any, Answers]] = {}
    method = getattr(estimator, "chain_method_", "predict")
    for place, inner in zip(estimator.order_, estimator.estimators_, strict=True):
        joined = Tensor(b, m.beside(b, [value, *known]), x.width + len(known))
        answers = answers_of(b, inner, joined)
        made[int(place)] = (inner, answers)
        if method == "predict":
            said = labels(b, inner, answers)
        else:
            said, used = response(inner, answers, [method])
            said = m.column(b, said, 1) if used == "predict_proba" else said
        known.append(m.tall(b, said))
    return [made[i] for i in range(len(made))]


def classifier_chain(b: Builder, estimator: Any, x: Features) -> Answers:
    return Answers(per_target=tuple(answers for _, answers in links(b, estimator, x)))


def regressor_chain(b: Builder, estimator: Any, x: Features) -> Answers:
    return Answers(prediction=m.stack(b, [labels(b, e, a) for e, a in links(b, estimator, x)]))


def bags(b: Builder, estimator: Any, x: Features) -> list[tuple[Any, Any]]:
    """Each estimator with what it says of its own features."""
    from anyport.graph.sklearn import convert

    made = []
    for inner, chosen in zip(estimator.estimators_, estimator.estimators_features_, strict=True):
        indices = [int(i) for i in chosen]
        made.append((inner, convert(b, inner, x if indices == list(range(x.width)) else x.select(indices))))
    return made


def bagging_classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    import numpy as np

    classes = estimator.n_classes_
    inner = bags(b, estimator, x)
    parts = []
    for e, answers in inner:
        if not hasattr(e, "predict_proba"):
            parts.append(m.one_hot(b, code(b, e, answers, np.arange(classes)), classes))
            continue
        share = response(e, answers, ["predict_proba"])[0]
        own = [int(c) for c in e.classes_]
        if len(own) < classes:  # a bag without some class
            share = b.add("MatMul", [share, b.constant(np.eye(classes)[own])])
        parts.append(share)
    probability = m.divide(b, m.added(b, parts), float(estimator.n_estimators))
    decision = None
    if hasattr(estimator, "decision_function"):
        every = [response(e, a, ["decision_function"])[0] for e, a in inner]
        decision = m.divide(b, m.added(b, every), float(estimator.n_estimators))
    return Answers(m.argmax(b, probability), probability, decision)


def bagging_regressor(b: Builder, estimator: Any, x: Features) -> Answers:
    parts = [a.prediction for _, a in bags(b, estimator, x)]
    return Answers(prediction=mean(b, parts))


def boosted_classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    """AdaBoostClassifier: every estimator's vote, weighed; SAMME's softmax of it."""
    import numpy as np

    classes = np.asarray(estimator.classes_)
    if len(classes) == 1:
        value = x.tensor()
        return Answers(prediction=m.repeated(b, value, np.int64(0)), probability=m.repeated(b, value, [1.0]))
    parts = []
    for inner, weight in zip(estimator.estimators_, estimator.estimator_weights_, strict=False):
        same = np.asarray(inner.classes_)[:, None] == classes[None, :]
        table = np.where(same, weight, -1 / (len(classes) - 1) * weight)
        parts.append(m.choose(b, table, answers_of(b, inner, x).prediction or ""))
    scores = m.divide(b, m.added(b, parts), float(estimator.estimator_weights_.sum()))
    if len(classes) == 2:
        decision = b.add("Sub", [m.column(b, scores, 1), m.column(b, scores, 0)])
        pair = m.stack(b, [b.add("Neg", [decision]), decision])
        return Answers(m.above(b, decision), m.softmax(b, m.divide(b, pair, 2.0)), decision)
    share = m.softmax(b, m.divide(b, scores, float(len(classes) - 1)))
    return Answers(m.argmax(b, scores), share, scores)


def boosted_regressor(b: Builder, estimator: Any, x: Features) -> Answers:
    """AdaBoostRegressor: the weighted median of what the estimators say."""
    import numpy as np

    every = m.stack(b, [labels(b, e, answers_of(b, e, x)) for e in estimator.estimators_])
    count = len(estimator.estimators_)
    limit = b.constant([count], "int64")
    values, order = b.add_many("TopK", [every, limit], outputs=2, axis=1, largest=0, sorted=1)
    weights = m.choose(b, np.asarray(estimator.estimator_weights_[:count], np.float64), order)
    mass = b.add("CumSum", [weights, b.constant(1, "int64")])
    half = m.scale(b, m.columns(b, mass, [count - 1]), 0.5)
    reached = b.cast(b.add("GreaterOrEqual", [mass, half]), "int64")
    first = m.tall(b, m.argmax(b, reached))
    return Answers(prediction=m.flat(b, b.add("GatherElements", [values, first], axis=1)))


CONVERTERS = {
    "_ConstantPredictor": constant,
    "OneVsRestClassifier": one_vs_rest,
    "OneVsOneClassifier": one_vs_one,
    "OutputCodeClassifier": output_code,
    "MultiOutputClassifier": multi_classifier,
    "MultiOutputRegressor": multi_regressor,
    "ClassifierChain": classifier_chain,
    "RegressorChain": regressor_chain,
    "BaggingClassifier": bagging_classifier,
    "BaggingRegressor": bagging_regressor,
    "AdaBoostClassifier": boosted_classifier,
    "AdaBoostRegressor": boosted_regressor,
}
