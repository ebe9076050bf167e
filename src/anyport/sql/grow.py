"""Trees as questions about small numbers: what is asked of a value, in which bin a value falls, where each bin goes;
and trees replaced in a model by nodes of an engine's own words."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from anyport.sql.compile import Compiled
from anyport.sql.expr import Node, order
from anyport.sql.fold import Folder
from anyport.sql.missing import may_be_gone
from anyport.sql.named import lets
from anyport.sql.tree import ENDS, LINK, Tree

Kind = Literal["number", "truth", "set"]


@dataclass(frozen=True)
class Ask:
    """One split. Of a number: `x <= limit` goes low (NaN: nothing does); of a truth: what is not true; of a set: its
    `levels`, or with `other` all but these. `swap`: low is the right child, and not the left."""

    of: Node
    kind: Kind
    limit: float = 0.0
    levels: frozenset[Any] = frozenset()
    other: bool = False
    gone_low: bool = False
    swap: bool = False


def asked(folder: Folder, node: Node, at: int) -> Ask | bool:
    """What one node of a tree asks; True or False where every row goes left or right."""
    split = folder.split(node, at)
    of, gone = split.of, split.gone_left
    if split.test == "is":
        return Ask(of, "truth", gone_low=True)
    if split.test == "in":
        return Ask(of, "set", levels=frozenset(split.levels), other=split.other, gone_low=gone)
    there = not may_miss(of)
    if split.test == "le":
        return Ask(of, "number", split.limit, gone_low=gone and not there)
    if split.test == "ge":
        limit = math.nextafter(split.limit, -math.inf)
        return Ask(of, "number", limit, gone_low=not (gone or there), swap=True)
    if gone == (split.test == "all") or there:
        return split.test == "all"
    if of.kind == "s":
        return Ask(of, "set", other=split.test == "all", gone_low=gone)
    return Ask(of, "number", math.inf if split.test == "all" else math.nan, gone_low=gone)


@lru_cache(maxsize=4096)
def may_miss(of: Node) -> bool:
    """Whether a value may be missing; asked once for each."""
    return may_be_gone(of)


@dataclass
class Feature:
    """A value that trees ask about. Bins of a number: how many of the `limits` lie below it; of a truth: 0, 1; of a
    set: the class of levels that no split tells apart, the last one that of all others. One bin more: it is missing."""

    of: Node
    kind: Kind
    limits: list[float] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    classes: list[tuple[Any, ...]] = field(default_factory=list)
    place: dict[float, int] = field(default_factory=dict)

    @property
    def gone(self) -> int:
        """The bin of a missing value."""
        if self.kind == "number":
            return len(self.limits) + 1
        return 2 if self.kind == "truth" else len(self.classes) + 1

    def close(self) -> None:
        """Every question is known: sort them."""
        self.limits = sorted({a.limit for a in self.asks if a.limit < math.inf} if self.kind == "number" else ())
        self.place = {limit: i for i, limit in enumerate(self.limits)}
        if self.kind != "set":
            return
        told = list(dict.fromkeys((a.levels, a.other) for a in self.asks))
        groups: dict[tuple[bool, ...], list[Any]] = {}
        for level in sorted({v for levels, _ in told for v in levels}):
            groups.setdefault(tuple((level in levels) != other for levels, other in told), []).append(level)
        groups.pop(tuple(other for _, other in told), None)
        self.classes = [tuple(g) for g in groups.values()]

    def high(self, ask: Ask) -> list[tuple[int, int]]:
        """Runs of bins that go high, first and last."""
        if self.kind == "number":
            last = self.gone - 1
            first = 0 if math.isnan(ask.limit) else self.gone if ask.limit == math.inf else self.place[ask.limit] + 1
            bins = [(first, last)] if first <= last else []
            if ask.gone_low:
                return bins
            return [(first, self.gone)] if bins else [(self.gone, self.gone)]
        low = [True, False] if self.kind == "truth" else [
            *((c[0] in ask.levels) != ask.other for c in self.classes), ask.other]  # fmt: skip
        low.append(ask.gone_low)
        return list(runs([i for i, goes in enumerate(low) if not goes]))


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbours."""
    start = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1:
            yield numbers[start], numbers[i - 1]
            start = i


@dataclass(frozen=True)
class Fork:
    """A split of a shape, and how many leaves stand on either side: `first` is the number of its leftmost leaf."""

    feature: int
    ask: Ask
    first: int
    middle: int
    end: int
    low: int
    """The fork below, or `-1 - leaf`."""
    high: int


@dataclass(frozen=True)
class Shape:
    """A tree without its values: forks, parents before their children; leaves are numbered from the low side."""

    forks: tuple[Fork, ...]
    leaves: tuple[int, ...]
    """The tree's own node of each leaf."""
    depth: int


