"""Trees as a table of nodes that a query follows from the roots, one join for each level of the deepest tree.

A row of the table is a node: the slot of the value that it asks about, the cut above which a row goes high, and the
nodes on either side. A leaf has itself on both sides, so a row that is there stays, and the values that it adds. Of a
question about a set (a category, a truth) the value is the number of its class; where the classes that go high are no
one run of numbers, several nodes ask for the ends of the runs. A missing value has an infinity in its place, on the
side that it goes to. The leaves of all trees come back as one array or as a column each, so that they are added in the
order of the trees, by the same expression as everywhere: SUM has no order, and labels hang on the last place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from anyport.errors import Impossible
from anyport.sql.compile import Compiled
from anyport.sql.dialect import Dialect
from anyport.sql.expr import Node
from anyport.sql.fold import trees_of
from anyport.sql.grow import Feature, Fork, Grower, Shape, may_miss, shaped

DEEPEST = 100
"""Joins in a row; no engine's page says how many it plans."""
TREELESS = "-O form=case"
"""What helps where there are no trees."""
COLUMNS = ("node", "slot", "cut", "low", "high")
"""Of the table, and `leaf0` … after them."""
Entry = tuple[int, int, float, int, int, tuple[float, ...]]
"""A node: COLUMNS, and what a leaf adds to each tree of its shape."""


@dataclass(frozen=True)
class Walk:
    """The data of a node that stands for leaves: text of their columns, and of what they are gathered from."""

    values: str
    source: str
    """`{0}` the first argument."""
    gone: bool
    """Whether a leaf is a missing number."""


@dataclass(frozen=True)
class Joined:
    """A model without trees, and the table that stands for them."""

    model: Compiled
    entries: tuple[Entry, ...]
    width: int
    """How many columns leaves have."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table."""
        return (*COLUMNS, *(f"leaf{i}" for i in range(self.width)))


def whole_trees(d: Dialect) -> Dialect:
    """The dialect that a model for joins is compiled in: its trees are not cut."""
    return replace(d, depth=0, cases=0)


def joined(model: Compiled, d: Dialect, table: str) -> Joined:
    """A model of `whole_trees`, its trees in `table` (its name as it stands in a query). Impossible where there are
    none, or too deep ones."""
    if not trees_of([a.node for a in model.answers]):
        raise Impossible("the model has no trees that could be a table of nodes", fix=TREELESS)
    follower = Follower(model, d, table)
    made = follower.grow(cases=d.cases)
    width = max(len(leaves) for *_, leaves in follower.entries)
    return Joined(made, tuple(follower.entries), width)


class Follower(Grower):
    """Makes the nodes and entries that stand for trees."""

    def __init__(self, model: Compiled, d: Dialect, table: str) -> None:
        super().__init__(model)
        self.d = d
        self.table = table.replace("{", "{{").replace("}", "}}")
        self.entries: list[Entry] = []
        self.depths: list[int] = []

    def value(self, node: Node) -> Node:
        """What stands for it; trees have it already."""
        return self.new[node.id]

    def forest(self, trees: Sequence[Node]) -> None:
        """Entries of trees of one level, their roots first; the walk along them; and what stands for each tree."""
        found = shaped(self.model.folder, trees)
        of: list[list[Node]] = [[] for _ in found.shapes]
        for node, place in found.at:
            of[place].append(node)
        slots = Slots(self.d, found.features)
        first = len(self.entries)
        for _ in found.shapes:
            self.put((0, 0, 0.0, 0, 0, ()), 0)
        for place, (shape, alike) in enumerate(zip(found.shapes, of, strict=True)):
            self.shape(shape, alike, slots, first + place)
        deepest = max(self.depths[first : first + len(found.shapes)])
        if deepest > DEEPEST:
            raise Impossible(f"a tree is {deepest} questions deep; as joins at most {DEEPEST} are sensible")
        asked = [self.asked(slots, i) for i in range(len(slots.texts))]
        codes = tuple(asked)
        if self.d.picked and asked:
            codes = (self.node("[" + ", ".join(f"{{{i}}}" for i in range(len(asked))) + "]", *asked),)
        source = self.source(first, len(found.shapes), deepest, len(asked))
        walks: dict[str, Node] = {}
        for place, alike in enumerate(of):
            for j, node in enumerate(alike):
                said = self.d.leaf.format(last=f"n{deepest}", leaf=f"leaf{j}", tree=first + place)
                if said not in walks:
                    gone = any(v != v for t in trees for v in t.data.values)
                    walks[said] = self.node(Walk(said, source, gone), *codes, kind="f", op="walk")
                picked = self.d.picked.format(tree=place + 1)
                self.new[node.id] = self.node(picked, walks[said], kind="f", named=False) if picked else walks[said]

    def source(self, first: int, roots: int, deepest: int, slots: int) -> str:
        """The roots, and a join for each level below them."""
        codes = "{0}" if self.d.picked else " ".join(f"when {i} then l.c{i}" for i in range(1, slots + 1))
        joins = [f"(select * from {self.table} where node between {first} and {first + roots - 1}) as n0"]
        if not self.d.picked and deepest:  # the row's own values as one row: what is joined asks none of outside
            joins.insert(0, f"(select {', '.join(f'{{{i}}} as c{i + 1}' for i in range(slots))}) as l cross join")
        for i in range(deepest):
            code = self.d.code.format(at=f"n{i}", codes=codes)
            joins.append(f"join {self.table} as n{i + 1} on n{i + 1}.node = "
                         f"case when {code} > n{i}.cut then n{i}.high else n{i}.low end")  # fmt: skip
        return "\n    ".join(joins)

    # -- entries

    def put(self, entry: Entry, depth: int) -> int:
        """A new entry, whose number is in place of its own."""
        self.entries.append((len(self.entries), *entry[1:]))
        self.depths.append(depth)
        return len(self.entries) - 1

    def shape(self, shape: Shape, trees: Sequence[Node], slots: Slots, root: int) -> None:
        """Entries of one shape, its root at `root`."""
        place = {}
        for i, leaf in enumerate(shape.leaves):
            here = self.put((0, 1, 0.0, 0, 0, tuple(t.data.values[leaf] for t in trees)), 0)
            self.entries[here] = (here, 1, 0.0, here, here, self.entries[here][5])
            place[-1 - i] = here
        for i in reversed(range(len(shape.forks))):  # parents stand before their children
            fork = shape.forks[i]
            place[i] = self.fork(fork, slots, place[fork.low], place[fork.high])
        top = place[0 if shape.forks else -1]
        number, slot, cut, low, high, leaves = self.entries[top]
        self.depths[root] = self.depths[top]
        self.entries[root] = (root, slot, cut, root, root, leaves) if low == number else (
            root, slot, cut, low, high, leaves)  # fmt: skip

    def fork(self, fork: Fork, slots: Slots, low: int, high: int) -> int:
        """The entry of a fork; of one that sends every row one way that side itself."""
        slot, ends = slots.question(fork)
        sides = [high if goes_high else low for goes_high, _ in ends]
        cuts = [cut for _, cut in ends]

        def among(a: int, b: int) -> int:
            if a + 1 == b:
                return sides[a]
            middle = (a + b) // 2
            below, above = among(a, middle), among(middle, b)
            return self.put(
                (0, slot, cuts[middle - 1], below, above, ()), 1 + max(self.depths[below], self.depths[above])
            )

        return among(0, len(sides))

    def asked(self, slots: Slots, i: int) -> Node:
        """The value of a slot."""
        text, feature = slots.texts[i]
        of = self.remade(feature.of)
        if of.op not in ("column", "const"):
            self.named.add(of.id)
        return self.node(text, of, kind="f", named=not self.d.picked, op="asked")


