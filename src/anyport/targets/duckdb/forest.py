"""Trees as tables: every value becomes a small number, and lists over all trees say which leaf of each a row reaches.

Two ways. `bits`: for each bin of each value a list over the trees of the leaves that are still in reach, one bit each;
the lists of a row's bins are ANDed, and the lowest bit that is left is the leaf (QuickScorer, Lucchese et al., SIGIR
2015). `walk`: one number per node (child, value, bin), followed from the root as many times as the trees are deep.
Answers are summed in the order of the trees, as the original sums them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from anyport.errors import Impossible
from anyport.sql.compile import Compiled
from anyport.sql.dialect import DUCKDB as D
from anyport.sql.expr import Node
from anyport.sql.fold import trees_of
from anyport.sql.grow import Feature, Grower, Shape, shaped
from anyport.sql.tree import LEAF

Way = Literal["case", "bits", "walk"]
FEW = 300
"""Splits that are planned as nested CASE in some milliseconds; 10,000 take more than a second."""
LEAVES = 64
"""Of a tree whose leaves are the bits of one number."""
MASKS = 8_000_000
"""Numbers in all lists of `bits`: 64 MB."""
DEEPEST = 400
CUTS, SLOTS, NODES = 2**20 - 2, 2**12 - 1, 2**31
"""Of `walk`, whose three parts share one number of 63 bits."""


@dataclass(frozen=True)
class Table:
    """A column of the model's one row: its name, and the expression that gives it when the table is created."""

    name: str
    text: str


@dataclass
class Grown:
    """The model, its trees taken out, and the tables that stand for them."""

    model: Compiled
    ways: list[Way]
    tables: list[Table] = field(default_factory=list)


def grown(model: Compiled, way: Way | Literal["auto"] = "auto") -> Grown:
    """The model with its trees in the way that is fastest for them, or in the way asked for."""
    roots = [a.node for a in model.answers]
    trees = trees_of(roots)
    deepest = max((t.data.depth() for t in trees), default=0)
    if deepest > DEEPEST:
        raise Impossible(f"a tree is {deepest} splits deep; as SQL at most {DEEPEST} are sensible")
    if not trees or way == "case" or (way == "auto" and sum(map(splits, trees)) <= FEW):
        return Grown(model, ["case"])
    lists = Lists(model, way)
    grown_ = lists.grow()
    return Grown(grown_, lists.ways, lists.tables)


def splits(tree: Node) -> int:
    """How many splits a tree has."""
    return sum(1 for m in tree.data.mode if m != LEAF)


@dataclass
class Forest:
    """Trees whose values are all there before any of them is asked."""

    shapes: list[Shape]
    features: list[Feature]
    exits: Node
    """A list over the shapes: the leaf, from 1 on."""


