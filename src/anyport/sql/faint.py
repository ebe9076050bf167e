"""Which expressions decide an answer however small they are: a sum of exponentials that something is divided by."""

from __future__ import annotations

import math
from collections.abc import Sequence

from anyport.errors import Impossible
from anyport.sql.dialect import Dialect
from anyport.sql.expr import Node, order

LEAST = math.ulp(0.0)
"""The smallest double above 0."""
FAINT = 1e-300
"""Less than this, divided by more than 1, is nothing."""
NORMAL, LAST, FAINTEST = -708.0, -744.1, -745.1332191019411
"""Below the first exp gives less than a normal number, which C's may report as an underflow
(https://www.man7.org/linux/man-pages/man3/exp.3.html): its root is squared there. Below the second it gives LEAST, and
below the third, the last double above log(LEAST / 2), nothing."""
PASSING = ("neg", "abs", "float", "f32", "min")


def faint_ones(roots: Sequence[Node], d: Dialect) -> frozenset[int]:
    """Ids of what may be smaller than any normal number while the answer hangs on it. Impossible where there are any,
    in an engine that does not hold such numbers.

    The weights of LabelPropagation are such: exponentials of distances, divided by their sum, whatever is left of it.
    Those of a softmax are none, as the largest of its exponentials is 1.
    """
    every = order(roots)
    small: dict[int, bool] = {}
    for n in every:
        args = [small[a.id] for a in n.args]
        if n.op == "exp":
            value = not (n.args[0].op == "sub" and n.args[0].args[1].op == "max")
        elif n.op in ("sum", "add", "max", *PASSING):
            value = all(args)
        elif n.op == "mul":
            value = any(args)
        elif n.op == "div":
            value = args[0]
        elif n.op in ("where", "pick"):
            value = any(args[1:])
        else:
            value = False
        small[n.id] = value
    below = [n.args[1] for n in every if n.op == "div" and small[n.args[1].id]]
    held = {n.id for n in order(below, lambda n: [a for a in n.args if small[a.id]]) if n.op == "exp"}
    for n in every:
        if small[n.id] and any(a.id in held for a in n.args):
            held.add(n.id)
    if held and not d.subnormal:
        raise Impossible(f"the model's answers hang on numbers below 2.2e-308, which {d.name} does not hold")
    return frozenset(held)


def last_ones(roots: Sequence[Node]) -> frozenset[int]:
    """Ids of the expressions that no other is made of."""
    return frozenset(n.id for n in roots) - {a.id for n in order(roots) for a in n.args}


def exponential(d: Dialect, x: str, text: str, *, faint: bool, last: bool) -> str:
    """exp of `x`, which is `text`, where what is too large or too small for a double is an error; `last`: nothing is
    calculated with it."""
    # below, PostgreSQL says "value out of range: underflow"; above, overflow
    most, up = (709.78, math.inf) if d.infinity else (709.78, float(d.most)) if last else (700.0, 1e304)
    over = f"when {x} > {d.double(most)} then {d.double(up)}"
    if faint:
        root = f"exp({x} / {d.double(2.0)})"
        over = f"when {x} < {d.double(NORMAL)} then {root} * {root} {over}"
        over = f"when {x} < {d.double(LAST)} then {d.double(LEAST)} {over}"
    under = d.double(FAINTEST if faint else d.vanishing)
    return f"case when {x} < {under} then {d.branch(0.0)} {over} else {text} end"


def vanishes(d: Dialect, node: Node, by: Node, *, faint: bool) -> str:
    """Below which size `node` times the constant `by` is nothing; "" where it cannot be that small."""
    least = 1.0 if faint else LEAST / math.exp(d.vanishing) if node.op == "exp" else 0.0
    if by.op != "const" or not 0 < abs(by.data) < least:
        return ""
    return d.double(math.nextafter(LEAST / abs(by.data), math.inf))
