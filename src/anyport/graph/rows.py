"""One record into one row of the tensor: Python code made once from the declaration, as fast as Python goes.

Measured (14 mixed columns, 110 float32 slots, one 2.5 GHz core): one `struct.pack_into` of ready-made bytes for each
level 0.9 µs; index assignment into a memoryview 2.2 µs, into numpy 1.9 µs, joined bytes 2.1 µs.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from anyport.batch import Refusal
from anyport.errors import AnyportError
from anyport.graph.encoder import (
    Add,
    Bins,
    Clip,
    Divide,
    Encoder,
    Entry,
    Float32,
    Impute,
    Indicator,
    Lookup,
    Multiply,
    Number,
    Step,
    Subtract,
    Text,
)
from anyport.signature import Field, Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

Fill = Callable[[Any, "NDArray[Any]"], "tuple[Refusal, ...] | None"]

OPERATORS: Mapping[type, str] = {Subtract: "-", Divide: "/", Multiply: "*", Add: "+"}
READY = 4 << 20
"""Bytes of ready-made rows that one lookup may hold; a larger one is written level by level."""
UNUSUAL = (struct.error, TypeError, OverflowError, ZeroDivisionError, KeyError, AttributeError, ValueError)
"""What the quick code raises for anything out of the ordinary; `careful` then judges the record."""


def compile_row(signature: Signature, encoder: Encoder, *, access: Literal["key", "attribute"] = "key") -> Fill:
    """A function `fill(record, out)`: writes the record's tensor row into `out` (1-d, contiguous, of the encoder's
    dtype and width) and gives None, or writes anything and gives every Refusal of the record.

    `access` "key": the record is a mapping by column name, of any Python values. "attribute": it has attributes
    c0, c1, … in the signature's order, whose types and bounds are right already (a typed msgspec Struct: see
    serve/hot.py's row_type), and which came from JSON, that has neither NaN nor infinities.
    """
    code = Code(signature, encoder, access)
    careful = careful_fill(signature, encoder, access)
    for i, field in enumerate(signature.inputs):
        code.read(i, field, [e for e in encoder.entries if e.column == field.name])
    return code.function(careful)


class Code:
    """Lines of the function being written, and the constants they name. No text of the declaration becomes code."""

    def __init__(self, signature: Signature, encoder: Encoder, access: str) -> None:
        self.typed = access == "attribute"
        self.encoder = encoder
        self.size = struct.calcsize("=" + self.letter)
        self.lines: list[str] = []
        self.locals = 0
        self.after: list[str] = []
        self.constants: dict[str, Any] = {"nan": float("nan"), "bisect": bisect_right}
        self.segments: list[tuple[int, int, str, str]] = []
        """slot, width, struct format, expression."""

    @property
    def letter(self) -> str:
        return "f" if self.encoder.tensor == "float32" else "d"

    def keep(self, value: Any) -> str:
        """A name for a constant."""
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def say(self, *lines: str) -> None:
        self.lines += lines

    def bytes_of(self, row: Sequence[float]) -> bytes:
        """A row of numbers as the tensor holds it."""
        import numpy as np

        with np.errstate(over="ignore"):
            return np.array(row, dtype=np.float64).astype(self.encoder.tensor).tobytes()

    def read(self, i: int, field: Field, entries: Sequence[Entry]) -> None:
        """Read column i, check its rules, and write its entries."""
        x = f"x{i}"
        self.say(f"{x} = r.c{i}" if self.typed else f"{x} = r[{self.keep(field.name)}]")
        if field.shape or field.dtype == "datetime":
            self.say("return careful(r, out)")
        elif field.is_text:
            self.text(x, field, quick=any(isinstance(e, Lookup) and not self.is_wide(e) for e in entries))
        else:
            self.number(x, field, rounds=any(_computes(e, self.encoder.tensor) for e in entries))
        for entry in entries:
            if isinstance(entry, Number):
                self.segments.append((entry.slot, 1, self.letter, self.steps(x, entry.steps)))
            elif isinstance(entry, Indicator):
                self.indicator(x, entry, text=field.is_text)
            elif isinstance(entry, Lookup):
                self.lookup(x, entry, field)
            elif isinstance(entry, Bins):
                self.bins(x, entry)
            else:
                self.terms(x, entry)

    def text(self, x: str, field: Field, *, quick: bool) -> None:
        """Text is a str; levels of a category have their own type. A missing value is None. With `quick`, a
        level found in a table of texts is known to be right, and only others are judged (see `lookup`)."""
        kind = level_type(field)
        if field.closed:
            known = self.keep(frozenset(field.levels or ()) | ({None} if field.nullable else set()))
            self.say(f"if {x} not in {known}: return careful(r, out)")
        if not self.typed and not (quick and kind is str):
            none = f" and {x} is not None" if field.nullable else ""
            self.say(f"if {x}.__class__ is not {kind.__name__}{none}: return careful(r, out)")

    def number(self, x: str, field: Field, *, rounds: bool) -> None:
        """A number within the field's bounds; a missing one becomes NaN."""
        checks = []
        if field.dtype == "bool" and not self.typed:
            checks = [f"if {x} is not True and {x} is not False: return careful(r, out)"]
        elif field.is_int:
            low, high = _int_bounds(field)
            if not self.typed:
                checks = self.becomes(x, "int", f"{x}.__class__ is float and {x}.is_integer()")
                checks.append(f"if not {low} <= {x} <= {high}: return careful(r, out)")
        elif field.is_float:
            checks = [] if self.typed else self.becomes(x, "float", f"{x}.__class__ is int")
            least, most = _float_bounds(field)
            unless = f" and {x} == {x}" if field.nullable else ""
            bounds = f"not {self.keep(least)} <= {x} <= {self.keep(most)}{unless}"
            if least == -most == -math.inf:
                bounds = "" if field.nullable else f"{x} != {x}"
            checks += [f"if {bounds}: return careful(r, out)"] if bounds and not self.typed else []
            if rounds and field.dtype != "float64":
                one = struct.Struct("=f" if field.dtype == "float32" else "=e")
                checks.append(f"{x} = {self.keep(one.unpack)}({self.keep(one.pack)}({x}))[0]")
        if field.nullable and not checks:
            self.say(f"if {x} is None: {x} = nan")
        elif field.nullable:
            self.say(f"if {x} is None: {x} = nan", "else:", *("    " + line for line in checks))
        else:
            self.say(*checks)

    def becomes(self, x: str, kind: str, when: str) -> list[str]:
        """Lines that make x an int or a float."""
        return [
            f"if {x}.__class__ is not {kind}:",
            f"    if not ({when}): return careful(r, out)",
            f"    {x} = {kind}({x})",
        ]

    def steps(self, x: str, steps: Sequence[Step]) -> str:
        """The column's value after steps, as an expression."""
        for step in steps:
            if isinstance(step, Impute):
                x = self.named(x)
                x = f"({self.keep(step.value)} if {x} != {x} else {x})"
            elif isinstance(step, Clip):
                low, high, x = self.keep(step.low), self.keep(step.high), self.named(x)
                x = f"({low} if {x} < {low} else {high} if {x} > {high} else {x})"
            elif isinstance(step, Float32):
                one = struct.Struct("=f")
                x = f"{self.keep(one.unpack)}({self.keep(one.pack)}({x}))[0]"
            else:
                x = f"({x} {OPERATORS[type(step)]} {self.keep(step.value)})"
        return x

    def named(self, x: str) -> str:
        """A variable that holds the expression x."""
        if x.isidentifier():
            return x
        self.locals += 1
        self.say(f"y{self.locals} = {x}")
        return f"y{self.locals}"

    def indicator(self, x: str, entry: Indicator, *, text: bool) -> None:
        gone = f"{x} is None" if text else f"{x} != {x}"
        yes, no = self.keep(self.bytes_of([entry.yes])), self.keep(self.bytes_of([entry.no]))
        self.segments.append((entry.slot, 1, f"{self.size}s", f"{yes} if {gone} else {no}"))

    def lookup(self, x: str, entry: Lookup, field: Field) -> None:
        """Ready-made bytes for each level; for what the original refuses, None, which struct refuses in turn."""
        import numpy as np

        k, width = len(entry.levels), entry.width
        if self.is_wide(entry):
            return self.wide(x, entry, field)
        body = np.eye(k) if entry.table is None else np.array(entry.table, dtype=np.float64).reshape(k, width)
        ready: dict[Any, bytes | None] = {v: self.bytes_of(body[i]) for i, v in enumerate(entry.levels)}
        gone = None if entry.missing is None else self.bytes_of(entry.missing)
        other = None if entry.unknown is None else self.bytes_of(entry.unknown)
        if field.is_text:
            ready[None] = gone
        p = f"p{entry.slot}"
        if not field.is_text:
            found = f"{self.keep(ready.get)}({x}, {self.keep(other)})"
            self.say(f"{p} = {self.keep(gone)} if {x} != {x} else {found}" if field.nullable else f"{p} = {found}")
        elif self.typed or level_type(field) is not str:
            self.say(f"{p} = {self.keep(ready.get)}({x}, {self.keep(other)})")
        else:
            self.say(f"{p} = {self.keep(ready.get)}({x})")
            if other is not None:
                self.say(f"if {p} is None and {x}.__class__ is str: {p} = {self.keep(other)}")
        self.segments.append((entry.slot, width, f"{width * self.size}s", p))
        return None

    def is_wide(self, entry: Lookup) -> bool:
        return (len(entry.levels) + 2) * entry.width * self.size > READY

    def wide(self, x: str, entry: Lookup, field: Field) -> None:
        """A table too large to keep as bytes: rows of it are copied after the rest is written."""
        import numpy as np

        k, a, b = len(entry.levels), entry.slot, entry.slot + entry.width
        place = {v: i for i, v in enumerate(entry.levels)}
        if field.is_text:
            place[None] = k + 1  # type: ignore[index]  # None is not a level; it is how a missing one arrives
        zeros = (0.0,) * entry.width
        ends = np.array([entry.unknown or zeros, entry.missing or zeros])
        at = f"{k + 1} if {x} != {x} else {self.keep(place.get)}({x}, {k})"
        known = (k if entry.unknown is None else -1, k + 1 if entry.missing is None else -1)
        self.say(f"p{a} = {at}", f"if p{a} in {self.keep(known)}: return careful(r, out)")
        if entry.table is None:
            self.after.append(f"if p{a} < {k}: out[{a} + p{a}] = 1.0")
            self.after.append(f"else: out[{a}:{b}] = {self.keep(ends)}[p{a} - {k}]")
        else:
            table = np.concatenate([np.array(entry.table, dtype=np.float64), ends])
            self.after.append(f"out[{a}:{b}] = {self.keep(table)}[p{a}]")

    def bins(self, x: str, entry: Bins) -> None:
        y = self.named(self.steps(x, entry.steps))
        ready = [self.bytes_of(row) for row in entry.table]
        gone = None if entry.missing is None else self.bytes_of(entry.missing)
        found = f"{self.keep(ready)}[bisect({self.keep(entry.edges)}, {y})]"
        width = f"{entry.width * self.size}s"
        self.segments.append((entry.slot, entry.width, width, f"{self.keep(gone)} if {y} != {y} else {found}"))

    def terms(self, x: str, entry: Text) -> None:
        from anyport.graph.text import counter

        count = self.keep(counter(entry))
        self.after.append(f"for i, times in {count}({x}).items(): out[{entry.slot} + i] = times")

    def function(self, careful: Fill) -> Fill:
        """The finished function."""
        form, at, values = "=", 0, []
        for slot, width, letters, value in sorted(self.segments):
            form += f"{(slot - at) * self.size}x" * (slot > at) + letters
            values.append(value)
            at = slot + width
        form += f"{(self.encoder.width - at) * self.size}x" * (self.encoder.width > at)
        pack = self.keep(struct.Struct(form).pack_into)
        self.say(", ".join([f"{pack}(out", "0", *values]) + ")", *self.after)
        names = [*self.constants, "careful", "UNUSUAL"]
        inner = "\n".join("            " + line for line in self.lines)
        source = (
            f"def make({', '.join(names)}):\n    def fill(r, out):\n        try:\n{inner}\n"
            "        except UNUSUAL:\n            return careful(r, out)\n        return None\n    return fill\n"
        )
        space: dict[str, Any] = {}
        exec(source, space)  # noqa: S102  # names and numbers of this file only; every value is a constant
        made: Fill = space["make"](**self.constants, careful=careful, UNUSUAL=UNUSUAL)
        return made


