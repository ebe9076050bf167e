"""scikit-learn models behind mixed preprocessing: every precision that is offered answers as the original."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn import (
    calibration,
    compose,
    ensemble,
    impute,
    linear_model,
    mixture,
    model_selection,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import make_pipeline

from anyport.errors import BadData
from anyport.frameworks import Original
from anyport.frameworks import sklearn as framework
from anyport.ingest import to_batch
from anyport.packing import described
from anyport.predictor import GraphPredictor

N = 150


def table(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "word": pd.Series(rng.choice(["red", "green", "001"], N), dtype="str").where(rng.random(N) > 0.1),
            "kind": pd.Categorical(rng.choice(["x", "y"], N)),
            "count": pd.array(np.where(rng.random(N) < 0.1, None, rng.integers(0, 5, N)), dtype="Int64"),
            "size": rng.normal(size=N) * 100,
            "hole": np.where(rng.random(N) < 0.2, np.nan, rng.normal(size=N)),
            "small": rng.normal(size=N).astype("float32"),
        }
    )


def mixed() -> compose.ColumnTransformer:
    numbers = make_pipeline(impute.SimpleImputer(add_indicator=True), preprocessing.StandardScaler())
    return compose.ColumnTransformer(
        [
            ("text", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["word", "kind"]),
            ("numbers", numbers, ["count", "size", "hole", "small"]),
        ],
        sparse_threshold=0,
    )


RNG = np.random.default_rng(0)
YES = RNG.choice(["no", "yes"], N)
THREE = RNG.choice(["a", "b", "c"], N)
REAL = RNG.normal(size=N) * 10
PAIR = np.column_stack([YES, THREE])
BITS = RNG.integers(0, 2, (N, 3))

MODELS: dict[str, tuple[Callable[[], Any], Any]] = {
    "logistic": (lambda: linear_model.LogisticRegression(max_iter=500), YES),
    "three classes": (lambda: linear_model.LogisticRegression(max_iter=500), THREE),
    "bool labels": (lambda: tree.DecisionTreeClassifier(max_depth=4, random_state=0), YES == "yes"),
    "int labels": (lambda: ensemble.RandomForestClassifier(7, random_state=0), RNG.integers(3, 7, N)),
    "boosting": (lambda: ensemble.HistGradientBoostingClassifier(max_iter=5), YES),
    "regression": (lambda: ensemble.RandomForestRegressor(5, random_state=0), REAL),
    "several targets": (lambda: linear_model.Ridge(), np.column_stack([REAL, -REAL])),
    "several classes each": (lambda: ensemble.RandomForestClassifier(5, random_state=0), PAIR),
    "several models": (lambda: multioutput.MultiOutputClassifier(linear_model.LogisticRegression(max_iter=500)), PAIR),
    "yes-no targets": (lambda: neural_network.MLPClassifier((4,), max_iter=30, random_state=0), BITS),
    "chain": (lambda: multioutput.ClassifierChain(linear_model.LogisticRegression(), random_state=0), BITS),
    "no probability": (lambda: svm.LinearSVC(), THREE),
    "calibrated": (lambda: calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2), YES),
    "searched": (
        lambda: model_selection.GridSearchCV(naive_bayes.GaussianNB(), {"var_smoothing": [1e-9, 1e-3]}, cv=2),
        YES,
    ),
    "outliers": (lambda: ensemble.IsolationForest(n_estimators=7, random_state=0), None),
    "mixture": (lambda: mixture.GaussianMixture(2, random_state=0), None),
    "threshold": (
        lambda: model_selection.FixedThresholdClassifier(linear_model.LogisticRegression(), threshold=0.7),
        YES,
    ),
}


def original(model: Any, data: Any) -> Original:
    found = described(model, framework, data)
    inputs = tuple(
        msgspec.structs.replace(f, nullable=bool(found.data[f.name].missing().any())) for f in found.signature.inputs
    )
    return Original(model, found.framework, msgspec.structs.replace(found.signature, inputs=inputs), found.data)


def fitted(model: Any, data: Any, labels: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(data) if labels is None else model.fit(data, labels)


def worst(model: Any, source: Original, graph: bytes, encoder: Any, fresh: Any) -> tuple[float, int]:
    """Largest difference of a number, and how many labels differ."""
    batch, refused = to_batch(fresh, source.signature.inputs)
    assert not refused
    made = GraphPredictor(source.signature, graph, encoder).predict(batch)
    assert not made.refused
    far, flips = 0.0, 0
    for name, wanted in framework.ask(model, fresh).items():
        field, got = source.signature.output(name), made.outputs[name].plain().values
        assert field is not None
        if field.levels is not None and name.startswith("prediction"):
            flips += int((got != wanted).sum())
        else:
            far = max(far, float(np.abs(got - wanted).max() / max(1.0, float(np.abs(wanted).max()))))
    return far, flips


@pytest.mark.parametrize("case", MODELS)
def test_every_precision_answers_as_the_original(case: str) -> None:
    make, labels = MODELS[case]
    data, fresh = table(0), table(1)
    fresh.loc[0, "word"] = "unseen"
    model = fitted(make_pipeline(mixed(), make()), data, labels)
    source = original(model, data)
    names = []
    for candidate in framework.candidates(source):
        names.append(candidate.name)
        far, flips = worst(model, source, candidate.fast, candidate.encoder, fresh)
        assert far < (1e-12 if candidate.name == "float64" else 1e-5), candidate.name
        assert flips == 0, candidate.name
        assert candidate.exact is not None
    assert names == ["float32", "mixed", "float64"]
    far, flips = worst(model, source, candidate.exact, None, fresh)
    assert (far < 1e-12, flips) == (True, 0)


def test_a_label_read_off_the_probabilities_is_left_out_and_only_then() -> None:
    """Logistic regression decides by its decision function: where probabilities saturate, they tie and it does not."""
    data = table(0)
    for case, left_out in (
        ("int labels", True),
        ("bool labels", True),
        ("logistic", False),
        ("three classes", False),
        ("threshold", False),
        ("no probability", False),
    ):
        make, labels = MODELS[case]
        source = original(fitted(make_pipeline(mixed(), make()), data, labels), data)
        double = {c.name: c for c in framework.candidates(source)}["float64"]
        predictor = GraphPredictor(source.signature, double.fast, double.encoder)
        assert ("prediction" not in predictor.outputs) == left_out, case


def test_hints_say_what_the_model_was_fitted_on() -> None:
    data = table(0)
    model = fitted(model_selection.GridSearchCV(
        make_pipeline(mixed(), linear_model.LogisticRegression()), {"logisticregression__C": [1, 2]}, cv=2
    ), data, YES)  # fmt: skip
    hints = framework.hints(model, data)
    assert hints.container == "dataframe"
    assert hints.columns == tuple(data.columns)
    assert hints.levels == {"word": ("001", "green", "red"), "kind": ("x", "y")}
    assert hints.labels == {"prediction": ("no", "yes")}
    several = fitted(make_pipeline(mixed(), neighbors.KNeighborsClassifier()), data, PAIR)
    assert framework.hints(several, data).labels == {"prediction_0": ("no", "yes"), "prediction_1": ("a", "b", "c")}


def test_arrays_and_documents_have_containers_of_their_own() -> None:
    array = np.random.default_rng(0).normal(size=(N, 3))
    model = fitted(linear_model.LinearRegression(), array, REAL)
    assert framework.hints(model, array).container == "array"
    assert [f.name for f in original(model, array).signature.inputs] == ["x0", "x1", "x2"]
    text = fitted(make_pipeline(CountVectorizer(), naive_bayes.MultinomialNB()), ["a bc", "bc de"] * 9, ["u", "v"] * 9)
    assert framework.hints(text, None).container == "list"
    assert original(text, ["a bc"]).signature.container == "list"


def test_columns_in_another_order_than_the_fields_are_found_by_name() -> None:
    data = table(0)
    model = fitted(make_pipeline(mixed(), linear_model.Ridge()), data, REAL)
    source = original(model, data)
    turned = msgspec.structs.replace(source.signature, inputs=source.signature.inputs[::-1])
    source = Original(model, source.framework, turned, source.data)
    graph, encoder, _ = framework.graph(source, "float64", "float64", without_prediction=False)
    assert worst(model, source, graph, encoder, table(2))[0] < 1e-12


def test_a_clusterer_without_predict_is_refused_in_words() -> None:
    from sklearn.cluster import DBSCAN

    with pytest.raises(BadData, match="answers no new rows"):
        framework.ask(DBSCAN().fit(np.eye(3)), np.eye(3))


def test_other_frameworks_own_their_scikit_learn_classes() -> None:
    from xgboost import XGBClassifier

    assert not framework.owns(XGBClassifier())
    assert framework.owns(linear_model.Ridge())
    assert not framework.owns(object())


def test_a_pickle_is_read_through_trust(tmp_path: Path) -> None:
    from anyport.errors import Untrusted
    from anyport.trust import held

    model = linear_model.Ridge().fit(np.eye(3), [1, 2, 3])
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    with pytest.raises(Untrusted):
        framework.load(path, held(()))
    loaded = framework.load(path, held("all"))
    np.testing.assert_array_equal(loaded.predict(np.eye(3)), model.predict(np.eye(3)))


def test_requirements_name_every_distribution_inside() -> None:
    from xgboost import XGBRegressor

    model = fitted(make_pipeline(mixed(), XGBRegressor(n_estimators=2)), table(0), REAL)
    assert set(framework.requirements(model)) == {"numpy", "pandas", "scikit-learn", "scipy", "xgboost"}
    bare = fitted(linear_model.Ridge(), np.eye(3), [1, 2, 3])
    assert set(framework.requirements(bare)) == {"numpy", "scikit-learn", "scipy"}


def test_split_points_are_in_the_raw_column() -> None:
    data = table(0)
    model = fitted(make_pipeline(mixed(), tree.DecisionTreeRegressor(max_depth=3, random_state=0)), data, data["size"])
    found = framework.boundaries(original(model, data))["size"]
    assert len(found) >= 7
    one = pd.concat([data.iloc[:1]] * (2 * len(found)))
    one["size"] = np.concatenate([found, np.nextafter(found, np.inf)])
    below, above = np.split(model.predict(one), 2)
    assert (below != above).sum() >= 7


def test_labels_that_hang_on_arithmetic_are_kept_in_double_only() -> None:
    """Trees compare and add in double whatever the tensor is; a decision function in float32 would flip rare rows."""
    data = table(0)
    for case, doubted in (("int labels", False), ("boosting", False), ("logistic", True), ("regression", False)):
        make, labels = MODELS[case]
        source = original(fitted(make_pipeline(mixed(), make()), data, labels), data)
        doubts = {c.name: bool(c.doubt) for c in framework.candidates(source)}
        assert doubts == {"float32": doubted, "mixed": doubted, "float64": False}, case
