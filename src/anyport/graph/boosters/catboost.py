"""CatBoost: its JSON model → a table; features are floats, leaf values doubles."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.trees import LEAF, LESS_EQUAL, MEMBER, Link, Tree, TreeTable, join
from anyport.graph.trees_emit import emit, pair

Levels = Mapping[int, Sequence[Any]]
"""By column: the categories, in the order of the codes that stand for them in the tensor."""


@dataclass(frozen=True)
class Model:
    """The JSON, and what stands for what."""

    body: dict[str, Any]
    width: int
    codes: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    """By column: CatBoost's hash of a category → its code."""
    loss: str = "RMSE"

    @property
    def columns(self) -> dict[str, dict[int, dict[str, Any]]]:
        """By kind, the feature's own number → what the model says of it."""
        info = self.body["features_info"]
        kinds = ("float_features", "categorical_features")
        return {kind: {f["feature_index"]: f for f in info.get(kind, ())} for kind in kinds}


def read(model: Any, levels: Levels | None = None) -> Model:
    """The model as JSON. With category columns `levels` must name every category that a split asks for."""
    categorical = list(model.get_cat_feature_indices())
    if model.get_text_feature_indices() or model.get_embedding_feature_indices():
        raise Impossible("a CatBoost model with text or embedding features")
    if categorical and levels is None:
        raise Impossible("CatBoost categories behind other steps")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json", pool=_pool(model, levels or {}, categorical))
        body = json.loads(path.read_text(encoding="utf-8"))
    if "ctrs" in body or body.get("ctr_data"):
        raise Impossible(
            "the CatBoost model counts targets by category (CTR), which only CatBoost's own code computes;"
            " trained with one_hot_max_size at least the number of categories it becomes a graph"
        )
    hashes = {h["value"]: h["hash"] for h in body["features_info"].get("cat_features_hash", ())}
    codes = {c: {_signed(hashes[str(v)]): i for i, v in enumerate((levels or {})[c])} for c in categorical}
    loss = str(model.get_all_params().get("loss_function", "RMSE"))
    return Model(body, len(model.feature_names_), codes, loss)


def _pool(model: Any, levels: Levels, categorical: list[int]) -> Any:
    """Rows that hold every category once: CatBoost then writes their hashes beside the model."""
    if not categorical:
        return None
    from catboost import Pool

    longest = max(max((len(levels[c]) for c in categorical), default=1), 1)
    rows: list[list[Any]] = [[0.0] * len(model.feature_names_) for _ in range(longest)]
    for column in categorical:
        known = levels[column] or ("",)
        for i, row in enumerate(rows):
            row[column] = known[i % len(known)]
    return Pool(rows, cat_features=categorical, feature_names=model.feature_names_)


def _signed(value: int) -> int:
    return value - 2**32 if value >= 2**31 else value


def table(model: Model) -> TreeTable:
    scale, bias = model.body["scale_and_bias"]
    symmetric = "oblivious_trees" in model.body
    trees = [
        (_oblivious if symmetric else _plain)(model, tree)
        for tree in model.body["oblivious_trees" if symmetric else "trees"]
    ]
    return join(
        [_scaled(tree, scale) for tree in trees],
        width=model.width,
        outputs=trees[0].values.shape[1] if trees else len(bias),
        start=bias,
        cast32=True,
        link=link(model),
    )


def _scaled(tree: Tree, scale: float) -> Tree:
    from dataclasses import replace

    return tree if scale == 1 else replace(tree, values=tree.values * scale)


def _split(model: Model, split: dict[str, Any]) -> tuple[int, int, float, bool, list[int]]:
    """mode, column, threshold, whether NaN goes left, categories: left is where CatBoost's bit is 0
    (for a category, 1: MEMBER goes left)."""
    kind = split["split_type"]
    if kind == "FloatFeature":
        told = model.columns["float_features"][split["float_feature_index"]]
        return LESS_EQUAL, told["flat_feature_index"], split["border"], told["nan_value_treatment"] != "AsTrue", []
    if kind == "OneHotFeature":
        told = model.columns["categorical_features"][split["cat_feature_index"]]
        column = told["flat_feature_index"]
        code = model.codes.get(column, {}).get(_signed(split["value"]))
        if code is None:
            raise Impossible(f"the data never shows a category of column {column} that the CatBoost model asks for")
        return MEMBER, column, 0.0, False, [code]
    raise Impossible(f"a CatBoost split of the kind {kind}")


