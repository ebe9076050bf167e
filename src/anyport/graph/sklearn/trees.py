"""Trees, forests and boosted trees of scikit-learn, compared and added as scikit-learn compares and adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features, Tensor, convert
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.sklearn.frame import beside, lift
from anyport.graph.trees import LEAF, LESS_EQUAL, MEMBER, Tree, TreeTable, join
from anyport.graph.trees_emit import emit, pair

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read(tree: Any, values: NDArray[Any], target: int = 0, features: NDArray[Any] | None = None) -> Tree:
    """A `tree_` with one row of values per node; `features` maps its columns to the ensemble's."""
    import numpy as np

    leaf = tree.children_left < 0
    feature = np.where(leaf, 0, tree.feature)
    return Tree(
        mode=np.where(leaf, LEAF, LESS_EQUAL),
        feature=feature if features is None else np.asarray(features)[feature],
        threshold=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        missing_left=tree.missing_go_to_left.astype(bool),
        values=values,
        target=target,
    )


def forest(b: Builder, estimator: Any, members: list[Any], x: Features) -> str:
    """The mean of the trees' values, [N, outputs * classes] in double, added in the order of the trees."""
    values = [t.tree_.value.reshape(len(t.tree_.value), -1) for t in members]
    table = join(
        [read(t.tree_, v) for t, v in zip(members, values, strict=True)],
        width=estimator.n_features_in_,
        outputs=values[0].shape[1],
        cast32=True,
        divisor=float(len(members)),
    )
    total = emit(b, table, x, dtype="float64")
    return total if len(members) == 1 else b.add("Div", [total, b.constant(table.divisor, "float64")])


def members(estimator: Any) -> list[Any]:
    """The trees: a forest's, or the tree itself."""
    return list(estimator.estimators_) if hasattr(estimator, "estimators_") else [estimator]


def classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    """DecisionTree, ExtraTree, RandomForest, ExtraTrees; several targets become `per_target`."""
    mean = forest(b, estimator, members(estimator), x)
    if estimator.n_outputs_ == 1:
        return labelled(b, mean)
    widest = max(estimator.n_classes_)
    parts = []
    for k, classes in enumerate(estimator.n_classes_):
        limits = [b.constant([v], "int64") for v in (k * widest, k * widest + classes, 1)]
        parts.append(labelled(b, b.add("Slice", [mean, *limits])))
    return Answers(per_target=tuple(parts))


def labelled(b: Builder, mean: str) -> Answers:
    """The label is the first largest, in double: float32 would make ties of near misses."""
    probability = mean if b.float == "float64" else b.cast(mean, b.float)
    return Answers(prediction=m.argmax(b, mean), probability=probability)


def regressor(b: Builder, estimator: Any, x: Features) -> Answers:
    mean = forest(b, estimator, members(estimator), x)
    value = mean if b.float == "float64" else b.cast(mean, b.float)
    return Answers(prediction=m.flat(b, value) if estimator.n_outputs_ == 1 else value)


def boosted(b: Builder, estimator: Any, x: Features) -> str:
    """GradientBoosting's raw predictions [N, trees per stage]: the init estimator, then every stage."""
    import numpy as np

    stages, columns = estimator.estimators_.shape
    first: NDArray[Any] | None = np.zeros(columns)
    if not (isinstance(estimator.init_, str) and estimator.init_ == "zero"):
        first = constant_start(estimator)
    members = [(estimator.estimators_[i, k].tree_, k) for i in range(stages) for k in range(columns)]
    trees = [read(tree, estimator.learning_rate * tree.value[:, :, 0], k) for tree, k in members]
    start = np.zeros(columns) if first is None else first
    table = join(trees, width=estimator.n_features_in_, outputs=columns, start=start, cast32=True)
    scores = emit(b, table, x)
    return scores if first is not None else b.add("Add", [fitted_start(b, estimator, x), scores])


def constant_start(estimator: Any) -> NDArray[Any] | None:
    """What a dummy init estimator answers to any row, through the link; None for an init that looks at the row."""
    import numpy as np
    from sklearn.ensemble._gb import _init_raw_predictions

    init = estimator.init_
    if type(init).__name__ not in ("DummyClassifier", "DummyRegressor") or init.strategy in ("stratified", "uniform"):
        return None
    row = np.zeros((1, estimator.n_features_in_), np.float32)
    found = _init_raw_predictions(row, init, estimator._loss, hasattr(estimator, "classes_"))
    return np.asarray(found[0])


