"""What a split or a sum says of the raw columns: thresholds folded back to them exactly, and one-hot sums joined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from anyport.golden.rules import order as position
from anyport.sql.expr import Node, Pool, evaluate, is_nan, order
from anyport.sql.tree import ENDS, LINK, MEMBER, Tree

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OTHER = "\x00any other text"
"""Stands for every text that no lookup knows."""


@dataclass(frozen=True, slots=True)
class Split:
    """What sends a row left. `le`/`ge`: `of` <= / >= `limit`; `in`: the text `of` is one of `levels` (or, with `other`,
    none of them); `is`: the truth `of` is `limit`; `all`: every row whose `of` is there."""

    test: Literal["le", "ge", "in", "is", "all", "none"]
    of: Node
    limit: float = 0.0
    levels: tuple[Any, ...] = ()
    other: bool = False
    gone_left: bool = False


def columns_of(node: Node, known: dict[int, frozenset[Node]]) -> frozenset[Node]:
    """The columns an expression hangs on; all of them are kept in `known`."""
    if node.id not in known:
        for each in order([node], lambda n: () if n.id in known else n.args):
            if each.id not in known:
                known[each.id] = frozenset([each]) if each.op == "column" else frozenset().union(
                    *(known[a.id] for a in each.args))  # fmt: skip
    return known[node.id]


def levels_of(node: Node) -> list[str]:
    """Every text that the lookups below an expression know."""
    return sorted({k for n in order([node]) if n.op == "lookup" for k, _ in n.data[0]})


def over_levels(nodes: Sequence[Node], column: Node, levels: Sequence[str]) -> list[NDArray[Any]]:
    """The values of expressions of one text column: for each level, for any other text, and where it is missing."""
    import numpy as np

    cases = np.empty(len(levels) + 2, object)
    cases[:] = [*levels, OTHER, None]
    return evaluate(nodes, {column.data[0]: cases}, len(cases))


def direction(node: Node, column: Node) -> int:
    """+1 or -1 where an expression of a column only ever rises or falls with it (where it is there); 0 where nobody
    knows. Every operation is rounded to the nearest, which keeps the order."""
    if node is column:
        return 1
    op, args = node.op, node.args
    if op in ("float", "f32", "floor", "exp", "log", "sqrt", "tanh", "int"):
        return direction(args[0], column)
    if op == "neg":
        return -direction(args[0], column)
    if op in ("add", "sub", "mul", "div", "min", "max") and len(args) == 2:
        constant = [a.op == "const" and not is_nan(a.data) for a in args]
        if constant[1]:
            value, rest = args[1].data, direction(args[0], column)
            return rest * (1 if op in ("add", "sub", "min", "max") else (value > 0) - (value < 0))
        if constant[0] and op != "div":
            value, rest = args[0].data, direction(args[1], column)
            return -rest if op == "sub" else rest * (1 if op in ("add", "min", "max") else (value > 0) - (value < 0))
    if op == "where" and args[0].op == "missing" and columns_of(args[0], {}) == {column} and args[1].op == "const":
        return direction(args[2], column)
    return 0


def numbers_at(places: NDArray[Any]) -> NDArray[Any]:
    """Doubles by their place in the order of all doubles (the inverse of golden.rules.order)."""
    import numpy as np

    bits = np.where(places >= 0, places, (-places) | np.int64(-(2**63)))
    return bits.view(np.float64)


def limits(node: Node, column: Node, thresholds: NDArray[Any], way: int) -> NDArray[Any]:
    """For each threshold the outermost double x of the column with f(x) <= threshold: the largest where f rises (NaN:
    there is none), the smallest where it falls."""
    import numpy as np

    ends = np.array([position(-np.inf), position(np.inf)], np.int64)

    def at(places: NDArray[Any]) -> NDArray[np.bool_]:
        found = evaluate([node], {column.data[0]: numbers_at(places)}, len(places))[0]
        with np.errstate(invalid="ignore"):
            return found <= thresholds

    inside = np.full(len(thresholds), ends[0] if way > 0 else ends[1])
    outside = np.full(len(thresholds), ends[1] if way > 0 else ends[0])
    never = ~at(inside)
    inside = np.where(at(outside), outside, inside)
    for _ in range(65):
        middle = (inside & outside) + ((inside ^ outside) >> 1)
        good = at(middle)
        inside, outside = np.where(good, middle, inside), np.where(good, outside, middle)
        if (np.abs(inside - outside) <= 1).all():
            break
    return np.where(never, np.nan, numbers_at(inside))


class Folder:
    """Splits of trees in terms of raw columns; each feature's thresholds are folded together."""

    def __init__(self, trees: Iterable[Node]) -> None:
        import numpy as np

        self.columns: dict[int, frozenset[Node]] = {}
        wanted: dict[int, tuple[Node, set[float]]] = {}
        for node in trees:
            tree: Tree = node.data
            for mode, feature, threshold in zip(tree.mode, tree.feature, tree.threshold, strict=True):
                if mode not in (*ENDS, MEMBER):
                    of = node.args[feature]
                    wanted.setdefault(of.id, (of, set()))[1].add(threshold)
        self.found: dict[tuple[int, float], tuple[float, int]] = {}
        self.gone: dict[int, float] = {}
        for of, values in wanted.values():
            column = self.lone(of)
            if column is None or column.kind == "s" or column.kind == "b":
                continue
            way = direction(of, column)
            if way == 0:
                continue
            thresholds = np.array(sorted(values))
            for threshold, limit in zip(thresholds.tolist(), limits(of, column, thresholds, way).tolist(), strict=True):
                self.found[of.id, threshold] = (limit, way)
            self.gone[of.id] = float(evaluate([of], {column.data[0]: np.array([np.nan])}, 1)[0][0])
        self.asked: dict[int, list[Node]] = {}
        self.texts: dict[int, tuple[Node, list[str], NDArray[Any]]] = {}

    def lone(self, node: Node) -> Node | None:
        """The only column an expression hangs on."""
        found = columns_of(node, self.columns)
        return next(iter(found)) if len(found) == 1 else None

    def split(self, node: Node, at: int) -> Split:
        """The split of one node of a tree."""
        tree: Tree = node.data
        of, threshold, gone = node.args[tree.feature[at]], tree.threshold[at], tree.gone_left[at]
        column = self.lone(of)
        if column is not None and column.kind == "s":
            return self.by_level(tree, at, of, column)
        if tree.mode[at] == MEMBER:
            return Split("in", of, levels=tuple(sorted(tree.sets[at])), gone_left=gone)
        if of.op == "float" and of.args[0].kind == "b":
            if threshold >= 1 or threshold < 0:
                return Split("all" if threshold >= 1 else "none", of.args[0])
            return Split("is", of.args[0], limit=0.0)
        if (of.id, threshold) not in self.found:
            return Split("le", of, threshold, gone_left=gone)
        limit, way = self.found[of.id, threshold]
        assert column is not None
        missing = self.gone[of.id]
        left = gone if is_nan(missing) else missing <= threshold
        if is_nan(limit):
            return Split("none", column, gone_left=left)
        if limit == (float("inf") if way > 0 else float("-inf")):
            return Split("all", column, gone_left=left)
        return Split("le" if way > 0 else "ge", column, limit, gone_left=left)

    def reads(self, node: Node) -> Sequence[Node]:
        """What the text of a node holds: its arguments; of a tree what its splits ask, each as often as they do."""
        if node.op != "tree":
            return node.args
        if node.id not in self.asked:
            tree: Tree = node.data
            found = [node.args[f] for m, f in zip(tree.mode, tree.feature, strict=True) if m == LINK]
            found += [self.split(node, at).of for at, m in enumerate(tree.mode) if m not in ENDS]
            self.asked[node.id] = found
        return self.asked[node.id]

    def by_level(self, tree: Tree, at: int, of: Node, column: Node) -> Split:
        """Of a text column: which levels go left."""
        if of.id not in self.texts:
            levels = levels_of(of)
            self.texts[of.id] = (column, levels, over_levels([of], column, levels)[0].astype(float))
        column, levels, values = self.texts[of.id]
        left = [self.goes(tree, at, float(v)) for v in values]
        other = left[-2]
        chosen = tuple(k for k, goes in zip(levels, left[:-2], strict=True) if goes != other)
        return Split("in", column, levels=chosen, other=other, gone_left=left[-1])

    @staticmethod
    def goes(tree: Tree, at: int, value: float) -> bool:
        """Whether a value goes left."""
        if is_nan(value):
            return tree.gone_left[at]
        return value in tree.sets[at] if tree.mode[at] == MEMBER else value <= tree.threshold[at]


