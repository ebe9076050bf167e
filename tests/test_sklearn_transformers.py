"""Every transformer that converts answers as scikit-learn does: exactly where a column stays a column."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn import (
    cluster,
    compose,
    cross_decomposition,
    decomposition,
    discriminant_analysis,
    ensemble,
    experimental,  # noqa: F401  # the next import needs it
    feature_extraction,
    feature_selection,
    impute,
    kernel_approximation,
    linear_model,
    manifold,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    random_projection,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  # makes IterativeImputer importable
from sklearn.impute import IterativeImputer

from anyport.errors import Impossible
from anyport.frameworks import Original
from anyport.frameworks import sklearn as framework
from anyport.graph.encode import encode
from anyport.graph.rows import compile_row
from anyport.ingest import to_batch
from anyport.ort import session
from anyport.packing import described
from anyport.predictor import raw_input

N, D = 160, 5


def numbers(
    seed: int, *, gaps: bool = False, positive: bool = False, by: float = 1, dtype: str = "float64"
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, D)) * [1, 10, 0.1, 1000, 3] + [0, 5, 0, -300, 1]
    x[:, 4] = rng.integers(-3, 4, N)
    if positive:
        x = np.abs(x) + 0.01
    if gaps:
        x[:, [0, 2, 3, 4]] = np.where(rng.random((N, 4)) < 0.15, np.nan, x[:, [0, 2, 3, 4]])
    return (x * by).astype(dtype)


def table(seed: int, *, unseen: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    words = ["red", "green", "blue", "001", "é"]
    frame = pd.DataFrame(
        {
            "word": pd.Series(rng.choice(words, N), dtype="str"),
            "gap": pd.Series(rng.choice(["a", "b", "c"], N), dtype="str").where(rng.random(N) > 0.2),
            "none": pd.Series(rng.choice(["u", "v", None], N), dtype=object),
            "count": rng.integers(0, 6, N),
            "flag": rng.random(N) > 0.5,
            "kind": pd.Categorical(rng.choice(["x", "y", "z"], N), categories=["z", "x", "y"]),
            "grade": pd.Categorical(rng.choice([3, 1, 2], N), categories=[1, 2, 3]),
            "size": rng.normal(size=N) * 100,
            "hole": np.where(rng.random(N) < 0.2, np.nan, rng.normal(size=N)),
            "small": rng.normal(size=N).astype("float32"),
        }
    )
    if unseen:
        frame.loc[:3, "word"] = "unseen"
        frame.loc[2:5, "count"] = 77
    return frame


def target(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(["no", "yes"], N)


def original(model: Any, data: Any) -> Original:
    """As pack makes it, with missing values allowed where the data has them."""
    found = described(model, framework, data)
    inputs = tuple(
        msgspec.structs.replace(f, nullable=bool(found.data[f.name].missing().any())) for f in found.signature.inputs
    )
    return Original(model, found.framework, msgspec.structs.replace(found.signature, inputs=inputs), found.data)


def answers(model: Any, data: Any, fresh: Any, name: str = "transform") -> dict[str, np.ndarray]:
    """What the double graph makes of fresh rows: by numpy, by compiled rows (of 20), and by the raw ONNX form."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = original(model, data)
        fast, encoder, _ = framework.graph(source, "float64", "float64", without_prediction=False)
        exact = framework.exact_graph(source)
    batch, refused = to_batch(fresh, source.signature.inputs)
    assert not refused
    loaded = session(fast)
    at = [o.name for o in loaded.get_outputs()].index(name)
    tensor = encode(encoder, batch)
    made = {"numpy": loaded.run(None, {"X": tensor})[at]}
    fill = compile_row(source.signature, encoder)
    plain = {n: c.plain().values.tolist() for n, c in batch.items()}
    gone = {n: c.missing().tolist() for n, c in batch.items()}
    for r in range(20):
        row = np.ones(encoder.width)
        record = {n: None if gone[n][r] else plain[n][r] for n in plain}
        assert fill(record, row) is None, record
        np.testing.assert_array_equal(row, tensor[r])
    if exact is not None:
        feed = {f.name: raw_input(batch[f.name], f) for f in source.signature.inputs}
        made["onnx"] = session(exact).run(None, feed)[at]
    return made


