"""ai.onnx.ml 5's TreeEnsemble in ai.onnx.ml 3, exactly: trees say which leaf they reach, its value is looked up.

TreeEnsembleRegressor, which there was before, rounds its sums to float32 whatever it is given. The number of a leaf
is small and whole, so it comes through; the leaves' values are gathered and added in their own precision, tree by tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible, need

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEQ, MEMBER = 0, 6
COLUMNS = (
    "treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true",
)  # fmt: skip


def lowered(node: Any, graph: Any) -> list[Any]:
    """The nodes that take a TreeEnsemble's place; what they look up is added to the graph's own values."""
    import numpy as np

    onnx = need("onnx")
    had = {a.name: plain(a) for a in node.attribute}
    if had.get("aggregate_function", 1) != 1 or had.get("post_transform", 0) != 0:
        raise Impossible("the graph's trees are not added up, but averaged or turned into probabilities")
    sets = memberships(had)
    grown = [list(grow(had, sets, int(root))) for root in had["tree_roots"].tolist()]
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    ends: list[tuple[int, int, int]] = []
    """Tree, node, place among the tree's leaves."""
    leaves: list[int] = []
    offsets: list[int] = []
    for tree, rows in enumerate(grown):
        offsets.append(len(leaves))
        for at, (*row, leaf) in enumerate(rows):
            for column, cell in zip(columns.values(), (tree, at, *row), strict=True):
                column.append(cell)
            if leaf >= 0:
                ends.append((tree, at, len(leaves) - offsets[tree]))
                leaves.append(leaf)
    name, out = f"{graph.name}/{node.output[0]}/leaves", node.output[0]
    made = [reached(onnx, node.input[0], f"{name}/reached", columns, ends, len(grown), had["nodes_splits"].dtype)]

    def constant(value: Any) -> str:
        graph.initializer.append(
            onnx.numpy_helper.from_array(np.ascontiguousarray(value), f"{name}/{len(graph.initializer)}")
        )
        return str(graph.initializer[-1].name)

    def step(op: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        result = result or f"{name}/{op}{len(made)}"
        made.append(onnx.helper.make_node(op, list(inputs), [result], **attributes))
        return result

    place = step("Cast", f"{name}/reached", to=onnx.TensorProto.INT64)
    place = step("Transpose", step("Add", place, constant(np.array(offsets, np.int64))), perm=[1, 0])
    numbers = np.array(leaves)
    targets, weights = had["leaf_targetids"][numbers], had["leaf_weights"][numbers]
    of = np.repeat(np.arange(len(grown)), np.diff([*offsets, len(leaves)]))
    mine = [np.unique(of[targets == k]).astype(np.int64) for k in range(had["n_targets"])]
    if all(len(trees) == 1 for trees in mine) and len(mine) == len(grown):  # each tree an answer of its own
        chosen = step("Gather", place, constant(np.concatenate(mine)), axis=0)
        step("Transpose", step("Gather", constant(weights), chosen), result=out, perm=[1, 0])
        return made
    axis, last, sums = constant(np.array(0, np.int64)), constant(np.array([-1], np.int64)), []
    for k, trees in enumerate(mine):
        rows_ = place if len(trees) == len(grown) else step("Gather", place, constant(trees), axis=0)
        values = constant(np.where(targets == k, weights, weights.dtype.type(0)))
        # CumSum adds one after the other, as the originals do; ReduceSum in float32 does not
        sums.append(step("Gather", step("CumSum", step("Gather", values, rows_), axis), last, axis=0))
    step("Transpose", step("Concat", *sums, axis=0) if len(sums) > 1 else sums[0], result=out, perm=[1, 0])
    return made


def reached(
    onnx: Any, value: str, result: str, columns: dict[str, list[Any]], ends: list[tuple[int, int, int]], trees: int,
    dtype: Any,
) -> Any:  # fmt: skip
    """The node that gives, of each tree, the leaf that a row reaches: float32 [N, trees]."""
    import numpy as np

    given: dict[str, Any] = {f"nodes_{k}": v for k, v in columns.items() if k != "values"}
    given |= {"target_treeids": [t for t, _, _ in ends], "target_nodeids": [n for _, n, _ in ends],
              "target_ids": [t for t, _, _ in ends]}  # fmt: skip
    for name, cells in (("nodes_values", columns["values"]), ("target_weights", [float(p) for _, _, p in ends])):
        if dtype == np.float64:
            given[f"{name}_as_tensor"] = onnx.numpy_helper.from_array(np.array(cells, np.float64), name)
        else:
            given[name] = cells
    if max((p for _, _, p in ends), default=0) >= 2**24:
        raise Impossible("one of the graph's trees has more leaves than float32 can count")
    made = onnx.helper.make_node(
        "TreeEnsembleRegressor", [value], [result], domain="ai.onnx.ml", n_targets=trees, **given
    )
    return made


def grow(had: dict[str, Any], sets: dict[int, list[float]], root: int) -> Iterator[tuple[Any, ...]]:
    """A tree's nodes, root first: feature, value, mode, left, right, whether a missing value goes left, leaf or -1."""
    gone = had.get("nodes_missing_value_tracks_true")
    rows: list[list[Any]] = []
    todo: list[tuple[int, bool, int, int]] = [(root, False, -1, 0)]
    """Inner node or leaf, whether it is a leaf, whose child it is, and in which place of its row."""
    while todo:
        at, leaf, parent, side = todo.pop()
        if parent >= 0:
            rows[parent][side] = len(rows)
        if leaf:
            rows.append([0, 0.0, "LEAF", 0, 0, 0, at])
            continue
        chosen = sets.get(at)
        asked = (
            [("BRANCH_LEQ", float(had["nodes_splits"][at]))] if chosen is None else [("BRANCH_EQ", v) for v in chosen]
        )
        if not asked:
            raise Impossible("the graph's trees ask for a value of an empty set")
        left = (int(had["nodes_truenodeids"][at]), bool(had["nodes_trueleafs"][at]))
        for i, (mode, value) in enumerate(asked):
            here = len(rows)
            rows.append(
                [
                    int(had["nodes_featureids"][at]),
                    value,
                    mode,
                    0,
                    here + 1,
                    int(gone[at]) if gone is not None else 0,
                    -1,
                ]
            )
            todo.append((*left, here, 3))
            if i == len(asked) - 1:
                todo.append((int(had["nodes_falsenodeids"][at]), bool(had["nodes_falseleafs"][at]), here, 4))
    yield from map(tuple, rows)


def memberships(had: dict[str, Any]) -> dict[int, list[float]]:
    """The values of each node that asks whether one is in a set; the sets are in node order, each closed by NaN."""
    found: dict[int, list[float]] = {}
    values: Iterator[float] = iter(had["membership_values"].tolist() if "membership_values" in had else ())
    for i, mode in enumerate(had["nodes_modes"].tolist()):
        if mode == MEMBER:
            found[i] = []
            for value in values:
                if value != value:
                    break
                found[i].append(value)
        elif mode != LEQ:
            raise Impossible("the graph's trees compare in another way than x <= threshold")
    return found


def plain(attribute: Any) -> NDArray[Any] | Any:
    """An attribute as a number or an array."""
    import numpy as np

    onnx = need("onnx")
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.array(value) if hasattr(value, "__len__") else value
