"""Every estimator of scikit-learn with arguments and data that suit it, for the breadth benchmark."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd

ROWS, WIDTH = 300, 6
Setting = Literal["alone", "mixed", "forest"]
"""By itself on numbers; behind StandardScaler and OneHotEncoder on a DataFrame; in front of a random forest."""

NOT_FOR_ROWS = {
    **dict.fromkeys(
        ("AgglomerativeClustering", "DBSCAN", "HDBSCAN", "OPTICS", "SpectralClustering", "SpectralBiclustering",
         "SpectralCoclustering", "TSNE", "MDS", "ClassicalMDS", "SpectralEmbedding"),
        "has neither predict nor transform: it answers only the rows it was fitted on",
    ),
    **dict.fromkeys(("LabelEncoder", "LabelBinarizer", "MultiLabelBinarizer"), "encodes targets, not rows"),
    **dict.fromkeys(("DictVectorizer", "FeatureHasher"), "takes dicts, which are no columns"),
    "PatchExtractor": "takes images and gives another number of rows",
    **dict.fromkeys(
        ("EmpiricalCovariance", "ShrunkCovariance", "LedoitWolf", "OAS", "MinCovDet", "GraphicalLasso",
         "GraphicalLassoCV", "NearestNeighbors", "KernelDensity", "Pipeline", "TfidfVectorizer", "CountVectorizer"),
        "",
    ),
}  # fmt: skip
"""Not fitted here, and why; those without a reason are no classifier, regressor, clusterer or transformer, or
(pipelines, text) are fitted under another setting."""

NOT_BEFORE_A_FOREST = {
    "PLSSVD": "in front of a forest: its fit_transform gives a pair, which no pipeline takes",
    **dict.fromkeys(
        ("SparsePCA", "MiniBatchSparsePCA"),
        "in front of a forest: scikit-learn's own transform of a single row is flat, so no row alone is answered",
    ),
}

POSITIVE_X = {
    "MultinomialNB", "ComplementNB", "AdditiveChi2Sampler", "SkewedChi2Sampler", "NMF", "MiniBatchNMF",
    "LatentDirichletAllocation", "TfidfTransformer",
}  # fmt: skip
POSITIVE_Y = {"PoissonRegressor", "GammaRegressor", "TweedieRegressor"}
PAIRS = {
    "MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV", "CCA", "PLSCanonical",
    "PLSRegression", "PLSSVD", "MultiOutputRegressor", "RegressorChain",
}  # fmt: skip
LABELS = {"MultiOutputClassifier", "ClassifierChain"}
BINARY = {"FixedThresholdClassifier", "TunedThresholdClassifierCV"}
HOLES = {"SimpleImputer", "KNNImputer", "MissingIndicator"}
TEXT = {"CountVectorizer", "TfidfVectorizer", "HashingVectorizer"}
WORDS = {"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"}
CODES = {"CategoricalNB"}
ONE_COLUMN = {"IsotonicRegression"}
SQUARE = {"KernelCenterer"}
SENTENCE = "the quick brown fox jumps over a lazy dog while seven wizards boil grey tea"


@dataclass(frozen=True)
class Case:
    """One estimator in one setting."""

    name: str
    setting: Setting
    kind: str


@dataclass(frozen=True)
class Fitted:
    """The fitted model, its training rows, and as many fresh rows of the same kind as are asked for."""

    model: Any
    data: Any
    fresh: Callable[[int], Any]


@cache
def classes() -> dict[str, type]:
    from sklearn.utils import all_estimators

    return dict(all_estimators())


def kind_of(name: str) -> str:
    """classifier, regressor, cluster, outlier, or transformer (mixtures count as clusterers)."""
    from sklearn import base

    made = classes()[name]
    pairs = {
        "classifier": base.ClassifierMixin, "regressor": base.RegressorMixin, "outlier": base.OutlierMixin,
        "cluster": base.ClusterMixin, "transformer": base.TransformerMixin,
    }  # fmt: skip
    for kind, mixin in pairs.items():
        if issubclass(made, mixin):
            return kind
    return "classifier" if hasattr(made, "predict_proba") and "CV" in name else "cluster"


def cases() -> Iterator[Case]:
    """Every case, in the order of the estimators' names."""
    for name in sorted(classes()):
        if name in NOT_FOR_ROWS and name not in TEXT:
            continue
        kind = kind_of(name)
        yield Case(name, "alone", kind)
        if name not in TEXT | WORDS | CODES | ONE_COLUMN | SQUARE | HOLES:
            yield Case(name, "mixed", kind)
        if hasattr(classes()[name], "transform") and kind == "transformer" and name not in NOT_BEFORE_A_FOREST:
            yield Case(name, "forest", kind)


