"""libsvm's machines: kernels against the support vectors, one-vs-one votes, Platt's coupled probabilities."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible, need
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features, distances
from anyport.graph.sklearn import arithmetic as m

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUPLED_CLASSES = 12
"""Platt's coupling takes classes² nodes in a loop of up to 100 rounds; beyond this many the original is better."""

ORDERED_CLASSES = 10
"""Up to so many classes, one-vs-one confidences are summed pair by pair, in the original's order."""


def kernel(b: Builder, estimator: Any, x: Features) -> str:
    """k(x, support vector), [N, support vectors]."""
    points = distances.remembered(estimator.support_vectors_)
    params = {"gamma": estimator._gamma, "coef0": estimator.coef0, "degree": estimator.degree}
    if estimator.kernel == "precomputed":  # x is a row of the kernel matrix already
        return m.columns(b, x.tensor(), [int(i) for i in estimator.support_])
    return distances.kernel(b, x.tensor(), points, estimator.kernel, params)


def regressor(b: Builder, estimator: Any, x: Features) -> Answers:
    return Answers(prediction=m.line(b, kernel(b, estimator, x), m.dense(estimator._dual_coef_), estimator._intercept_))


def one_class(b: Builder, estimator: Any, x: Features) -> Answers:
    raw = m.line(b, kernel(b, estimator, x), m.dense(estimator._dual_coef_), estimator._intercept_)
    return Answers(prediction=m.inlier(b, m.above(b, raw)), decision=raw)


def pair_weights(estimator: Any) -> NDArray[Any]:
    """libsvm's dual coefficients as one matrix [support vectors, pairs]: column (i, j) has those of both classes."""
    import numpy as np

    dual = m.dense(estimator._dual_coef_)
    starts = np.concatenate([[0], np.cumsum(estimator._n_support)])
    pairs = list(combinations(range(len(estimator.classes_)), 2))
    weights = np.zeros((dual.shape[1], len(pairs)))
    for column, (i, j) in enumerate(pairs):
        of_i, of_j = slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1])
        weights[of_i, column] = dual[j - 1, of_i]
        weights[of_j, column] = dual[i, of_j]
    return weights


def classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    classes = len(estimator.classes_)
    # above 0: the first of the pair
    raw = m.affine(b, kernel(b, estimator, x), pair_weights(estimator), estimator._intercept_)
    wins = b.cast(b.add("Greater", [raw, b.constant(0.0)]), b.float)
    decision, prediction = raw, m.argmax(b, votes(b, wins, classes))
    if classes == 2:
        decision = m.flat(b, b.add("Neg", [raw]))
    elif estimator.decision_function_shape == "ovr":
        lost = b.cast(b.add("Less", [raw, b.constant(0.0)]), b.float)
        decision = one_vs_rest(b, lost, b.add("Neg", [raw]), classes)
        if estimator.break_ties:
            prediction = m.argmax(b, decision)
    probability = None
    if estimator.probability not in (False, "deprecated") and len(estimator._probA):
        probability = coupled(b, estimator, raw, classes)
    return Answers(prediction, probability, decision)


def votes(b: Builder, wins: str, classes: int) -> str:
    """Votes of every class, [N, classes], from `wins` [N, pairs]: 1 where the first of the pair won, 0 the second."""
    import numpy as np

    pairs = list(combinations(range(classes), 2))
    gain, start = np.zeros((len(pairs), classes)), np.zeros(classes)
    for row, (i, j) in enumerate(pairs):
        gain[row, i], gain[row, j] = 1.0, -1.0
        start[j] += 1.0
    return m.affine(b, wins, gain, start)


def one_vs_rest(b: Builder, second: str, confidence: str, classes: int) -> str:
    """sklearn.utils.multiclass._ovr_decision_function: votes, plus confidences squeezed into ±1/3.

    `second` [N, pairs] is 1 where the second of the pair is predicted; `confidence` is positive for the second.
    """
    import numpy as np

    pairs = list(combinations(range(classes), 2))
    sign, start = np.zeros((len(pairs), classes)), np.zeros(classes)
    for row, (i, j) in enumerate(pairs):
        sign[row, i], sign[row, j] = -1.0, 1.0
        start[i] += 1.0
    count = m.affine(b, second, sign, start)
    if classes > ORDERED_CLASSES:
        sums = b.add("MatMul", [confidence, b.constant(sign)])
    else:
        sums = m.stack(b, [in_order(b, confidence, sign[:, k]) for k in range(classes)])
    squeezed = b.add("Div", [sums, m.scale(b, m.shift(b, b.add("Abs", [sums]), 1.0), 3.0)])
    return b.add("Add", [count, squeezed])


