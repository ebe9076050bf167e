"""How large the values in between can become: engines that raise an error at an overflow are never led to one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from anyport.sql.expr import Node, order

TINY = 1e-100
"""Nearer to zero a column counts as zero where it is calculated with: even its cube is then no underflow."""


def reach(roots: Sequence[Node]) -> float:
    """The largest number, to two digits, that columns may hold, either side of zero, so that nothing overflows; 0 where
    none is known."""
    nodes = order(roots)
    power = bisect(lambda p: fits(nodes, 10.0**p), 0, 309)
    digits = bisect(lambda m: fits(nodes, m / 10 * 10.0**power), 9, 100)
    return max(digits, 10) / 10 * 10.0**power if power else 0.0


def bisect(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number from `low` (for which it is taken to hold) to below `high` for which it holds."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def fits(nodes: Sequence[Node], most: float) -> bool:
    """Whether every value stays finite where no column is beyond `most`."""
    size: dict[int, float] = {}
    for node in nodes:
        found = magnitude(node, [size[a.id] for a in node.args], most)
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


__all__ = ["TINY", "reach"]
