"""Tree ensembles of scikit-learn as graphs: bit-equal sums, no label flips, on rows at the split points themselves."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn import ensemble, tree
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from anyport.batch import Column
from anyport.graph.boundaries import folded, raw_boundaries
from anyport.graph.build import Builder
from anyport.graph.encode import encode, run_steps
from anyport.graph.encoder import Add, Clip, Divide, Float32, Multiply, Number, Subtract
from anyport.graph.sklearn import Answers, Tensor, convert
from anyport.graph.sklearn.frame import frame
from anyport.graph.sklearn.slots import Encoding
from anyport.graph.trees import (
    LEAF,
    MEMBER,
    Tree,
    before32,
    constant,
    down32,
    evaluate,
    from_npz_arrays,
    join,
    to_npz_arrays,
)  # fmt: skip
from anyport.graph.trees_emit import emit
from anyport.ort import session
from anyport.signature import Field, Signature

RNG = np.random.default_rng(5)
X = np.round(RNG.normal(size=(400, 6)) * [1, 3, 10, 0.1, 1e6, 1e-6], 9)
SCORE = X[:, 0] + 0.3 * X[:, 1] + np.sin(X[:, 2]) + RNG.normal(size=400) * 0.3
TWO = (SCORE > 0).astype(int)
MANY = np.digitize(SCORE, [-1, 0.2, 1])
COUNTS = np.exp(SCORE / 2)
EXTREMES = [0.0, -0.0, np.inf, 3.4028235e38, -3.4028235e38]


def answers(model: Any, x: Any, dtype: str = "float64") -> tuple[dict[str, Any], list[Any]]:
    """What the model's graph answers to `x`, and the tables it was made of."""
    b = Builder(dtype)
    found = convert(b, model, Tensor(b, b.input("X", dtype, ["N", x.shape[1]]), x.shape[1]))
    if not isinstance(found, Answers):
        b.output(found.tensor(), "features", dtype, ["N", "K"])
    else:
        for i, part in enumerate(found.per_target or (found,)):
            for name in ("prediction", "probability", "decision"):
                value = getattr(part, name)
                if value is not None:
                    whole = name == "prediction" and (hasattr(model, "classes_") or hasattr(model, "offset_"))
                    b.output(value, f"{name}_{i}", "int64" if whole else dtype, ["N"] if whole else ["N", "K"])
    run = session(b.serialize())
    return dict(zip([o.name for o in run.get_outputs()], run.run(None, {"X": x.astype(dtype)}), strict=True)), b.trees


def at_splits(model: Any, *, nan: bool = False) -> np.ndarray:
    """Rows on which a random split of the model is hit exactly, or missed by a step of a double or a float32."""
    _, tables = answers(model, X[:2])
    table = tables[0][0]
    splits = np.flatnonzero((table.mode != LEAF) & np.isfinite(table.threshold))  # inf: a split on missing alone
    rows = X[RNG.integers(0, len(X), 3000)].copy()
    for i in range(len(rows)):
        node = RNG.choice(splits)
        t = table.threshold[node]
        single, most = np.float32(t), np.float32(9e9)
        above, below = np.nextafter(single, most), np.nextafter(single, -most)
        choices = [t, np.nextafter(t, 9e9), np.nextafter(t, -9e9), single, above, below, (float(single) + above) / 2]
        rows[i, table.feature[node]] = choices[i % 7]
        if nan and i % 5 == 0:
            rows[i, RNG.integers(0, rows.shape[1])] = np.nan
    return rows


def test_a_threshold_moved_to_float32_keeps_every_answer() -> None:
    t = np.concatenate([RNG.normal(size=2000) * 10.0 ** RNG.integers(-44, 38, 2000), EXTREMES])
    t = np.concatenate([t, t.astype(np.float32).astype(float)])
    for x in (t, np.nextafter(t, np.inf), np.nextafter(t, -np.inf), before32(t), np.nextafter(before32(t), np.inf)):
        with np.errstate(over="ignore"):
            single = x.astype(np.float32)
        assert np.array_equal(single <= down32(t), single.astype(float) <= t)
        assert np.array_equal(x <= before32(t), single.astype(float) <= t)


