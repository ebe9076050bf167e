"""Text → Column, strictly: `NA` is text, only an absent cell is missing, numbers are numbers to the last character."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anyport.arrow import blank, split, to_column
from anyport.batch import Column, Refusal
from anyport.errors import need
from anyport.ingest import level_of
from anyport.signature import Field

if TYPE_CHECKING:
    pass

_Found = dict[int, list[Refusal]]
NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?|nan)", re.ASCII | re.IGNORECASE)
WHOLE = re.compile(r"[+-]?\d{1,40}", re.ASCII)
WORDS = {"true": True, "false": False}


def cell(text: str, field: Field) -> Any:
    """The value that one cell's text is, or None when it is none of the field's."""
    if field.dtype == "string":
        return text
    if field.dtype == "category":
        return _level(text, field)
    if field.dtype == "bool":
        return WORDS.get(text.lower())
    if field.dtype == "datetime":
        return _instant(text)
    import numpy as np

    if field.is_float:
        value = float(text) if NUMBER.fullmatch(text) else None
        with np.errstate(over="ignore"):
            # 1e400, or 1e300 in a float32, is no number of the field's; Infinity is
            beyond = value is not None and np.isinf(np.dtype(field.dtype).type(value)) and text[-1].isdigit()
        return None if beyond else value
    limits = np.iinfo(field.dtype)
    number = int(text) if WHOLE.fullmatch(text) else None
    return number if number is not None and limits.min <= number <= limits.max else None


def _level(text: str, field: Field) -> Any:
    """A category's level of the type its levels have."""
    kind = type(field.levels[0]) if field.levels else str
    if kind is str:
        return text
    if kind is bool:
        return WORDS.get(text.lower())
    if kind is int:
        return int(text) if WHOLE.fullmatch(text) else None
    return level_of(float(text), field) if NUMBER.fullmatch(text) else None


def _instant(text: str) -> dt.datetime | None:
    """An ISO 8601 time in UTC, without zone; one that names no zone is taken as UTC."""
    try:
        time = dt.datetime.fromisoformat(text)
        return time if time.tzinfo is None else time.astimezone(dt.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def from_cells(cells: Sequence[str | None], field: Field, found: _Found) -> Column:
    """A column of cells, None where absent, without pyarrow."""
    made = blank(field, len(cells))
    values, valid = made.values, made.valid
    for row, text in enumerate(cells):
        if text is None:
            continue
        value = cell(text, field)
        if value is None:
            refuse(found, row, field, text)
            continue
        values[row] = value
        if valid is not None:
            valid[row] = True
    return Column(values, None if valid is not None and bool(valid.all()) else valid)


def refuse(found: _Found, row: int, field: Field, text: str) -> None:
    """Note that a cell's text is none of its field's."""
    found.setdefault(row, []).append(Refusal(field.name, field.says(), repr(text)[:80]))


def from_text(array: Any, field: Field, found: _Found) -> Column:
    """A column of an Arrow string Array, null where absent: Arrow's own parsers where all cells are of the
    common forms, `cell` for the rest. Both give the same values."""
    if field.dtype == "string" or (field.dtype == "category" and _text_levels(field)):
        return to_column(array, field, found)
    if field.is_text:
        return _through_dictionary(array, field, found)
    parsed = _parsed(array, field)
    if parsed is not None:
        return to_column(parsed, field, found)
    return from_cells(array.to_pylist(), field, found)


def _text_levels(field: Field) -> bool:
    return not field.levels or isinstance(field.levels[0], str)


def _through_dictionary(array: Any, field: Field, found: _Found) -> Column:
    """Levels that are no strings: each distinct text is read once."""
    import numpy as np

    coded = array.dictionary_encode()
    texts = coded.dictionary.to_pylist()
    levels = [cell(text, field) for text in texts]
    present, codes = split(coded.indices)
    valid = np.ones(len(array), bool) if present is None else present
    wrong = np.array([level is None for level in levels], bool)
    if wrong.any():
        for row in (wrong[codes] & valid).nonzero()[0].tolist():
            refuse(found, row, field, texts[codes[row]])
            valid[row] = False
    dictionary = np.empty(len(levels), object)
    dictionary[:] = levels
    return Column(np.where(valid, codes, 0).astype(np.int32), None if valid.all() else valid, dictionary)


def _parsed(array: Any, field: Field) -> Any:
    """The Array in the field's type, or None where some cell needs a closer look."""
    pa = need("pyarrow")
    compute = need("pyarrow.compute")
    try:
        if field.dtype == "bool":
            low = compute.utf8_lower(array)
            yes, no = compute.equal(low, "true"), compute.equal(low, "false")
            return yes if compute.all(compute.or_(yes, no)).as_py() is not False else None
        if field.dtype == "datetime":
            return array.cast(pa.timestamp("us"))
        if field.is_int and compute.any(compute.match_substring(array, "x", ignore_case=True)).as_py():
            return None  # Arrow reads 0x1F as 31
        # a float32 goes through float64, as float(text) put into a float32 array does
        parsed = array.cast(field.dtype if field.is_int else pa.float64())
    except pa.ArrowInvalid:
        return None
    if field.is_float:
        # Arrow reads 1e400 as infinite, and nan(1) as NaN
        odd = compute.invert(compute.is_finite(parsed))
        if compute.any(compute.and_(odd, compute.match_substring_regex(array, "[0-9(]"))).as_py():
            return None
    return parsed
