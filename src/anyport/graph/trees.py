"""One table for every tree ensemble: all nodes of all trees, in double, exactly as the original compares and adds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAF, LESS_EQUAL, LESS, MEMBER = 0, 1, 2, 3
"""Node modes: x <= threshold, x < threshold, or x in a category set goes left; all else right."""

Float = Literal["float32", "float64"]
Link = Literal["identity", "logistic", "softmax", "exp", "softplus", "hinge", "square"]
"""What the caller applies to the scores, for readers of the table; `square` is x * |x|, `hinge` is x > 0."""


@dataclass(frozen=True)
class TreeTable:
    """An ensemble. scores = start + the values of the leaf reached in each tree, added in tree order.

    The nodes of a tree lie together, its root first; child indices are absolute. NaN follows
    `missing_left` at every node. `leaf[i]` is a leaf's row in `values`; row r is added to the outputs
    `target[r]` … `target[r] + values.shape[1] - 1`. `member[i]` is a MEMBER node's category set:
    `set_values[set_start[m]:set_start[m + 1]]`.
    """

    width: int
    """Number of input features."""
    outputs: int
    roots: NDArray[Any]
    mode: NDArray[Any]
    feature: NDArray[Any]
    threshold: NDArray[Any]
    left: NDArray[Any]
    right: NDArray[Any]
    missing_left: NDArray[Any]
    leaf: NDArray[Any]
    member: NDArray[Any]
    set_start: NDArray[Any]
    set_values: NDArray[Any]
    values: NDArray[Any]
    target: NDArray[Any]
    start: NDArray[Any]
    """[outputs], what the sums start from."""
    zero_missing: NDArray[Any]
    """[width]: |x| <= 1e-35 (as float32) counts as NaN in this feature (LightGBM's zero_as_missing)."""
    cast32: bool = False
    """The original rounds inputs to float32 before it compares."""
    add: Float = "float64"
    """What the original adds leaf values in."""
    cut: Literal["exact", "trunc", "floor"] = "exact"
    """How x becomes a category: as it is, cut towards zero, or cut downwards."""
    divisor: float = 1.0
    """The scores are divided by this, by the caller (forests: the number of trees)."""
    slope: float = 1.0
    """The scores are multiplied by this, before the link, by the caller."""
    link: Link = "identity"
    whole: bool = True
    """False: the graph only asks which leaf is reached; `values` are not what it answers."""

    @property
    def tree_of(self) -> NDArray[Any]:
        """[nodes]: the tree each node belongs to."""
        import numpy as np

        return np.searchsorted(self.roots, np.arange(len(self.mode)), side="right") - 1


@dataclass(frozen=True)
class Tree:
    """One tree on its way into a table; children are indices into its own nodes, row 0 is the root."""

    mode: NDArray[Any]
    feature: NDArray[Any]
    threshold: NDArray[Any]
    left: NDArray[Any]
    right: NDArray[Any]
    missing_left: NDArray[Any]
    values: NDArray[Any]
    """[nodes, columns]; read at leaves only."""
    target: int = 0
    sets: Mapping[int, Sequence[int]] | None = None
    """Of MEMBER nodes: node → the categories that go left."""


def constant(values: NDArray[Any], target: int = 0) -> Tree:
    """A tree without a split."""
    import numpy as np

    none = np.zeros(1, np.int64)
    return Tree(none, none, np.zeros(1), none, none, none, np.asarray(values, np.float64)[None, :], target)


def join(
    trees: Iterable[Tree], *, width: int, outputs: int, start: Any = 0.0, zero_missing: Any = False, **facts: Any
) -> TreeTable:
    """The table of these trees; `facts` are TreeTable's own fields."""
    import numpy as np

    trees = list(trees) or [constant(np.zeros(1))]
    sizes = [len(t.mode) for t in trees]
    offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def glue(name: str, dtype: Any) -> NDArray[Any]:
        return np.concatenate([np.asarray(getattr(t, name)) for t in trees]).astype(dtype)

    mode, threshold = glue("mode", np.uint8), glue("threshold", np.float64)
    is_leaf = mode == LEAF
    shift = np.repeat(offset[:-1], sizes)
    columns = {np.asarray(t.values).shape[1] for t in trees}
    if len(columns) > 1:
        raise ValueError(f"trees of one table give {sorted(columns)} values a leaf")
    values = np.concatenate([np.asarray(t.values, np.float64) for t in trees])[is_leaf]
    sets = {int(offset[i]) + node: kept for i, t in enumerate(trees) for node, kept in (t.sets or {}).items()}
    empty = [node for node, kept in sets.items() if not len(kept)]
    mode[empty], threshold[empty] = LESS_EQUAL, -np.inf  # only NaN may go left
    threshold[is_leaf | (mode == MEMBER)] = 0.0
    member = np.full(len(mode), -1, np.int32)
    members = np.flatnonzero(mode == MEMBER)
    member[members] = np.arange(len(members))
    listed = [np.asarray(sorted(sets[int(n)]), np.int64) for n in members]
    return TreeTable(
        width=width,
        outputs=outputs,
        roots=offset[:-1].astype(np.int32),
        mode=mode,
        feature=np.where(is_leaf, 0, glue("feature", np.int32)).astype(np.int32),
        threshold=threshold,
        left=np.where(is_leaf, -1, glue("left", np.int64) + shift).astype(np.int32),
        right=np.where(is_leaf, -1, glue("right", np.int64) + shift).astype(np.int32),
        missing_left=glue("missing_left", bool) & ~is_leaf,
        leaf=np.where(is_leaf, np.cumsum(is_leaf) - 1, -1).astype(np.int32),
        member=member,
        set_start=np.concatenate([[0], np.cumsum([len(s) for s in listed])]).astype(np.int64),
        set_values=np.concatenate([*listed, np.zeros(0, np.int64)]).astype(np.int64),
        values=values,
        target=np.repeat([t.target for t in trees], sizes).astype(np.int32)[is_leaf],
        start=np.broadcast_to(np.asarray(start, np.float64), (outputs,)).copy(),
        zero_missing=np.broadcast_to(np.asarray(zero_missing, bool), (width,)).copy(),
        **facts,
    )


def to_npz_arrays(tables: Sequence[tuple[TreeTable, Sequence[int] | None]]) -> dict[str, NDArray[Any]]:
    """Tables and the encoder slots of their features as plain arrays, for `numpy.savez`; no pickle needed."""
    import numpy as np

    arrays: dict[str, NDArray[Any]] = {"tables": np.asarray(len(tables))}
    for i, (table, slots) in enumerate(tables):
        for field in fields(TreeTable):
            arrays[f"{i}.{field.name}"] = np.asarray(getattr(table, field.name))
        if slots is not None:
            arrays[f"{i}.slots"] = np.asarray(slots, np.int64)
    return arrays


def from_npz_arrays(arrays: Mapping[str, NDArray[Any]]) -> list[tuple[TreeTable, list[int] | None]]:
    """What `to_npz_arrays` was given."""
    tables = []
    for i in range(int(arrays["tables"])):
        parts = {field.name: arrays[f"{i}.{field.name}"] for field in fields(TreeTable)}
        plain: dict[str, Any] = {name: part.item() if part.ndim == 0 else part for name, part in parts.items()}
        slots = arrays[f"{i}.slots"].tolist() if f"{i}.slots" in arrays else None
        tables.append((TreeTable(**plain), slots))
    return tables


def evaluate(table: TreeTable, x: NDArray[Any]) -> NDArray[Any]:
    """Scores [rows, outputs] in numpy: the plain meaning of a table, for whoever compiles one."""
    import numpy as np

    x = prepared(table, np.asarray(x, np.float64))
    rows = np.arange(len(x))
    scores = np.tile(table.start.astype(table.add), (len(x), 1))
    sets = [set(s.tolist()) for s in np.split(table.set_values, table.set_start[1:-1])]
    for root in table.roots:
        node = np.full(len(x), root, np.int64)
        while (inner := table.mode[node] != LEAF).any():
            at = node[inner]
            seen = x[rows[inner], table.feature[at]]
            mode = table.mode[at]
            goes = np.where(mode == LESS, seen < table.threshold[at], seen <= table.threshold[at])
            for i in np.flatnonzero(mode == MEMBER):
                goes[i] = seen[i] in sets[table.member[at[i]]]
            goes = np.where(np.isnan(seen), table.missing_left[at], goes)
            node[inner] = np.where(goes, table.left[at], table.right[at])
        row = table.leaf[node]
        for k in range(table.values.shape[1]):
            scores[rows, table.target[row] + k] += table.values[row, k].astype(table.add)
    return scores


def prepared(table: TreeTable, x: NDArray[Any]) -> NDArray[Any]:
    """The features as the original's comparisons see them: rounded, zeros missing, categories cut to integers."""
    import numpy as np

    x = x.astype(np.float32).astype(np.float64) if table.cast32 else x.copy()
    x[:, table.zero_missing] = np.where(np.abs(x[:, table.zero_missing]) <= TINY, np.nan, x[:, table.zero_missing])
    if table.cut != "exact":
        categorical = categories(table)
        x[:, categorical] = (np.trunc if table.cut == "trunc" else np.floor)(x[:, categorical])
    return x


def categories(table: TreeTable) -> NDArray[Any]:
    """The features that MEMBER nodes ask about, ascending."""
    import numpy as np

    return np.unique(table.feature[table.mode == MEMBER])


TINY = 1.0000000180025095e-35
"""LightGBM's kZeroThreshold: 1e-35 as a float32 (include/LightGBM/meta.h)."""


def down32(values: NDArray[Any]) -> NDArray[Any]:
    """The largest float32 that is not above each double: x <= t then keeps its answer for every float32 x."""
    import numpy as np

    with np.errstate(all="ignore"):
        near = values.astype(np.float32)
        return np.where(near.astype(np.float64) > values, np.nextafter(near, np.float32(-np.inf)), near)


def before32(values: NDArray[Any]) -> NDArray[Any]:
    """The largest double that rounds to a float32 not above each double: float32(x) <= t as a test on x itself."""
    import numpy as np

    low = down32(values)
    # Beyond the largest float32 the next step would be 2**128, to which half-way cases round.
    edge = 2.0**128
    with np.errstate(all="ignore"):
        high = np.nextafter(low, np.float32(np.inf)).astype(np.float64)
        middle = (np.clip(low.astype(np.float64), -edge, edge) + np.clip(high, -edge, edge)) / 2
        fits = middle.astype(np.float32) <= low
        return np.where(low == np.inf, np.inf, np.where(fits, middle, np.nextafter(middle, -np.inf)))


def at_most(table: TreeTable) -> NDArray[Any]:
    """Thresholds of all nodes as `x <= t` on doubles: LESS is one step lower (for rounded x `down32` goes further)."""
    import numpy as np

    less = table.mode == LESS
    if not less.any():
        return table.threshold
    return np.where(less, np.nextafter(table.threshold, -np.inf), table.threshold)