CLASSIFIERS: Sequence[tuple[Any, Any]] = [
    (tree.DecisionTreeClassifier(random_state=0), MANY),
    (tree.DecisionTreeClassifier(max_depth=1, random_state=0), TWO),
    (tree.ExtraTreeClassifier(random_state=0), TWO),
    (ensemble.RandomForestClassifier(20, random_state=0), TWO),
    (ensemble.RandomForestClassifier(30, max_depth=4, random_state=0, class_weight="balanced"), MANY),
    (ensemble.ExtraTreesClassifier(20, min_samples_leaf=3, random_state=0), MANY),
    (ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0), TWO),
    (ensemble.GradientBoostingClassifier(n_estimators=20, loss="exponential", random_state=0), TWO),
    (ensemble.GradientBoostingClassifier(n_estimators=20, init="zero", random_state=0), MANY),
    (ensemble.GradientBoostingClassifier(n_estimators=20, subsample=0.5, random_state=0), MANY),
    (ensemble.GradientBoostingClassifier(n_estimators=20, init=DummyClassifier(strategy="most_frequent")), TWO),
    (ensemble.HistGradientBoostingClassifier(max_iter=30, random_state=0), TWO),
    (ensemble.HistGradientBoostingClassifier(max_iter=20, random_state=0, interaction_cst="pairwise"), MANY),
    (ensemble.HistGradientBoostingClassifier(max_iter=20, monotonic_cst=[1, 0, 0, 0, 0, -1]), TWO),
]


@pytest.mark.parametrize(("model", "y"), CLASSIFIERS, ids=lambda m: type(m).__name__ if hasattr(m, "fit") else "")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_classifier_never_flips_a_label(model: Any, y: Any, dtype: str) -> None:
    model.fit(X, y)
    rows = at_splits(model)
    if dtype == "float32":
        rows = rows.astype(dtype).astype(float)
    got, _ = answers(model, rows, dtype)
    assert np.array_equal(got["prediction_0"], model.predict(rows))
    near = 1e-15 if dtype == "float64" else 2e-6
    np.testing.assert_allclose(got["probability_0"], model.predict_proba(rows), rtol=0, atol=near)
    if "decision_0" in got:
        raw = model.decision_function(rows)
        if dtype == "float64":
            assert np.array_equal(got["decision_0"], raw), "sums are bit-equal"
        else:
            np.testing.assert_allclose(got["decision_0"], raw, rtol=1e-5, atol=1e-5)


REGRESSORS: Sequence[tuple[Any, Any]] = [
    (tree.DecisionTreeRegressor(random_state=0), SCORE),
    (tree.DecisionTreeRegressor(random_state=0, criterion="poisson"), COUNTS),
    (tree.ExtraTreeRegressor(random_state=0), np.c_[SCORE, COUNTS]),
    (ensemble.RandomForestRegressor(20, random_state=0), SCORE),
    (ensemble.RandomForestRegressor(20, random_state=0), np.c_[SCORE, COUNTS, TWO]),
    (ensemble.ExtraTreesRegressor(20, random_state=0), SCORE),
    (ensemble.GradientBoostingRegressor(n_estimators=20, random_state=0), SCORE),
    (ensemble.GradientBoostingRegressor(n_estimators=20, loss="huber", init="zero"), SCORE),
    (ensemble.GradientBoostingRegressor(n_estimators=20, loss="quantile", alpha=0.8), SCORE),
    (ensemble.GradientBoostingRegressor(n_estimators=20, loss="absolute_error"), SCORE),
    (ensemble.HistGradientBoostingRegressor(max_iter=20), SCORE),
    (ensemble.HistGradientBoostingRegressor(max_iter=20, loss="absolute_error"), SCORE),
    (ensemble.HistGradientBoostingRegressor(max_iter=20, loss="quantile", quantile=0.2), SCORE),
]


