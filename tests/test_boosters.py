"""XGBoost, LightGBM and CatBoost as graphs: what the libraries themselves answer, on rows at their split points."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from typing import Any

import numpy as np
import pytest

from anyport.graph.boosters import find
from anyport.graph.build import Builder
from anyport.graph.sklearn import Tensor
from anyport.graph.trees import LEAF, MEMBER, before32
from anyport.ort import session

RNG = np.random.default_rng(7)
X = np.round(RNG.normal(size=(600, 6)) * [1, 3, 10, 0.1, 1e6, 1e-6], 9)
X[::13, 1] = 0.0
SCORE = X[:, 0] + 0.3 * X[:, 1] + np.sin(X[:, 2]) + RNG.normal(size=600) * 0.3
TWO = (SCORE > 0).astype(int)
MANY = np.digitize(SCORE, [-1, 0.2, 1])
COUNTS = np.round(np.exp(SCORE / 2))
MISSING = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
TINY = 1.0000000180025095e-35


def answers(model: Any, x: Any, dtype: str = "float64", *, labelled: bool = False) -> tuple[dict[str, Any], Any]:
    """What the model's graph answers to `x`, and its table."""
    b = Builder(dtype)
    convert = find(model)
    assert convert is not None
    found = convert(b, model, Tensor(b, b.input("X", dtype, ["N", x.shape[1]]), x.shape[1]))
    b.output(found.prediction, "prediction", "int64" if labelled else dtype, ["N"])
    if found.probability is not None:
        b.output(found.probability, "probability", dtype, ["N", "K"])
    run = session(b.serialize())
    got = dict(zip([o.name for o in run.get_outputs()], run.run(None, {"X": x.astype(dtype)}), strict=True))
    return got, b.trees[0][0] if b.trees else None


def at_splits(model: Any, base: Any = X, *, nan: bool = False, labelled: bool = False) -> Any:
    """Rows on which a random split is hit exactly, or missed by one step of a double or a float32, and zeros."""
    _, table = answers(model, base[:2], labelled=labelled)
    splits = np.flatnonzero((table.mode != LEAF) & (table.mode != MEMBER) & np.isfinite(table.threshold))
    rows = base[RNG.integers(0, len(base), 1500)].copy()
    if not nan:
        rows = np.nan_to_num(rows)
    for i in range(len(rows)):
        node = RNG.choice(splits)
        t = table.threshold[node]
        single, most = np.float32(t), np.float32(9e9)
        edge = before32(np.array([t]))[0]
        near = [t, np.nextafter(t, 9e9), np.nextafter(t, -9e9), single, np.nextafter(single, most),
                np.nextafter(single, -most), edge, np.nextafter(edge, 9e9), 0.0, -TINY, 1e-36, TINY * 1.01]  # fmt: skip
        rows[i, table.feature[node]] = near[i % len(near)]
        if nan and i % 5 == 0:
            rows[i, RNG.integers(0, rows.shape[1])] = np.nan
    return rows


