"""Trees whose leaves hold linear models (LightGBM's linear_tree)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Features
from anyport.graph.trees import TreeTable
from anyport.graph.trees_emit import leaf_index

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST = 20_000_000
"""Coefficients; beyond it the graph would be hundreds of megabytes."""


@dataclass(frozen=True)
class Leaves:
    """The linear models of one tree, by leaf."""

    values: NDArray[np.float64]
    """The answer where a feature of the leaf's model is missing."""
    constants: NDArray[np.float64]
    features: Sequence[Sequence[int]]
    weights: Sequence[Sequence[float]]


def linear_trees(b: Builder, table: TreeTable, x: Features, leaves: Sequence[Leaves]) -> str:
    """[N, outputs]: for every tree, constant + weights · x of the leaf reached, or its value where x is missing."""
    import numpy as np

    rows, width = len(table.values), table.width
    if rows * width > LARGEST:
        raise Impossible(f"linear leaves with {rows} x {width} coefficients")
    weights, uses = np.zeros((rows, width)), np.zeros((rows, width))
    at = 0
    for tree in leaves:
        for features, coefficients in zip(tree.features, tree.weights, strict=True):
            weights[at, list(features)], uses[at, list(features)] = coefficients, 1.0
            at += 1
    index = leaf_index(b, replace(table, whole=False), x)  # [N, trees]
    value = x.tensor()
    missing = b.add("IsNaN", [value])
    known = b.add("Unsqueeze", [b.add("Where", [missing, b.constant(0.0), value]), b.constant([2], "int64")])
    lost = b.add("Unsqueeze", [b.cast(missing, b.float), b.constant([2], "int64")])

    def dot(matrix: NDArray[np.float64], vector: str) -> str:
        found = b.add("MatMul", [b.add("Gather", [b.constant(matrix), index], axis=0), vector])  # [N, trees, 1]
        return b.add("Squeeze", [found, b.constant([2], "int64")])

    def of_leaf(values: NDArray[np.float64]) -> str:
        return b.add("Gather", [b.constant(values), index], axis=0)

    constants = np.concatenate([tree.constants for tree in leaves])
    fitted = b.add("Add", [of_leaf(constants), dot(weights, known)])
    gone = b.add("Greater", [dot(uses, lost), b.constant(0.0)])
    each = b.add("Where", [gone, of_leaf(table.values[:, 0]), fitted])
    target = table.target[table.leaf[_first_leaves(table)]]
    chosen = np.eye(table.outputs)[target]
    return b.add("MatMul", [each, b.constant(chosen)])


def _first_leaves(table: TreeTable) -> NDArray[np.int64]:
    """One leaf node of each tree."""
    import numpy as np

    leaves = np.flatnonzero(table.leaf >= 0)
    return leaves[np.unique(table.tree_of[leaves], return_index=True)[1]]
