"""One decision tree over expressions, and the reading of ONNX's TreeEnsemble into such trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.sql.expr import Node, Pool

LEAF, LESS_EQUAL, MEMBER, LINK = 0, 1, 2, 3
"""Of nodes. A LINK is a leaf whose value is the argument `feature`: a tree cut in pieces."""
ENDS = (LEAF, LINK)


@dataclass(frozen=True, eq=False)
class Tree:
    """A tree, root first; a node's feature is a position among the arguments. x <= threshold, or x in `sets[node]`,
    goes left; a missing x goes left where `gone_left`."""

    mode: tuple[int, ...]
    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    gone_left: tuple[bool, ...]
    values: tuple[float, ...]
    """Of leaves."""
    sets: Mapping[int, frozenset[float]]

    def value(self, features: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The leaf values that rows reach."""
        import numpy as np

        rows = len(features[0]) if features else 0
        node = np.zeros(rows, np.int64)
        mode, threshold = np.array(self.mode), np.array(self.threshold)
        left, right, gone = np.array(self.left), np.array(self.right), np.array(self.gone_left)
        table = np.stack([f.astype(np.float64) for f in features]) if features else np.zeros((1, 0))
        feature = np.array(self.feature)
        while (inner := ~np.isin(mode[node], ENDS)).any():
            at = node[inner]
            x = table[feature[at], np.flatnonzero(inner)]
            goes = x <= threshold[at]
            for i in np.flatnonzero(mode[at] == MEMBER):
                goes[i] = x[i] in self.sets[int(at[i])]
            goes = np.where(np.isnan(x), gone[at], goes)
            node[inner] = np.where(goes, left[at], right[at])
        linked = table[feature[node], np.arange(rows)] if len(table) else np.zeros(rows)
        return np.where(mode[node] == LINK, linked, np.array(self.values)[node])

    def with_values(self, change: Callable[[float], float]) -> Tree:
        """The same tree with other leaf values."""
        values = tuple(change(v) if m == LEAF else 0.0 for m, v in zip(self.mode, self.values, strict=True))
        return Tree(self.mode, self.feature, self.threshold, self.left, self.right, self.gone_left, values, self.sets)

    def depth(self) -> int:
        """Splits on the longest way to a leaf."""
        deep = [0] * len(self.mode)
        most = 0
        for i, mode in enumerate(self.mode):  # parents stand before their children
            most = max(most, deep[i])
            if mode not in ENDS:
                deep[self.left[i]] = deep[self.right[i]] = deep[i] + 1
        return most


def ensemble(pool: Pool, x: Sequence[Node], attributes: Mapping[str, Any], *, single: bool) -> list[Node]:
    """The outputs of a TreeEnsemble node (ai.onnx.ml 5): of each target, its trees' values added in tree order.

    https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
    """
    import numpy as np

    if attributes.get("aggregate_function", 1) != 1 or attributes.get("post_transform", 0) != 0:
        raise Impossible("its trees are not added up, but averaged, or turned into probabilities by the tree operator")
    modes = attributes["nodes_modes"]
    if set(np.unique(modes).tolist()) - {0, 6}:
        raise Impossible("its trees compare in another way than x <= threshold")
    targets = attributes["leaf_targetids"]
    weights = attributes["leaf_weights"].astype(np.float64)
    count = attributes["n_targets"]
    members = memberships(attributes, modes)
    terms: list[list[Node]] = [[] for _ in range(count)]
    for root in attributes["tree_roots"].tolist():
        grown, used = grow(root, attributes, members)
        features = [x[f] for f in used]
        leaves = [int(v) for m, v in zip(grown.mode, grown.values, strict=True) if m == LEAF]
        for k in sorted({int(targets[v]) for v in leaves}):
            mine = grown.with_values(partial(weight, weights, targets, k))
            found = {v for m, v in zip(mine.mode, mine.values, strict=True) if m == LEAF}
            terms[k].append(pool.node("tree", features, mine, "f") if len(found) > 1 else pool.const(found.pop()))
    return [pool.sum(t or [pool.const(0.0)], single=single) for t in terms]