class Slots:
    """The values that entries ask about, each a double; slots count from 1."""

    def __init__(self, d: Dialect, features: Sequence[Feature]) -> None:
        self.d = d
        self.features = features
        self.texts: list[tuple[str, Feature]] = []
        self.known: dict[tuple[int, str], int] = {}

    def slot(self, i: int, text: str) -> int:
        """The slot of a text over the i-th feature."""
        if (i, text) not in self.known:
            self.texts.append((text, self.features[i]))
            self.known[i, text] = len(self.texts)
        return self.known[i, text]

    def question(self, fork: Fork) -> tuple[int, list[tuple[bool, float]]]:
        """The slot of a fork, and from the lowest value up: whether it goes high, up to and with which value."""
        i, ask, d = fork.feature, fork.ask, self.d
        feature = self.features[i]
        if feature.kind != "number":
            runs = feature.high(ask)
            high = [any(first <= b <= last for first, last in runs) for b in range(feature.gone + 1)]
            ends = [(goes, float(b)) for b, goes in enumerate(high) if b == feature.gone or high[b + 1] != goes]
            return self.slot(i, self.truth() if feature.kind == "truth" else self.classed(feature)), ends
        present = ask.limit != ask.limit  # every number goes high; else, of infinity, low
        if present or ask.limit == math.inf or (d.infinity is None and ask.limit >= float(d.most)):
            there = f"case when {{0}} is null then {d.branch(1.0)} else {d.double(0.0)} end"
            ends = [(not ask.gone_low, 1.0)]
            return self.slot(i, there), ends if present != ask.gone_low else [(present, 0.0), *ends]
        number = "{0}" if feature.of.kind == "f" else d.cast("{0}", "double")
        if may_miss(feature.of):
            number = f"coalesce({number}, {d.bound(-math.inf if ask.gone_low else math.inf)})"
        return self.slot(i, number), [(False, ask.limit), (True, math.inf)]

    def truth(self) -> str:
        """0, 1, or 2 where it is missing."""
        d = self.d
        whens = f"when {d.holds('{0}')} then {d.branch(1.0)} when not {d.holds('{0}')} then {d.double(0.0)}"
        return f"case {whens} else {d.double(2.0)} end"

    def classed(self, feature: Feature) -> str:
        """The number of a value's class."""
        d, text = self.d, feature.of.kind == "s"
        literal = d.level if text else d.double
        compared = d.binary.format("{0}") if text else "{0}"
        whens = [f"when {{0}} is null then {d.branch(float(feature.gone))}"]
        for i, levels in enumerate(feature.classes):
            known = ", ".join(literal(v) for v in levels).replace("{", "{{").replace("}", "}}")
            whens.append(f"when {compared} in ({known}) then {d.double(float(i))}")
        return f"case {' '.join(whens)} else {d.double(float(len(feature.classes)))} end"


__all__ = ["COLUMNS", "TREELESS", "Joined", "Walk", "joined", "whole_trees"]
