"""LightGBM: its text model → a table; doubles compared and added as src/io/tree.cpp does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible
from anyport.graph.boosters.linear import Leaves, linear_trees
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.trees import LEAF, LESS_EQUAL, MEMBER, TINY, Link, Tree, TreeTable, constant, join
from anyport.graph.trees_emit import emit, pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF = 1.5 * 2.0**-53
"""1 / (1 + exp(-x)) is over 0.5 in double from the next x on."""
NODES = {"split_feature": int, "threshold": float, "decision_type": int, "left_child": int, "right_child": int}
"""What every split of a tree has, one value each."""
LINKS: dict[str, Link] = {
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg",
                     "custom", "none", "l2", "l1"), "identity"),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "exp"),
    **dict.fromkeys(("binary", "multiclassova", "cross_entropy"), "logistic"),
    "multiclass": "softmax",
    "cross_entropy_lambda": "softplus",
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """What the text says: the header, and one mapping a tree."""

    head: dict[str, str]
    trees: list[dict[str, str]]
    pandas: list[list[Any]] | None
    """Levels of each category column of the training DataFrame, in column order."""

    @property
    def objective(self) -> str:
        return (self.head.get("objective", "none").split() or ["none"])[0]

    @property
    def settings(self) -> dict[str, str]:
        """`sigmoid:1` and the like, behind the objective's name; a bare word is its own value."""
        words = self.head.get("objective", "").split()[1:]
        return {word.partition(":")[0]: word.partition(":")[2] or word for word in words}

    @property
    def columns(self) -> int:
        return int(self.head["num_tree_per_iteration"])

    @property
    def width(self) -> int:
        return int(self.head["max_feature_idx"]) + 1


def booster(model: Any) -> Any:
    return model if type(model).__name__ == "Booster" else model.booster_


def read(model: Any) -> Model:
    """The text of what `predict` uses: the best iterations where training stopped early."""
    text = booster(model).model_to_string()
    parts = text.partition("\nend of trees")[0].split("\nTree=")
    _, found, rest = text.rpartition("\npandas_categorical:")
    levels = json.loads(rest.partition("\n")[0]) if found else None
    return Model(_pairs(parts[0]), [_pairs(part) for part in parts[1:]], levels)


def check(text: str) -> None:
    """ValueError for a text that LightGBM would not survive: it ends the process over a tree it cannot read."""
    head, begun, rest = text.partition("\nTree=")
    at, data = 0, (begun + rest).encode()[1:]
    for i, size in enumerate(_numbers(_pairs(head), "tree_sizes", int)):
        chunk = data[at : at + size].decode()
        at += size
        tree = _pairs(chunk)
        if not chunk.startswith(f"Tree={i}\n") or "leaf_value" not in tree:
            raise ValueError(f"tree {i} is not where the header says")
        leaves = int(tree["num_leaves"])
        if len(_numbers(tree, "leaf_value", float)) != leaves:
            raise ValueError(f"tree {i} has not its {leaves} leaves")
        for name, kind in NODES.items():
            values = _numbers(tree, name, kind)
            if leaves > 1 and len(values) != leaves - 1:
                raise ValueError(f"tree {i} has {len(values)} of {leaves - 1} values of {name}")
            if name.endswith("child") and ((values < -leaves) | (values >= leaves - 1)).any():
                raise ValueError(f"tree {i} has a {name} outside of itself")
    if not data[at:].lstrip().startswith(b"end of trees"):
        raise ValueError("the trees end before the header says")


def _pairs(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines())
    return {name: value if equals else name for name, equals, value in lines if name}


def table(model: Model) -> TreeTable:
    """All trees. Raises Impossible where features change their missing type from tree to tree."""
    import numpy as np

    zero = np.zeros(model.width, bool)
    other = np.zeros(model.width, bool)
    for tree in model.trees:
        kinds, features = _numbers(tree, "decision_type", int), _numbers(tree, "split_feature", int)
        numeric = kinds & 1 == 0
        zero[features[numeric & (kinds >> 2 & 3 == 1)]] = True
        other[features[numeric & (kinds >> 2 & 3 != 1)]] = True
    if (zero & other).any():
        raise Impossible("a LightGBM model whose trees disagree on whether zero is missing")
    rounds = len(model.trees) // model.columns
    return join(
        [_tree(tree, i % model.columns) for i, tree in enumerate(model.trees)],
        width=model.width,
        outputs=model.columns,
        zero_missing=zero,
        cut="trunc",
        divisor=float(rounds) if averages(model) else 1.0,
        slope=float(model.settings.get("sigmoid", 1.0)),
        link=link(model),
    )


def averages(model: Model) -> bool:
    """Random forests divide their sum by the number of iterations."""
    return "average_output" in model.head