def weight(weights: NDArray[Any], targets: NDArray[Any], k: int, leaf: float) -> float:
    """What a leaf, given by its number, adds to output k."""
    return float(weights[int(leaf)]) if targets[int(leaf)] == k else 0.0


def cut(pool: Pool, node: Node, depth: int) -> Node:
    """The same tree in pieces of at most `depth` splits, each an expression of its own: some parsers nest no deeper."""
    tree: Tree = node.data
    if tree.depth() <= depth:
        return node

    def piece(root: int) -> Node:
        kept: list[tuple[int, int]] = [(root, 0)]
        place = {root: 0}
        args = list(node.args)
        rows: list[tuple[Any, ...]] = []
        sets: dict[int, frozenset[float]] = {}
        for at, deep in kept:  # grows while it is walked
            here = place[at]
            if tree.mode[at] in ENDS:
                rows.append((tree.mode[at], tree.feature[at], 0.0, here, here, False, tree.values[at]))
            elif deep == depth:
                args.append(piece(at))
                rows.append((LINK, len(args) - 1, 0.0, here, here, False, 0.0))
            else:
                for child in (tree.left[at], tree.right[at]):
                    place[child] = len(place)
                    kept.append((child, deep + 1))
                if tree.mode[at] == MEMBER:
                    sets[here] = tree.sets[at]
                rows.append((tree.mode[at], tree.feature[at], tree.threshold[at], place[tree.left[at]],
                             place[tree.right[at]], tree.gone_left[at], 0.0))  # fmt: skip
        mode, feature, threshold, left, right, gone, values = map(tuple, zip(*rows, strict=True))
        return pool.node("tree", args, Tree(mode, feature, threshold, left, right, gone, values, sets), "f")

    return piece(0)


def memberships(attributes: Mapping[str, Any], modes: NDArray[Any]) -> Mapping[int, frozenset[float]]:
    """The category sets of member nodes, which the operator keeps one after another, each closed by NaN."""
    import numpy as np

    found: dict[int, frozenset[float]] = {}
    values = attributes.get("membership_values")
    if values is None:
        return found
    ends = np.flatnonzero(np.isnan(values))
    start = 0
    for node, end in zip(np.flatnonzero(modes == 6).tolist(), ends.tolist(), strict=True):
        found[node] = frozenset(float(v) for v in values[start:end])
        start = end + 1
    return found


def grow(root: int, a: Mapping[str, Any], members: Mapping[int, frozenset[float]]) -> tuple[Tree, list[int]]:
    """The tree below a root, its leaf values the leaves' own numbers, and the features it asks about."""
    mode: list[int] = []
    feature: list[int] = []
    threshold: list[float] = []
    children: list[list[int]] = []
    gone: list[bool] = []
    values: list[float] = []
    sets: dict[int, frozenset[float]] = {}
    used: dict[int, int] = {}
    tracks = a.get("nodes_missing_value_tracks_true")

    def add(leaf: bool, index: int) -> int:
        at = len(mode)
        mode.append(LEAF if leaf else MEMBER if index in members else LESS_EQUAL)
        values.append(float(index) if leaf else 0.0)
        feature.append(0 if leaf else used.setdefault(int(a["nodes_featureids"][index]), len(used)))
        threshold.append(0.0 if leaf else float(a["nodes_splits"][index]))
        gone.append(bool(not leaf and tracks is not None and tracks[index]))
        children.append([at, at])
        if not leaf and index in members:
            sets[at] = members[index]
        return at

    todo = [(add(False, root), root)]
    while todo:
        at, index = todo.pop()
        for side, ids in enumerate(("true", "false")):
            leaf = bool(a[f"nodes_{ids}leafs"][index])
            child = int(a[f"nodes_{ids}nodeids"][index])
            made = add(leaf, child)
            children[at][side] = made
            if not leaf:
                todo.append((made, child))
    left, right = (tuple(c[i] for c in children) for i in (0, 1))
    tree = Tree(tuple(mode), tuple(feature), tuple(threshold), left, right, tuple(gone), tuple(values), sets)
    return tree, list(used)