class Lists(Grower):
    """Makes the nodes and tables that stand for trees."""

    def __init__(self, model: Compiled, way: Way | Literal["auto"]) -> None:
        super().__init__(model)
        self.way = way
        self.tables: list[Table] = []
        self.ways: list[Way] = []
        self.places: dict[int, tuple[Forest, int, Shape]] = {}

    def table(self, text: str) -> str:
        """A new column of the model's row."""
        made = Table(f"p{len(self.tables)}", text)
        self.tables.append(made)
        return made.name

    def value(self, node: Node) -> Node:
        """What stands for an expression whose arguments are all remade; a tree by itself gets a list of its own."""
        if node.id not in self.new:
            forest, at, shape = self.places[node.id]
            values = self.table(doubles([node.data.values[leaf] for leaf in shape.leaves]))
            self.new[node.id] = self.node(f"{values}[{{0}}[{at + 1}]]", forest.exits, kind="f")
        return self.new[node.id]

    # -- sums

    def sum(self, node: Node) -> Node:
        """Trees added in their order, as a list; what stands before or between them stands in it too."""
        single = node.op == "sum32"
        last = max(i for i, t in enumerate(node.args) if t.id in self.places)
        listed, rest = node.args[: last + 1], node.args[last + 1 :]
        forests = {id(f): f for f in map(self.where, listed) if f is not None}
        alone = [t for t in listed if t.op != "const" and t.id not in self.places]
        if len(forests) == 1 and not alone:
            made = self.together(next(iter(forests.values())), listed, single=single)
        else:
            made = self.node(f"[{', '.join(f'{{{i}}}' for i in range(len(listed)))}]", *map(self.value, listed))
        if single:
            added = "list_reduce(try_cast({0} as FLOAT[]), lambda a, b: a + b)"
            total = self.node(f"cast({added} as DOUBLE)", made, kind="f")
        else:
            total = self.node("list_sum({0})", made, kind="f")
        if not rest:
            return total
        self.next += 1
        return Node(node.op, (total, *map(self.value, rest)), node.data, node.kind, self.next)

    def together(self, forest: Forest, terms: Sequence[Node], *, single: bool) -> Node:
        """The values of trees of one forest, and of constants between them, as a list."""
        import numpy as np

        start: float | None = None
        if terms[0].op == "const" and terms[1].id in self.places:
            start, terms = float(terms[0].data), terms[1:]
        at: list[int] = []
        values: list[list[float]] = []
        for term in terms:
            _, place, shape = self.places.get(term.id, (forest, 0, forest.shapes[0]))
            leaves = [float(term.data) if term.op == "const" else term.data.values[leaf] for leaf in shape.leaves]
            if start is not None:  # the first step of the sum itself
                leaves = [float(np.float32(start) + np.float32(v)) if single else start + v for v in leaves]
                start = None
            at.append(place)
            values.append(leaves)
        exits = self.chosen(forest, at)
        return self.node(f"list_transform(list_zip({{0}}, {self.table(doubles(values))}), lambda s: s[2][s[1]])", exits)

    def where(self, term: Node) -> Forest | None:
        """The forest of a tree."""
        found = self.places.get(term.id)
        return None if found is None else found[0]

    def chosen(self, forest: Forest, at: Sequence[int]) -> Node:
        """The exits of some shapes."""
        count = len(forest.shapes)
        if list(at) == list(range(count)):
            return forest.exits
        if list(at) == list(range(at[0], at[0] + len(at))):
            return self.node(f"{{0}}[{at[0] + 1}:{at[-1] + 1}]", forest.exits)
        table = self.table(numbers([i + 1 for i in at], "INTEGER"))
        return self.node(f"list_select({{0}}, {table})", forest.exits)

    # -- exits

    def forest(self, trees: Sequence[Node]) -> None:
        """Exits of trees of one level; those that differ in nothing but their values share a shape."""
        found = shaped(self.model.folder, trees)
        features, shapes = found.features, found.shapes
        bins = [self.bin(f) for f in features]
        way = self.way if self.way in ("bits", "walk") else best(shapes, features)
        if way == "bits" and max(len(s.leaves) for s in shapes) > LEAVES:
            raise Impossible(f"a tree has more than {LEAVES} leaves, one for each bit of a number")
        self.ways.append(way)
        exits = (self.bits if way == "bits" else self.walk)(shapes, features, bins)
        made = Forest(shapes, features, exits)
        for node, place in found.at:
            self.places[node.id] = (made, place, shapes[place])

    def bin(self, feature: Feature) -> Node:
        """The bin of a value."""
        of = self.remade(feature.of)
        if of.op not in ("column", "const"):
            self.named.add(of.id)
        if feature.kind == "truth":
            return self.node("case {0} when true then 1 when false then 0 else 2 end", of)
        if feature.kind == "set":
            literal = D.literal if feature.of.kind == "s" else D.double
            whens = [
                f"when {{0}} in ({', '.join(literal(v) for v in levels)}) then {i}".replace("{", "{{")
                .replace("}", "}}").replace("{{0}}", "{0}", 1)
                for i, levels in enumerate(feature.classes)
            ]  # fmt: skip
            whens = [f"when {{0}} is null then {feature.gone}", *whens]
            return self.node(f"case {' '.join(whens)} else {len(feature.classes)} end", of)
        size = 1 << len(feature.limits).bit_length()
        table = self.table(doubles([*feature.limits, *[float("inf")] * (size - 1 - len(feature.limits))]))
        place = None
        while size > 1:  # a binary search, unrolled: none of the `limits` before `place` is at or above the value
            size //= 2
            if place is None:
                place = self.node(f"case when {table}[{size}] < {{0}} then {size} else 0 end", of)
            else:
                place = self.node(
                    f"{{0}} + case when {table}[{{0}} + {size}] < {{1}} then {size} else 0 end", place, of
                )
        if place is None:
            return self.node(f"case when {{0}} is null then {feature.gone} else 0 end", of)
        return self.node(f"case when {{0}} is null then {feature.gone} else {{1}} end", of, place)

    def bits(self, shapes: Sequence[Shape], features: Sequence[Feature], bins: Sequence[Node]) -> Node:
        """Exits by the lowest leaf in reach: a row's bins each take away the leaves on the low side of forks that it
        passes on the high side."""
        lists = []
        for i, feature in enumerate(features):
            rows = [
                (t, first, last, fork.first, fork.middle - fork.first)
                for t, shape in enumerate(shapes) for fork in shape.forks if fork.feature == i
                for first, last in feature.high(fork.ask)
            ]  # fmt: skip
            table = self.table(masks(rows, len(shapes), feature.gone + 1))
            lists.append(self.node(f"{table}[{{0}} + 1]", bins[i]))
        if not lists:
            return self.node(f"list_value({', '.join(['1'] * len(shapes))})")
        both = " & ".join(["m", *(f"{{{i}}}[i]" for i in range(1, len(lists)))])
        reach = self.node(f"list_transform({{0}}, lambda m, i: {both})", *lists) if len(lists) > 1 else lists[0]
        # of no bit it is the 64th leaf, which no fork ever takes away
        return self.node("list_transform({0}, lambda m: bit_count(xor(m, m - 1)))", reach)

    def walk(self, shapes: Sequence[Shape], features: Sequence[Feature], bins: Sequence[Node]) -> Node:
        """Exits by going from node to node: `child << 32 | slot << 20 | cut`; a number above the cut goes high."""
        slots: dict[Any, int] = {}
        texts: list[tuple[str, Node]] = []

        def slot(key: Any, text: str, of: Node) -> int:
            if key not in slots:
                slots[key] = len(texts)
                texts.append((text, of))
            return slots[key] + 1

        def question(fork: Any) -> tuple[int, int]:
            i, feature = fork.feature, features[fork.feature]
            high = feature.high(fork.ask)
            if feature.kind == "number":
                gone = feature.gone
                low_gone = fork.ask.gone_low
                text = f"case {{0}} when {gone} then {0 if low_gone else CUTS + 1} else {{0}} + 1 end"
                present = [h for h in high if h != (gone, gone)]
                return slot((i, low_gone), text, bins[i]), present[0][0] if present else CUTS
            chosen = [b for first, last in high for b in range(first, last + 1)]
            text = f"case when {{0}} in ({', '.join(map(str, chosen))}) then 1 else 0 end" if chosen else "0"
            return slot((i, tuple(chosen)), text, bins[i]), 0

        words: list[int] = []
        exits: list[int] = []
        roots: list[int] = []
        for shape in shapes:
            place = numbered(shape, len(words))
            base = len(words)
            words += [0] * (len(shape.forks) + len(shape.leaves))
            exits += [0] * (len(words) - len(exits))
            for leaf in range(len(shape.leaves)):
                here = place[-1 - leaf]
                words[here] = ((here + 1) << 32) | (1 << 20) | (CUTS + 1)
                exits[here] = leaf + 1
            for f, fork in enumerate(shape.forks):
                at, cut = question(fork)
                words[place[f]] = ((place[fork.low] + 1) << 32) | (at << 20) | cut
            roots.append(words[place[0 if shape.forks else -1]])
            assert base in place.values()
        if len(texts) > SLOTS or len(words) >= NODES or any(f.gone >= CUTS for f in features):
            raise Impossible(f"its trees ask {len(texts):,} different questions; as a table of nodes {SLOTS:,} fit")
        codes = self.node("[" + ", ".join(renumbered(t, i) for i, (t, _) in enumerate(texts)) + "]::BIGINT[]",
                          *(of for _, of in texts)) if texts else self.node("[0]::BIGINT[]")  # fmt: skip
        table, leaves = self.table(numbers(words, "BIGINT")), self.table(numbers(exits, "INTEGER"))
        text = self.table(numbers(roots, "BIGINT"))
        step = f"lambda s: {table}[(s >> 32) + ({{0}}[(s >> 20) & 4095] > (s & 1048575))::BIGINT]"
        for _ in range(max(s.depth for s in shapes)):
            text = f"list_transform({text}, {step})"
        return self.node(f"list_transform({text}, lambda s: {leaves}[s >> 32])", codes)