def arguments(name: str) -> dict[str, Any]:
    """Constructor arguments: those that have no default, and what keeps 300 rows quick and repeatable."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    logistic, ridge = LogisticRegression(), Ridge()
    two = [("a", logistic), ("b", KNeighborsClassifier())]
    around = {
        "CalibratedClassifierCV",
        "OneVsRestClassifier",
        "OneVsOneClassifier",
        "OutputCodeClassifier",
        "RFE",
        "MultiOutputClassifier",
        "ClassifierChain",
        "SelfTrainingClassifier",
        "FixedThresholdClassifier",
        "SelectFromModel",
    }
    searching = {"TunedThresholdClassifierCV", "RFECV", "SequentialFeatureSelector"}
    special: dict[str, dict[str, Any]] = {
        **{wrapper: {"estimator": logistic} for wrapper in around},
        **{wrapper: {"estimator": logistic, "cv": 2} for wrapper in searching},
        **{wrapper: {"estimator": ridge} for wrapper in ("MultiOutputRegressor", "RegressorChain")},
        "TransformedTargetRegressor": {"regressor": ridge, "transformer": StandardScaler()},
        "GridSearchCV": {"estimator": logistic, "param_grid": {"C": [0.1, 1.0]}, "cv": 2},
        "RandomizedSearchCV": {"estimator": logistic, "param_distributions": {"C": [0.1, 1.0]}, "n_iter": 2, "cv": 2},
        "VotingClassifier": {"estimators": two, "voting": "soft"},
        "StackingClassifier": {"estimators": two, "cv": 2},
        "VotingRegressor": {"estimators": [("a", ridge), ("b", KNeighborsRegressor())]},
        "StackingRegressor": {"estimators": [("a", ridge), ("b", KNeighborsRegressor())], "cv": 2},
        "FeatureUnion": {"transformer_list": [("a", StandardScaler()), ("b", MinMaxScaler())]},
        "ColumnTransformer": {"transformers": [("a", StandardScaler(), [0, 1]), ("b", MinMaxScaler(), [2, 3])]},
        "LocalOutlierFactor": {"novelty": True},
        "RadiusNeighborsClassifier": {"radius": 2.0, "outlier_label": "most_frequent"},
        "RadiusNeighborsRegressor": {"radius": 2.0},
        "RadiusNeighborsTransformer": {"radius": 2.0},
        "SparseCoder": {"dictionary": np.eye(WIDTH)[:4] + 0.1},
        "HashingVectorizer": {"n_features": 64},
        "IsotonicRegression": {"out_of_bounds": "clip"},
        "CategoricalNB": {"min_categories": 6},
        "QuadraticDiscriminantAnalysis": {"reg_param": 0.01},  # one-hot columns are collinear
        "MeanShift": {"bandwidth": 6.0},
        "PLSSVD": {"n_components": 1},
        "OneHotEncoder": {"handle_unknown": "ignore"},
        "OrdinalEncoder": {"handle_unknown": "use_encoded_value", "unknown_value": -1},
        "FunctionTransformer": {"func": np.abs},
        "MissingIndicator": {"features": "all"},
        "TfidfTransformer": {},
    }  # fmt: skip
    given = dict(special.get(name, {}))
    taken = inspect.signature(classes()[name]).parameters
    usual = {
        "random_state": 0, "n_estimators": 10, "max_iter": None, "n_components": 3, "n_clusters": 4, "max_depth": 5,
        "n_quantiles": 50, "n_init": 1, "max_subpopulation": 100,
    }  # fmt: skip
    quick = {
        "HistGradientBoostingClassifier": 10, "HistGradientBoostingRegressor": 10, "MLPClassifier": 60,
        "MLPRegressor": 60, "MiniBatchDictionaryLearning": 20, "DictionaryLearning": 20, "SparsePCA": 50,
    }  # fmt: skip
    for key, value in usual.items():
        if key not in taken or key in given:
            continue
        if key == "max_iter":
            value = quick.get(name)
        if key == "n_components" and name in PAIRS | {"LinearDiscriminantAnalysis"}:
            value = 2
        if value is not None:
            given[key] = value
    return given


def estimator(name: str) -> Any:
    """An unfitted estimator."""
    if name == "FrozenEstimator":
        from sklearn.linear_model import LogisticRegression

        rows = numbers(ROWS, seed=0)
        return classes()[name](LogisticRegression().fit(rows, target("", rows[:, 0], rows[:, 1])))
    return classes()[name](**arguments(name))


def numbers(n: int, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, WIDTH)) * np.arange(1, WIDTH + 1)


def frame(n: int, *, seed: int) -> pd.DataFrame:
    """Four columns of numbers and two of words."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {f"n{i}": rng.normal(size=n) * (i + 1) + i for i in range(4)}
    columns["colour"] = rng.choice(["red", "green", "blue"], n)
    columns["town"] = rng.choice(["Brno", "Olomouc", "Plzeň", "Zlín", "Cheb"], n)
    return pd.DataFrame(columns)