def in_order(b: Builder, value: str, signs: NDArray[Any]) -> str:
    """± columns of value summed from the left, so that equal votes tie exactly as they do in the original."""
    import numpy as np

    result = ""
    for column in np.flatnonzero(signs):
        part = m.column(b, value, int(column))
        if not result:
            result = part if signs[column] > 0 else b.add("Neg", [part])
        else:
            result = b.add("Add" if signs[column] > 0 else "Sub", [result, part])
    return result


def coupled(b: Builder, estimator: Any, raw: str, classes: int) -> str:
    """libsvm's svm_predict_probability: Platt's sigmoid for each pair, then `multiclass_probability`."""
    import numpy as np

    if classes > COUPLED_CLASSES:
        raise Impossible(f"Platt's coupled probabilities of {classes} classes; the graph does up to {COUPLED_CLASSES}")
    slope = m.shift(b, m.scale(b, raw, estimator._probA), estimator._probB)
    share = b.add("Sigmoid", [b.add("Neg", [slope])])
    share = b.add("Clip", [share, b.constant(1e-7), b.constant(1.0 - 1e-7)])
    other = b.add("Sub", [b.constant(1.0), share])
    both = m.beside(b, [share, other])
    # r[j][t], the chance of j against t, as columns of `both`
    place = {}
    pairs = list(combinations(range(classes), 2))
    for column, (i, j) in enumerate(pairs):
        place[i, j], place[j, i] = column, column + len(pairs)
    rows = []  # Q[t], each [N, classes]
    for t in range(classes):
        cells = []
        for j in range(classes):
            if j != t:
                product = b.add("Mul", [m.column(b, both, place[j, t]), m.column(b, both, place[t, j])])
                cells.append(b.add("Neg", [product]))
            else:
                own = [m.square(b, m.column(b, both, place[k, t])) for k in range(classes) if k != t]
                cells.append(m.added(b, own))
        rows.append(m.stack(b, cells))
    start = m.repeated(b, raw, np.full(classes, 1.0 / classes))
    return coupling_loop(b, rows, start, classes)


def coupling_loop(b: Builder, rows: list[str], start: str, classes: int) -> str:
    """Up to max(100, classes) rounds of libsvm's fixed-point iteration; a row that has converged stays as it is."""
    import numpy as np

    onnx = need("onnx")
    body = Builder(b.float, b.taken)
    # Names must not meet those of the outer graph, whose values the body reads.
    body._count = b._count + 1_000_000
    helper, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(b.float))
    go, old = body.name("go"), body.name("p")

    p = body.add("Identity", [old])
    times = [m.total(body, body.add("Mul", [row, p])) for row in rows]  # Qp[t], each [N, 1]
    q = m.beside(body, times)
    level = m.total(body, body.add("Mul", [p, q]))  # pQp
    gap = body.add("Abs", [body.add("Sub", [q, level])])
    error = body.add("ReduceMax", [gap, body.constant([1], "int64")], keepdims=1)
    busy = body.add("GreaterOrEqual", [error, body.constant(0.005 / classes)])
    for t, row in enumerate(rows):
        pivot = m.tall(body, m.column(body, row, t))
        slack = body.add("Sub", [level, m.tall(body, m.column(body, q, t))])
        step = body.add("Div", [slack, pivot])
        whole = m.shift(body, step, 1.0)
        unit = [[1.0 if k == t else 0.0 for k in range(classes)]]
        p = body.add("Add", [p, body.add("Mul", [step, body.constant(unit)])])
        twice = m.scale(body, m.tall(body, m.column(body, q, t)), 2.0)
        inner = body.add("Add", [body.add("Mul", [step, pivot]), twice])
        level = body.add("Add", [level, body.add("Mul", [step, inner])])
        level = body.add("Div", [body.add("Div", [level, whole]), whole])
        q = body.add("Div", [body.add("Add", [q, body.add("Mul", [step, row])]), whole])
        p = body.add("Div", [p, whole])
    new = body.add("Where", [busy, p, old])
    some = body.add("ReduceMax", [body.cast(busy, "int64"), body.constant([0, 1], "int64")], keepdims=0)
    more = body.cast(some, "bool")

    inputs = [
        helper.make_tensor_value_info(body.name("round"), onnx.TensorProto.INT64, []),
        helper.make_tensor_value_info(go, onnx.TensorProto.BOOL, []),
        helper.make_tensor_value_info(old, kind, [None, classes]),
    ]
    outputs = [
        helper.make_tensor_value_info(more, onnx.TensorProto.BOOL, []),
        helper.make_tensor_value_info(new, kind, [None, classes]),
    ]
    graph = helper.make_graph(body.nodes, "coupling", inputs, outputs, list(body.initializers.values()))
    rounds = b.constant(max(100, classes), "int64")
    return b.add("Loop", [rounds, b.constant(True, "bool"), start], body=graph)


CONVERTERS = {
    **dict.fromkeys(("SVC", "NuSVC"), classifier),
    **dict.fromkeys(("SVR", "NuSVR"), regressor),
    "OneClassSVM": one_class,
}