LIGHTGBM: list[tuple[dict[str, Any], Any]] = [
    ({"objective": "regression"}, SCORE),
    ({"objective": "regression", "reg_sqrt": True}, COUNTS),
    ({"objective": "regression_l1"}, SCORE),
    ({"objective": "huber"}, SCORE),
    ({"objective": "fair"}, SCORE),
    ({"objective": "quantile", "alpha": 0.8}, SCORE),
    ({"objective": "mape"}, COUNTS + 1),
    ({"objective": "poisson"}, COUNTS),
    ({"objective": "gamma"}, COUNTS + 1),
    ({"objective": "tweedie"}, COUNTS),
    ({"objective": "binary", "sigmoid": 1.7}, TWO),
    ({"objective": "cross_entropy"}, TWO * 0.8),
    ({"objective": "cross_entropy_lambda"}, TWO * 0.8),
    ({"objective": "multiclass", "num_class": 4}, MANY),
    ({"objective": "multiclassova", "num_class": 4}, MANY),
    ({"objective": "regression", "boosting": "dart"}, SCORE),
    ({"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}, TWO),
    ({"objective": "multiclass", "num_class": 4, "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}, MANY),
    ({"objective": "binary", "data_sample_strategy": "goss"}, TWO),
    ({"objective": "regression", "zero_as_missing": True}, SCORE),
    ({"objective": "regression", "linear_tree": True}, SCORE),
    ({"objective": "multiclass", "num_class": 4, "linear_tree": True}, MANY),
    ({"objective": "regression", "num_leaves": 2, "min_data_in_leaf": 600}, SCORE),
]


def lightgbm_booster(settings: dict[str, Any], x: Any, y: Any, rounds: int = 15, **data: Any) -> Any:
    import lightgbm

    params = {"verbose": -1, "num_threads": 1, "num_leaves": 15, "min_data_in_leaf": 5, **settings}
    return lightgbm.train(params, lightgbm.Dataset(x, y, **data), rounds)


@pytest.mark.parametrize(("settings", "y"), LIGHTGBM, ids=[" ".join(map(str, s.values())) for s, _ in LIGHTGBM])
@pytest.mark.parametrize("x", [X, MISSING], ids=["whole", "missing"])
def test_lightgbm_answers_as_it_does(settings: dict[str, Any], y: Any, x: Any) -> None:
    model = lightgbm_booster(settings, x, y)
    rows = X if "min_data_in_leaf" in settings else at_splits(model, x, nan=True)
    got, table = answers(model, rows)
    raw = table.link == "identity" and not any(k in settings for k in ("linear_tree", "reg_sqrt"))
    np.testing.assert_allclose(
        got["prediction"], model.predict(rows), rtol=0 if raw else 1e-12, atol=0 if raw else 1e-15
    )
    single = rows.astype(np.float32)
    got, _ = answers(model, single, "float32")
    np.testing.assert_allclose(got["prediction"], model.predict(single), rtol=1e-4, atol=1e-4)


def test_lightgbm_categories_are_cut_to_integers() -> None:
    x = np.c_[RNG.integers(0, 40, (600, 2)), X[:, :2]].astype(float)
    y = SCORE + RNG.normal(size=40)[x[:, 0].astype(int)]
    settings = {"min_data_per_group": 1, "cat_smooth": 1, "max_cat_to_onehot": 2, "objective": "regression"}
    model = lightgbm_booster(settings, x, y, categorical_feature=[0, 1])
    odd = np.array([0, 1, 2.7, -0.5, -1, np.nan, 31, 32, 39.99, 40, 1e4, -3.2])
    rows = np.c_[RNG.choice(odd, (2000, 2)), RNG.normal(size=(2000, 2))]
    got, table = answers(model, rows)
    assert (table.mode == MEMBER).any()
    assert np.array_equal(got["prediction"], model.predict(rows))


@pytest.mark.parametrize("y", [TWO, MANY], ids=["two", "many"])
def test_lightgbm_labels_never_flip(y: Any) -> None:
    import lightgbm

    model = lightgbm.LGBMClassifier(n_estimators=20, num_leaves=8, verbose=-1, n_jobs=1).fit(X, y)
    rows = at_splits(model, labelled=True)
    got, _ = answers(model, rows, labelled=True)
    assert np.array_equal(model.classes_[got["prediction"]], model.predict(rows))
    np.testing.assert_allclose(got["probability"], model.predict_proba(rows), rtol=1e-12, atol=1e-15)


def test_lightgbm_stops_where_early_stopping_did() -> None:
    import lightgbm

    model = lightgbm.LGBMRegressor(n_estimators=200, learning_rate=0.5, verbose=-1, n_jobs=1)
    model.fit(
        X[:300], SCORE[:300], eval_X=X[300:], eval_y=SCORE[300:], callbacks=[lightgbm.early_stopping(3, verbose=False)]
    )
    assert model.best_iteration_ < 100
    got, _ = answers(model, X)
    assert np.array_equal(got["prediction"], model.predict(X))


XGBOOST: list[tuple[dict[str, Any], Any]] = [
    ({"objective": "reg:squarederror"}, SCORE),
    ({"objective": "reg:squarederror", "base_score": 3.7}, SCORE),
    ({"objective": "reg:absoluteerror"}, SCORE),
    ({"objective": "reg:pseudohubererror"}, SCORE),
    ({"objective": "reg:squaredlogerror"}, COUNTS),
    ({"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]}, SCORE),
    ({"objective": "reg:logistic"}, TWO),
    ({"objective": "reg:gamma"}, COUNTS + 1),
    ({"objective": "reg:tweedie"}, COUNTS),
    ({"objective": "count:poisson"}, COUNTS),
    ({"objective": "survival:cox"}, COUNTS + 1),
    ({"objective": "binary:logistic"}, TWO),
    ({"objective": "binary:logistic", "base_score": 0.3}, TWO),
    ({"objective": "binary:logitraw"}, TWO),
    ({"objective": "binary:hinge"}, TWO),
    ({"objective": "multi:softprob", "num_class": 4}, MANY),
    ({"objective": "multi:softmax", "num_class": 4}, MANY),
    ({"objective": "reg:squarederror", "booster": "dart", "rate_drop": 0.3}, SCORE),
    ({"objective": "reg:squarederror", "num_parallel_tree": 5, "subsample": 0.5}, SCORE),
    ({"objective": "reg:squarederror", "tree_method": "exact"}, SCORE),
    ({"objective": "reg:squarederror", "grow_policy": "lossguide", "max_leaves": 7}, SCORE),
    ({"objective": "reg:squarederror"}, np.c_[SCORE, COUNTS]),
    ({"objective": "reg:squarederror", "multi_strategy": "multi_output_tree"}, np.c_[SCORE, COUNTS, TWO]),
    ({"objective": "multi:softprob", "num_class": 4, "multi_strategy": "multi_output_tree"}, MANY),
    ({"objective": "reg:squarederror", "booster": "gblinear"}, SCORE),
    ({"objective": "multi:softprob", "num_class": 4, "booster": "gblinear"}, MANY),
]


@pytest.mark.parametrize(("settings", "y"), XGBOOST, ids=[" ".join(map(str, s.values())) for s, _ in XGBOOST])
@pytest.mark.parametrize("x", [X, MISSING], ids=["whole", "missing"])
def test_xgboost_answers_as_it_does(settings: dict[str, Any], y: Any, x: Any) -> None:
    import xgboost

    model = xgboost.train({"nthread": 1, "max_depth": 4, "verbosity": 0, **settings}, xgboost.DMatrix(x, y), 12)
    linear = settings.get("booster") == "gblinear"
    rows = x if linear else at_splits(model, x, nan=True)
    want = model.predict(xgboost.DMatrix(rows))
    rows64 = rows.astype(np.float64)
    for dtype in ("float64", "float32"):
        got, table = answers(model, rows64 if dtype == "float64" else rows, dtype)
        if table is not None and table.link == "identity":
            assert np.array_equal(got["prediction"].astype(np.float32), want), "sums are bit-equal in float32"
        np.testing.assert_allclose(got["prediction"], want, rtol=3e-6 if not linear else 1e-4, atol=1e-6)


@pytest.mark.parametrize(("y", "settings"), [(TWO, {}), (MANY, {}), (TWO, {"objective": "binary:hinge"})],
                         ids=["two", "many", "hinge"])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_xgboost_labels_never_flip(y: Any, settings: dict[str, Any], dtype: str) -> None:
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=12, max_depth=3, n_jobs=1, **settings).fit(X, y)
    rows = at_splits(model, labelled=True)
    got, _ = answers(model, rows, dtype, labelled=True)
    assert np.array_equal(model.classes_[got["prediction"]], model.predict(rows))
    np.testing.assert_allclose(got["probability"], model.predict_proba(rows), rtol=0, atol=1e-6)


def test_xgboost_labels_turn_where_its_own_do() -> None:
    import json

    import xgboost

    steps = np.linspace(-2e-7, 2e-7, 81, dtype=np.float32)
    model = xgboost.XGBClassifier(n_estimators=1, max_depth=1, base_score=0.5, n_jobs=1).fit(X[:, :1], TWO)
    text = json.loads(bytes(model.get_booster().save_raw("json")))
    for leaf in steps:
        tree = text["learner"]["gradient_booster"]["model"]["trees"][0]
        tree["split_conditions"] = [tree["split_conditions"][0], float(leaf), float(leaf)]
        model.get_booster().load_model(bytearray(json.dumps(text).encode()))
        got, _ = answers(model, X[:1, :1], labelled=True)
        assert got["prediction"] == model.predict(X[:1, :1]), leaf


def test_xgboost_stops_where_early_stopping_did_but_a_booster_does_not() -> None:
    import xgboost

    model = xgboost.XGBRegressor(n_estimators=100, learning_rate=0.9, early_stopping_rounds=3, n_jobs=1)
    model.fit(X[:300], SCORE[:300], eval_set=[(X[300:], SCORE[300:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    for own, want in (
        (model, model.predict(X)),
        (model.get_booster(), model.get_booster().predict(xgboost.DMatrix(X))),
    ):
        got, _ = answers(own, X)
        assert np.array_equal(got["prediction"].astype(np.float32), want)


def test_xgboost_mark_for_missing() -> None:
    import xgboost

    x = np.nan_to_num(MISSING, nan=-999.0)
    model = xgboost.XGBRegressor(n_estimators=12, missing=-999.0, n_jobs=1).fit(x, SCORE)
    rows = np.r_[x, np.nan_to_num(MISSING, nan=np.nan), np.full((1, 6), -998.99999999)]
    for dtype in ("float64", "float32"):
        got, _ = answers(model, rows, dtype)
        assert np.array_equal(got["prediction"].astype(np.float32), model.predict(rows))


def test_xgboost_categories_go_right() -> None:
    import xgboost

    x = np.c_[RNG.integers(0, 40, (600, 2)), X[:, :2]].astype(float)
    x[::11, 0] = np.nan
    y = SCORE + RNG.normal(size=40)[np.nan_to_num(x[:, 0]).astype(int)]
    types = ["c", "c", "q", "q"]
    data = xgboost.DMatrix(x, y, feature_types=types, enable_categorical=True)
    model = xgboost.train({"max_cat_to_onehot": 3, "max_cat_threshold": 20, "nthread": 1}, data, 12)
    odd = np.array([0, 1, 2.7, -0.5, -3, np.nan, 31, 32, 39, 40, 64, 1000])
    rows = np.c_[RNG.choice(odd, (2000, 2)), RNG.normal(size=(2000, 2))]
    got, table = answers(model, rows)
    assert (table.mode == MEMBER).any()
    want = model.predict(xgboost.DMatrix(rows, feature_types=types, enable_categorical=True))
    assert np.array_equal(got["prediction"].astype(np.float32), want)


CATBOOST: list[tuple[dict[str, Any], Any]] = [
    ({"loss_function": "RMSE"}, SCORE),
    ({"loss_function": "MAE"}, SCORE),
    ({"loss_function": "Quantile:alpha=0.9"}, SCORE),
    ({"loss_function": "Huber:delta=1"}, SCORE),
    ({"loss_function": "Poisson"}, COUNTS),
    ({"loss_function": "Tweedie:variance_power=1.5"}, COUNTS),
    ({"loss_function": "RMSEWithUncertainty"}, SCORE),
    ({"loss_function": "MultiRMSE"}, np.c_[SCORE, COUNTS]),
    ({"loss_function": "MultiQuantile:alpha=0.2,0.5"}, SCORE),
    ({"loss_function": "RMSE", "grow_policy": "Lossguide", "max_leaves": 9}, SCORE),
    ({"loss_function": "RMSE", "grow_policy": "Depthwise"}, SCORE),
    ({"loss_function": "RMSE", "boost_from_average": False, "iterations": 1, "depth": 1}, SCORE),
]


@pytest.mark.parametrize(("settings", "y"), CATBOOST, ids=[" ".join(map(str, s.values())) for s, _ in CATBOOST])
@pytest.mark.parametrize("nans", [None, "Min", "Max"])
def test_catboost_answers_as_it_does(settings: dict[str, Any], y: Any, nans: Any) -> None:
    import catboost

    common = {"iterations": 12, "depth": 4, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    x = X if nans is None else MISSING
    model = catboost.CatBoostRegressor(**{**common, **settings}, nan_mode=nans or "Forbidden").fit(x, y)
    rows = at_splits(model, x, nan=nans is not None)
    want = model.predict(rows)
    for dtype in ("float64", "float32"):
        got, _ = answers(model, rows, dtype)
        near = 1e-14 if dtype == "float64" else 1e-5
        np.testing.assert_allclose(got["prediction"], want, rtol=near, atol=near)


@pytest.mark.parametrize(
    ("loss", "y"),
    [("Logloss", TWO), ("CrossEntropy", TWO), ("MultiClass", MANY), ("MultiClassOneVsAll", MANY),
     ("MultiClass", np.array(["a", "b", "c", "d"])[MANY])],
    ids=["Logloss", "CrossEntropy", "MultiClass", "OneVsAll", "text labels"],
)  # fmt: skip
def test_catboost_labels_never_flip(loss: str, y: Any) -> None:
    import catboost

    common = {"iterations": 12, "depth": 4, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    model = catboost.CatBoostClassifier(loss_function=loss, **common).fit(X, y)
    rows = at_splits(model, labelled=True)
    got, _ = answers(model, rows, labelled=True)
    assert np.array_equal(np.asarray(model.classes_)[got["prediction"]], model.predict(rows).ravel())
    np.testing.assert_allclose(got["probability"], model.predict_proba(rows), rtol=0, atol=1e-14)


@pytest.mark.parametrize("policy", ["SymmetricTree", "Lossguide"])
def test_catboost_categories_are_found_by_their_hash(policy: str) -> None:
    import catboost
    import pandas

    from anyport.graph.boosters import catboost as own

    places = ["rome", "paris", "å", "3", ""]
    frame = pandas.DataFrame({"at": RNG.choice(places, 600), "x": X[:, 0], "n": RNG.integers(0, 4, 600)})
    y = SCORE + (frame["at"] == "å") * 3 - (frame["n"] == 2) * 2
    model = catboost.CatBoostRegressor(
        iterations=12, one_hot_max_size=9, cat_features=["at", "n"], grow_policy=policy, verbose=0,
        allow_writing_files=False, thread_count=1,
    ).fit(frame, y)  # fmt: skip
    codes = np.c_[[places.index(v) for v in frame["at"]], frame["x"], frame["n"]].astype(float)
    b = Builder()
    found = own.regressor(b, model, Tensor(b, b.input("X", "float64", ["N", 3]), 3), {0: places, 2: [0, 1, 2, 3]})
    b.output(found.prediction, "Y", "float64", ["N"])
    got = session(b.serialize()).run(None, {"X": codes})[0]
    np.testing.assert_allclose(got, model.predict(frame), rtol=1e-14)
    unseen = frame.assign(at="nowhere", n=17)
    got = session(b.serialize()).run(None, {"X": np.c_[codes[:, 0] * 0 - 1, codes[:, 1], codes[:, 0] * 0 - 1]})[0]
    np.testing.assert_allclose(got, model.predict(unseen), rtol=1e-14)


TOWNS = ["köln", "paris", "rome", "å b"]


def table(n: int = 300) -> tuple[Any, Any]:
    """A DataFrame with text categories, a gap, integers, a bool; and two classes."""
    import pandas

    rng = np.random.default_rng(3)
    frame = pandas.DataFrame(
        {"town": pandas.Categorical(rng.choice(TOWNS, n)), "age": rng.normal(40, 9, n).round(1),
         "rooms": rng.integers(1, 9, n), "new": rng.random(n) > 0.5}
    )  # fmt: skip
    frame.loc[::9, "age"] = np.nan
    return frame, ((frame["age"].fillna(40) > 42) ^ (frame["town"] == "köln") ^ (frame["rooms"] == 3)).astype(int)


def packed_models() -> dict[str, Any]:
    """Fitted models, by name, each with the rows it takes."""
    import catboost
    import lightgbm
    import xgboost
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame, y = table()
    text = frame.assign(town=frame["town"].astype(str), new=frame["new"].astype(int))
    one_hot = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]), remainder="passthrough")
    cats = {"verbose": 0, "allow_writing_files": False, "thread_count": 1, "iterations": 10, "one_hot_max_size": 9}
    return {
        "lightgbm": (lightgbm.LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1).fit(frame, y), frame),
        "xgboost": (xgboost.XGBClassifier(n_estimators=10, enable_categorical=True, n_jobs=1).fit(frame, y), frame),
        "catboost": (catboost.CatBoostClassifier(cat_features=["town", "rooms"], **cats).fit(text, y), text),
        "a sparse pipeline": (
            make_pipeline(one_hot, xgboost.XGBClassifier(n_estimators=10, n_jobs=1)).fit(frame, y),
            frame,
        ),
        "a pipeline": (
            make_pipeline(one_hot, lightgbm.LGBMRegressor(n_estimators=10, verbose=-1)).fit(frame, y),
            frame,
        ),
    }


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "catboost", "a sparse pipeline", "a pipeline"])
def test_a_packed_booster_is_a_proven_graph(name: str, tmp_path: Any) -> None:
    from anyport.model import load
    from anyport.packing import pack

    model, frame = packed_models()[name]
    bundle = pack(model, frame, out=tmp_path / "m.anyport", form="graph")
    assert bundle.manifest.form == "graph"
    got = load(tmp_path / "m.anyport").predict(frame)
    want = model.predict(frame)
    assert np.array_equal(got["prediction"], want)


def test_files_come_back_as_the_class_that_wrote_them(tmp_path: Any) -> None:
    import catboost
    import lightgbm
    import xgboost

    from anyport.frameworks import get, of_model, of_path

    quiet = {"verbose": 0, "allow_writing_files": False, "iterations": 3, "thread_count": 1}
    forest = xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(X, MANY)
    files = {
        "a.json": (forest, "XGBClassifier"),
        "b.ubj": (xgboost.XGBRegressor(n_estimators=3, n_jobs=1).fit(X, SCORE), "XGBRegressor"),
        "c.json": (forest.get_booster(), "Booster"),
        "d.txt": (lightgbm_booster({"objective": "binary"}, X, TWO, 3), "Booster"),
        "e.cbm": (catboost.CatBoostClassifier(**quiet).fit(X, TWO), "CatBoostClassifier"),
        "f.cbm": (catboost.CatBoostRegressor(**quiet).fit(X, SCORE), "CatBoostRegressor"),
        "g.cbm": (
            catboost.CatBoostRegressor(loss_function="MultiRMSE", **quiet).fit(X, np.c_[SCORE, TWO]),
            "CatBoostRegressor",
        ),
    }
    for name, (model, kind) in files.items():
        path = tmp_path / name
        model.save_model(str(path))
        framework = get(of_path(path))
        found: Any = framework.load(path, None)  # type: ignore[arg-type]  # these files cannot execute code
        assert type(found).__name__ == kind
        assert of_model(found) == framework.NAME
        assert np.array_equal(framework.ask(found, X)["prediction"], framework.ask(model, X)["prediction"])
    assert isinstance(files["d.txt"][0], lightgbm.Booster)


def test_a_damaged_file_is_a_mistake_not_a_crash(tmp_path: Any) -> None:
    import xgboost

    from anyport.errors import Mistake
    from anyport.frameworks import catboost as cat
    from anyport.frameworks import lightgbm as light
    from anyport.frameworks import xgboost as boost

    path = tmp_path / "m"
    text = lightgbm_booster({"objective": "binary"}, X, TWO, 3).model_to_string()
    json_text = bytes(xgboost.XGBRegressor(n_estimators=3, n_jobs=1).fit(X, SCORE).get_booster().save_raw("json"))
    changes = [("left_child=", "left_child=9999 "), ("threshold=", "threshold=x"), ("num_leaves=", "num_leaves=9"),
               ("\nleaf_value=", "\nleaf=")]  # fmt: skip
    hurt = ["hello", text[: len(text) // 3], *(text.replace(old, new, 1) for old, new in changes)]
    files = [(light.load, h.encode()) for h in hurt] + [(light.load, b"\xff\xfe"), (cat.load, b"nope")]
    for load, content in [*files, (boost.load, json_text[:99]), (boost.load, b"{}")]:
        path.write_bytes(content)
        with pytest.raises(Mistake, match=r"is no .* model"):
            load(path, None)  # type: ignore[arg-type]  # these files cannot execute code


def test_counted_categories_of_catboost_are_refused_with_the_reason() -> None:
    import catboost

    frame, y = table()
    text = frame.assign(town=frame["town"].astype(str))
    model = catboost.CatBoostClassifier(cat_features=["town"], iterations=3, verbose=0, allow_writing_files=False).fit(
        text, y
    )
    from anyport.errors import Impossible
    from anyport.graph.boosters import catboost as own

    with pytest.raises(Impossible, match="one_hot_max_size"):
        own.read(model, {0: TOWNS})


def test_an_unseen_category_is_refused_where_xgboost_would_guess() -> None:
    import pandas

    from anyport.frameworks import xgboost as boost

    model, frame = packed_models()["xgboost"]
    row = frame.head(1).assign(town=pandas.Categorical(["aachen"], categories=["aachen", *TOWNS]))
    assert model.predict(row).shape == (1,), "XGBoost itself answers"
    with pytest.raises(ValueError, match="never saw 'aachen'"):
        boost.ask(model, row)


def test_a_binary_booster_answers_with_the_probability() -> None:
    from anyport.frameworks import lightgbm as light

    model = lightgbm_booster({"objective": "binary"}, X, TWO)
    answers = light.ask(model, X)
    assert set(answers) == {"prediction"}
    assert ((answers["prediction"] > 0) & (answers["prediction"] < 1)).all()
