"""Scalar expressions of one row: interned nodes, their constants folded as they are made, and their value in numpy.

A missing number (NaN) and a missing text are one thing here, as they are NULL in SQL. Comparisons with it are false,
arithmetic with it is missing, `not` of a comparison with it is true: what numpy and ONNX do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST = 400_000
"""Nodes; a larger expression is no SQL that any engine would plan."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One expression. `kind`: "f" double, "i" integer, "b" truth, "s" text."""

    op: str
    args: tuple[Node, ...]
    data: Any
    kind: str
    id: int


@dataclass
class Pool:
    """Nodes by what they say: the same expression is the same node."""

    known: dict[Any, Node] = field(default_factory=dict)

    def node(self, op: str, args: Sequence[Node] = (), data: Any = None, kind: str = "f") -> Node:
        """The node; Impossible where the model is beyond what SQL can hold."""
        key = (op, tuple(a.id for a in args), data if op != "const" else (type(data).__name__, repr(data)), kind)
        found = self.known.get(key)
        if found is None:
            if len(self.known) >= LARGEST:
                raise Impossible(f"the model has more than {LARGEST:,} operations a row")
            found = self.known[key] = Node(op, tuple(args), data, kind, len(self.known))
        return found

    def const(self, value: Any) -> Node:
        """A constant: float, int, bool or text; numpy's scalars too."""
        value = value.item() if hasattr(value, "item") else value
        kind = "b" if isinstance(value, bool) else "i" if isinstance(value, int) else (
            "f" if isinstance(value, float) else "s")  # fmt: skip
        return self.node("const", (), value, kind)

    def apply(self, op: str, *args: Node, data: Any = None) -> Node:
        """An operation on nodes: its kind, what can be said more simply, and constants folded."""
        kind = result(op, args)
        if op == "float":
            return self.floated(args[0])
        if all(a.op == "const" for a in args) and op not in ("tree", "lookup"):
            return self.const(folded(op, kind, tuple(a.data for a in args), data))
        return simpler(self, op, args) or self.node(op, args, data, kind)

    def floated(self, a: Node) -> Node:
        """A number or truth as a double."""
        if a.kind == "f":
            return a
        if a.op == "const":
            return self.const(float(a.data))
        if a.op == "lookup":
            codes, other, gone = a.data
            moved = tuple((k, float(v)) for k, v in codes)
            return self.node("lookup", a.args, (moved, float(other), float(gone)), "f")
        return self.node("float", (a,), None, "f")

    def sum(self, terms: Sequence[Node], *, single: bool = False) -> Node:
        """Terms added from left to right, in double or in single precision; zeros are left out."""
        kept = [t for t in terms if not (t.op == "const" and t.data == 0)]
        if not kept:
            return self.const(0.0 if not terms or terms[0].kind == "f" else 0)
        if len(kept) == 1:
            return kept[0]
        if all(t.op == "const" for t in kept) and not single:
            return self.const(sum(t.data for t in kept))
        return self.node("sum32" if single else "sum", kept, None, kept[0].kind)

    def lookup(self, of: Node, table: Sequence[tuple[str, Any]], other: Any, gone: Any) -> Node:
        """What a text becomes: by its level, `other` for any other one, `gone` where it is missing."""
        kind = "f" if isinstance(other, float) else "i"
        kept = tuple((k, v) for k, v in table if not same(v, other))
        if not kept and same(other, gone):
            return self.const(other)
        return self.node("lookup", (of,), (kept, other, gone), kind)


def same(a: Any, b: Any) -> bool:
    """Equal, or both NaN."""
    return bool(a == b or (a != a and b != b))


TRUTHS = {"eq", "lt", "le", "gt", "ge", "and", "or", "not", "missing", "isinf"}
ALWAYS_FLOAT = {"exp", "log", "sqrt", "tanh", "div", "float", "f32", "tree", "sin", "cos", "sum32"}


def result(op: str, args: Sequence[Node]) -> str:
    """The kind an operation gives."""
    if op in TRUTHS:
        return "b"
    if op == "int":
        return "i"
    if op in ALWAYS_FLOAT:
        return "f"
    kinds = {a.kind for a in (args[1:] if op in ("where", "pick") else args)}
    return "f" if "f" in kinds else next(iter(kinds)) if len(kinds) == 1 else "i"