def expected(model: Any, fresh: Any) -> np.ndarray:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return framework.ask(model, fresh)["transform"]


def columns(*parts: tuple[Any, list[str]], **options: Any) -> compose.ColumnTransformer:
    return compose.ColumnTransformer([(f"t{i}", t, c) for i, (t, c) in enumerate(parts)], **options)


one_hot, pipe = preprocessing.OneHotEncoder, pipeline.make_pipeline
ordinal = preprocessing.OrdinalEncoder
ALWAYS = ["size", "count"]

EXACT: dict[str, Callable[[], Any]] = {
    "one-hot, unknown ignored": lambda: columns((one_hot(handle_unknown="ignore"), ["word", "count", "gap", "none"])),
    "one-hot, every kind of column": lambda: columns(
        (one_hot(handle_unknown="ignore"), ["flag", "kind", "grade", "word"])
    ),
    "one-hot, drop first": lambda: columns((one_hot(drop="first", handle_unknown="ignore"), ["word", "count", "gap"])),
    "one-hot, drop if binary": lambda: columns((one_hot(drop="if_binary", handle_unknown="ignore"), ["flag", "word"])),
    "one-hot, infrequent": lambda: columns(
        (one_hot(min_frequency=35, handle_unknown="infrequent_if_exist"), ["word", "count", "gap"])
    ),
    "one-hot, at most 3": lambda: columns((one_hot(max_categories=3, handle_unknown="ignore"), ["word", "count"])),
    "one-hot, dense float32": lambda: columns(
        (one_hot(sparse_output=False, dtype=np.float32, handle_unknown="ignore"), ["word"]),
        (preprocessing.StandardScaler(), ["small"]),
    ),
    "one-hot, then scaled": lambda: pipe(
        columns((one_hot(handle_unknown="ignore"), ["word", "gap"]), sparse_threshold=0), preprocessing.StandardScaler()
    ),
    "one-hot, then scaled sparse": lambda: pipe(
        columns((one_hot(handle_unknown="ignore"), ["word", "count", "gap"]), sparse_threshold=1),
        preprocessing.StandardScaler(with_mean=False),
        preprocessing.MaxAbsScaler(),
    ),
    "ordinal, unknown and missing": lambda: columns(
        (
            ordinal(handle_unknown="use_encoded_value", unknown_value=-5, encoded_missing_value=-1),
            ["word", "gap", "none"],
        )
    ),
    "ordinal, unknown NaN": lambda: columns(
        (ordinal(handle_unknown="use_encoded_value", unknown_value=np.nan), ["word", "count", "kind", "grade", "flag"])
    ),
    "ordinal, then one-hot": lambda: pipe(
        columns((ordinal(handle_unknown="use_encoded_value", unknown_value=-1), ["word", "count"])),
        one_hot(handle_unknown="ignore"),
    ),
    "imputed text": lambda: columns(
        (pipe(impute.SimpleImputer(strategy="most_frequent"), one_hot(handle_unknown="ignore")), ["word", "gap"])
    ),
    "imputed text, constant": lambda: columns(
        (pipe(impute.SimpleImputer(strategy="constant", fill_value="?"), one_hot()), ["gap"])
    ),
    "imputed None": lambda: columns(
        (pipe(impute.SimpleImputer(strategy="most_frequent", missing_values=None), one_hot()), ["none"])
    ),
    "None is not NaN": lambda: columns(
        (pipe(impute.SimpleImputer(strategy="constant", fill_value="?"), one_hot(handle_unknown="ignore")), ["none"])
    ),
    "numbers scaled as a sparse matrix": lambda: pipe(
        columns((one_hot(handle_unknown="ignore"), ["word"]), ("passthrough", ["size", "count"]), sparse_threshold=1),
        preprocessing.StandardScaler(with_mean=False),
        preprocessing.MaxAbsScaler(),
    ),
    "imputed marker": lambda: columns(
        (
            pipe(
                impute.SimpleImputer(strategy="most_frequent", missing_values="red"), one_hot(handle_unknown="ignore")
            ),
            ["word"],
        )
    ),
    "imputed numbers": lambda: columns(
        (impute.SimpleImputer(), ["size", "hole", "small"]),
        (impute.SimpleImputer(strategy="median", add_indicator=True), ["hole", "count"]),
        (impute.SimpleImputer(strategy="most_frequent"), ["count", "hole"]),
        (impute.SimpleImputer(strategy="constant", fill_value=-9.5), ["hole"]),
    ),
    "imputed marker in numbers": lambda: columns(
        (impute.SimpleImputer(missing_values=3, strategy="most_frequent", add_indicator=True), ["count"])
    ),
    "missing indicator": lambda: columns((impute.MissingIndicator(), ["hole", "size"]), ("passthrough", ["count"])),
    "scalers": lambda: columns(
        (preprocessing.StandardScaler(), ["size", "count", "hole"]),
        (preprocessing.MinMaxScaler(clip=True), ["size", "count", "flag"]),
        (preprocessing.MaxAbsScaler(), ["size", "grade"]),
        (preprocessing.RobustScaler(), ["size", "hole"]),
    ),
    "scalers in float32": lambda: columns(
        (preprocessing.StandardScaler(), ["small"]),
        (preprocessing.MinMaxScaler((-1, 3)), ["small"]),
        (preprocessing.MaxAbsScaler(), ["small"]),
        (preprocessing.RobustScaler(), ["small"]),
    ),
    "scaled twice": lambda: pipe(
        columns((preprocessing.StandardScaler(), ["size", "small"]), remainder="drop"), preprocessing.MinMaxScaler()
    ),
    "weights": lambda: columns(
        (preprocessing.StandardScaler(), ["size"]),
        (one_hot(handle_unknown="ignore"), ["word"]),
        transformer_weights={"t0": 0.3, "t1": 7.0},
    ),
    "remainder": lambda: compose.ColumnTransformer(
        [
            ("a", one_hot(handle_unknown="ignore"), ["word"]),
            ("b", "drop", ["gap", "none", "kind"]),
            ("c", "passthrough", ["flag"]),
        ],
        remainder=preprocessing.StandardScaler(),
    ),
    "chosen by position, slice and type": lambda: compose.ColumnTransformer(
        [
            ("a", one_hot(handle_unknown="ignore"), [0, 3]),
            ("b", preprocessing.StandardScaler(), slice("size", "small")),
            ("c", preprocessing.MinMaxScaler(), compose.make_column_selector(dtype_include="float32")),
            ("d", "passthrough", [False] * 9 + [True]),
            ("e", "passthrough", []),
        ]
    ),
    "pandas output": lambda: columns(
        (one_hot(handle_unknown="ignore", sparse_output=False), ["word"]),
        (preprocessing.StandardScaler(), ["size", "small"]),
    ).set_output(transform="pandas"),
    "union": lambda: pipe(
        columns(("passthrough", ["size", "count"])),
        pipeline.FeatureUnion(
            [
                ("a", preprocessing.StandardScaler()),
                ("b", "passthrough"),
                ("c", "drop"),
                ("d", preprocessing.MinMaxScaler()),
            ],
            transformer_weights={"a": 2.5},
        ),
    ),
    "bins": lambda: columns(
        (preprocessing.KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), ["size", "count"]),
        (preprocessing.KBinsDiscretizer(3, encode="ordinal", strategy="uniform"), ["size", "flag"]),
        (preprocessing.KBinsDiscretizer(3, encode="onehot-dense", strategy="uniform", dtype=np.float32), ["size"]),
        (pipe(preprocessing.StandardScaler(), preprocessing.KBinsDiscretizer(3, strategy="uniform")), ["size"]),
        (preprocessing.KBinsDiscretizer(3, strategy="kmeans", random_state=0), ["small"]),
    ),
    "binarizer": lambda: columns(
        (preprocessing.Binarizer(threshold=1.5), ["size", "count"]), (preprocessing.Binarizer(threshold=0.1), ["small"])
    ),
    "bins of a table": lambda: pipe(
        columns((ordinal(handle_unknown="use_encoded_value", unknown_value=-1), ["word", "count"])),
        preprocessing.KBinsDiscretizer(2, strategy="uniform"),
        preprocessing.StandardScaler(with_mean=False),
    ),
    "selected": lambda: pipe(
        columns(
            (preprocessing.StandardScaler(), ["size", "small", "count"]), (one_hot(handle_unknown="ignore"), ["word"])
        ),
        feature_selection.VarianceThreshold(0.1),
    ),
    "identity": lambda: columns((preprocessing.FunctionTransformer(), ["size", "count"]), ("passthrough", ["small"])),
}


