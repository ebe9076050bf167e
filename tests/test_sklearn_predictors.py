"""Every predictor's own converter answers as scikit-learn does, on rows that hit training values too."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from answers import (
    FIVE,
    LABELS,
    PAIR,
    PARTLY,
    POSITIVE,
    REAL,
    RNG,
    TEXT,
    THREE,
    TWO,
    X,
    built,
    fitted,
    fresh,
    graph,
    is_regressor,
    same,
)
from sklearn import (
    calibration,
    cluster,
    covariance,
    cross_decomposition,
    discriminant_analysis,
    dummy,
    ensemble,
    feature_selection,
    frozen,
    gaussian_process,
    isotonic,
    kernel_ridge,
    linear_model,
    mixture,
    model_selection,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    semi_supervised,
    svm,
    tree,
)
from sklearn.compose import TransformedTargetRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Matern, RationalQuadratic, WhiteKernel

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Tensor, convert, find, transform
from anyport.graph.sklearn.erf import erf, normal_cdf

LR, RIDGE, BAYES, KNN = (
    linear_model.LogisticRegression, linear_model.Ridge, naive_bayes.GaussianNB, neighbors.KNeighborsClassifier,
)  # fmt: skip
STUMP = tree.DecisionTreeClassifier(max_depth=3, random_state=0)
NAMED = [("a", LR()), ("b", BAYES()), ("k", KNN())]
NAMED_REAL = [("a", RIDGE()), ("k", neighbors.KNeighborsRegressor())]

CLASSIFIERS = [
    LR(), linear_model.LogisticRegressionCV(use_legacy_attributes=False, scoring="accuracy", l1_ratios=(0,)),
    linear_model.SGDClassifier(random_state=0), linear_model.SGDClassifier(loss="log_loss", random_state=0),
    linear_model.SGDClassifier(loss="modified_huber", random_state=0), linear_model.Perceptron(),
    svm.LinearSVC(), linear_model.RidgeClassifier(), linear_model.RidgeClassifierCV(),
    discriminant_analysis.LinearDiscriminantAnalysis(), discriminant_analysis.QuadraticDiscriminantAnalysis(),
    BAYES(), naive_bayes.BernoulliNB(),
    *[svm.SVC(kernel=k) for k in ("linear", "poly", "rbf", "sigmoid")], svm.SVC(break_ties=True),
    svm.SVC(decision_function_shape="ovo"), svm.NuSVC(nu=0.2),
    KNN(), KNN(weights="distance"), KNN(algorithm="brute", weights="distance"), KNN(p=1), KNN(p=3), KNN(n_neighbors=1),
    KNN(metric="cosine"), KNN(metric="chebyshev"),
    neighbors.RadiusNeighborsClassifier(radius=1.2, outlier_label="most_frequent"),
    neighbors.RadiusNeighborsClassifier(radius=1.2, outlier_label="most_frequent", weights="distance"),
    neighbors.NearestCentroid(), neighbors.NearestCentroid(metric="manhattan"),
    neighbors.NearestCentroid(priors="empirical", shrink_threshold=0.2),
    neural_network.MLPClassifier(hidden_layer_sizes=(6, 4), max_iter=40, random_state=0),
    neural_network.MLPClassifier(activation="logistic", hidden_layer_sizes=(6,), max_iter=40, random_state=0),
    gaussian_process.GaussianProcessClassifier(ConstantKernel(2.0) * RBF(), optimizer=None),
    dummy.DummyClassifier(), dummy.DummyClassifier(strategy="most_frequent"),
    ensemble.VotingClassifier(NAMED, weights=[1, 2, 1.5]),
    ensemble.VotingClassifier(NAMED, voting="soft", weights=[1, 2, 1.5]),
    ensemble.StackingClassifier([*NAMED, ("s", svm.LinearSVC())], cv=2, passthrough=True),
    *[calibration.CalibratedClassifierCV(BAYES(), method=k, cv=2) for k in ("sigmoid", "isotonic", "temperature")],
    *[calibration.CalibratedClassifierCV(svm.LinearSVC(), method=k, cv=2) for k in ("isotonic", "temperature")],
    *[multiclass.OneVsRestClassifier(inner) for inner in (LR(), RIDGE(), STUMP)],
    multiclass.OneVsOneClassifier(LR()), multiclass.OneVsOneClassifier(STUMP),
    multiclass.OutputCodeClassifier(STUMP, random_state=0), multiclass.OutputCodeClassifier(LR(), random_state=0),
    ensemble.BaggingClassifier(LR(), n_estimators=4, max_features=0.6, random_state=0),
    ensemble.BaggingClassifier(svm.LinearSVC(), n_estimators=4, random_state=0),
    ensemble.BaggingClassifier(KNN(n_neighbors=1), n_estimators=8, max_samples=2, random_state=0),
    ensemble.AdaBoostClassifier(n_estimators=6, random_state=0),
    ensemble.AdaBoostClassifier(LR(), n_estimators=4, random_state=0),
    model_selection.GridSearchCV(LR(), {"C": [0.1, 1.0]}, cv=2), feature_selection.RFE(LR()),
]  # fmt: skip

REGRESSORS = [
    *[
        getattr(linear_model, name)()
        for name in (
            "LinearRegression", "Ridge", "RidgeCV", "LassoCV", "ElasticNet", "Lars", "LassoLarsIC", "BayesianRidge",
            "OrthogonalMatchingPursuit", "ARDRegression", "HuberRegressor", "QuantileRegressor", "SGDRegressor",
            "RANSACRegressor",
        )
    ],
    linear_model.TheilSenRegressor(max_subpopulation=50, random_state=0), svm.LinearSVR(),
    svm.SVR(), svm.NuSVR(kernel="poly", degree=4), cross_decomposition.PLSRegression(),
    neighbors.KNeighborsRegressor(weights="distance"), neighbors.RadiusNeighborsRegressor(radius=1.2),
    neighbors.RadiusNeighborsRegressor(radius=1.2, weights="distance"),
    neural_network.MLPRegressor(hidden_layer_sizes=(6,), activation="tanh", max_iter=40, random_state=0),
    *[
        gaussian_process.GaussianProcessRegressor(k, alpha=0.1, optimizer=None, normalize_y=True)
        for k in (RBF([1, 2, 1, 2, 1]), Matern(nu=0.5), Matern(nu=1.5) + WhiteKernel(0.1), Matern(nu=2.5),
                  RationalQuadratic(), DotProduct() ** 2)
    ],
    *[kernel_ridge.KernelRidge(kernel=k, gamma=0.3) for k in ("linear", "rbf", "poly", "sigmoid")],
    *[kernel_ridge.KernelRidge(kernel=k, gamma=0.3) for k in ("laplacian", "cosine")],
    dummy.DummyRegressor(strategy="quantile", quantile=0.3),
    ensemble.VotingRegressor(NAMED_REAL, weights=[1, 3]), ensemble.StackingRegressor(NAMED_REAL, cv=2),
    ensemble.BaggingRegressor(RIDGE(), n_estimators=3, max_features=0.5, random_state=0),
    ensemble.AdaBoostRegressor(RIDGE(), n_estimators=5, random_state=0),
    ensemble.AdaBoostRegressor(n_estimators=5, loss="square", random_state=0), feature_selection.RFECV(RIDGE(), cv=2),
]  # fmt: skip

UNSUPERVISED = [
    cluster.KMeans(5, n_init=1, random_state=0), cluster.MiniBatchKMeans(4, n_init=1, random_state=0),
    cluster.BisectingKMeans(6, random_state=0), cluster.BisectingKMeans(1), cluster.Birch(n_clusters=4),
    cluster.MeanShift(bandwidth=1.5), cluster.AffinityPropagation(random_state=0),
    *[mixture.GaussianMixture(3, covariance_type=k, random_state=0) for k in ("full", "tied", "diag", "spherical")],
    mixture.BayesianGaussianMixture(n_components=3, random_state=0), svm.OneClassSVM(nu=0.1),
    mixture.BayesianGaussianMixture(n_components=3, weight_concentration_prior_type="dirichlet_distribution"),
    linear_model.SGDOneClassSVM(random_state=0), neighbors.LocalOutlierFactor(novelty=True),
    covariance.EllipticEnvelope(random_state=0),
]  # fmt: skip

TARGETS = [
    preprocessing.StandardScaler(), preprocessing.MinMaxScaler(), preprocessing.RobustScaler(),
    preprocessing.MaxAbsScaler(), preprocessing.PowerTransformer(), preprocessing.PowerTransformer("box-cox"),
    preprocessing.QuantileTransformer(n_quantiles=40),
    preprocessing.QuantileTransformer(n_quantiles=40, output_distribution="normal"),
]  # fmt: skip


@pytest.mark.parametrize("y", [TWO, TEXT], ids=["two", "three"])
@pytest.mark.parametrize("model", CLASSIFIERS, ids=lambda m: repr(m).replace("\n", "")[:60])
def test_a_classifier_answers_as_the_original(model, y) -> None:
    # brute force expands the square of a distance; what is left of that between a row and itself is this machine's
    # BLAS's rounding, and weights are one over it
    same(fitted(model, X, y), fresh(), tolerance=1e-6 if getattr(model, "algorithm", "") == "brute" else 1e-9)


@pytest.mark.filterwarnings("ignore:One or more samples have no neighbors:UserWarning")
@pytest.mark.parametrize("model", REGRESSORS, ids=lambda m: repr(m).replace("\n", "")[:60])
def test_a_regressor_answers_as_the_original(model) -> None:
    same(fitted(model, X, REAL), fresh())


@pytest.mark.parametrize("model", UNSUPERVISED, ids=lambda m: repr(m).replace("\n", "")[:60])
def test_clusters_and_outliers_are_the_original_s(model) -> None:
    same(fitted(model, X), fresh())


@pytest.mark.parametrize("name", ["PoissonRegressor", "GammaRegressor", "TweedieRegressor"])
def test_a_link_is_undone(name: str) -> None:
    same(fitted(getattr(linear_model, name)(), X, POSITIVE), fresh())


@pytest.mark.parametrize(
    "model",
    [
        LR(), svm.SVC(), BAYES(), KNN(), RIDGE(), neural_network.MLPRegressor(max_iter=30, random_state=0),
        cluster.KMeans(4, n_init=1, random_state=0), ensemble.VotingClassifier(NAMED, voting="soft"),
    ],
    ids=lambda m: type(m).__name__,
)  # fmt: skip
def test_float32_is_near(model) -> None:
    y = None if isinstance(model, cluster.KMeans) else REAL if is_regressor(model) else TWO
    same(fitted(model, X, y), RNG.normal(size=(200, X.shape[1])), float_="float32", tolerance=2e-5)


@pytest.mark.parametrize(
    "model",
    [
        linear_model.LinearRegression(), linear_model.MultiTaskLasso(0.01), neighbors.KNeighborsRegressor(),
        cross_decomposition.PLSCanonical(), multioutput.MultiOutputRegressor(RIDGE()),
        multioutput.RegressorChain(RIDGE(), order=[1, 0]), kernel_ridge.KernelRidge(), dummy.DummyRegressor(),
        neural_network.MLPRegressor(max_iter=30, random_state=0),
        gaussian_process.GaussianProcessRegressor(RBF(), alpha=0.1, optimizer=None),
        TransformedTargetRegressor(RIDGE(), transformer=preprocessing.StandardScaler()),
    ],
    ids=lambda m: type(m).__name__,
)  # fmt: skip
def test_several_numbers_at_once(model) -> None:
    same(fitted(model, X, PAIR), fresh())


@pytest.mark.parametrize(
    "model",
    [
        linear_model.RidgeClassifier(), KNN(), neural_network.MLPClassifier(max_iter=30, random_state=0),
        multiclass.OneVsRestClassifier(LR()), multioutput.MultiOutputClassifier(LR()),
        multioutput.ClassifierChain(LR(), order=[1, 0]),
        multioutput.ClassifierChain(LR(), chain_method="predict_proba"),
    ],
    ids=lambda m: repr(m)[:60],
)  # fmt: skip
def test_several_labels_at_once(model) -> None:
    same(fitted(model, X, LABELS), fresh())


@pytest.mark.parametrize("name", ["MultinomialNB", "ComplementNB"])
def test_counts(name: str) -> None:
    same(fitted(getattr(naive_bayes, name)(), np.abs(X), THREE), np.abs(fresh()))


def test_categories_are_cut_to_whole_numbers() -> None:
    codes = np.floor(np.abs(X) * 2).clip(0, 4)
    model = fitted(naive_bayes.CategoricalNB(min_categories=5), codes, THREE)
    same(model, np.floor(np.abs(fresh()) * 2).clip(0, 4) + 0.7)


@pytest.mark.parametrize("y", [TWO, FIVE], ids=["two", "five"])
@pytest.mark.filterwarnings("ignore:The `probability` parameter:FutureWarning")
def test_platt_s_coupled_probabilities(y) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = svm.SVC(probability=True, random_state=0).fit(X, y)
    same(model, fresh())


@pytest.mark.parametrize(
    "model",
    [
        semi_supervised.LabelPropagation(gamma=2), semi_supervised.LabelSpreading(gamma=2),
        semi_supervised.LabelSpreading(kernel="knn"), semi_supervised.SelfTrainingClassifier(LR()),
    ],
    ids=lambda m: repr(m)[:40],
)  # fmt: skip
def test_half_labelled(model) -> None:
    same(fitted(model, X, PARTLY), fresh() * 0.7)


@pytest.mark.parametrize("bounds", ["clip", "nan"])
def test_isotonic_bounds(bounds: str) -> None:
    model = isotonic.IsotonicRegression(out_of_bounds=bounds).fit(X[:, 0], REAL)
    same(model, fresh()[:, :1])


@pytest.mark.parametrize("transformer", TARGETS, ids=lambda t: repr(t)[:60])
def test_a_transformed_target_comes_back(transformer) -> None:
    model = fitted(TransformedTargetRegressor(RIDGE(), transformer=transformer), X, np.abs(REAL) + 0.1)
    same(model, fresh())
    same(model, fresh() * 12)  # beyond what the target was in training


@pytest.mark.parametrize(("there", "back"), [(np.log, np.exp), (np.log1p, np.expm1), (np.sqrt, np.square)])
def test_a_target_through_numpy_comes_back(there, back) -> None:
    same(fitted(TransformedTargetRegressor(RIDGE(), func=there, inverse_func=back), X, np.abs(REAL) + 0.1), fresh())


@pytest.mark.parametrize("y", [TWO, np.array(["no", "yes"])[TWO]], ids=["number", "text"])
@pytest.mark.parametrize("method", ["predict_proba", "decision_function"])
@pytest.mark.parametrize("positive", [0, 1])
def test_a_threshold_cuts_where_it_stands(y, method: str, positive: int) -> None:
    label = np.unique(y)[positive]
    fixed = model_selection.FixedThresholdClassifier(LR(), threshold=0.3, response_method=method, pos_label=label)
    same(fixed.fit(X, y), fresh())


def test_a_tuned_threshold_and_a_frozen_estimator() -> None:
    same(fitted(model_selection.TunedThresholdClassifierCV(LR(), cv=2), X, TWO), fresh())
    inner = frozen.FrozenEstimator(BAYES().fit(X, THREE))
    same(calibration.CalibratedClassifierCV(inner).fit(X, THREE), fresh())


@pytest.mark.parametrize(
    "model",
    [
        cluster.KMeans(4, n_init=1, random_state=0), cluster.Birch(n_clusters=None),
        ensemble.VotingClassifier(NAMED, voting="soft"), ensemble.StackingClassifier(NAMED, cv=2, passthrough=True),
        feature_selection.RFE(LR()), neighbors.RadiusNeighborsTransformer(radius=1.2),
        neighbors.KNeighborsTransformer(), neighbors.KNeighborsTransformer(mode="connectivity"),
    ],
    ids=lambda m: repr(m)[:60],
)  # fmt: skip
def test_what_also_predicts_can_stand_before_another_step(model) -> None:
    model = fitted(model, X, THREE)
    rows, b = fresh(), Builder()
    made = transform(b, model, Tensor(b, b.input("X", "float64", ["N", X.shape[1]]), X.shape[1]))
    (got,) = built(b, {"made": (made.tensor(), "float64", 2)}).run(None, {"X": rows})
    want = model.transform(rows)
    want = want.toarray() if hasattr(want, "toarray") else want
    assert made.width == want.shape[1]
    np.testing.assert_allclose(got, want, atol=1e-7 if isinstance(model, (cluster.KMeans, cluster.Birch)) else 1e-12)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (dummy.DummyClassifier(strategy="uniform"), "at random"),
        (neighbors.RadiusNeighborsClassifier(radius=1.2), "refused"),
        (KNN(weights=lambda d: 1 / (d + 1)), "own function"),
        (KNN(metric="canberra"), "canberra"),
        (gaussian_process.GaussianProcessClassifier(Matern(nu=0.7), optimizer=None), "Bessel"),
    ],
)
def test_what_no_graph_can_say_is_said(model, says: str) -> None:
    b = Builder()
    with pytest.raises(Impossible, match=says):
        convert(b, fitted(model, X, TWO), Tensor(b, b.input("X", "float64", ["N", 5]), 5))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("far", [1e12, 1e30, 1.3e308])
@pytest.mark.parametrize(
    "model",
    [KNN(), KNN(algorithm="brute", metric="manhattan"), neighbors.NearestCentroid(), cluster.MeanShift(bandwidth=1.5)],
    ids=lambda m: repr(m)[:60],
)
def test_from_far_away_all_are_equally_near(model, far: float) -> None:
    rows = np.repeat(fresh(30), 5, axis=0)
    rows[np.arange(150), np.arange(150) % 5] = far * np.where(np.arange(150) < 75, 1, -1)
    model = fitted(model, X, THREE)
    got, _ = graph(model, rows)
    classes = getattr(model, "classes_", None)
    said = got["prediction0"] if classes is None else classes[got["prediction0"]]
    np.testing.assert_array_equal(said, model.predict(rows))


def test_too_many_training_rows_stay_with_the_original() -> None:
    many = RNG.normal(size=(20_001, 2))
    b = Builder()
    with pytest.raises(Impossible, match="20001 training rows"):
        convert(b, KNN().fit(many, many[:, 0] > 0), Tensor(b, b.input("X", "float64", ["N", 2]), 2))


def test_erf_is_scipy_s_to_the_last_bits() -> None:
    from scipy import special

    points = np.concatenate([np.linspace(-7, 7, 20_001), [1e300, np.inf, -np.inf, np.nan, 1e-300, 0.0]]).reshape(-1, 1)
    for ours, theirs in ((erf, special.erf), (normal_cdf, special.ndtr)):
        b = Builder()
        value = ours(b, b.input("X", "float64", ["N", 1]))
        (got,) = built(b, {"y": (value, "float64", 2)}).run(None, {"X": points})
        np.testing.assert_allclose(got, theirs(points), rtol=0, atol=3e-16)


def test_the_fallback_inlines_skl2onnx(monkeypatch) -> None:
    """A class that none of our families knows, with text labels and with several targets."""
    import anyport.graph.sklearn as families

    pytest.importorskip("skl2onnx")
    monkeypatch.setattr(families, "find", lambda estimator, table="CONVERTERS": None)
    for model, y in ((BAYES(), TEXT), (RIDGE(), PAIR), (cluster.KMeans(3, n_init=1, random_state=0), None)):
        same(fitted(model, X, y), fresh())


def test_a_converter_is_found_by_its_exact_class_only() -> None:
    class Mine(LR):
        def predict(self, rows):
            return super().predict(rows)[::-1]

    assert find(LR()) is not None
    assert find(Mine()) is None