def simpler(pool: Pool, op: str, args: Sequence[Node]) -> Node | None:
    """The same in fewer nodes, where that is certain even for missing values; None where it is not."""
    a = args[0]
    other = args[1] if len(args) > 1 else a
    if op == "where":
        if a.op == "const":
            return args[1] if a.data else args[2]
        return args[1] if args[1] is args[2] else None
    if op == "not":
        return a.args[0] if a.op == "not" else None
    if op == "and" and "const" in (a.op, other.op):
        known, rest = (a, other) if a.op == "const" else (other, a)
        return rest if known.data else known
    if op == "or" and "const" in (a.op, other.op):
        known, rest = (a, other) if a.op == "const" else (other, a)
        return known if known.data else rest
    if op in ("add", "sub") and other.op == "const" and other.data == 0 and a.kind == other.kind:
        return a
    if op == "add" and a.op == "const" and a.data == 0 and a.kind == other.kind:
        return other
    if op in ("mul", "div") and other.op == "const" and other.data == 1 and a.kind == "f":
        return a
    if op == "mul" and a.op == "const" and a.data == 1 and other.kind == "f":
        return other
    if op == "neg" and a.op == "neg":
        return a.args[0]
    return None


def folded(op: str, kind: str, values: tuple[Any, ...], data: Any) -> Any:
    """An operation on constants."""
    import numpy as np

    arrays = [np.asarray([v]) for v in values]
    with np.errstate(all="ignore"):
        got = APPLY[op](*arrays)[0]
    return {"f": float, "i": int, "b": bool, "s": str}[kind](got)


def is_gone(x: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values are missing."""
    import numpy as np

    if x.dtype == object:
        return np.array([v is None for v in x.tolist()], bool)
    return np.isnan(x) if x.dtype.kind == "f" else np.zeros(len(x), bool)


@lru_cache
def _apply() -> Mapping[str, Callable[..., Any]]:
    import numpy as np

    return {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "abs": np.abs,
        "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh, "sin": np.sin, "cos": np.cos,
        "floor": np.floor, "sign": np.sign, "pow": np.power, "min": np.minimum, "max": np.maximum,
        "eq": np.equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
        "and": np.logical_and, "or": np.logical_or, "not": np.logical_not, "missing": is_gone, "where": np.where,
        "isinf": np.isinf, "float": lambda x: x.astype(np.float64), "int": lambda x: x.astype(np.int64),
        "f32": lambda x: x.astype(np.float32).astype(np.float64), "mod": np.mod, "pick": _pick,
    }  # fmt: skip


class _Lazy(dict[str, Any]):
    def __missing__(self, op: str) -> Any:
        return _apply()[op]


APPLY: Mapping[str, Callable[..., Any]] = _Lazy()
"""What an operation means, on arrays of rows."""


def _pick(index: Any, *values: Any) -> Any:
    import numpy as np

    return np.stack(np.broadcast_arrays(*values))[index, np.arange(len(index)) % len(values[0])]


def order(roots: Iterable[Node], below: Callable[[Node], Sequence[Node]] = attrgetter("args")) -> list[Node]:
    """Every node below `roots`, those below another before it; `below` says what stands below a node."""
    seen: set[int] = set()
    found: list[Node] = []
    stack: list[tuple[Node, bool]] = [(r, False) for r in reversed(list(roots))]
    while stack:
        node, done = stack.pop()
        if done:
            found.append(node)
        elif node.id not in seen:
            seen.add(node.id)
            stack.append((node, True))
            stack += [(a, False) for a in below(node) if a.id not in seen]
    return found


def evaluate(roots: Sequence[Node], columns: Mapping[str, NDArray[Any]], rows: int) -> list[NDArray[Any]]:
    """The values of `roots` for every row: the meaning that the SQL is held to."""
    import numpy as np

    got: dict[int, NDArray[Any]] = {}
    with np.errstate(all="ignore"):
        for node in order(roots):
            args = [got[a.id] for a in node.args]
            if node.op == "const":
                value: Any = np.full(rows, node.data, object if node.kind == "s" else None)
            elif node.op == "column":
                value = columns[node.data[0]]
            elif node.op == "lookup":
                table, other, gone = node.data
                known = dict(table)
                value = np.array([gone if v is None else known.get(v, other) for v in args[0].tolist()])
            elif node.op == "tree":
                value = node.data.value(args)
            elif node.op in ("sum", "sum32"):
                value = args[0].astype(np.float32) if node.op == "sum32" else args[0]
                for term in args[1:]:
                    value = value + term.astype(value.dtype)
                value = value.astype(np.float64) if node.op == "sum32" else value
            else:
                value = APPLY[node.op](*args)
            got[node.id] = value
    return [got[r.id] for r in roots]


def is_nan(value: Any) -> bool:
    """Whether a constant is the missing number."""
    return isinstance(value, float) and math.isnan(value)
