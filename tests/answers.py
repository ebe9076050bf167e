"""Rows, targets, and the question that every converter's test asks: does the graph answer as scikit-learn does?"""

from __future__ import annotations

import os
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Tensor, convert
from anyport.ort import session

RNG = np.random.default_rng(7)
X = RNG.normal(size=(200, 5))
SIGNAL = X[:, 0] + X[:, 1] * X[:, 2]
TWO = (SIGNAL + 0.5 * RNG.normal(size=200) > 0).astype(int)
THREE = np.digitize(SIGNAL + 0.3 * RNG.normal(size=200), [-0.6, 0.6])
TEXT = np.array(["ash", "birch", "cedar"])[THREE]
FIVE = np.digitize(SIGNAL, [-1.2, -0.4, 0.4, 1.2])
REAL = 2 * X[:, 0] + X[:, 1] ** 2 + 0.1 * RNG.normal(size=200)
POSITIVE = np.exp(REAL / 4)
PAIR = np.column_stack([REAL, X[:, 3] - X[:, 0]])
LABELS = np.column_stack([TWO, X[:, 3] > 0.3]).astype(int)
PARTLY = np.where(RNG.random(200) < 0.5, -1, THREE)


def fresh(rows: int = 1500) -> np.ndarray:
    """A third random, a third training rows, a third training values recombined."""
    some = RNG.normal(size=(rows // 3, X.shape[1])) * 1.5
    recombined = np.stack([RNG.choice(X[:, j], rows // 3) for j in range(X.shape[1])], axis=1)
    return np.concatenate([some, X[RNG.integers(0, len(X), rows // 3)], recombined])


def built(b: Builder, values: dict[str, tuple[str, str, int]]):
    for name, (value, dtype, rank) in values.items():
        b.output(value, name, dtype, ["N", *[None] * (rank - 1)])
    return session(b.serialize())


def graph(model, rows: np.ndarray, *, float_: str = "float64"):
    """The graph's answers, as Answers of arrays (or one array of a transformer)."""
    b = Builder(float_)
    made = convert(b, model, Tensor(b, b.input("X", float_, ["N", rows.shape[1]]), rows.shape[1]))
    assert isinstance(made, Answers)
    wanted = {}
    for i, one in enumerate(made.per_target or (made,)):
        labelled = made.per_target or hasattr(model, "classes_") or not is_regressor(model)
        rank = 2 if one.prediction and not labelled and np.ndim(model.predict(rows[:2])) == 2 else 1
        if one.prediction is not None:
            wanted[f"prediction{i}"] = (one.prediction, "int64" if labelled else float_, rank)
        if one.probability is not None:
            wanted[f"probability{i}"] = (one.probability, float_, 2)
        if one.decision is not None and made.per_target is None:
            wanted[f"decision{i}"] = (one.decision, float_, np.ndim(model.decision_function(rows[:2])))
    ran = built(b, wanted).run(None, {"X": rows.astype(float_)})
    return dict(zip(wanted, ran, strict=True)), made.per_target is not None


def is_regressor(model) -> bool:
    from sklearn.base import is_regressor as asked

    return bool(asked(model))


def same(model, rows: np.ndarray, *, float_: str = "float64", tolerance: float = 1e-9) -> None:
    """No label differs, no number by more than the tolerance, and nothing that the original answers is left out."""
    got, many = graph(model, rows, float_=float_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said = model.predict(rows)
    if many:
        classes = model.classes_ if isinstance(getattr(model, "classes_", None), list) else None
        for i in range(said.shape[1]):
            known = np.asarray(classes[i]) if classes else np.array([0, 1])
            np.testing.assert_array_equal(known[got[f"prediction{i}"]], said[:, i])
            if hasattr(model, "predict_proba"):
                chance = model.predict_proba(rows)
                chance = chance[i] if isinstance(chance, list) else np.stack([1 - chance[:, i], chance[:, i]], axis=1)
                np.testing.assert_allclose(got[f"probability{i}"], chance, rtol=tolerance, atol=tolerance)
        return
    answer = got["prediction0"]
    if hasattr(model, "classes_") and not is_regressor(model):
        np.testing.assert_array_equal(np.asarray(model.classes_)[answer], said)
    elif answer.dtype == np.int64:
        np.testing.assert_array_equal(answer, said)
    else:
        assert answer.shape == said.shape
        np.testing.assert_allclose(answer, said, rtol=tolerance, atol=tolerance)
    for name, method in (("probability0", "predict_proba"), ("decision0", "decision_function")):
        assert (name in got) == hasattr(model, method), f"{method}: {sorted(got)}"
        if name in got:
            want = getattr(model, method)(rows)
            assert got[name].shape == want.shape
            np.testing.assert_allclose(got[name], want, rtol=tolerance, atol=tolerance)


def fitted(model, x, y=None):
    from sklearn.base import clone

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clone(model).fit(x, y) if y is not None else clone(model).fit(x)