def fitted_start(b: Builder, estimator: Any, x: Features) -> str:
    """The link of a fitted init estimator's answer; it sees the rows rounded to float32."""
    import numpy as np

    seen = x.tensor() if b.float == "float32" else b.cast(b.cast(x.tensor(), "float32"), b.float)
    answer = convert(b, estimator.init_, Tensor(b, seen, x.width))
    link = type(estimator._loss.link).__name__
    if not hasattr(estimator, "classes_"):
        if link != "IdentityLink":
            raise Impossible(f"GradientBoostingRegressor with the link {link} and a fitted init")
        return m.tall(b, answer.prediction)
    if answer.probability is None:
        raise Impossible(f"the init estimator {type(estimator.init_).__name__} gives no probabilities here")
    eps = float(np.finfo(np.float64).eps)
    chances = answer.probability if estimator._loss.is_multiclass else m.columns(b, answer.probability, [1])
    chances = b.add("Min", [b.add("Max", [chances, b.constant(eps)]), b.constant(1 - eps)])
    logs = b.add("Log", [chances])
    if link == "MultinomialLogit":
        return b.add("Sub", [logs, b.add("ReduceMean", [logs, b.constant([1], "int64")], keepdims=1)])
    logit = b.add("Sub", [logs, b.add("Log", [b.add("Sub", [b.constant(1.0), chances])])])
    return m.scale(b, logit, 0.5) if link == "HalfLogitLink" else logit


def boosted_classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    raw = boosted(b, estimator, x)
    if estimator._loss.is_multiclass:
        return Answers(m.argmax(b, raw), m.softmax(b, raw), raw)
    score = m.flat(b, raw)
    logit = m.scale(b, raw, 2.0) if type(estimator._loss.link).__name__ == "HalfLogitLink" else raw
    return Answers(m.at_least(b, score), pair(b, b.add("Sigmoid", [logit])), score)


def boosted_regressor(b: Builder, estimator: Any, x: Features) -> Answers:
    return Answers(prediction=m.flat(b, boosted(b, estimator, x)))


def hist_features(b: Builder, estimator: Any, x: Features) -> Features:
    """What the trees of HistGradientBoosting see: categories as codes first, then the numbers."""
    import numpy as np

    if estimator._preprocessor is None:
        return x
    categorical = np.asarray(estimator.is_categorical_)
    raw = lift(x)
    encoder = estimator._preprocessor.named_transformers_["encoder"]
    parts = [raw.select(np.flatnonzero(~categorical).tolist())]
    if categorical.any():
        parts.insert(0, lift(convert(b, encoder, raw.select(np.flatnonzero(categorical).tolist()))))
    return beside([p for p in parts if p.width])


def hist(b: Builder, estimator: Any, x: Features) -> str:
    """HistGradientBoosting's raw predictions [N, trees per iteration]. It compares in double."""
    import numpy as np

    table: TreeTable = join(
        [read_hist(tree, k) for stage in estimator._predictors for k, tree in enumerate(stage)],
        width=estimator.n_features_in_,
        outputs=estimator.n_trees_per_iteration_,
        start=np.asarray(estimator._baseline_prediction).ravel(),
    )
    return emit(b, table, hist_features(b, estimator, x))


def read_hist(predictor: Any, target: int) -> Tree:
    """A TreePredictor. Unknown categories reach it as NaN, so its sets of known ones say nothing more."""
    import numpy as np

    nodes = predictor.nodes
    leaf, categorical = nodes["is_leaf"].astype(bool), nodes["is_categorical"].astype(bool)
    bits = np.unpackbits(predictor.raw_left_cat_bitsets.view(np.uint8).reshape(-1, 32), axis=1, bitorder="little")
    sets = {int(i): np.flatnonzero(bits[nodes["bitset_idx"][i]]).tolist() for i in np.flatnonzero(categorical & ~leaf)}
    return Tree(
        mode=np.where(leaf, LEAF, np.where(categorical, MEMBER, LESS_EQUAL)),
        feature=nodes["feature_idx"],
        threshold=nodes["num_threshold"],
        left=nodes["left"],
        right=nodes["right"],
        missing_left=nodes["missing_go_to_left"].astype(bool),
        values=nodes["value"][:, None],
        target=target,
        sets=sets,
    )


