"""The encoder while it is being written: features get slots when they are asked for, entries when all is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

from msgspec import structs

from anyport.errors import Impossible, need
from anyport.graph.build import Builder
from anyport.graph.encoder import Bins, Encoder, Entry, Indicator, Lookup, Number
from anyport.graph.sklearn.cells import REFUSED, Cell, Const, Edges, Feature, Levels, Num, Term
from anyport.signature import Field

LARGEST = 8_000_000
"""Numbers in one table; beyond it a model's encoder would be hundreds of megabytes of JSON."""


@dataclass
class Encoding:
    """Slots handed out so far, and the graph values that read them."""

    b: Builder
    tensor: Literal["float32", "float64"]
    fields: tuple[Field, ...]
    features: list[Feature] = field(default_factory=list)
    """By slot."""
    _slot: dict[Feature, int] = field(default_factory=dict)
    _wanted: dict[tuple[int, ...], str] = field(default_factory=dict)

    def place(self, features: Sequence[Feature]) -> list[int]:
        """Slots of features, new ones at the end."""
        for f in features:
            if f not in self._slot:
                self._slot[f] = len(self.features)
                self.features.append(f)
        return [self._slot[f] for f in features]

    def value(self, slots: Sequence[int]) -> str:
        """The graph value [N, len(slots)] that will hold these slots."""
        key = tuple(slots)
        if key not in self._wanted:
            self._wanted[key] = self.b.name("x")
        return self._wanted[key]

    def encoder(self) -> Encoder:
        """The encoder of all slots handed out."""
        entries: list[Entry] = []
        slot = 0
        for key, grouped in groupby(self.features, key=_group):
            run = list(grouped)
            if isinstance(key, (Levels, Edges)):
                entries += _table([f for f in run if isinstance(f, Cell)], slot)
            else:
                entries += self._plain(run, slot)
            slot += len(run)
        return Encoder(tensor=self.tensor, width=slot, entries=tuple(entries))

    def _plain(self, run: list[Feature], slot: int) -> list[Entry]:
        first = run[0]
        if isinstance(first, Term):
            terms = [f.index for f in run if isinstance(f, Term)]
            vocabulary = tuple(first.text.vocabulary[i] for i in terms)
            return [structs.replace(first.text, slot=slot, vocabulary=vocabulary)]
        made: list[Entry] = []
        for i, f in enumerate(run, slot):
            if isinstance(f, Num):
                made.append(Number(f.column, i, f.steps))
            elif isinstance(f, Const) and f.value != 0:
                made.append(Indicator(self.fields[0].name, i, f.value, f.value))
        return made

    def finish(self, source: Callable[[Encoder], tuple[str, str]]) -> Encoder:
        """Put what `source` emits, and the nodes that read it, before all others: it gives the value
        [N, width of the encoder] and that value's dtype."""
        encoder = self.encoder()
        body, self.b.nodes = self.b.nodes, []
        value, dtype = source(encoder)
        whole = value if dtype == self.b.float else self.b.cast(value, self.b.float)
        for slots, name in self._wanted.items():
            self._read(whole, slots, name)
        self.b.nodes += body
        return encoder

    def _read(self, whole: str, slots: tuple[int, ...], name: str) -> None:
        first = slots[0]
        if slots == tuple(range(len(self.features))):
            node: tuple[str, list[str], dict[str, Any]] = ("Identity", [whole], {})
        elif slots == tuple(range(first, first + len(slots))):
            limits = [self.b.constant([v], "int64") for v in (first, first + len(slots), 1)]
            node = ("Slice", [whole, *limits], {})
        else:
            node = ("Gather", [whole, self.b.constant(list(slots), "int64")], {"axis": 1})
        self.b.nodes.append(need("onnx").helper.make_node(node[0], node[1], [name], **node[2]))


def _group(f: Feature) -> object:
    """Neighbours with an equal group share an entry."""
    if isinstance(f, Cell):
        return f.source
    return f.text if isinstance(f, Term) else None


def _table(cells: list[Cell], slot: int) -> list[Entry]:
    """The one entry of neighbouring cells over the same levels or intervals."""
    source, width = cells[0].source, len(cells)
    if isinstance(source, Levels) and not source.keys:
        return [e for i, c in enumerate(cells, slot) for e in _indicator(source.column, i, c)]
    hit: list[dict[int, Any]] = [{} for _ in range(cells[0].size)]
    for j, c in enumerate(cells):
        for i, v in c.hits.items():
            hit[i][j] = v
    defaults = [c.default for c in cells]
    gone, other = _row([c.missing for c in cells]), _row([c.other for c in cells])
    if isinstance(source, Edges):
        rows = [_row([h.get(j, d) for j, d in enumerate(defaults)]) or (0.0,) * width for h in hit]
        return [Bins(source.column, slot, width, source.edges, tuple(rows), source.steps, gone)]
    none = all(d == 0 for d in defaults)
    dead = [any(v is REFUSED for v in h.values()) for h in hit]
    if other is None and none and any(not h for h in hit):
        other = (0.0,) * width  # the signature refuses unknown levels, so a level of zeros may join them
    if none and other is not None and not any(other):
        live = [i for i, h in enumerate(hit) if any(h.values()) and not dead[i]]
        if len(live) == width and all(set(h) == {j} and h[j] == 1 for j, h in enumerate(hit[i] for i in live)):
            return [Lookup(source.column, slot, width, tuple(source.keys[i] for i in live), None, other, gone)]
    elif none and [set(h) for h in hit] == [{j} for j in range(width)] and all(v == 1 for h in hit for v in h.values()):
        return [Lookup(source.column, slot, width, source.keys, None, other, gone)]
    live = [i for i in range(len(hit)) if not dead[i]]
    if len(live) * width > LARGEST:
        raise Impossible(f"column {source.column!r} becomes a table of {len(live)} x {width} numbers")
    table = tuple(tuple(float(hit[i].get(j, d)) for j, d in enumerate(defaults)) for i in live)
    return [Lookup(source.column, slot, width, tuple(source.keys[i] for i in live), table, other, gone)]


def _row(values: Sequence[Any]) -> tuple[float, ...] | None:
    """Numbers, or None where the original refuses."""
    return None if any(v is REFUSED or v is None for v in values) else tuple(float(v) for v in values)


def _indicator(column: str, slot: int, cell: Cell) -> list[Entry]:
    """A cell that tells only missing from present."""
    if cell.missing is REFUSED and cell.other is REFUSED:
        raise Impossible(f"column {column!r} has no value that the original takes")
    no = cell.missing if cell.other is REFUSED else cell.other
    yes = no if cell.missing is REFUSED else cell.missing
    return [Indicator(column, slot, float(yes), float(no))] if yes or no else []
