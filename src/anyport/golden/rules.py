"""The Fields' rules, found by asking the original: is a missing value answered, an infinity, an unknown level,
and between which numbers does it answer at all?"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from anyport.batch import Batch, Column, take
from anyport.frameworks import Original
from anyport.golden.ask import answer, raw
from anyport.signature import Field, Signature

UNKNOWN = "anyport unseen level"
"""A string that no training data holds."""
FLOAT32_LIMIT = 3.4028235677973362e38
"""The largest double that rounds to a finite float32: scikit-learn's trees refuse anything above."""


def find_rules(original: Original, base: Batch) -> Signature:
    """The signature with every scalar input's rules as the original keeps them. `base` is one row that it answers."""
    fields = [rules_of(original, base, f) if not f.shape else f for f in original.signature.inputs]
    return msgspec.structs.replace(original.signature, inputs=tuple(fields))


def rules_of(original: Original, base: Batch, field: Field) -> Field:
    """One field with its rules."""
    import numpy as np

    def takes(column: Column) -> bool:
        try:
            raw(original, {**base, field.name: column})
        except Exception:  # a refusal is what is being asked for
            return False
        return True

    if field.is_number and field.levels is not None and field.dtype != "bool":
        some = Column(np.array([unknown_level(field)], field.dtype))
        if not takes(some):
            known = answered(original, base, field, field.levels)
            nothing = np.array([np.nan], field.dtype) if field.is_float else np.zeros(1, field.dtype)
            nullable = takes(Column(nothing, None if field.is_float else np.zeros(1, bool)))
            return msgspec.structs.replace(field, closed=True, levels=known, nullable=nullable, infinite=False)
        field = msgspec.structs.replace(field, levels=None)
    if field.is_float:
        low, high = bounds(lambda v: takes(Column(np.array([v], field.dtype))), base[field.name].values[0], field)
        infinite = all(takes(Column(np.array([v], field.dtype))) for v in (np.inf, -np.inf))
        nullable = takes(Column(np.array([np.nan], field.dtype)))
        return msgspec.structs.replace(field, nullable=nullable, infinite=infinite, low=low, high=high)
    missing = Column(np.zeros(1, field.dtype), np.zeros(1, bool)) if field.is_number else None
    if field.is_int:
        low, high = bounds(lambda v: takes(Column(np.array([int(v)], field.dtype))), base[field.name].values[0], field)
        return msgspec.structs.replace(field, nullable=takes(missing), low=low, high=high)  # type: ignore[arg-type]
    if field.dtype == "bool":
        return msgspec.structs.replace(field, nullable=takes(missing))  # type: ignore[arg-type]
    if field.dtype == "datetime":
        return msgspec.structs.replace(field, nullable=takes(Column(np.array(["NaT"], "datetime64[us]"))))
    nothing = np.empty(1, object)
    nullable = takes(Column(nothing, np.zeros(1, bool)))
    closed = not takes(text([unknown_level(field)]))
    levels = field.levels
    if closed:
        seen = original.data[field.name].plain()
        values = [v for v in seen.values.tolist() if v is not None] if field.dtype == "string" else []
        every = list(dict.fromkeys([*(levels or ()), *sorted(set(values))]))
        levels = answered(original, base, field, every)
    return msgspec.structs.replace(field, nullable=nullable, closed=closed, levels=levels)


def answered(original: Original, base: Batch, field: Field, levels: Sequence[Any]) -> tuple[Any, ...]:
    """Those of the levels that the original answers, asked in batches."""
    import numpy as np

    column = text(levels) if field.is_text else Column(np.array(levels, field.dtype))
    batch = {**take(base, np.zeros(len(levels), int)), field.name: column}
    refused = answer(original, batch).refused
    return tuple(v for row, v in enumerate(levels) if row not in refused)


def text(values: Sequence[Any]) -> Column:
    """A column of levels."""
    import numpy as np

    out = np.empty(len(values), object)
    out[:] = list(values)
    return Column(out)


def unknown_level(field: Field) -> Any:
    """A level that the model cannot have seen, of the levels' own type."""
    if field.levels and not isinstance(field.levels[0], str):
        if isinstance(field.levels[0], bool):
            return UNKNOWN
        return type(field.levels[0])(max(v for v in field.levels if not isinstance(v, str)) + 7919)
    return UNKNOWN


def bounds(takes: Callable[[Any], bool], good: Any, field: Field) -> tuple[float | None, float | None]:
    """The closed interval around `good` in which the original answers; None where there is no bound.

    Bisects over the doubles (64 questions a side at most), after a look at the bound that is usual.
    """
    import numpy as np

    if field.is_int:
        limits: Any = np.iinfo(field.dtype)
        ends: tuple[Any, Any] = (int(limits.min), int(limits.max))
    else:
        limits = np.finfo(field.dtype)
        ends = (float(limits.min), float(limits.max))
    found: list[float | None] = []
    start = good.item() if good == good else 0
    for end in ends:
        if takes(end):
            found.append(None)
            continue
        if field.dtype == "float64":
            usual = FLOAT32_LIMIT if end > 0 else -FLOAT32_LIMIT
            if takes(usual) and not takes(float(np.nextafter(usual, end))):
                found.append(usual)
                continue
        inside, outside = order(start), order(end)
        while abs(outside - inside) > 1:
            middle = (inside + outside) // 2
            if takes(value_at(middle, field)):
                inside = middle
            else:
                outside = middle
        found.append(float(value_at(inside, field)))
    return found[0], found[1]


def order(value: float | int) -> int:
    """A number as an integer whose order is the numbers' order (doubles by their bits, ints as they are)."""
    if isinstance(value, int):
        return value
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits if bits >= 0 else -(bits & 0x7FFFFFFFFFFFFFFF)


def value_at(position: int, field: Field) -> float | int:
    """The inverse of `order`, rounded to the field's dtype."""
    import numpy as np

    if field.is_int:
        return position
    bits = position if position >= 0 else (-position) | -0x8000000000000000
    value: float = struct.unpack("<d", struct.pack("<q", bits))[0]
    return float(np.dtype(field.dtype).type(value))


def base_row(original: Original) -> Batch | None:
    """A row of the user's data that the original answers: one without missing values if there is one."""
    import numpy as np

    n = len(next(iter(original.data.values())))
    blanks = np.zeros(n, int)
    for column in original.data.values():
        blanks += column.missing()
    for row in np.argsort(blanks, kind="stable")[:20].tolist():
        one = take(original.data, slice(row, row + 1))
        try:
            raw(original, one)
        except Exception:  # try the next
            continue
        return {name: c.plain() for name, c in one.items()}
    return None