def hist_classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    raw = hist(b, estimator, x)
    if estimator.n_trees_per_iteration_ > 1:
        return Answers(m.argmax(b, raw), m.softmax(b, raw), raw)
    score = m.flat(b, raw)
    return Answers(m.above(b, score), pair(b, b.add("Sigmoid", [raw])), score)


def hist_regressor(b: Builder, estimator: Any, x: Features) -> Answers:
    value = m.flat(b, hist(b, estimator, x))
    link = type(estimator._loss.link).__name__
    if link not in ("IdentityLink", "LogLink"):
        raise Impossible(f"HistGradientBoostingRegressor with the link {link}")
    return Answers(prediction=b.add("Exp", [value]) if link == "LogLink" else value)


def isolation(b: Builder, estimator: Any, x: Features) -> Answers:
    """1 for inliers, -1 for outliers; the depth that a leaf stands for is its value."""
    import numpy as np
    from sklearn.ensemble._iforest import _average_path_length

    parts = zip(
        estimator.estimators_,
        estimator.estimators_features_,
        estimator._decision_path_lengths,
        estimator._average_path_length_per_tree,
        strict=True,
    )
    trees = [read(t.tree_, (depth + mean - 1.0)[:, None], 0, features) for t, features, depth, mean in parts]
    table = join(trees, width=estimator.n_features_in_, outputs=1, cast32=True)
    depth = b.add("Squeeze", [emit(b, table, x, dtype="float64"), b.constant([1], "int64")])
    usual = len(trees) * float(_average_path_length([estimator._max_samples])[0])
    share = b.add("Div", [depth, b.constant(usual, "float64")]) if usual else m.repeated(b, x.tensor(), np.ones(()))
    if not usual and b.float != "float64":
        share = b.cast(share, "float64")
    score = b.add("Neg", [b.add("Pow", [b.constant(2.0, "float64"), b.add("Neg", [share])])])
    decision = b.add("Sub", [score, b.constant(float(estimator.offset_), "float64")])
    inside = b.cast(b.add("GreaterOrEqual", [decision, b.constant(0.0, "float64")]), "int64")
    return Answers(m.inlier(b, inside), decision=decision if b.float == "float64" else b.cast(decision, b.float))


def embedding(b: Builder, estimator: Any, x: Features) -> Tensor:
    """RandomTreesEmbedding: a one in the column of each leaf reached."""
    import numpy as np

    encoder = estimator.one_hot_encoder_
    if encoder.drop_idx_ is not None or getattr(encoder, "infrequent_categories_", None) is not None:
        raise Impossible("RandomTreesEmbedding whose one-hot encoder was changed")
    trees = [read(t.tree_, np.ones((t.tree_.node_count, 1))) for t in estimator.estimators_]
    table = join(trees, width=estimator.n_features_in_, outputs=1, cast32=True)
    # Each tree's leaves in the order of the encoder's categories, which are node numbers, ascending: ours.
    width = len(table.values)
    if sum(len(c) for c in encoder.categories_) != width:
        raise Impossible("RandomTreesEmbedding with leaves that no training row reached")
    from dataclasses import replace

    own = replace(table, outputs=width, target=np.arange(width, dtype=np.int32), start=np.zeros(width))
    return Tensor(b, emit(b, own, x), width)


CONVERTERS = {
    **dict.fromkeys(
        ("DecisionTreeClassifier", "ExtraTreeClassifier", "RandomForestClassifier", "ExtraTreesClassifier"), classifier
    ),
    **dict.fromkeys(
        ("DecisionTreeRegressor", "ExtraTreeRegressor", "RandomForestRegressor", "ExtraTreesRegressor"), regressor
    ),
    "GradientBoostingClassifier": boosted_classifier,
    "GradientBoostingRegressor": boosted_regressor,
    "HistGradientBoostingClassifier": hist_classifier,
    "HistGradientBoostingRegressor": hist_regressor,
    "IsolationForest": isolation,
    "RandomTreesEmbedding": embedding,
}
