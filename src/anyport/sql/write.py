"""Expressions as SQL text, and which of them get a name of their own because others use them more than once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce

from anyport.errors import Impossible
from anyport.sql.dialect import Dialect
from anyport.sql.expr import Node
from anyport.sql.faint import FAINT, exponential, vanishes
from anyport.sql.fold import Folder, Split
from anyport.sql.missing import may_be_gone, positive
from anyport.sql.tree import LEAF, LINK, Tree

COMPARE = {"eq": "=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
SUMS = ("add", "sub", "mul", "div", "sum", "sum32")
"""What may be NaN: columns are NULL where they are."""
ARITHMETIC = {"add": "+", "sub": "-", "mul": "*"}


@dataclass(frozen=True)
class Value:
    """A branch of a tree as text."""

    text: str
    leaf: float | None = None
    """Of a leaf: the number that it is."""


@dataclass
class Writer:
    """Text of expressions in one dialect."""

    dialect: Dialect
    folder: Folder
    column: Callable[[str], str]
    """How an input column is called where it is compared."""
    operand: Callable[[str], str]
    """How it is called where it is calculated with."""
    code: Callable[[str, str], tuple[str, int]] | None = None
    """What the number of a text column is called, and which number a text of it has (see Dialect.codes)."""
    named: dict[int, str] = field(default_factory=dict)
    """Expressions that have a name there."""
    used: set[str] = field(default_factory=set)
    """Names that the text written since this was last emptied holds."""
    known: dict[int, bool] = field(default_factory=dict)
    """Which expressions may be missing, of those asked before."""
    lost: frozenset[str] = frozenset()
    """Columns whose largest numbers count as missing, because the original's own sums are infinity minus infinity."""
    faint: frozenset[int] = frozenset()
    """Expressions that count however small they are, see faint.py."""
    last: frozenset[int] = frozenset()
    """Expressions that nothing is calculated with."""

    def gone(self, node: Node) -> bool:
        """Whether an expression may be missing."""
        return self.dialect.nan or may_be_gone(node, self.lost, self.known)

    def text(self, node: Node) -> str:
        """The text of an expression; of a truth, as a condition."""
        if node.id in self.named:
            name = self.named[node.id]
            self.used.add(name)
            return self.dialect.holds(name) if node.kind == "b" else name
        return self.bare(node)

    def value(self, node: Node) -> str:
        """The text of an expression as a value, its name where it has one."""
        if node.id in self.named:
            self.used.add(self.named[node.id])
            return self.named[node.id]
        return self.valued(node)

    def valued(self, node: Node) -> str:
        """The text of an expression as a value, its own name aside."""
        if node.id in self.last and node.op == "column":
            return self.column(node.data[0])  # as it came: nothing is calculated
        if node.kind != "b" or self.dialect.truths:
            return self.bare(node)
        return self.operand(node.data[0]) if node.op == "column" else f"case when {self.bare(node)} then 1 else 0 end"

    def bare(self, node: Node) -> str:
        """The text of an expression, its own name aside."""
        d, op, args = self.dialect, node.op, node.args
        if op == "const":
            return self.constant(node)
        if op == "text":  # an engine's own words, made after everything else
            return str(node.data).format(*map(self.text, args))
        if op == "asked":  # the same, of what is only compared
            return str(node.data).format(*map(self.compared, args))
        if op == "walk":
            return str(node.data.values)
        if op == "column":
            x = self.operand(node.data[0])
            return d.holds(x) if node.kind == "b" else x
        if op == "tree":
            return self.tree(node, 0)
        if op == "lookup":
            return self.lookup(node)
        if op in ("sum", "sum32"):
            return self.sum(node)
        if op in d.functions and (op not in ARITHMETIC or node.kind == "f"):
            said = self.said(node)
            return self.guarded(node, d.functions[op].format(*said), said[0])
        if op == "mul" and node.kind == "f" and d.raises:
            return self.product(*args)
        if op in ARITHMETIC:
            return f"({self.text(args[0])} {ARITHMETIC[op]} {self.text(args[1])})"
        if op in COMPARE:
            return self.comparison(op, *args)
        if op in ("and", "or"):
            return f"({self.text(args[0])} {op} {self.text(args[1])})"
        if op == "not":
            return self.negated(args[0])
        if op == "missing":
            return f"({self.compared(args[0])} is null)"
        if op == "where":
            return self.where(node)
        if op == "pick":
            whens = " ".join(f"when {i} then {self.branch(v)}" for i, v in enumerate(args[1:-1]))
            return f"case {self.text(args[0])} {whens} else {self.text(args[-1])} end"
        if op in ("min", "max"):
            return self.extreme(node)
        if op == "float":
            return self.floated(args[0])
        if op == "int":
            return self.whole(args[0])
        if op == "neg":
            return f"(-{self.text(args[0])})"
        if op == "div":
            return self.divided(*args)
        if op == "f32":
            return self.rounded(args[0])
        if op == "isinf":
            return self.infinite(args[0])
        if op in ("abs", "exp", "log", "sqrt", "tanh", "floor", "sign", "pow", "sin", "cos", "mod"):
            said = self.said(node)
            return self.guarded(node, f"{op}({', '.join(said)})", said[0])
        raise Impossible(f"no SQL for the operation {op}")

    def source(self, node: Node) -> str:
        """Of a walk: what it is gathered from; its arguments are all named. "" of anything else."""
        return str(node.data.source).format(*map(self.text, node.args)) if node.op == "walk" else ""

    def negated(self, node: Node) -> str:
        x = self.text(node)
        if not self.gone(node):
            return f"(not {x})"
        return f"(not coalesce({x}, false))" if self.dialect.truths else f"(case when {x} then 0 else 1 end = 1)"

    def infinite(self, node: Node) -> str:
        d = self.dialect
        if d.infinity:
            return f"(abs({self.text(node)}) = {d.infinity})"
        if node.op == "column" and d.most:
            return f"(abs({self.column(node.data[0])}) = {d.most})"
        return f"({self.text(node)} is null and {self.constant_truth(False)})"

    def compared(self, node: Node) -> str:
        """The text of what is compared: a column as it came, however small; an infinity as the engine has it; a truth
        as a value."""
        if node.op == "const" and node.kind == "f":
            return self.dialect.bound(node.data)
        if node.op == "column":
            return self.column(node.data[0])
        return self.value(node) if node.kind == "b" else self.text(node)

    def constant(self, node: Node) -> str:
        if node.kind == "f":
            return self.dialect.double(node.data)
        if node.kind == "b":
            return self.constant_truth(node.data)
        return str(node.data) if node.kind == "i" else self.dialect.literal(node.data)

    def constant_truth(self, value: bool) -> str:
        """True or false."""
        if self.dialect.truths:
            return "true" if value else "false"
        return "(1 = 1)" if value else "(1 = 0)"

    def where(self, node: Node) -> str:
        """One CASE of all that follows as ELSE."""
        if node.kind == "b" and not self.dialect.truths:
            condition, first, second = node.args
            return f"(case when {self.text(condition)} then {self.value(first)} else {self.value(second)} end = 1)"
        whens: list[str] = []
        while node.op == "where" and (not whens or node.id not in self.named):
            whens.append(f"when {self.text(node.args[0])} then {self.branch(node.args[1])}")
            node = node.args[2]
        return f"case {' '.join(whens)} else {self.text(node)} end"

    def branch(self, node: Node) -> str:
        """The text of what the first branch of a CASE gives: the others take its type."""
        return self.dialect.branch(node.data) if node.op == "const" and node.kind == "f" else self.text(node)

    def sum(self, node: Node) -> str:
        if "add" in self.dialect.functions and node.kind == "f":
            add = self.dialect.functions["add"]
            return reduce(lambda a, b: add.format(a, b), map(self.text, node.args))
        if node.op == "sum32" and "add32" in self.dialect.functions:
            add, single = self.dialect.functions["add32"], self.dialect.functions["f32"]
            terms = (self.text(a) if a.op == "sum32" else single.format(self.text(a)) for a in node.args)
            return reduce(lambda a, b: add.format(a, b), terms)
        if node.op == "sum" or self.dialect.single is None:
            return "(" + " + ".join(map(self.text, node.args)) + ")"
        single = self.dialect.single
        return f"({' + '.join(single.format(self.text(a)) for a in node.args)})"

    def extreme(self, node: Node) -> str:
        if self.dialect.greatest and not any(map(self.gone, node.args)):
            return f"{self.dialect.greatest[node.op == 'max']}({', '.join(map(self.text, self.every(node)))})"
        a, b = map(self.text, node.args)
        sign = ">=" if node.op == "max" else "<="
        # not ELSE: where one is missing both comparisons are unknown, and so is the answer
        return f"case when {a} {sign} {b} then {a} when {b} {sign} {a} then {b} end"

    def every(self, node: Node) -> list[Node]:
        """All terms of a min or max, those of its own unnamed terms too."""
        found: list[Node] = []
        for arg in node.args:
            found += self.every(arg) if arg.op == node.op and arg.id not in self.named else [arg]
        return found

    def floated(self, node: Node) -> str:
        x = self.text(node)
        if node.kind == "b":
            return f"case when {x} then {self.dialect.branch(1.0)} else {self.dialect.double(0.0)} end"
        return self.dialect.cast(x, "double")

    def whole(self, node: Node) -> str:
        x = self.text(node)
        if node.kind == "b":
            return f"case when {x} then 1 else 0 end"
        found = self.dialect.cast(self.dialect.cut.format(x), "bigint")
        # of a refused row too: one that is too large for the type would be an error for all
        return f"case when abs({x}) < {self.dialect.double(2.0**63)} then {found} end"

    def product(self, a: Node, b: Node) -> str:
        """A product where one that is too small for a double is an error instead of 0."""
        x, y = self.text(a), self.text(b)
        one, other, of = (x, b, a) if b.op == "const" else (y, a, b)
        under = vanishes(self.dialect, of, other, faint=of.id in self.faint)
        if not under:
            return f"({x} * {y})"
        return f"case when abs({one}) < {under} then {self.dialect.branch(0.0)} else {x} * {y} end"

    def comparison(self, op: str, a: Node, b: Node) -> str:
        """A comparison, which is false of NaN."""
        x, y = self.compared(a), self.compared(b)
        text = f"{x} {COMPARE[op]} {y}"
        above, said = (a, x) if op in ("gt", "ge") else (b, y)
        if self.dialect.nan_above and op != "eq" and above.op in SUMS:
            return f"({text} and {said} <= {self.dialect.infinity})"
        return f"({text})"

    def divided(self, a: Node, b: Node) -> str:
        text, d = self.quotient(a, b), self.dialect
        if not d.raises or a.id not in self.faint:
            return text
        # what is too small for a double is an error
        none = f"abs({self.text(a)}) < {d.double(FAINT)} and abs({self.text(b)}) > 1"
        return f"case when {none} then {d.branch(0.0)} else {text} end"

    def quotient(self, a: Node, b: Node) -> str:
        x, y, d = self.text(a), self.text(b), self.dialect
        if (b.op == "const" and b.data != 0) or positive(b):
            return f"({x} / {y})"
        if d.infinity is None:
            return f"({x} / nullif({y}, 0))"
        up, down = d.double(float("inf")), d.double(float("-inf"))
        return f"case when {y} <> 0 then {x} / {y} when {x} > 0 then {up} when {x} < 0 then {down} end"

    def rounded(self, node: Node) -> str:
        x, single = self.text(node), self.dialect.single
        if single is not None:
            return self.dialect.cast(single.format(x), "double")
        # Veltkamp's splitting: the upper 24 bits, rounded (Dekker 1971, doi:10.1007/BF01397083)
        return f"(536870913.0 * {x} - (536870913.0 * {x} - {x}))"

    def said(self, node: Node) -> list[str]:
        """The arguments of a function; a column as it came where no size of it makes an error."""
        safe = node.op in ("log", "sqrt", "sign") or (node.op == "abs" and node.id in self.last)
        return [self.compared(arg) if safe and arg.op == "column" else self.text(arg) for arg in node.args]

    def guarded(self, node: Node, text: str, x: str) -> str:
        """A function of `x` asked only where it has an answer."""
        op, d, faint = node.op, self.dialect, node.id in self.faint
        if op == "exp" and (d.raises or d.infinity is None):
            return exponential(d, x, text, faint=faint, last=node.id in self.last)
        if op == "log":
            return f"case when {x} > 0 then {text} when {x} = 0 then {d.double(float('-inf'))} end"
        if op == "sqrt":
            return f"case when {x} >= 0 then {text} end"
        return text

    def lookup(self, node: Node) -> str:
        table, other, gone = node.data
        x = self.text(node.args[0])
        value = self.dialect.branch if node.kind == "f" else str
        groups: dict[str, list[str]] = {}
        for key, found in table:
            groups.setdefault(value(found), []).append(self.dialect.level(key))
        compared = self.dialect.binary.format(x)
        whens = [f"when {x} is null then {value(gone)}"] if value(gone) != value(other) else []
        for found, keys in groups.items():
            one = f"= {keys[0]}" if len(keys) == 1 else f"in ({', '.join(keys)})"
            whens.append(f"when {compared} {one} then {found}")
        return f"case {' '.join(whens)} else {value(other)} end" if whens else value(other)

    def tree(self, node: Node, at: int) -> str:
        """A tree as nested choices."""
        return self.closed(*self.ladder(node, at)).text

    def closed(self, whens: Sequence[tuple[str, Value]], last: Value) -> Value:
        """A ladder as one value."""
        if not whens:
            return last
        if not self.dialect.choice.startswith("case "):
            if self.dialect.chained:
                parts = ",".join(part for condition, value in whens for part in (condition, self.typed(value)))
                return Value(self.dialect.choice.format(parts, last.text))
            text = last.text
            for condition, value in reversed(whens):
                text = self.dialect.choice.format(condition, self.typed(value), text)
            return Value(text)
        untyped = all(v.leaf is not None for v in (*(value for _, value in whens), last))
        said = [f"when {c} then {self.typed(v) if untyped and not i else v.text}" for i, (c, v) in enumerate(whens)]
        return Value(f"case {' '.join(said)} else {last.text} end")

    def typed(self, value: Value) -> str:
        """A branch that may have to give the others its type."""
        return value.text if value.leaf is None else self.dialect.branch(value.leaf)

    def ladder(self, node: Node, at: int) -> tuple[list[tuple[str, Value]], Value]:
        """Below a node: conditions, each with what holds where it is the first that is met, and what holds else. A CASE
        in the ELSE of another would say the same with more words."""
        tree: Tree = node.data
        if tree.mode[at] == LEAF:
            return [], Value(self.dialect.alone(tree.values[at]), tree.values[at])
        if tree.mode[at] == LINK:
            return [], Value(self.text(node.args[tree.feature[at]]))
        split = self.folder.split(node, at)
        if split.test in ("all", "none"):
            return self.all_one_way(node, at, split)
        left, right = self.ladder(node, tree.left[at]), self.ladder(node, tree.right[at])
        if left == right:
            return left
        # of two sides of which one ends here, the other goes on
        when, then_left = self.test(split, leave=None if bool(left[0]) == bool(right[0]) else not left[0])
        first, second = (left, right) if then_left else (right, left)
        return [(when, self.closed(*first)), *second[0]], second[1]

    def all_one_way(self, node: Node, at: int, split: Split) -> tuple[list[tuple[str, Value]], Value]:
        """Every row whose column is there goes one way."""
        tree: Tree = node.data
        here = tree.left[at] if split.test == "all" else tree.right[at]
        gone = tree.left[at] if split.gone_left else tree.right[at]
        whens, last = self.ladder(node, here)
        if here == gone or not self.gone(split.of):
            return whens, last
        lost = self.closed(*self.ladder(node, gone))
        return [(f"{self.compared(split.of)} is null", lost), *whens], last

    def test(self, split: Split, leave: bool | None) -> tuple[str, bool]:
        """A condition that is not unknown where it decides, and whether rows that meet it go left.

        `leave`: whether they should; it is heeded where both ways can be said.
        """
        x = self.compared(split.of)
        if split.test == "is":
            return self.dialect.holds(x), False
        if split.test == "in":
            return self.member(split, x)
        limit = self.dialect.bound(split.limit)
        if split.of.op == "column" and split.of.kind == "i" and abs(split.limit) < 2**53:
            limit = str(math.floor(split.limit) if split.test == "le" else math.ceil(split.limit))
        # unknown is ELSE: the condition is turned round where a missing value goes left
        right = split.gone_left if leave is None or self.gone(split.of) else not leave
        if right:
            return f"{x}{'>' if split.test == 'le' else '<'}{limit}", False
        return f"{x}{'<=' if split.test == 'le' else '>='}{limit}", True

    def member(self, split: Split, x: str) -> tuple[str, bool]:
        literal = self.dialect.level if split.of.kind == "s" else self.dialect.double
        compared = self.dialect.binary.format(x) if split.of.kind == "s" else x
        if self.code is not None and split.of.op == "column" and split.of.kind == "s" and split.levels:
            coded = [self.code(split.of.data[0], v) for v in split.levels]
            compared, keys = coded[0][0], ", ".join(str(number) for _, number in coded)
        else:
            keys = ", ".join(literal(v) for v in split.levels)
        found = f"{compared} in ({keys})" if len(split.levels) != 1 else f"{compared}={keys}"
        if not split.levels:
            found = f"{x} is null and {x} is not null"
        if split.gone_left == split.other:
            return found, not split.other
        return f"({found} or {x} is null)", not split.other
