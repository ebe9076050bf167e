"""A model as a query in one of two forms: trees as nested CASE, or as a table of nodes that the query joins."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from anyport.bundle import Bundle, read
from anyport.errors import Impossible
from anyport.kit.view import View, query
from anyport.sql.compile import Compiled, compiled
from anyport.sql.dialect import Dialect
from anyport.sql.fold import trees_of
from anyport.sql.joins import TREELESS, Joined, joined, whole_trees
from anyport.sql.tree import LEAF

Form = Literal["auto", "case", "joins"]
SPLIT = 16
"""Characters that no split in a CASE goes below: `when x0<=1 then 1`."""


@dataclass(frozen=True)
class Asked:
    """A query; where it is of joins the table of nodes too."""

    text: str
    table: str = ""
    columns: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    """Its rows, each as cells with commas between."""


@dataclass(frozen=True)
class Engine:
    """One engine: its dialect, what a line says of a cell that is not there, and what raises Impossible for a model
    that it does not take."""

    d: Dialect
    gone: str
    held: Callable[[Compiled], None]

    def __hash__(self) -> int:
        return hash(self.d.name)  # of what has no hash: the dialect's tables


def asked(bundle: Bundle, engine: Engine, view: View, *, source: str, form: Form, table: Callable[[str], str]) -> Asked:
    """The query over `source` in the form asked for: `auto` is CASE where that is within the engine's limits. `table`
    names the table of nodes, by ten characters that tell its rows from others. Impossible where no form is left."""
    found = _asked(bundle.path, bundle.digest, engine, view, source, form)
    if not found.lines:
        return found
    name = table(hashlib.sha256("\n".join(found.lines).encode()).hexdigest()[:10])
    return replace(found, text=found.text.replace(found.table, name), table=name)


@lru_cache(maxsize=8)
def _asked(path: Path, digest: str, engine: Engine, view: View, source: str, form: Form) -> Asked:
    """The same; the table has a name that stands for its own, and that no other text of the bundle can hold."""
    bundle, d = read(path), engine.d
    why = None
    if form != "joins":
        try:
            text = as_case(bundle, engine, view, source, sure=form == "auto")
            if form == "case" or not d.longest or len(text.encode()) <= d.longest:
                return Asked(text)
            size = f"the model is {len(text.encode()):,} bytes of SQL"
            why = Impossible(f"{size}; {d.name} takes {d.longest:,} in one statement")
        except Impossible as error:
            if form == "case":
                raise
            why = error
    stands = f"<nodes of {digest}>"
    try:
        made = joined(compiled(bundle, whole_trees(d)), d, stands)
        engine.held(made.model)
        text = query(made.model, d, view, source)
        return Asked(text, stands, made.columns, tuple(lines(made, d, engine.gone)))
    except Impossible as error:
        if why is None:
            raise
        if error.fix == TREELESS:
            raise why from error
        raise Impossible(f"as CASE: {why.what}; as joins: {error.what}", fix=error.fix) from error


def as_case(bundle: Bundle, engine: Engine, view: View, source: str, *, sure: bool) -> str:
    """The query of nested CASE. `sure`: not even written where it is certainly too long."""
    d = engine.d
    model = compiled(bundle, d)
    splits = sum(m != LEAF for t in trees_of([a.node for a in model.answers]) for m in t.data.mode)
    if sure and d.longest and splits * SPLIT > d.longest:
        raise Impossible(f"its trees split {splits:,} times, and {d.name} takes {d.longest:,} bytes in one statement")
    engine.held(model)
    return query(model, d, view, source)


def lines(nodes: Joined, d: Dialect, gone: str) -> Iterator[str]:
    """The entries as numbers with commas between."""
    most = float(d.most or "inf")  # what stands for an infinity that a column holds
    for number, slot, cut, low, high, leaves in nodes.entries:
        cells = [str(number), str(slot), shortest(max(min(cut, most), -most)), str(low), str(high)]
        cells += [shortest(v) if v == v and (d.infinity or abs(v) < float("inf")) else gone for v in leaves]
        yield ",".join([*cells, *[gone] * (nodes.width - len(leaves))])


def shortest(value: float) -> str:
    """A double as its shortest decimal text."""
    return repr(value).removesuffix(".0")


def batches(lines: Sequence[str], most: int) -> Iterator[list[str]]:
    """Lines in batches of at most so many characters, with one between two lines."""
    batch: list[str] = []
    size = 0
    for line in lines:
        if batch and size + len(line) + 1 > most:
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line) + 1
    yield batch


__all__ = ["Asked", "Engine", "Form", "asked", "batches"]