def shape_of(folder: Folder, node: Node, features: dict[tuple[int, Kind], int], known: list[Feature]) -> Shape:
    """A tree's shape; the values that it asks about are added to `known`."""
    tree: Tree = node.data
    leaves: list[int] = []
    rows: list[Any] = []
    deepest = 0

    def feature(ask: Ask) -> int:
        key = (ask.of.id, ask.kind)
        if key not in features:
            features[key] = len(known)
            known.append(Feature(ask.of, ask.kind))
        known[features[key]].asks.append(ask)
        return features[key]

    def walk(at: int, depth: int) -> int:
        nonlocal deepest
        while tree.mode[at] not in ENDS:
            ask = asked(folder, node, at)
            if not isinstance(ask, bool):
                break
            at = tree.left[at] if ask else tree.right[at]
        if tree.mode[at] in ENDS:
            assert tree.mode[at] != LINK
            deepest = max(deepest, depth)
            leaves.append(at)
            return -len(leaves)
        assert not isinstance(ask, bool)
        here, first = len(rows), len(leaves)
        rows.append(None)
        sides = (tree.right[at], tree.left[at]) if ask.swap else (tree.left[at], tree.right[at])
        low = walk(sides[0], depth + 1)
        middle = len(leaves)
        high = walk(sides[1], depth + 1)
        rows[here] = Fork(feature(ask), ask, first, middle, len(leaves), low, high)
        return here

    walk(0, 0)
    return Shape(tuple(rows), tuple(leaves), deepest)


@dataclass(frozen=True)
class Shaped:
    """Trees of one level: those that differ in nothing but their values share a shape."""

    features: list[Feature]
    shapes: list[Shape]
    at: list[tuple[Node, int]]
    """Each tree, and its shape."""


def shaped(folder: Folder, trees: Sequence[Node]) -> Shaped:
    """The shapes of trees, and every value that they ask about."""
    features: list[Feature] = []
    index: dict[tuple[int, Any], int] = {}
    shapes: list[Shape] = []
    known: dict[Any, int] = {}
    at: list[tuple[Node, int]] = []
    for node in trees:
        tree = node.data
        key = (tree.mode, tree.feature, tree.threshold, tree.left, tree.right, tree.gone_left,
               tuple(sorted(tree.sets.items())), tuple(a.id for a in node.args))  # fmt: skip
        if key not in known:
            known[key] = len(shapes)
            shapes.append(shape_of(folder, node, index, features))
        at.append((node, known[key]))
    for feature in features:
        feature.close()
    return Shaped(features, shapes, at)


class Grower(ABC):
    """Replaces the trees of a model. Which nodes stand for them its `forest`, `value` and `sum` say."""

    def __init__(self, model: Compiled) -> None:
        self.model = model
        self.next = 1 + max(n.id for n in order([a.node for a in model.answers]))
        self.named: set[int] = set()
        self.new: dict[int, Node] = {}
        self.standing: set[int] = set()
        """Trees that something stands for."""

    @abstractmethod
    def forest(self, trees: Sequence[Node]) -> None:
        """Make what stands for trees that do not need each other's answers."""

    @abstractmethod
    def value(self, node: Node) -> Node:
        """What stands for an expression whose arguments are all remade, a tree too."""

    def sum(self, node: Node) -> Node | None:
        """What stands for a sum with several trees in it; None: the same sum of what stands for its terms."""
        return None

    def grow(self, *, cases: int = 0) -> Compiled:
        """The model without trees, level by level: trees may ask about the answers of others. `cases`: see `lets`."""
        roots = [a.node for a in self.model.answers]
        nodes = order(roots)
        level: dict[int, int] = {}
        levels: dict[int, list[Node]] = {}
        for node in nodes:
            level[node.id] = max((level[a.id] for a in node.args), default=0) + (node.op == "tree")
            if node.op == "tree":
                levels.setdefault(level[node.id], []).append(node)
        summed = [t for n in nodes if n.op in ("sum", "sum32") for t in n.args if t.op == "tree"]
        for _, trees in sorted(levels.items()):
            mine = {t.id for t in trees}
            self.forest(list({t.id: t for t in [*(s for s in summed if s.id in mine), *trees]}.values()))
            self.standing |= mine
        made = [self.remade(root) for root in roots]
        named = {n.id for n in lets(made, self.model.folder, cases)} | self.named
        chosen = tuple(n for n in order(made) if n.id in named and n.op not in ("column", "const"))
        answers = tuple(
            type(a)(a.name, a.field, node) for a, node in zip(self.model.answers, made, strict=True)
        )  # fmt: skip
        return Compiled(self.model.signature, answers, chosen, self.model.folder, self.model)

    def node(self, text: Any, *args: Node, kind: str = "i", named: bool = True, op: str = "text") -> Node:
        """A node of the engine's own words, `{0}` its first argument; `named`: it is calculated once."""
        self.next += 1
        made = Node(op, args, text, kind, self.next)
        if named:
            self.named.add(made.id)
        return made

    def remade(self, root: Node) -> Node:
        """An expression with its trees replaced."""
        for node in order([root]):
            if node.id in self.new or node.op == "tree":
                continue
            if node.op in ("sum", "sum32") and sum(a.id in self.standing for a in node.args) > 1:
                made = self.sum(node)
                if made is not None:
                    self.new[node.id] = made
                    continue
            args = tuple(map(self.value, node.args))
            same = all(a is b for a, b in zip(args, node.args, strict=True))
            self.next += 1
            self.new[node.id] = node if same else Node(node.op, args, node.data, node.kind, self.next)
        return self.value(root)