@pytest.mark.parametrize(("model", "y"), REGRESSORS, ids=lambda m: type(m).__name__ if hasattr(m, "fit") else "")
def test_a_regressor_is_bit_equal_in_double(model: Any, y: Any) -> None:
    model.fit(X, y)
    rows = at_splits(model)
    got, _ = answers(model, rows)
    assert np.array_equal(got["prediction_0"], model.predict(rows))
    rows = rows.astype(np.float32).astype(float)
    got, _ = answers(model, rows, "float32")
    np.testing.assert_allclose(got["prediction_0"], model.predict(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_a_log_link_is_undone(loss: str) -> None:
    model = ensemble.HistGradientBoostingRegressor(max_iter=20, loss=loss).fit(X, COUNTS)
    rows = at_splits(model, nan=True)
    got, _ = answers(model, rows)
    np.testing.assert_allclose(got["prediction_0"], model.predict(rows), rtol=1e-14)


MISSING = np.where(RNG.random(X.shape) < 0.2, np.nan, X)


@pytest.mark.parametrize(
    "model",
    [tree.DecisionTreeClassifier(random_state=0), ensemble.RandomForestClassifier(15, random_state=0),
     ensemble.ExtraTreesClassifier(15, random_state=0), ensemble.HistGradientBoostingClassifier(max_iter=20)],
    ids=lambda m: type(m).__name__,
)  # fmt: skip
def test_missing_values_go_where_training_sent_them(model: Any) -> None:
    model.fit(MISSING, MANY)
    rows = at_splits(model, nan=True)
    got, _ = answers(model, rows)
    assert np.array_equal(got["prediction_0"], model.predict(rows))
    np.testing.assert_allclose(got["probability_0"], model.predict_proba(rows), rtol=0, atol=1e-15)


def test_each_target_of_a_forest_has_its_own_classes() -> None:
    y = np.c_[TWO, MANY]
    model = ensemble.RandomForestClassifier(15, random_state=0).fit(X, y)
    rows = at_splits(model)
    got, _ = answers(model, rows)
    for k, p in enumerate(model.predict_proba(rows)):
        assert np.array_equal(got[f"probability_{k}"], p)
        assert np.array_equal(got[f"prediction_{k}"], model.predict(rows)[:, k])


@pytest.mark.parametrize("y", [TWO, MANY], ids=["two", "many"])
def test_boosting_starts_from_a_fitted_estimator(y: Any) -> None:
    model = ensemble.GradientBoostingClassifier(n_estimators=10, init=LogisticRegression()).fit(X[:, :3], y)
    rows = X[:, :3].astype(np.float32).astype(float)
    got, _ = answers(model, rows)
    assert np.array_equal(got["prediction_0"], model.predict(rows))
    np.testing.assert_allclose(got["decision_0"], model.decision_function(rows), rtol=1e-4, atol=1e-4)
    regressor = ensemble.GradientBoostingRegressor(n_estimators=10, init=LinearRegression()).fit(X, SCORE)
    got, _ = answers(regressor, X)
    np.testing.assert_allclose(got["prediction_0"], regressor.predict(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"max_features": 3, "contamination": 0.1}, {"max_samples": 1}], ids=str)
def test_isolation_scores_are_equal(settings: dict[str, Any]) -> None:
    model = ensemble.IsolationForest(n_estimators=20, random_state=0, **settings).fit(X)
    rows = X[RNG.integers(0, len(X), 500)] if "max_samples" in settings else at_splits(model)
    got, _ = answers(model, rows)
    assert np.array_equal(got["prediction_0"], model.predict(rows))
    np.testing.assert_allclose(got["decision_0"], model.decision_function(rows), rtol=0, atol=1e-15)


def test_an_embedding_has_one_column_a_leaf() -> None:
    model = ensemble.RandomTreesEmbedding(7, max_depth=3, random_state=0, sparse_output=False).fit(X)
    rows = at_splits(model)
    got, _ = answers(model, rows)
    assert np.array_equal(got["features"], model.transform(rows))


def test_categories_split_by_set() -> None:
    codes = RNG.integers(0, 40, size=(400, 2)).astype(float)
    effect = RNG.normal(size=40)[codes[:, 0].astype(int)]
    x = np.c_[codes, X[:, :2]]
    x[::9, 0] = np.nan
    settings = {"max_iter": 30, "categorical_features": [0, 1], "min_samples_leaf": 3}
    model = ensemble.HistGradientBoostingRegressor(**settings).fit(x, SCORE + effect)
    rows = np.r_[x, np.c_[RNG.integers(-3, 50, size=(500, 2)), RNG.normal(size=(500, 2))]]
    b = Builder()
    encoding = Encoding(b, "float64", tuple(Field(name=f"x{i}", dtype="float64") for i in range(4)))
    found = convert(b, model, frame(b, encoding, ["x0", "x1", "x2", "x3"]))
    encoder = encoding.finish(lambda e: (b.input("X", "float64", ["N", e.width]), "float64"))
    b.output(found.prediction, "Y", "float64", ["N"])
    tensor = encode(encoder, {f"x{i}": Column(rows[:, i]) for i in range(4)})
    assert (b.trees[0][0].mode == MEMBER).any()
    assert np.array_equal(session(b.serialize()).run(None, {"X": tensor})[0], model.predict(rows))


def test_a_table_survives_npz(tmp_path: Any) -> None:
    model = ensemble.HistGradientBoostingClassifier(max_iter=10).fit(MISSING, MANY)
    rows = at_splits(model, nan=True)
    _, tables = answers(model, rows)
    np.savez(tmp_path / "trees.npz", **to_npz_arrays([(tables[0][0], [3, 1, 0, 2, 4, 5]), (tables[0][0], None)]))
    with np.load(tmp_path / "trees.npz", allow_pickle=False) as arrays:
        read = from_npz_arrays(arrays)
    assert [slots for _, slots in read] == [[3, 1, 0, 2, 4, 5], None]
    assert np.array_equal(evaluate(read[0][0], rows), model._raw_predict(rows))


def chain(depth: int) -> Tree:
    """A tree that is one long branch."""
    n = 2 * depth + 1
    inner = np.arange(n) % 2 == 0
    inner[-1] = False
    at = np.arange(n)
    return Tree(
        np.where(inner, 1, LEAF), at * 0, at / 2.0, at + 1, np.minimum(at + 2, n - 1), at < 0, at[:, None] * 1.0
    )


def test_trees_without_a_split_and_very_deep_ones_run() -> None:
    table = join([constant([0.5]), chain(2000), constant([0.25])], width=2, outputs=1, start=1.0)
    b = Builder()
    b.output(emit(b, table, Tensor(b, b.input("X", "float64", ["N", 2]), 2)), "Y", "float64", ["N", 1])
    x = np.c_[RNG.uniform(-5, 2010, 300), np.zeros(300)]
    assert np.array_equal(session(b.serialize()).run(None, {"X": x})[0], evaluate(table, x))


def test_sums_of_many_classes_keep_their_order() -> None:
    trees = [constant(RNG.normal(size=40)) for _ in range(130)]
    table = join(trees, width=1, outputs=40)
    b = Builder()
    b.output(emit(b, table, Tensor(b, b.input("X", "float64", ["N", 1]), 1)), "Y", "float64", ["N", 40])
    x = np.zeros((3, 1))
    assert np.array_equal(session(b.serialize()).run(None, {"X": x})[0], evaluate(table, x))


def scaled(model: Any, y: Any) -> tuple[Any, Any, Any]:
    """A model behind two scalers, its encoder and tables."""
    pipe = make_pipeline(StandardScaler(), MinMaxScaler((-7, 5)), model).fit(X, y)
    b = Builder()
    fields = tuple(Field(name=f"x{i}", dtype="float64") for i in range(6))
    encoding = Encoding(b, "float64", fields)
    found = convert(b, pipe, frame(b, encoding, [f.name for f in fields]))
    encoder = encoding.finish(lambda e: (b.input("X", "float64", ["N", e.width]), "float64"))
    b.output(found.prediction, "Y", "float64", ["N"])
    return pipe, encoder, b


@pytest.mark.parametrize(
    "model",
    [ensemble.RandomForestRegressor(5, random_state=0), ensemble.HistGradientBoostingRegressor(max_iter=5)],
    ids=lambda m: type(m).__name__,
)
def test_boundaries_are_the_doubles_at_which_the_original_jumps(model: Any) -> None:
    pipe, encoder, b = scaled(model, SCORE)
    signature = Signature(inputs=tuple(Field(name=f"x{i}", dtype="float64") for i in range(6)), outputs=())
    found = raw_boundaries(encoder, b.trees, signature)
    table = b.trees[0][0]
    assert set(found) == {f"x{f}" for f in table.feature[table.mode != LEAF]}
    scaled_x = pipe[:-1]
    for i in range(6):
        splits = np.unique(table.threshold[(table.mode != LEAF) & (table.feature == i)])
        edges = found[f"x{i}"]
        assert len(edges) == len(splits) or table.cast32, "one boundary a threshold, unless float32 joins them"
        here, next_ = np.tile(X[0], (len(edges), 1)), np.tile(X[0], (len(edges), 1))
        here[:, i], next_[:, i] = edges, np.nextafter(edges, np.inf)
        left, right = scaled_x.transform(here)[:, i], scaled_x.transform(next_)[:, i]
        if table.cast32:
            left, right = left.astype(np.float32).astype(float), right.astype(np.float32).astype(float)
        side = [np.searchsorted(splits, v, side="left") for v in (left, right)]
        assert (side[0] != side[1]).all(), "every boundary separates two answers"


@pytest.mark.parametrize("steps", [(Subtract(3.1), Divide(-0.7)), (Multiply(1e-3), Clip(-5, 5)), (Float32(), Add(0.1))])
def test_a_threshold_folds_back_over_any_steps(steps: Any) -> None:
    limits = np.sort(RNG.normal(size=50))
    edges = folded(Number("x", 0, steps), limits, rounded=False)
    assert len(edges) == 50
    at, above = run_steps(steps, edges.copy()), run_steps(steps, np.nextafter(edges, np.inf))
    assert ((at <= limits) != (above <= limits)).all()
    assert len(folded(Number("x", 0, (Multiply(0.0),)), limits, rounded=False)) == 0