def joined(pool: Pool, roots: Sequence[Node]) -> list[Node]:
    """The same expressions, where whatever hangs on one text column alone is one lookup; sums join such terms first."""
    known: dict[int, frozenset[Node]] = {}
    new: dict[int, Node] = {}
    for node in order(roots):
        args = tuple(new[a.id] for a in node.args)
        made = node if all(a is b for a, b in zip(args, node.args, strict=True)) else remade(pool, node, args)
        found = columns_of(made, known)
        if len(found) == 1 and made.op not in ("column", "lookup", "tree") and made.kind != "s":
            column = next(iter(found))
            if column.kind == "s":
                made = as_lookup(pool, made, column)
        elif made.op == "sum" and made.kind == "f":
            made = sum_by_column(pool, made, known)
        new[node.id] = made
    return [new[r.id] for r in roots]


def remade(pool: Pool, node: Node, args: tuple[Node, ...]) -> Node:
    """The node with other arguments."""
    if node.op in ("sum", "sum32"):
        return pool.sum(args, single=node.op == "sum32")
    if node.op in ("tree", "lookup"):
        return pool.node(node.op, args, node.data, node.kind)
    return pool.apply(node.op, *args, data=node.data)


def as_lookup(pool: Pool, node: Node, column: Node) -> Node:
    """An expression of one text column as a lookup."""
    levels = levels_of(node)
    values = over_levels([node], column, levels)[0]
    if node.kind == "b":
        truth = pool.lookup(column, tuple(zip(levels, [int(v) for v in values[:-2]], strict=True)),
                            int(values[-2]), int(values[-1]))  # fmt: skip
        return pool.apply("eq", truth, pool.const(1))
    plain = [int(v) if node.kind == "i" else float(v) for v in values]
    return pool.lookup(column, tuple(zip(levels, plain[:-2], strict=True)), plain[-2], plain[-1])


def sum_by_column(pool: Pool, node: Node, known: dict[int, frozenset[Node]]) -> Node:
    """A sum whose terms of one text column are one lookup, in the place of the first of them."""
    groups: dict[int, list[Node]] = {}
    whose: dict[int, Node] = {}
    for at, term in enumerate(node.args):
        found = columns_of(term, known)
        column = next(iter(found)) if len(found) == 1 else None
        # not by the term's own number: it may stand there twice
        key = column.id if column is not None and column.kind == "s" and term.op != "tree" else -at - 1
        groups.setdefault(key, []).append(term)
        if column is not None:
            whose[key] = column
    terms = []
    for key, group in groups.items():
        terms.append(group[0] if len(group) == 1 else as_lookup(pool, pool.sum(group), whose[key]))
    return pool.sum(terms) if len(terms) < len(node.args) else node


def trees_of(roots: Sequence[Node]) -> list[Node]:
    """Every tree below `roots`, once."""
    return [n for n in order(roots) if n.op == "tree"]
