"""Field and Signature: what a model takes and gives, and which values it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from anyport.batch import Batch, Column, Refusal
from anyport.errors import BadData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Dtype = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "string", "category", "datetime",
]  # fmt: skip
Container = Literal["dataframe", "array", "list", "tensors"]
"""How the original takes its rows: a pandas DataFrame, a 2-d array of numbers, a list of strings
(text vectorisers), or named tensors."""


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One input or output column, with everything that decides whether a value is answered.

    The bounds are found by asking the original (see golden.py), so that a refusal here and an exception
    there are the same thing: `nullable` (a missing value is answered), `low`/`high` (the closed interval
    of numbers that are answered; None: no bound), `infinite` (±inf are answered), `closed` (only `levels`
    are answered).
    """

    name: str
    dtype: Dtype
    shape: tuple[int | None, ...] = ()
    """Of one row's value, without the batch axis; None is a free axis. () is a scalar."""
    nullable: bool = False
    levels: tuple[str | int | float | bool, ...] | None = None
    """Known levels of a category or string, in the original's order. For `probability`: the class labels."""
    closed: bool = False
    low: float | None = None
    high: float | None = None
    infinite: bool = True
    tz: str | None = None
    """Time zone that the original's datetimes carry; values are UTC in a Column."""
    native: str = ""
    """dtype in the original's container: 'int64', 'Int64', 'str', 'object', 'category', 'datetime64[ns, UTC]'."""
    missing: Literal["nan", "none", "na"] = "nan"
    """How the original's container writes a missing value in this column."""
    ordered: bool = False
    """Of a category: pandas' ordered flag."""

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith("float")

    @property
    def is_int(self) -> bool:
        return self.dtype.startswith(("int", "uint"))

    @property
    def is_number(self) -> bool:
        """A bool, an integer or a float."""
        return self.is_float or self.is_int or self.dtype == "bool"

    @property
    def is_text(self) -> bool:
        return self.dtype in ("string", "category")

    @property
    def width(self) -> int:
        """Number of scalars in one row's value; free axes count as 1."""
        size = 1
        for axis in self.shape:
            size *= axis or 1
        return size

    def says(self) -> str:
        """The type in words, for errors and pages: `float64`, `one of 'a', 'b'`, `int64 or missing`."""
        text = self.dtype if not self.shape else f"{self.dtype}[{', '.join(str(a or '?') for a in self.shape)}]"
        if self.closed and self.levels is not None:
            shown = ", ".join(repr(v) for v in self.levels[:8])
            text = f"one of {shown}" + (", …" if len(self.levels) > 8 else "")
        if self.low is not None or self.high is not None:
            text += (
                f" from {self.low if self.low is not None else '-∞'} to {self.high if self.high is not None else '∞'}"
            )
        return f"{text} or missing" if self.nullable else text


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the model takes and gives. Columns are matched by name, never by position."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    container: Container = "dataframe"

    def input(self, name: str) -> Field:
        """The input called `name`; KeyError if there is none."""
        for field in self.inputs:
            if field.name == name:
                return field
        raise KeyError(name)

    def output(self, name: str) -> Field | None:
        """The output called `name`, or None."""
        for field in self.outputs:
            if field.name == name:
                return field
        return None

    @property
    def ports(self) -> dict[str, str]:
        """Input → what a graph over raw columns calls it: its name; `NAME_given` where an output has that name, because
        ONNX names inputs, outputs and all in between in one space."""
        answers = {f.name for f in self.outputs}
        taken = answers | {f.name for f in self.inputs}
        found = {}
        for field in self.inputs:
            name = field.name
            while name in taken and field.name in answers:
                name += "_given"
            taken.add(name)
            found[field.name] = name
        return found

    @property
    def labels(self) -> tuple[Any, ...] | None:
        """Class labels in the order of `probability`'s columns; None for anything but a classifier."""
        field = self.output("probability") or self.output("prediction")
        return None if field is None else field.levels


def refusals(batch: Batch, signature: Signature) -> dict[int, tuple[Refusal, ...]]:
    """Which rows the original would not answer, by the Fields' rules; vectorised. {} is the usual answer."""
    fitting(batch, signature)
    found: dict[int, list[Refusal]] = {}
    for field in signature.inputs:
        column = batch[field.name]
        for wrong, got in broken(field, column):
            for row in wrong.nonzero()[0].tolist():
                found.setdefault(row, []).append(Refusal(field.name, field.says(), got(row)))
    return {row: tuple(found[row]) for row in sorted(found)}


def fitting(batch: Batch, signature: Signature) -> None:
    """BadData unless the batch has every input column, each of its field's kind."""
    for field in signature.inputs:
        column = batch.get(field.name)
        if column is None:
            raise BadData(f"missing column {field.name!r}", fix=f"columns given: {', '.join(batch) or 'none'}")
        if not holds(column, field):
            raise BadData(f"column {field.name!r}: expected {field.says()}, got {column.values.dtype}")


def holds(column: Column, field: Field) -> bool:
    """Whether a column's array is of its field's kind (text as objects or a dictionary, numbers as numbers)."""
    kind = column.values.dtype.kind
    if field.is_text:
        return kind == "O" or column.dictionary is not None
    return kind == ("M" if field.dtype == "datetime" else {"b": "b", "i": "i", "u": "u", "f": "f"}[field.dtype[0]])


def broken(field: Field, column: Column) -> Iterator[tuple[NDArray[np.bool_], Callable[[int], str]]]:
    """Each rule of the Field that some row breaks: a mask, and what came in a given row."""
    import numpy as np

    if not field.nullable:
        missing = column.missing()
        if missing.any():
            yield missing, lambda row: "a missing value"
    values = column.values
    if field.is_float or field.is_int:
        shown = _shown(column)
        if field.is_float and not field.infinite:
            wrong = _rows(np.isinf(values))
            if wrong.any():
                yield wrong, shown
        with np.errstate(invalid="ignore"):
            outside = np.zeros(len(values), bool)
            if field.low is not None:
                outside |= _rows((values < field.low) & (np.isfinite(values) if field.is_float else True))
            if field.high is not None:
                outside |= _rows((values > field.high) & (np.isfinite(values) if field.is_float else True))
        if column.valid is not None:
            outside &= column.valid
        if field.closed:
            outside |= ~(_rows(np.isin(values, np.array(field.levels or (), dtype=values.dtype))) | column.missing())
        if outside.any():
            yield outside, shown
    elif field.is_text and field.closed:
        known = set(field.levels or ())
        if column.dictionary is not None:
            bad_codes = np.array([v not in known for v in column.dictionary.tolist()], bool)
            wrong = bad_codes[values] if len(bad_codes) else np.zeros(len(values), bool)
        else:
            wrong = np.fromiter((v not in known for v in values.tolist()), bool, len(values))
        if column.valid is not None:
            wrong &= column.valid
        if wrong.any():
            yield wrong, _shown(column)


def _rows(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    import numpy as np

    return np.asarray(mask.any(axis=tuple(range(1, mask.ndim))), bool) if mask.ndim > 1 else mask


def _shown(column: Column) -> Callable[[int], str]:
    def shown(row: int) -> str:
        value = column.values[row] if column.dictionary is None else column.dictionary[column.values[row]]
        value = value.tolist() if hasattr(value, "tolist") else value
        return repr(value[:80] if isinstance(value, str) else value)[:80]  # long texts may come in many rows

    return shown
