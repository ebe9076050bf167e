"""How large the values in between can become: engines that raise an error at an overflow are never led to one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyport.sql.expr import Node, evaluate, order

TINY = 1e-100
"""Nearer to zero a column, zero aside, counts as this where it is calculated with: even its cube is no underflow."""


def reach(roots: Sequence[Node]) -> float:
    """The largest number, to two digits, that columns may hold, either side of zero, so that nothing overflows; 0 where
    none is known."""
    nodes = order(roots)
    power = last(1, 308, lambda p: fits(nodes, 10.0**p))
    if not power:
        return 0.0
    return last(10, 99, lambda m: fits(nodes, m / 10 * 10.0**power)) / 10 * 10.0**power


def last(low: int, high: int, good: Callable[[int], bool]) -> int:
    """The largest of low…high that is good, where all below it are; 0 where none is."""
    found = 0
    while low <= high:
        middle = (low + high) // 2
        if good(middle):
            found, low = middle, middle + 1
        else:
            high = middle - 1
    return found


def nearest(roots: Sequence[Node], most: float) -> float:
    """The smallest magnitude that columns within `most` may have, zero aside, so that no product or quotient of what is
    not zero becomes zero; infinity where none is known."""
    nodes = order(roots)
    size: dict[int, float] = {}
    for node in nodes:
        size[node.id] = magnitude(node, [size[a.id] for a in node.args], most)

    def above(power: int) -> bool:
        least: dict[int, float] = {}
        for node in nodes:
            least[node.id] = smallest(node, [least[a.id] for a in node.args], size, 10.0**-power)
            if least[node.id] < 1e-306:
                return False
        return True

    power = last(1, 300, above)
    return 10.0**-power if power else math.inf


CANCELLED = 2.0**-53
"""Two doubles that are not equal differ by at least this part of the smaller."""


def smallest(node: Node, args: Sequence[float], size: Mapping[int, float], near: float) -> float:
    """A bound below the magnitude of a value that is not zero, by its arguments' bounds."""
    op = node.op
    if op == "const":
        return abs(node.data) if node.kind in "fi" and node.data and math.isfinite(node.data) else 1.0
    if op == "column":
        return near if node.kind == "f" else 1.0
    if op in ("lookup", "tree"):
        known = [v for _, v in node.data[0]] + list(node.data[1:]) if op == "lookup" else node.data.values
        return min((abs(v) for v in known if v and math.isfinite(v)), default=1.0)
    if op in ("sum", "sum32", "add", "sub"):
        return min(args) * CANCELLED
    if op == "mul":
        return args[0] * args[1]
    if op == "div":
        return args[0] / max(size[node.args[1].id], 1e-300)
    if op == "exp":
        return 1e-283  # see faint.exponential; where it gives less, products and quotients are guarded
    if op == "f32":
        return max(args[0], 1e-45)
    if op in ("log", "tanh", "sin", "cos"):
        return args[0] * 1e-20
    if op == "pow":
        by = node.args[1]
        if by.op != "const":
            return 0.0
        return float(min(args[0] ** by.data, 1.0) if by.data > 0 else max(size[node.args[0].id], 1.0) ** by.data)
    if node.kind != "f":
        return 1.0
    return min((a for a, n in zip(args, node.args, strict=True) if n.kind == "f"), default=1.0)


@dataclass(frozen=True)
class Limits:
    """How large a row's columns may be where they are calculated with."""

    joint: float
    """All of them at once."""
    small: float = 0.0
    """So small that they do not count beside a larger one."""
    alone: Mapping[str, float] = field(default_factory=dict)
    """A column, where all others are `small`."""
    gone: frozenset[str] = frozenset()
    """Columns beyond whose limit the original's own infinities cancel out: it has no number to answer."""