def numbered(shape: Shape, base: int) -> dict[int, int]:
    """Places of forks (and leaves, as `-1 - leaf`): the high side stands right after the low one."""
    place = {0 if shape.forks else -1: base}
    free = base + 1
    for f, fork in enumerate(shape.forks):
        assert f in place
        place[fork.low], place[fork.high] = free, free + 1
        free += 2
    return place


def renumbered(text: str, i: int) -> str:
    """A text of one argument as one of its i-th."""
    return text.replace("{0}", f"{{{i}}}")


def best(shapes: Sequence[Shape], features: Sequence[Feature]) -> Way:
    """The way that looks less often into lists for a row: measured, each look costs about the same."""
    if any(len(s.leaves) > LEAVES for s in shapes):
        return "walk"
    if sum(f.gone + 1 for f in features) * len(shapes) > MASKS:
        return "walk"
    return "bits" if len(features) + 2 <= 2 * max(s.depth for s in shapes) + 1 else "walk"


def masks(rows: Sequence[tuple[int, int, int, int, int]], trees: int, bins: int) -> str:
    """A list over bins of lists over trees: the leaves in reach, as bits."""
    columns = [[row[i] for row in rows] for i in range(5)]
    tree, first, last, low, count = (
        str(c[0]) if i and len(set(c)) == 1 else f"unnest({numbers(c, 'INTEGER')})" for i, c in enumerate(columns)
    )
    return (
        f"(select list(m order by b) from (select b, list(coalesce(m, 9223372036854775807) order by t) as m from "
        f"(select unnest(range({bins})) as b) cross join (select unnest(range({trees})) as t) left join (select t, b, "
        f"bit_and(~((9223372036854775807 >> (63 - n)) << l)) & 9223372036854775807 as m from (select t, l, n, "
        f"unnest(range(a, z + 1)) as b from (select {tree} as t, {first} as a, {last} as z, {low} as l, {count} as n)) "
        f"group by t, b) using (t, b) group by b))"
    )


def doubles(values: Sequence[Any]) -> str:
    """Doubles, or lists of them, as a list: a text that is read much faster than as many constants."""
    return f"{_listed(values)!s}::DOUBLE{'[][]' if values and isinstance(values[0], list) else '[]'}"


def _listed(values: Sequence[Any]) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, list):
            return f"[{','.join(map(shown, value))}]"
        return "NULL" if value != value else repr(value).removesuffix(".0")

    return f"'[{','.join(map(shown, values))}]'"


def numbers(values: Sequence[int], kind: str) -> str:
    """Integers as a list."""
    return f"'[{','.join(map(str, values))}]'::{kind}[]"


__all__ = ["Grown", "Table", "Way", "grown"]
