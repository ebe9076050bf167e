"""The encoder run by numpy: a Batch becomes one tensor, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from anyport.batch import Batch, Column, rows
from anyport.errors import BadData
from anyport.graph.encoder import (
    Add,
    Bins,
    Clip,
    Divide,
    Encoder,
    Float32,
    Impute,
    Indicator,
    Lookup,
    Multiply,
    Number,
    Step,
    Subtract,
    Text,
)  # fmt: skip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 4096
"""Rows encoded together, so that their part of the output stays in the cache while columns fill it."""

Fill = Callable[["NDArray[Any]", int, int], None]
"""Writes rows start … stop of one entry into a block of the output."""


def encode(encoder: Encoder, batch: Batch, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """The tensor [n, width] in the encoder's dtype; into `out` where given (then its first n rows).

    BadData where a value has no place in a table: such rows are refused before they get here.
    """
    import numpy as np

    n = rows(batch)
    if out is None:
        out = np.empty((n, encoder.width), dtype=encoder.tensor)
    fills = [MAKERS[type(entry)](entry, batch[entry.column]) for entry in encoder.entries]
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        block = out[start:stop]
        block[...] = 0
        for fill in fills:
            fill(block, start, stop)
    return out[:n]


def run_steps(steps: tuple[Step, ...], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers through steps, in double; `x` may be written over."""
    import numpy as np

    for step in steps:
        if isinstance(step, Subtract):
            x -= step.value
        elif isinstance(step, Divide):
            x /= step.value
        elif isinstance(step, Multiply):
            x *= step.value
        elif isinstance(step, Add):
            x += step.value
        elif isinstance(step, Impute):
            x[np.isnan(x)] = step.value
        elif isinstance(step, Clip):
            np.clip(x, step.low, step.high, out=x)
        elif isinstance(step, Float32):
            x = x.astype(np.float32).astype(np.float64)
    return x


def doubles(column: Column, start: int, stop: int) -> NDArray[np.float64]:
    """Rows of a number column as new doubles; missing is NaN, datetimes are microseconds."""
    import numpy as np

    values = column.values[start:stop]
    if values.dtype.kind == "M":
        x = values.astype("int64").astype(np.float64)
        x[np.isnat(values)] = np.nan
        return x
    x = values.astype(np.float64)
    if column.valid is not None:
        x[~column.valid[start:stop]] = np.nan
    return x


def _number(entry: Number, column: Column) -> Fill:
    import numpy as np

    column = column.plain()
    if column.values.dtype == object:
        raise BadData(f"column {entry.column!r} holds text where the model takes a number")

    def fill(block: NDArray[Any], start: int, stop: int) -> None:
        with np.errstate(all="ignore"):
            block[:, entry.slot] = run_steps(entry.steps, doubles(column, start, stop))

    return fill


def _indicator(entry: Indicator, column: Column) -> Fill:
    import numpy as np

    gone = column.missing()

    def fill(block: NDArray[Any], start: int, stop: int) -> None:
        block[:, entry.slot] = np.where(gone[start:stop], entry.yes, entry.no)

    return fill


def _bins(entry: Bins, column: Column) -> Fill:
    import numpy as np

    edges = np.array(entry.edges, dtype=np.float64)
    table = np.array((*entry.table, entry.missing or (np.nan,) * entry.width), dtype=np.float64)

    def fill(block: NDArray[Any], start: int, stop: int) -> None:
        with np.errstate(all="ignore"):
            x = run_steps(entry.steps, doubles(column, start, stop))
        code = np.searchsorted(edges, x, side="right")
        code[np.isnan(x)] = len(table) - 1
        block[:, entry.slot : entry.slot + entry.width] = table[code]

    return fill


@lru_cache(maxsize=1024)
def _places(levels: tuple[Any, ...]) -> Mapping[Any, int]:
    return {level: i for i, level in enumerate(levels)}


def _codes(entry: Lookup, column: Column) -> NDArray[np.intp]:
    """Per row: the index of its level, len(levels) where unknown, len(levels) + 1 where missing."""
    import numpy as np

    k = len(entry.levels)
    place = _places(entry.levels)
    if column.dictionary is not None:
        each = np.fromiter((place.get(v, k) for v in column.dictionary.tolist()), np.intp, len(column.dictionary))
        codes = each[column.values] if len(each) else np.full(len(column), k + 1)
    elif column.values.dtype == object:
        codes = np.fromiter((place.get(v, k) for v in column.values.tolist()), np.intp, len(column))
    else:
        keys = np.array(entry.levels, dtype=np.float64)
        order = np.argsort(keys)
        values = doubles(column, 0, len(column))
        at = np.minimum(np.searchsorted(keys[order], values), max(k - 1, 0))
        codes = np.where(keys[order][at] == values, order[at], k) if k else np.full(len(column), k)
    gone = column.missing()
    if gone.any():
        codes[gone] = k + 1
    for code, row, what in ((k, entry.unknown, "an unknown level"), (k + 1, entry.missing, "a missing value")):
        if row is None and (codes == code).any():
            at_row = int(np.flatnonzero(codes == code)[0])
            raise BadData(f"column {entry.column!r}, row {at_row}: {what}, which the model does not take")
    return codes


def _lookup(entry: Lookup, column: Column) -> Fill:
    import numpy as np

    k, slot, width = len(entry.levels), entry.slot, entry.width
    codes = _codes(entry, column)
    zeros = (0.0,) * width
    ends = [entry.unknown or zeros, entry.missing or zeros]
    if entry.table is None:
        known = None if int(codes.max(initial=0)) < k else codes < k
        others = [(k + i, row) for i, row in enumerate(ends) if any(row)]

        def one_hot(block: NDArray[Any], start: int, stop: int) -> None:
            flat = np.arange(slot, slot + (stop - start) * block.shape[1], block.shape[1])
            flat += codes[start:stop]
            if known is not None:
                flat = flat[known[start:stop]]
            if block.flags.c_contiguous:
                block.reshape(-1)[flat] = 1
            else:
                block[np.divmod(flat, block.shape[1])] = 1
            for code, row in others:
                block[codes[start:stop] == code, slot : slot + width] = row

        return one_hot
    table = np.array([*entry.table, *ends], dtype=np.float64).reshape(k + 2, width)

    def fill(block: NDArray[Any], start: int, stop: int) -> None:
        if width == 1:
            block[:, slot] = table[codes[start:stop], 0]
        else:
            block[:, slot : slot + width] = table[codes[start:stop]]

    return fill


def _text(entry: Text, column: Column) -> Fill:
    from anyport.graph.text import counter

    count = counter(entry)
    column = column.plain()

    def fill(block: NDArray[Any], start: int, stop: int) -> None:
        for r, document in enumerate(column.values[start:stop]):
            for term, times in count(document).items():
                block[r, entry.slot + term] = times

    return fill


MAKERS: Mapping[type, Callable[[Any, Column], Fill]] = {
    Number: _number, Indicator: _indicator, Bins: _bins, Lookup: _lookup, Text: _text,
}  # fmt: skip