@pytest.mark.parametrize("case", EXACT)
def test_columns_become_exactly_what_scikit_learn_makes_of_them(case: str) -> None:
    data, fresh = table(0), table(1, unseen="unseen" in case or "unknown" in case or "ignore" in case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = EXACT[case]().fit(data)
        try:
            wanted = expected(model, fresh)
        except ValueError:  # the unseen values are refused
            fresh = table(1)
            wanted = expected(model, fresh)
    for name, made in answers(model, data, fresh).items():
        np.testing.assert_array_equal(made, wanted.astype(np.float64), err_msg=name)


CLOSE: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "PCA": (lambda: decomposition.PCA(3), {}),
    "PCA whitened": (lambda: decomposition.PCA(3, whiten=True), {}),
    "IncrementalPCA": (lambda: decomposition.IncrementalPCA(2), {}),
    "TruncatedSVD": (lambda: decomposition.TruncatedSVD(2, random_state=0), {}),
    "FastICA": (lambda: decomposition.FastICA(3, random_state=0, max_iter=1000, tol=1e-2), {}),
    "FactorAnalysis": (lambda: decomposition.FactorAnalysis(2), {}),
    "SparsePCA": (lambda: decomposition.SparsePCA(2, random_state=0, max_iter=20), {}),
    "MiniBatchSparsePCA": (lambda: decomposition.MiniBatchSparsePCA(2, random_state=0, max_iter=5), {}),
    "KernelPCA rbf": (lambda: decomposition.KernelPCA(3, kernel="rbf", gamma=0.01), {}),
    "KernelPCA poly": (lambda: pipe(preprocessing.StandardScaler(), decomposition.KernelPCA(3, kernel="poly")), {}),
    "KernelPCA cosine": (lambda: decomposition.KernelPCA(3, kernel="cosine"), {}),
    "DictionaryLearning": (
        lambda: decomposition.DictionaryLearning(
            3, transform_algorithm="threshold", transform_alpha=0.5, random_state=0, max_iter=5, split_sign=True
        ),
        {},
    ),
    "BernoulliRBM": (lambda: pipe(preprocessing.MinMaxScaler(), neural_network.BernoulliRBM(4, random_state=0)), {}),
    "FeatureAgglomeration": (lambda: cluster.FeatureAgglomeration(2), {}),
    "Isomap": (lambda: pipe(preprocessing.StandardScaler(), manifold.Isomap(n_components=2)), {}),
    "NeighborhoodComponentsAnalysis": (
        lambda: neighbors.NeighborhoodComponentsAnalysis(2, random_state=0, max_iter=5),
        {},
    ),
    "GaussianRandomProjection": (lambda: random_projection.GaussianRandomProjection(3, random_state=0), {}),
    "SparseRandomProjection": (lambda: random_projection.SparseRandomProjection(3, random_state=0), {}),
    "Nystroem": (lambda: kernel_approximation.Nystroem(n_components=10, random_state=0, gamma=0.01), {}),
    "RBFSampler": (lambda: kernel_approximation.RBFSampler(gamma=0.01, n_components=10, random_state=0), {}),
    "PolynomialCountSketch": (
        lambda: kernel_approximation.PolynomialCountSketch(degree=3, n_components=8, coef0=1, random_state=0),
        {},
    ),
    "AdditiveChi2Sampler": (lambda: kernel_approximation.AdditiveChi2Sampler(sample_steps=3), {"positive": True}),
    "SkewedChi2Sampler": (
        lambda: kernel_approximation.SkewedChi2Sampler(random_state=0, n_components=7),
        {"positive": True},
    ),
    "PolynomialFeatures 2": (lambda: preprocessing.PolynomialFeatures(2), {}),
    "PolynomialFeatures 3": (lambda: preprocessing.PolynomialFeatures((2, 3), include_bias=False), {}),
    "interactions": (lambda: preprocessing.PolynomialFeatures(3, interaction_only=True), {}),
    "spline constant": (lambda: preprocessing.SplineTransformer(extrapolation="constant"), {}),
    "spline linear": (lambda: preprocessing.SplineTransformer(extrapolation="linear", include_bias=False), {}),
    "spline linear 1": (
        lambda: preprocessing.SplineTransformer(degree=1, extrapolation="linear", knots="quantile"),
        {},
    ),
    "spline continue": (lambda: preprocessing.SplineTransformer(degree=2, extrapolation="continue"), {}),
    "spline periodic": (lambda: preprocessing.SplineTransformer(extrapolation="periodic", n_knots=6), {}),
    "spline 0": (lambda: preprocessing.SplineTransformer(degree=0, extrapolation="continue"), {}),
    "spline gaps": (lambda: preprocessing.SplineTransformer(handle_missing="zeros"), {"gaps": True}),
    "PowerTransformer": (lambda: preprocessing.PowerTransformer(), {"gaps": True}),
    "PowerTransformer bare": (lambda: preprocessing.PowerTransformer(standardize=False), {}),
    "Box-Cox": (lambda: preprocessing.PowerTransformer("box-cox"), {"positive": True}),
    "QuantileTransformer": (lambda: preprocessing.QuantileTransformer(n_quantiles=50), {"gaps": True}),
    "QuantileTransformer normal": (
        lambda: preprocessing.QuantileTransformer(n_quantiles=100, output_distribution="normal"),
        {"gaps": True},
    ),
    "Normalizer l1": (lambda: preprocessing.Normalizer("l1"), {}),
    "Normalizer l2": (lambda: preprocessing.Normalizer("l2"), {}),
    "Normalizer max": (lambda: preprocessing.Normalizer("max"), {}),
    "KNNImputer": (lambda: impute.KNNImputer(n_neighbors=4), {"gaps": True}),
    "KNNImputer by distance": (
        lambda: pipe(
            preprocessing.StandardScaler(), impute.KNNImputer(n_neighbors=3, weights="distance", add_indicator=True)
        ),
        {"gaps": True},
    ),
    "IterativeImputer": (
        lambda: IterativeImputer(random_state=0, max_iter=3, tol=1e-1, add_indicator=True),
        {"gaps": True},
    ),
    "LinearDiscriminantAnalysis, then": (
        lambda: pipe(discriminant_analysis.LinearDiscriminantAnalysis(), preprocessing.StandardScaler()),
        {},
    ),
    "KMeans, then": (lambda: pipe(cluster.KMeans(3, n_init=1, random_state=0), preprocessing.StandardScaler()), {}),
    "SelectKBest": (lambda: feature_selection.SelectKBest(k=2), {}),
    "SelectFromModel": (
        lambda: feature_selection.SelectFromModel(ensemble.ExtraTreesClassifier(5, random_state=0)),
        {},
    ),
    "unseen becomes NaN behind computed features, in its own row only": (
        lambda: pipe(
            preprocessing.PolynomialFeatures(1, include_bias=False),
            preprocessing.FunctionTransformer(np.rint),
            ordinal(handle_unknown="use_encoded_value", unknown_value=np.nan),
        ),
        {},
    ),
    "one-hot of a projection": (
        lambda: pipe(
            preprocessing.PolynomialFeatures(1),
            preprocessing.KBinsDiscretizer(3, encode="ordinal", strategy="uniform"),
            one_hot(handle_unknown="ignore"),
        ),
        {},
    ),
} | {
    f"FunctionTransformer {f.__name__}": (
        lambda f=f: preprocessing.FunctionTransformer(f),
        {"positive": True, "by": 0.1},
    )
    for f in (
        np.log1p,
        np.log,
        np.log2,
        np.log10,
        np.sqrt,
        np.exp,
        np.expm1,
        np.square,
        np.abs,
        np.sin,
        np.cos,
        np.tanh,
        np.reciprocal,
        np.negative,
        np.sign,
        np.floor,
        np.ceil,
        np.rint,
    )
}


