"""Models of the zoo over bare numbers: trees, margins, calibration, several answers, odd labels."""

from __future__ import annotations

import numpy as np

from zoo import Made, classes, exhibit, numbers, rng


@exhibit("sklearn")
def forest_behind_scaler() -> Made:
    """A forest casts what the scaler gives to float32: a converter that scales in float32 is wrong at splits."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = numbers(600, 6)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(25, max_depth=8, random_state=0, n_jobs=1))
    return Made(model.fit(x, classes(x, 3)), x[:400], x[400:])


@exhibit("sklearn")
def boosted_trees() -> Made:
    """GradientBoostingClassifier of three classes: scores start from the classes' log frequencies."""
    from sklearn.ensemble import GradientBoostingClassifier

    x = numbers(400, 5)
    labels = np.array(["c", "a", "b"])[classes(x, 3)]
    model = GradientBoostingClassifier(n_estimators=15, random_state=0).fit(x, labels)
    return Made(model, x[:300], x[300:])


@exhibit("sklearn")
def float32_forest() -> Made:
    """An ExtraTreesRegressor on float32 rows: the bounds of float32 are the data's own."""
    from sklearn.ensemble import ExtraTreesRegressor

    x = numbers(300, 4).astype(np.float32)
    model = ExtraTreesRegressor(15, random_state=0, n_jobs=1).fit(x, x[:, 0] * 2.0)
    return Made(model, x[:240], x[240:])


@exhibit("sklearn")
def two_answers() -> Made:
    """A forest that answers two questions, each with classes of its own."""
    from sklearn.ensemble import RandomForestClassifier

    x = numbers(300, 4)
    y = np.c_[np.array(["no", "yes"])[classes(x, 2)], np.array(["l", "m", "s"])[classes(x[:, ::-1], 3)]]
    return Made(RandomForestClassifier(12, random_state=0, n_jobs=1).fit(x, y), x[:240], x[240:])


@exhibit("sklearn")
def outliers() -> Made:
    """An IsolationForest answers a label of -1 or 1 and a score, and no probability."""
    from sklearn.ensemble import IsolationForest

    x = numbers(300, 3)
    return Made(IsolationForest(n_estimators=20, random_state=0, n_jobs=1).fit(x), x[:240], x[240:])


@exhibit("sklearn")
def wide() -> Made:
    """200 columns without names, in an array."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = rng().normal(size=(300, 200)) * rng(1).uniform(0.1, 100, 200)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(x, classes(x, 2))
    return Made(model, x[:240], x[240:])


@exhibit("sklearn")
def stacked() -> Made:
    """A stack of unlike estimators, the last one fitted on the others' probabilities and the raw columns."""
    from sklearn.ensemble import RandomForestClassifier, StackingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = numbers(300, 4)
    parts = [
        ("forest", RandomForestClassifier(8, max_depth=4, random_state=0)),
        ("line", make_pipeline(StandardScaler(), LogisticRegression())),
    ]
    model = StackingClassifier(parts, make_pipeline(StandardScaler(), LogisticRegression()), cv=3, passthrough=True)
    return Made(model.fit(x, classes(x, 2)), x[:240], x[240:])


@exhibit("sklearn")
def calibrated() -> Made:
    """Isotonic calibration is a staircase: a margin that is off by one step of float32 is off by a whole stair."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.preprocessing import scale
    from sklearn.svm import LinearSVC

    x = scale(numbers(400, 4))
    model = CalibratedClassifierCV(LinearSVC(random_state=0), method="isotonic", cv=3).fit(x, classes(x, 3))
    return Made(model, x[:300], x[300:])


@exhibit("sklearn")
def support_vectors() -> Made:
    """An SVC answers a vote of pairs of classes, with no probability to take the largest of."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    x = numbers(300, 4)
    model = make_pipeline(StandardScaler(), SVC()).fit(x, np.array(["x", "y", "z"])[classes(x, 3)])
    return Made(model, x[:240], x[240:])


@exhibit("sklearn")
def several_numbers() -> Made:
    """A regressor of three targets, each an ensemble of its own."""
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.multioutput import MultiOutputRegressor

    x = numbers(260, 3)
    model = MultiOutputRegressor(GradientBoostingRegressor(n_estimators=10, random_state=0))
    return Made(model.fit(x, np.c_[x[:, 0], x[:, 1] ** 2, x.sum(axis=1)]), x[:200], x[200:])


@exhibit("sklearn")
def clusters() -> Made:
    """KMeans answers the number of a cluster, which is no class label."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import scale

    x = scale(numbers(300, 3))
    return Made(KMeans(4, n_init=3, random_state=0).fit(x), x[:240], x[240:])


@exhibit("sklearn")
def components() -> Made:
    """A transformer: PCA gives new columns and predicts nothing."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = numbers(300, 6)
    return Made(make_pipeline(StandardScaler(), PCA(3, random_state=0)).fit(x), x[:240], x[240:])


@exhibit("sklearn")
def searched() -> Made:
    """A GridSearchCV answers through the best of its pipelines."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = numbers(240, 4)
    net = MLPClassifier((8,), solver="lbfgs", max_iter=2000, random_state=0)
    model = GridSearchCV(make_pipeline(StandardScaler(), net), {"mlpclassifier__alpha": [0.1, 1.0]}, cv=2)
    return Made(model.fit(x, classes(x, 3)), x[:200], x[200:])


@exhibit("sklearn")
def gapped_labels() -> Made:
    """Class labels -3, 0, 7 and 1000: an index is not a label."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import scale

    x = scale(numbers(300, 4))
    model = LogisticRegression(max_iter=500).fit(x, np.array([7, -3, 1000, 0])[classes(x, 4)])
    return Made(model, x[:240], x[240:])


@exhibit("sklearn")
def bool_labels() -> Made:
    """Class labels False and True stay bools, and not 0 and 1, nor their names."""
    from sklearn.tree import DecisionTreeClassifier

    x = numbers(200, 3)
    return Made(DecisionTreeClassifier(max_depth=4, random_state=0).fit(x, classes(x, 2) == 1), x[:160], x[160:])


@exhibit("sklearn")
def one_label() -> Made:
    """A classifier that has seen a single class: one column of probability, all 1."""
    from sklearn.ensemble import RandomForestClassifier

    x = numbers(120, 2)
    return Made(RandomForestClassifier(3, random_state=0, n_jobs=1).fit(x, np.full(120, "only")), x[:100], x[100:])
