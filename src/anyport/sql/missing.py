"""Which expressions may be missing, and which are positive, as far as their form tells."""

from __future__ import annotations

from anyport.sql.expr import Node, order


def may_be_gone(node: Node, lost: frozenset[str] = frozenset(), known: dict[int, bool] | None = None) -> bool:
    """Whether an expression may be missing, as far as its form tells; `lost`: columns that may be, though no row is
    refused for it. All that was found is kept in `known`: a model of 100,000 expressions took minutes without."""
    gone: dict[int, bool] = {} if known is None else known
    for n in order([node], lambda n: () if n.id in gone else n.args):
        if n.id in gone:
            continue
        args = [gone[a.id] for a in n.args]
        if n.op == "column":
            value = n.data[1] or n.data[0] in lost  # a row in which another is missing has no answer
        elif n.op == "const":
            value = n.data != n.data
        elif n.op == "missing":
            value = False
        elif n.op == "lookup":
            value = any(v != v for v in (*(v for _, v in n.data[0]), n.data[1], n.data[2]))
        elif n.op == "tree":
            value = any(v != v for v in n.data.values)
        elif n.op == "walk":
            value = n.data.gone
        elif n.op == "where":
            inner = n.args[0]
            value = args[1] or (args[2] and not (inner.op == "missing" and inner.args[0] is n.args[2]))
        elif n.op in ("div", "log", "sqrt", "pow", "mod"):
            value = any(args) or not (n.op == "div" and (positive(n.args[1]) or n.args[1].op == "const"))
        else:
            value = any(args)
        gone[n.id] = value
    return gone[node.id]


def positive(node: Node) -> bool:
    """Whether an expression is above zero, as far as its form tells."""
    if node.op == "const":
        return bool(node.data > 0)
    if node.op in ("sum", "add"):
        return all(map(positive, node.args)) or (
            any(a.op == "const" and a.data > 0 for a in node.args) and all(map(not_negative, node.args)))  # fmt: skip
    return False


def not_negative(node: Node) -> bool:
    """Whether an expression is zero or above, as far as its form tells."""
    return node.op in ("exp", "abs", "sqrt") or positive(node) or (node.op in ("sum", "add", "max") and (
        all if node.op != "max" else any)(map(not_negative, node.args)))  # fmt: skip