def level_type(field: Field) -> type:
    """str, or what the levels of a category are."""
    return type(field.levels[0]) if field.levels and field.dtype == "category" else str


def _computes(entry: Entry, tensor: str) -> bool:
    """Whether a float32 column must be rounded before this entry reads it (packing rounds the rest)."""
    if isinstance(entry, Number):
        return tensor == "float64" or any(not isinstance(s, (Impute, Float32)) for s in entry.steps)
    return isinstance(entry, (Lookup, Bins))


def _int_bounds(field: Field) -> tuple[int, int]:
    import numpy as np

    limits = np.iinfo(field.dtype)
    low = int(limits.min) if field.low is None else max(int(limits.min), math.ceil(field.low))
    high = int(limits.max) if field.high is None else min(int(limits.max), math.floor(field.high))
    return low, high


def _float_bounds(field: Field) -> tuple[float, float]:
    """Bounds that answerable numbers mostly lie in; `careful` judges those outside (infinities have a rule apart)."""
    import numpy as np

    end = float("inf") if field.infinite and field.dtype == "float64" else float(np.finfo(field.dtype).max)
    return (-end if field.low is None else field.low, end if field.high is None else field.high)


def careful_fill(signature: Signature, encoder: Encoder, access: str) -> Fill:
    """The same by way of a Batch of one row: any Python value, every rule, every Refusal."""
    fields = signature.inputs
    names = [f"c{i}" for i in range(len(fields))]

    def fill(record: Any, out: NDArray[Any]) -> tuple[Refusal, ...] | None:
        from anyport.graph.encode import encode
        from anyport.ingest import to_column
        from anyport.signature import refusals

        found: list[Refusal] = []
        good, batch = [], {}
        for field, name in zip(fields, names, strict=True):
            try:
                value = getattr(record, name) if access == "attribute" else record[field.name]
            except (KeyError, AttributeError):
                found.append(Refusal(field.name, field.says(), "no value: the column is not there"))
                continue
            wrong: dict[int, list[Refusal]] = {}
            try:
                column = to_column([value], field, wrong)
            except AnyportError as error:
                wrong[0] = [Refusal(field.name, field.says(), error.what)]
            if wrong:
                found += wrong[0]
            else:
                good.append(field)
                batch[field.name] = column
        rest = Signature(inputs=tuple(good), outputs=())
        found += refusals(batch, rest).get(0, ())
        if found:
            return tuple(found)
        encode(encoder, batch, out=out.reshape(1, -1))
        return None

    return fill
