"""Which expressions get a name of their own: those used more than once, partial sums, and what would nest too deep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from anyport.sql.expr import Node, Pool, order
from anyport.sql.fold import Folder


def chunked(node: Node, pool: Pool, most: int) -> Node:
    """A long sum as sums of sums, in the same order."""
    terms = list(node.args)
    while len(terms) > most:
        terms = [pool.node(node.op, terms[:most], None, node.kind), *terms[most:]]
    return pool.node(node.op, terms, None, node.kind)


def lets(roots: Sequence[Node], folder: Folder, cases: int = 0) -> list[Node]:
    """The expressions to be named: used more than once and more than a name long; partial sums and pieces of trees;
    and those that would nest more than so many CASE."""
    nodes = order(roots, folder.reads)
    uses = Counter(root.id for root in roots)
    weight: dict[int, int] = {}
    parts: set[int] = set()
    for node in nodes:
        below = folder.reads(node)
        for arg in below:
            uses[arg.id] += 2 if node.op in TWICE else 1
            if arg.op == node.op and node.op in ("sum", "sum32", "tree"):
                parts.add(arg.id)
        heavy = node.op in ("tree", "lookup", "exp", "log", "sqrt", "tanh", "div", "pick")
        weight[node.id] = CHEAP + 1 if heavy else min(1 + sum(weight[a.id] for a in node.args), CHEAP + 1)
    named = {n.id for n in nodes if weight[n.id] > CHEAP and (uses[n.id] > 1 or n.id in parts)}
    if cases:
        deep(nodes, folder, named, cases - AROUND)
    return [n for n in nodes if n.id in named]


AROUND = 3
"""CASE that the whole puts around an answer: of its truth, its label, and of rows that are refused."""


FLAT = {"add", "sub", "mul", "sum", "sum32", "and", "or", "neg", "abs", "missing", "column", "const", "isinf"}
"""Operations that are no CASE."""


def deep(nodes: Sequence[Node], folder: Folder, named: set[int], most: int) -> None:
    """Name what would nest more than so many CASE."""
    depth: dict[int, int] = {}
    for node in nodes:
        own = node.data.depth() if node.op == "tree" else 0 if node.op in FLAT else 2
        inner = {a.id: depth[a.id] for a in folder.reads(node) if a.id not in named}
        if own + max(inner.values(), default=0) > most:
            named |= {a for a, below in inner.items() if below}
            inner = {}
        depth[node.id] = own + max(inner.values(), default=0)


CHEAP = 4
"""Nodes of an expression that is written anew wherever it is used: naming it would cost a column."""


TWICE = {"min", "max", "div", "log", "sqrt", "exp", "sign", "f32", "not", "tanh", "pow"}
"""Operations whose text may hold their arguments more than once."""