def _oblivious(model: Model, tree: dict[str, Any]) -> Tree:
    """Every level asks one question; bit i of a leaf's number is the answer to question i."""
    import numpy as np

    questions = [_split(model, s) for s in tree["splits"]]
    depth = len(questions)
    n = 2**depth - 1
    leaves = np.asarray(tree["leaf_values"], np.float64).reshape(2**depth, -1)
    values = np.zeros((2 * n + 1, leaves.shape[1]))
    at = np.arange(2 * n + 1)
    level = np.floor(np.log2(at[:n] + 1)).astype(int) if n else np.zeros(0, int)

    def column(i: int, end: Any) -> Any:
        return (
            np.concatenate([np.array([q[i] for q in questions])[level], np.full(n + 1, end)]) if n else np.array([end])
        )

    mode = column(0, LEAF)
    swaps = mode == MEMBER  # its category goes left, and bit 1 is the heap's right child
    first, second = 2 * at + 1, 2 * at + 2
    number = np.zeros(n + 1, int)
    for i in range(depth):
        number |= ((np.arange(n + 1) >> (depth - 1 - i)) & 1) << i
    values[n:] = leaves[number]
    return Tree(
        mode=mode,
        feature=column(1, 0),
        threshold=column(2, 0.0),
        left=np.where(swaps, second, first),
        right=np.where(swaps, first, second),
        missing_left=column(3, False),
        values=values,
        sets={int(node): questions[level[node]][4] for node in np.flatnonzero(swaps)},
    )


def _plain(model: Model, tree: dict[str, Any]) -> Tree:
    """Lossguide and Depthwise trees: nested nodes."""
    import numpy as np

    rows: list[list[Any]] = []
    sets: dict[int, list[int]] = {}

    def walk(node: dict[str, Any]) -> int:
        at = len(rows)
        if "split" not in node:
            rows.append([LEAF, 0, 0.0, False, -1, -1, np.atleast_1d(np.asarray(node["value"], np.float64))])
            return at
        mode, column, border, missing, categories = _split(model, node["split"])
        rows.append([mode, column, border, missing, -1, -1, None])
        children = walk(node["left"]), walk(node["right"])
        rows[at][4:6] = children[::-1] if mode == MEMBER else children
        if mode == MEMBER:
            sets[at] = categories
        return at

    walk(tree)
    size = next(len(r[6]) for r in rows if r[6] is not None)
    values = np.array([np.zeros(size) if r[6] is None else r[6] for r in rows])
    mode, feature, threshold, missing, left, right = (np.array([r[i] for r in rows]) for i in range(6))
    return Tree(mode, feature, threshold, left, right, missing.astype(bool), values, sets=sets)


def link(model: Model) -> Link:
    name = model.loss.partition(":")[0]
    if name in ("Logloss", "CrossEntropy", "MultiClassOneVsAll", "MultiLogloss", "MultiCrossEntropy"):
        return "logistic"
    return "softmax" if name == "MultiClass" else "exp" if name in ("Poisson", "Tweedie") else "identity"


def regressor(b: Builder, model: Any, x: Features, levels: Levels | None = None) -> Answers:
    """CatBoost, CatBoostRegressor, CatBoostRanker: what `predict` gives."""
    read_ = read(model, levels)
    raw = emit(b, table(read_), x)
    kind = model._get_default_prediction_type() if hasattr(model, "_get_default_prediction_type") else "RawFormulaVal"
    if kind == "Exponent":
        raw = b.add("Exp", [raw])
    elif kind == "RMSEWithUncertainty":
        spread = b.add("Exp", [m.scale(b, m.columns(b, raw, [1]), 2.0)])
        raw = m.beside(b, [m.columns(b, raw, [0]), spread])
    elif kind != "RawFormulaVal":
        raise Impossible(f"CatBoost's prediction type {kind}")
    return Answers(prediction=m.flat(b, raw) if table(read_).outputs == 1 else raw)


def classifier(b: Builder, model: Any, x: Features, levels: Levels | None = None) -> Answers:
    """CatBoostClassifier: an index into classes_ and probabilities; several yes-no targets are `per_target`."""
    read_ = read(model, levels)
    made = table(read_)
    raw = emit(b, made, x)
    name = read_.loss.partition(":")[0]
    if made.link == "softmax":
        return Answers(m.argmax(b, raw), m.softmax(b, raw))
    if made.link != "logistic":
        raise Impossible(f"a CatBoostClassifier with the loss {read_.loss}")
    chances = b.add("Sigmoid", [raw])
    if name == "MultiClassOneVsAll":
        return Answers(m.argmax(b, raw), chances)
    threshold = float(model.get_probability_threshold())
    limit = math.log(threshold / (1 - threshold)) if 0 < threshold < 1 else math.copysign(math.inf, threshold - 0.5)
    each = [chances] if made.outputs == 1 else [m.columns(b, chances, [k]) for k in range(made.outputs)]
    parts = tuple(Answers(m.above(b, m.column(b, raw, k), limit), pair(b, p)) for k, p in enumerate(each))
    return parts[0] if name in ("Logloss", "CrossEntropy") else Answers(per_target=parts)


CONVERTERS = {
    **dict.fromkeys(("CatBoost", "CatBoostRegressor", "CatBoostRanker"), regressor),
    "CatBoostClassifier": classifier,
}