def words(n: int, *, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    known = np.array(SENTENCE.split())
    return [" ".join(known[rng.integers(0, len(known), rng.integers(3, 9))]) for _ in range(n)]


def target(name: str, first: Any, second: Any) -> np.ndarray:
    """What is to be predicted, from two columns and some noise."""
    rng = np.random.default_rng(5)
    signal = np.asarray(first, float) + np.asarray(second, float) * 0.5 + rng.normal(size=len(first)) * 0.2
    if name in PAIRS:
        return np.column_stack([signal, np.asarray(second, float) - signal])
    if name in LABELS:
        return np.column_stack([signal > 0, np.asarray(second, float) > 0.5]).astype(int)
    if name in POSITIVE_Y:
        return np.asarray(np.exp(signal / (1 + np.abs(signal).max())))
    if name in BINARY:
        return (signal > 0).astype(int)
    if name in classes() and kind_of(name) == "regressor":
        return np.asarray(signal)
    codes = np.digitize(signal, np.quantile(signal, [0.33, 0.66]))
    if name in ("SelfTrainingClassifier", "LabelPropagation", "LabelSpreading"):
        return np.where(rng.random(len(codes)) < 0.4, -1, codes)
    return codes


def alone_rows(name: str, n: int, *, seed: int) -> Any:
    """Rows of the kind that the estimator takes by itself."""
    if name in TEXT:
        return words(n, seed=seed)
    if name in WORDS:
        return frame(n, seed=seed)[["colour", "town"]]
    if name in SQUARE:
        rows = numbers(n, seed=seed)
        return rows @ numbers(40, seed=9).T
    rows = numbers(n, seed=seed)
    if name in ONE_COLUMN:
        return rows[:, :1]
    if name in CODES:
        return np.floor(np.abs(rows)).clip(0, 5)
    if name in POSITIVE_X:
        return np.abs(rows)
    if name in HOLES:
        rows[np.random.default_rng(seed + 1).random(rows.shape) < 0.1] = np.nan
    return rows


def fitted(case: Case) -> Fitted:
    """Fit the case's model on its rows."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline

    name = case.name
    inner = estimator(name)
    if case.setting == "mixed":
        if name == "ColumnTransformer":
            inner.set_params(transformers=[("a", preprocessing(name), ["n0", "n1", "n2", "n3", "colour", "town"])])
            model = make_pipeline(inner)
        else:
            model = make_pipeline(preprocessing(name), inner)
        if name == "FrozenEstimator":
            model = make_pipeline(preprocessing(name), frozen_behind(name))
        if name == "SparseCoder":
            inner.set_params(dictionary=np.eye(12)[:4] + 0.1)
        data = frame(ROWS, seed=0)
        y = target(name, data.n0, data.n1)

        def fresh(n: int) -> Any:
            return frame(n, seed=1)
    else:
        rows = 40 if name in SQUARE else ROWS
        data = alone_rows(name, rows, seed=0)
        seen = numbers(rows, seed=0)
        y = target(name if case.setting == "alone" else "", seen[:, 0], seen[:, 1])
        forest = RandomForestClassifier(10, max_depth=5, random_state=0)
        model = inner if case.setting == "alone" else make_pipeline(inner, forest)

        def fresh(n: int) -> Any:
            return alone_rows(name, n, seed=1)

    if name == "FrozenEstimator" and case.setting == "alone":
        return Fitted(model, data, fresh)
    return Fitted(model.fit(data, y), data, fresh)


def preprocessing(name: str) -> Any:
    """StandardScaler and OneHotEncoder by column; where numbers must not be negative, MinMaxScaler."""
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

    scaler = MinMaxScaler(clip=True) if name in POSITIVE_X else StandardScaler()
    return ColumnTransformer(
        [
            ("numbers", scaler, ["n0", "n1", "n2", "n3"]),
            ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["colour", "town"]),
        ]
    )


def frozen_behind(name: str) -> Any:
    """A frozen model of what the preprocessing gives."""
    from sklearn.linear_model import LogisticRegression

    data = frame(ROWS, seed=0)
    ready = preprocessing(name).fit_transform(data)
    return classes()[name](LogisticRegression().fit(ready, target("", data.n0, data.n1)))