def limits(roots: Sequence[Node], highest: Mapping[str, float]) -> Limits:
    """`highest`: the largest that the original answers, of columns for which it refuses anything larger."""
    joint = reach(roots)
    nodes = order(roots)
    small = joint * 1e-30
    alone, gone = {}, set()
    for name, high in highest.items():
        if high <= joint or not fits(nodes, small, {name: min(joint * 1.001, high)}):
            continue
        alone[name] = high if fits(nodes, small, {name: high}) else between(nodes, small, name, joint, high)
        if alone[name] < high and cancelled(nodes, roots, name, high):
            gone.add(name)
    return Limits(joint, small, alone, frozenset(gone))


def between(nodes: Sequence[Node], small: float, name: str, low: float, high: float) -> float:
    """The largest number, nearly, that the column may hold alone."""
    while high / low > 1 + 1e-9:
        middle = math.sqrt(low) * math.sqrt(high)
        low, high = (middle, high) if fits(nodes, small, {name: middle}) else (low, middle)
    return low


def cancelled(nodes: Sequence[Node], roots: Sequence[Node], name: str, high: float) -> bool:
    """Whether a number of the answer is missing where the column is at its largest, or at minus that."""
    import numpy as np

    kinds: Mapping[str, Any] = {"f": np.zeros(2), "i": np.zeros(2, int), "b": np.zeros(2, bool),
                                "s": np.array([None] * 2)}  # fmt: skip
    columns = {n.data[0]: kinds[n.kind] for n in nodes if n.op == "column"}
    values = evaluate(roots, {**columns, name: np.array([high, -high])}, 2)
    return any(np.isnan(v).any() for v in values if v.dtype.kind == "f")


def fits(nodes: Sequence[Node], most: float, other: Mapping[str, float] | None = None) -> bool:
    """Whether every value stays finite where no column is beyond `most`; `other`: columns that may be larger."""
    size: dict[int, float] = {}
    for node in nodes:
        limit = other.get(node.data[0], most) if other and node.op == "column" else most
        found = magnitude(node, [size[a.id] for a in node.args], limit)
        if math.isinf(found):
            return False
        size[node.id] = found
    return True


def magnitude(node: Node, args: Sequence[float], most: float) -> float:
    """A bound of a value's magnitude, by its arguments' bounds."""
    op = node.op
    if op == "const":
        # an infinity that the model itself holds is not an overflow
        return abs(node.data) if node.kind in "fi" and math.isfinite(node.data) else 1.0
    if op == "column":
        return most if node.kind in "fi" else 1.0
    if op == "lookup":
        table, other, gone = node.data
        known: list[float] = [other, gone, *(v for _, v in table)]
        return max((abs(v) for v in known if math.isfinite(v)), default=1.0)
    if op == "tree":
        values: tuple[float, ...] = node.data.values
        return max([1.0, *(abs(v) for v in values if math.isfinite(v))])
    if op in ("sum", "sum32", "add", "sub"):
        return sum(args)
    if op == "mul":
        return args[0] * args[1]
    if op == "div":
        by = node.args[1]
        return args[0] / abs(float(by.data)) if by.op == "const" and by.data else args[0] * 1e16
    if op == "f32":
        # without single precision it is calculated with a factor of 2^29; with it, beyond its range it is no number
        return args[0] * 1e9 if args[0] * 1e9 < 3.4e38 else math.inf
    if op == "exp":
        return 1e16  # of something not above zero in every model that takes it; else the text itself is guarded
    if op == "pow":
        try:
            return float(args[0] ** abs(node.args[1].data)) if node.args[1].op == "const" else math.inf
        except OverflowError:
            return math.inf
    if op in ("eq", "lt", "le", "gt", "ge", "and", "or", "not", "missing", "isinf", "sign", "tanh", "sin", "cos"):
        return 1.0
    if op in ("log", "sqrt"):
        return max(800.0, math.sqrt(args[0]))
    return max(args[1:] if op in ("where", "pick") else args, default=1.0)
