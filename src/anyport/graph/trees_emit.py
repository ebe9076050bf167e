"""Tree tables → ONNX: ai.onnx.ml 5's TreeEnsemble, whose sums are in double and in tree order.

Measured with onnxruntime 1.32: TreeEnsemble in double is as fast as in float32 and bit-equal to
scikit-learn and LightGBM; v3's TreeEnsembleRegressor rounds its sums to float32 whatever it is given.
Nodes of one mode run in a tighter loop, so x < t is written x <= t one step lower. TreeEnsemble 5
refuses trees without a split and inner nodes with two parents; leaves may be shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyport.errors import need
from anyport.graph.build import Builder
from anyport.graph.trees import (
    LEAF,
    MEMBER,
    TINY,
    Float,
    TreeTable,
    at_most,
    before32,
    categories,
    down32,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.graph.sklearn import Features

ONNX_LEQ, ONNX_MEMBER = 0, 6
GATHERED = 2048
"""Leaf values gathered at a time, per row: bounds memory when leaves hold a value per class."""


def emit(b: Builder, table: TreeTable, x: Features, *, dtype: Float | None = None) -> str:
    """Scores [N, outputs] in `dtype` (the builder's own unless given), link and divisor left to the caller.

    Vector leaves (forests) are added in double in any builder. What the original adds in float32 is
    added in float32.
    """
    b.trees.append((table, x.slots()))
    value, have = _prepare(b, table, x.tensor())
    if table.values.shape[1] == 1:
        start, left_over = _fold_start(table)
        weights = table.values[:, 0] + start if table.add == "float64" else _added32(table.values[:, 0], start)
        scores = _ensemble(b, table, value, have, table.target, weights, table.outputs)
        if left_over.any():
            scores = b.add("Add", [scores, b.constant(left_over, have)])
    else:
        scores, have = _vectors(b, table, value, have), table.add
    want = dtype or b.float
    return scores if want == have else b.cast(scores, want)


def pair(b: Builder, chance: str) -> str:
    """(1 - p, p) of p [N, 1], as |(1, 0) - p|: two nodes, where splitting and joining columns takes four."""
    return b.add("Abs", [b.add("Sub", [b.constant([[1.0, 0.0]]), chance])])


def leaf_index(b: Builder, table: TreeTable, x: Features) -> str:
    """The leaf each tree reaches, int64 [N, trees], as a row of `values`."""
    b.trees.append((table, x.slots()))
    value, have = _prepare(b, table, x.tensor())
    return _leaves(b, table, value, have)


def _prepare(b: Builder, table: TreeTable, value: str) -> tuple[str, Float]:
    """The features as the trees compare them, and their dtype."""
    have: Float = "float32" if b.float == "float32" or table.add == "float32" else "float64"
    if have != b.float:
        value = b.cast(value, have)
    if table.zero_missing.any():
        zeros = b.add("LessOrEqual", [b.add("Abs", [value]), b.constant(TINY, have)])
        if not table.zero_missing.all():
            zeros = b.add("And", [zeros, b.constant(table.zero_missing)])
        value = b.add("Where", [zeros, b.constant(float("nan"), have), value])
    if table.cut != "exact" and len(categorical := categories(table)):
        import numpy as np

        chosen = np.isin(np.arange(table.width), categorical)
        if table.cut == "floor":
            cut = b.add("Floor", [value])
        else:
            cut = b.add("Mul", [b.add("Floor", [b.add("Abs", [value])]), b.add("Sign", [value])])
        value = b.add("Where", [b.constant(chosen), cut, value])
    return value, have


def _fold_start(table: TreeTable) -> tuple[NDArray[Any], NDArray[Any]]:
    """What each leaf row owes to `start`, and the part of `start` that no tree can carry.

    (start + first tree) + … is the original's order; start + its leaves is the same sum made beforehand.
    """
    import numpy as np

    owed = np.zeros(len(table.values))
    rest = table.start.copy()
    tree_of_leaf = table.tree_of[table.mode == LEAF]
    for k in np.flatnonzero(rest):
        mine = tree_of_leaf[table.target == k]
        if len(mine) and (table.target[tree_of_leaf == mine[0]] == k).all():
            owed[tree_of_leaf == mine[0]] = rest[k]
            rest[k] = 0.0
    return owed, rest


def _added32(values: NDArray[Any], start: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    return values.astype(np.float32) + start.astype(np.float32)


def _vectors(b: Builder, table: TreeTable, value: str, have: Float) -> str:
    """Leaves of several values: TreeEnsemble finds the leaf rows, their values are gathered and added in order.

    ReduceSum adds along the first axis one after the other, as the originals do; along others it does not.
    """
    columns = table.values.shape[1]
    if table.target.any() or columns != table.outputs:
        raise ValueError("vector leaves fill every output")
    rows = _leaves(b, table, value, have)
    values = table.values.astype(table.add)
    values[table.tree_of[table.mode == LEAF] == 0] += table.start.astype(table.add)
    held = b.constant(values, table.add)
    trees, step = len(table.roots), max(1, GATHERED // columns)
    if trees == 1:
        return b.add("Reshape", [b.add("Gather", [held, rows], axis=0), b.constant([-1, columns], "int64")])
    rows = b.add("Transpose", [rows], perm=[1, 0])
    axis = b.constant([0], "int64")
    total = ""
    for begin in range(0, trees, step):
        part = rows
        if trees > step:
            ends = [b.constant([v], "int64") for v in (begin, min(trees, begin + step))]
            part = b.add("Slice", [rows, *ends, axis])
        terms = b.add("Gather", [held, part], axis=0)
        if total:
            terms = b.add("Concat", [total, terms], axis=0)
        total = b.add("ReduceSum", [terms, axis], keepdims=int(begin + step < trees))
    return total


def _leaves(b: Builder, table: TreeTable, value: str, have: Float) -> str:
    """int64 [N, trees]: rows of `values`."""
    import numpy as np

    if have == "float32" and len(table.values) >= 2**24:  # float32 cannot count further
        value, have = b.cast(value, "float64"), "float64"
    tree_of_leaf = table.tree_of[table.mode == LEAF]
    found = _ensemble(b, table, value, have, tree_of_leaf, np.arange(len(table.values)), len(table.roots))
    return b.cast(found, "int64")


def _ensemble(
    b: Builder, table: TreeTable, value: str, have: Float, targets: NDArray[Any], weights: NDArray[Any], outputs: int
) -> str:
    """One TreeEnsemble node: leaf row r adds weights[r] to output targets[r]."""
    import numpy as np

    tensor = need("onnx").numpy_helper.from_array
    thresholds = at_most(table)
    if have == "float32":
        thresholds = down32(thresholds)
    elif table.cast32:
        thresholds = before32(thresholds)
    inner = table.mode != LEAF
    number = np.cumsum(inner) - 1
    lone = table.leaf[table.roots[~inner[table.roots]]]  # trees without a split get one that leads nowhere else

    def child(of: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        at = of[inner]
        leaf = ~inner[at]
        where = np.where(leaf, table.leaf[at], number[at])
        return np.concatenate([where, lone]), np.concatenate([leaf, np.ones(len(lone), bool)]).astype(int)

    def padded(column: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([column[inner], np.zeros(len(lone), column.dtype)])

    true_ids, true_leaves = child(table.left)
    false_ids, false_leaves = child(table.right)
    roots = np.where(inner[table.roots], number[table.roots], 0)
    roots[~inner[table.roots]] = inner.sum() + np.arange(len(lone))
    modes = padded(np.where(table.mode == MEMBER, ONNX_MEMBER, ONNX_LEQ).astype(np.uint8))
    optional: dict[str, Any] = {}
    if table.missing_left.any():
        optional["nodes_missing_value_tracks_true"] = padded(table.missing_left.astype(np.int64))
    if (table.mode == MEMBER).any():
        optional["membership_values"] = tensor(_memberships(table).astype(have))
    return b.add(
        "TreeEnsemble",
        [value],
        domain="ai.onnx.ml",
        hint="trees",
        aggregate_function=1,
        post_transform=0,
        n_targets=outputs,
        nodes_featureids=padded(table.feature),
        nodes_splits=tensor(padded(thresholds).astype(have)),
        nodes_modes=tensor(modes),
        nodes_truenodeids=true_ids,
        nodes_trueleafs=true_leaves,
        nodes_falsenodeids=false_ids,
        nodes_falseleafs=false_leaves,
        leaf_targetids=targets,
        leaf_weights=tensor(weights.astype(have)),
        tree_roots=roots,
        **optional,
    )


def _memberships(table: TreeTable) -> NDArray[Any]:
    """The category sets in node order, each closed by NaN."""
    import numpy as np

    ends = table.set_start[1:]
    return np.insert(table.set_values.astype(np.float64), ends, np.nan)