@pytest.mark.parametrize("case", CLOSE)
def test_arithmetic_of_whole_rows_agrees_to_the_last_digits(case: str) -> None:
    make, kind = CLOSE[case]
    data, fresh = numbers(0, **kind), numbers(1, **kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make().fit(data, target())
    wanted = expected(model, fresh)
    for name, made in answers(model, data, fresh).items():
        np.testing.assert_allclose(made, wanted, rtol=1e-9, atol=1e-11 * np.nanmax(np.abs(wanted)), err_msg=name)


@pytest.mark.parametrize(
    "case", ["PolynomialFeatures 2", "PowerTransformer", "spline constant", "Normalizer l2", "PCA"]
)
def test_float32_arrays_are_rounded_where_scikit_learn_rounds(case: str) -> None:
    make, kind = CLOSE[case]
    data, fresh = numbers(0, **kind, dtype="float32"), numbers(1, **kind, dtype="float32")
    model = make().fit(data, target())
    wanted = expected(model, fresh)
    assert wanted.dtype == np.float32
    for name, made in answers(model, data, fresh).items():
        np.testing.assert_allclose(made, wanted, rtol=2e-4 if case == "PCA" else 1e-6, atol=1e-6, err_msg=name)


DOCUMENTS = [
    "The café's owner, José, sells tea; TEA is cheap.",
    "a bb ccc dddd",
    "",
    "naïve ＡＢＣ ½ tea tea tea",
    "one two three four",
    "two four six",
    "  spaces   and\ttabs\nlines ",
    "snake_case don't won't 42 3.14",
]
VECTORIZERS: dict[str, Callable[[], Any]] = {
    "counts": feature_extraction.text.CountVectorizer,
    "two words": lambda: feature_extraction.text.CountVectorizer(ngram_range=(1, 3), binary=True, stop_words=["tea"]),
    "ascii": lambda: feature_extraction.text.CountVectorizer(strip_accents="ascii", lowercase=False),
    "unicode": lambda: feature_extraction.text.TfidfVectorizer(strip_accents="unicode", sublinear_tf=True),
    "pattern": lambda: feature_extraction.text.CountVectorizer(token_pattern=r"(?u)\b(\w+)'", min_df=1),
    "characters": lambda: feature_extraction.text.CountVectorizer(analyzer="char", ngram_range=(1, 3)),
    "characters in words": lambda: feature_extraction.text.CountVectorizer(analyzer="char_wb", ngram_range=(2, 6)),
    "tf-idf": lambda: feature_extraction.text.TfidfVectorizer(norm="l1", smooth_idf=False),
    "no idf": lambda: pipe(
        feature_extraction.text.CountVectorizer(), feature_extraction.text.TfidfTransformer(use_idf=False)
    ),
    "english": lambda: feature_extraction.text.TfidfVectorizer(stop_words="english", max_features=12),
    "scaled": lambda: pipe(feature_extraction.text.CountVectorizer(), preprocessing.MaxAbsScaler()),
    "reduced": lambda: pipe(feature_extraction.text.TfidfVectorizer(), decomposition.TruncatedSVD(2, random_state=0)),
}


@pytest.mark.parametrize("case", VECTORIZERS)
def test_documents_are_counted_as_scikit_learn_counts(case: str) -> None:
    model = VECTORIZERS[case]().fit(DOCUMENTS)
    source = original(model, DOCUMENTS)
    assert source.signature.container == "list"
    fresh = [*DOCUMENTS[::-1], "TEA tea unseen words José jose", "x", "café CAFÉ"]
    fast, encoder, _ = framework.graph(source, "float64", "float64", without_prediction=False)
    batch, _ = to_batch(fresh, source.signature.inputs)
    tensor = encode(encoder, batch)
    made = session(fast).run(None, {"X": tensor})[0]
    np.testing.assert_allclose(made, expected(model, fresh), rtol=1e-12, atol=1e-14)
    fill = compile_row(source.signature, encoder)
    for document, wanted in zip(fresh, tensor, strict=True):
        row = np.ones(encoder.width)
        assert fill({"text": document}, row) is None
        np.testing.assert_array_equal(row, wanted)
    assert framework.exact_graph(source) is None


def test_text_beside_numbers_in_a_table() -> None:
    frame = pd.DataFrame({"text": DOCUMENTS, "x": np.arange(8.0)})
    model = compose.ColumnTransformer(
        [("t", feature_extraction.text.TfidfVectorizer(), "text"), ("x", preprocessing.StandardScaler(), ["x"])]
    ).fit(frame)
    source = original(model, frame)
    fast, encoder, _ = framework.graph(source, "float64", "float64", without_prediction=False)
    made = session(fast).run(None, {"X": encode(encoder, source.data)})[0]
    np.testing.assert_allclose(made, expected(model, frame), rtol=1e-12)


def test_target_encoding_of_several_classes() -> None:
    data, fresh = table(0), table(1, unseen=True)
    y = np.random.default_rng(0).choice(["a", "b", "c"], N)
    for labels in (y, y == "a", np.arange(N) / 7):
        model = columns((preprocessing.TargetEncoder(), ["word", "count", "gap"])).fit(data, labels)
        wanted = expected(model, fresh)
        for made in answers(model, data, fresh).values():
            np.testing.assert_array_equal(made, wanted)


def test_a_thousand_levels_stay_a_sparse_lookup() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": pd.Series(rng.integers(0, 3000, 4000)).astype(str), "x": rng.normal(size=4000)})
    model = columns(
        (one_hot(handle_unknown="ignore", drop="first"), ["id"]), (preprocessing.StandardScaler(), ["x"])
    ).fit(frame)
    source = original(model, frame)
    _, encoder, _ = framework.graph(source, "float32", "float32", without_prediction=False)
    assert len(msgspec.json.encode(encoder)) < 200_000
    made = encode(encoder, source.data)
    np.testing.assert_array_equal(made, expected(model, frame).astype(np.float32))


def test_a_column_in_two_places_is_read_once_and_slots_lie_together() -> None:
    data = table(0)
    model = pipe(
        columns((preprocessing.StandardScaler(), ALWAYS), (one_hot(), ["word"])),
        linear_model.LogisticRegression(max_iter=500),
    ).fit(data, target())
    source = original(model, data)
    fast, encoder, _ = framework.graph(source, "float32", "float32", without_prediction=False)
    assert [e.column for e in encoder.entries] == ["size", "count", "word"]
    import onnx

    assert not {"Gather", "Slice"} & {n.op_type for n in onnx.load_from_string(fast).graph.node}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (preprocessing.FunctionTransformer(lambda x: x * 2), "which is Python code"),
        (decomposition.NMF(2, init="random", max_iter=5, tol=1), "NMF"),
        (decomposition.DictionaryLearning(2, max_iter=2), "only transform_algorithm='threshold'"),
    ],
)
def test_what_cannot_be_a_graph_says_why(model: Any, reason: str) -> None:
    data = numbers(0, positive=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = original(model.fit(data), data)
        with pytest.raises(Impossible, match=reason):
            framework.graph(source, "float64", "float64", without_prediction=False)


def test_text_where_numbers_are_wanted_is_named() -> None:
    from anyport.graph.sklearn.cells import number, raw
    from anyport.signature import Field

    with pytest.raises(Impossible, match="column 'word' is text"):
        number(raw(Field(name="word", dtype="string")))


def test_every_selector_keeps_its_mask() -> None:
    data, y = numbers(0, positive=True), target()
    tree = ensemble.RandomForestClassifier(5, random_state=0)
    for model in (
        feature_selection.SelectPercentile(percentile=40),
        feature_selection.SelectFpr(alpha=0.5),
        feature_selection.SelectFdr(alpha=0.99),
        feature_selection.SelectFwe(alpha=0.99),
        feature_selection.GenericUnivariateSelect(mode="k_best", param=2),
        feature_selection.SequentialFeatureSelector(
            linear_model.LogisticRegression(max_iter=200), n_features_to_select=2, cv=2
        ),
        pipe(feature_selection.RFE(tree, n_features_to_select=2), preprocessing.StandardScaler()),
        feature_selection.SelectKBest(feature_selection.chi2, k=3),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(data, y)
        for made in answers(model, data, data).values():
            np.testing.assert_array_equal(made, expected(model, data))


def test_partial_least_squares_as_a_transformer() -> None:
    data = numbers(0)
    model = cross_decomposition.PLSSVD(2).fit(data, np.column_stack([data[:, 0] + data[:, 2], data[:, 3]]))
    for made in answers(model, data, data).values():
        np.testing.assert_allclose(made, expected(model, data), rtol=1e-10, atol=1e-12)