def _tree(text: dict[str, str], target: int) -> Tree:
    import numpy as np

    leaves = _numbers(text, "leaf_value", float)
    if int(text["num_leaves"]) == 1:
        return constant(leaves[:1], target)
    kinds, split = _numbers(text, "decision_type", int), _numbers(text, "threshold", float)
    left, right = (_numbers(text, side, int) for side in ("left_child", "right_child"))
    n = len(kinds)
    categorical, missing = kinds & 1 == 1, kinds >> 2 & 3
    bounds, words = _numbers(text, "cat_boundaries", int), _numbers(text, "cat_threshold", int).astype(np.uint32)
    sets = {}
    for node in np.flatnonzero(categorical):
        which = int(split[node])
        bits = np.unpackbits(words[bounds[which] : bounds[which + 1]].view(np.uint8), bitorder="little")
        sets[int(node)] = np.flatnonzero(bits).tolist()
    # NaN is 0.0 where the feature had none in training; |x| <= 1e-35 reaches the trees as 0.0.
    missing_left = np.where(missing == 0, split >= 0.0, kinds & 2 != 0) & ~categorical
    near = np.where(split < -TINY, split, np.where(split < 0, np.nextafter(-TINY, -np.inf), np.maximum(split, TINY)))
    inner = np.arange(n + len(leaves)) < n
    whole = np.zeros(n + len(leaves))
    whole[n:] = leaves
    pad = np.zeros(len(leaves), np.int64)
    return Tree(
        mode=np.where(inner, np.r_[np.where(categorical, MEMBER, LESS_EQUAL), pad], LEAF),
        feature=np.r_[_numbers(text, "split_feature", int), pad],
        threshold=np.r_[near, pad],
        left=np.r_[np.where(left < 0, n + ~left, left), pad],
        right=np.r_[np.where(right < 0, n + ~right, right), pad],
        missing_left=np.r_[missing_left, pad.astype(bool)],
        values=whole[:, None],
        target=target,
        sets=sets,
    )


def _numbers(text: dict[str, str], name: str, kind: Any) -> NDArray[Any]:
    import numpy as np

    return np.array([kind(word) for word in text.get(name, "").split()], np.int64 if kind is int else np.float64)


def link(model: Model) -> Link:
    if model.objective not in LINKS:
        raise Impossible(f"LightGBM's objective {model.objective!r} has no known output")
    if "sqrt" in model.settings:
        return "square"
    return LINKS[model.objective]


def scores(b: Builder, model: Model, x: Features) -> str:
    """What `predict` gives, [N, columns]: sums, averages and the objective's output."""
    linear = [tree.get("is_linear") == "1" for tree in model.trees]
    made = table(model)
    raw = linear_trees(b, made, x, [_leaves(tree) for tree in model.trees]) if any(linear) else emit(b, made, x)
    if made.divisor != 1:
        raw = m.divide(b, raw, made.divisor)
    if made.link == "softplus":
        return b.add("Log", [m.shift(b, b.add("Exp", [raw]), 1.0)])
    if made.link == "exp":
        return b.add("Exp", [raw])
    if made.link == "softmax":
        return m.softmax(b, raw)
    if made.link == "logistic":
        return b.add("Sigmoid", [raw if made.slope == 1 else m.scale(b, raw, made.slope)])
    if made.link == "square":
        return b.add("Mul", [raw, b.add("Abs", [raw])])
    return raw


def _leaves(text: dict[str, str]) -> Leaves:
    """The linear models in the leaves of one tree; a plain tree has none."""
    values = _numbers(text, "leaf_value", float)
    if text.get("is_linear") != "1":
        return Leaves(values, values, [[] for _ in values], [[] for _ in values])
    features, weights = iter(text["leaf_features"].split()), iter(text["leaf_coeff"].split())
    counts = _numbers(text, "num_features", int)
    return Leaves(
        values,
        _numbers(text, "leaf_const", float),
        [[int(next(features)) for _ in range(n)] for n in counts],
        [[float(next(weights)) for _ in range(n)] for n in counts],
    )


def regressor(b: Builder, model: Any, x: Features) -> Answers:
    """Booster, LGBMRegressor, LGBMRanker: what `predict` gives; probabilities of a Booster are its prediction."""
    text = read(model)
    found = scores(b, text, x)
    return Answers(prediction=m.flat(b, found) if text.columns == 1 else found)


def classifier(b: Builder, model: Any, x: Features) -> Answers:
    """LGBMClassifier: an index into classes_ and the probabilities."""
    text = read(model)
    if text.objective in ("custom", "none"):
        raise Impossible("an LGBMClassifier with an objective of one's own gives no probabilities")
    found = scores(b, text, x)
    if text.columns > 1:
        return Answers(m.argmax(b, found), found)
    chance = pair(b, found)
    return Answers(m.argmax(b, chance), chance)


CONVERTERS = {"Booster": regressor, "LGBMRegressor": regressor, "LGBMRanker": regressor, "LGBMModel": regressor,
              "LGBMClassifier": classifier}  # fmt: skip
