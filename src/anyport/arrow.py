"""Arrow tables → Batch, vectorised; what is not of its Field's type is refused cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anyport.batch import Column, Refusal
from anyport.errors import need
from anyport.signature import Field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Refused = dict[int, tuple[Refusal, ...]]
_Found = dict[int, list[Refusal]]

DISTINCT = 0.25
"""Text with fewer distinct values than this share of a sample is held as codes into a dictionary."""


def from_arrow(table: Any, fields: Sequence[Field]) -> tuple[dict[str, Column], Refused]:
    """The Batch of a pyarrow RecordBatch or Table that has a column for every field, and the cells that are not of
    their field's type (the row gets a placeholder; the caller must not answer it).

    Numbers without nulls are views of Arrow's own buffers: read-only. Null and NaN are one thing: missing.
    """
    found: _Found = {}
    batch = {field.name: to_column(_whole(table.column(field.name)), field, found) for field in fields}
    return batch, {row: tuple(found[row]) for row in sorted(found)}


def mistyped(schema: Any, fields: Sequence[Field]) -> list[tuple[Field, Any]]:
    """Fields whose Arrow column cannot hold a single value of theirs, with the column's type."""
    types = need("pyarrow").types
    wrong = []
    for field in fields:
        kind = schema.field(field.name).type
        if not _may_hold(kind, field):
            wrong.append((field, kind.value_type if types.is_dictionary(kind) else kind))
    return wrong


def _may_hold(kind: Any, field: Field) -> bool:
    """Whether an Arrow type can hold values of the field at all."""
    types = need("pyarrow").types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_null(kind):
        return True
    if field.shape:
        return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))
    if field.dtype == "datetime":
        return bool(types.is_timestamp(kind) or types.is_date(kind) or _is_string(kind))
    if field.dtype == "bool":
        return bool(types.is_boolean(kind))
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if not field.is_text:
        return bool(number)
    level = type(field.levels[0]) if field.levels and field.dtype == "category" else str
    return bool({str: _is_string(kind), bool: types.is_boolean(kind)}.get(level, number))


def _is_string(kind: Any) -> bool:
    types = need("pyarrow").types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _whole(array: Any) -> Any:
    """One Array of a ChunkedArray; extension types as their storage."""
    pa = need("pyarrow")
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # a table without rows has no chunk
            array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def to_column(array: Any, field: Field, found: _Found) -> Column:
    """One Array in canonical form; cells of another type are added to `found`."""
    import numpy as np

    types = need("pyarrow").types
    if field.shape:
        return _tensor(array, field, found)
    if field.is_text:
        return _text(array, field, found)
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if types.is_null(array.type) or not _may_hold(array.type, field):
        _refuse(array, np.ones(len(array), bool), field, found)
        return blank(field, len(array))
    if field.dtype == "datetime":
        return _datetime(array, field, found)
    if types.is_decimal(array.type):
        array = array.cast("float64")
    valid, values = split(array)
    if field.is_float:
        return Column(_floats(array, values, valid, field, found))
    if field.is_int:
        valid, values = _integers(array, values, valid, field, found)
    return Column(values, valid)


def blank(field: Field, length: int, shape: tuple[int, ...] | None = None) -> Column:
    """`length` rows, all of them missing; free axes get length 0 unless `shape` says what a row is."""
    import numpy as np

    shape = tuple(axis or 0 for axis in field.shape) if shape is None else shape
    if field.is_float:
        return Column(np.full((length, *shape), np.nan, field.dtype))
    if field.dtype == "datetime":
        return Column(np.full((length, *shape), np.datetime64("NaT", "us"), "datetime64[us]"))
    valid = np.zeros(length, bool)
    if field.is_text:
        return Column(np.full((length, *shape), None, object), valid)
    return Column(np.zeros((length, *shape), field.dtype), valid)


def split(array: Any) -> tuple[NDArray[np.bool_] | None, NDArray[Any]]:
    """Validity (None: all valid) and the values of a bool, number or time Array, 0 where null; times as int64.

    Straight from the buffers: Array.to_numpy imports pandas where that is installed, which takes a second.
    """
    import numpy as np

    types = need("pyarrow").types
    if types.is_boolean(array.type):
        values: NDArray[Any] = _bits(array, 1)
    else:
        dtype = np.int64 if types.is_timestamp(array.type) else array.type.to_pandas_dtype()
        values = np.zeros(0, dtype)
        if len(array):
            stop = array.offset + len(array)
            values = np.frombuffer(array.buffers()[1], dtype, stop)[array.offset :]
    valid = validity(array)
    return valid, values if valid is None else np.where(valid, values, values.dtype.type(0))


def validity(array: Any) -> NDArray[np.bool_] | None:
    """Which rows are not null; None: all."""
    import numpy as np

    if need("pyarrow").types.is_null(array.type):
        return np.zeros(len(array), bool)
    return _bits(array, 0) if array.null_count else None


def _bits(array: Any, buffer: int) -> NDArray[np.bool_]:
    """A bit-packed buffer of an Array as bools."""
    import numpy as np

    stop = array.offset + len(array)
    if not stop:
        return np.zeros(0, bool)
    packed = np.frombuffer(array.buffers()[buffer], np.uint8, (stop + 7) // 8)
    return np.unpackbits(packed, count=stop, bitorder="little")[array.offset :].view(bool)


def _objects(array: Any) -> NDArray[Any]:
    """Any Array as Python objects, None where null."""
    import numpy as np

    made = np.empty(len(array), object)
    made[:] = array.to_pylist()
    return made


def _floats(
    array: Any, values: NDArray[Any], valid: NDArray[np.bool_] | None, field: Field, found: _Found
) -> NDArray[Any]:
    """Numbers in the field's precision, NaN where null; 1e300 in a float32 is refused."""
    import numpy as np

    if values.dtype != field.dtype:
        with np.errstate(over="ignore"):
            cast = values.astype(field.dtype)
        beyond = np.isinf(cast) & np.isfinite(values)
        if beyond.any():
            _refuse(array, beyond, field, found)
            cast[beyond] = np.nan
        values = cast
    return values if valid is None else np.where(valid, values, np.array(np.nan, field.dtype))


def _integers(
    array: Any, values: NDArray[Any], valid: NDArray[np.bool_] | None, field: Field, found: _Found
) -> tuple[NDArray[np.bool_] | None, NDArray[Any]]:
    """Whole numbers that fit the field's width; a NaN is missing, 1.5 and 300 in an int8 are refused."""
    import numpy as np

    if values.dtype == field.dtype:
        return valid, values
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
        present = ~np.isnan(values) if valid is None else valid & ~np.isnan(values)
        limits = np.iinfo(field.dtype)
        # float(max) of a 64-bit type rounds up to one past it: compare with < max + 1, which is exact
        inside = (values >= float(limits.min)) & (values < float(limits.max) + 1) & (values == np.floor(values))
        cast = np.where(inside & present, values, 0).astype(field.dtype)
        wrong = present & ~inside
        valid = present
    else:
        cast = values.astype(field.dtype)
        wrong = cast != values  # exact for mixed signs too, since numpy 2
    if wrong.any():
        _refuse(array, wrong, field, found)
        cast[wrong] = 0
    return (None if valid is None or bool(valid.all()) else valid), cast


def _text(array: Any, field: Field, found: _Found) -> Column:
    """Strings and category levels: codes into a dictionary where values repeat, else objects."""
    import numpy as np

    from anyport.ingest import is_missing, level_of

    pa = need("pyarrow")
    if pa.types.is_null(array.type):
        return blank(field, len(array))
    if not _may_hold(array.type, field):
        _refuse(array, np.ones(len(array), bool), field, found)
        return blank(field, len(array))
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.large_string())
    if not pa.types.is_dictionary(array.type):
        if _is_string(array.type) and not _repeats(array):
            return Column(_objects(array), validity(array))
        array = array.dictionary_encode()
    entries = array.dictionary.to_pylist()
    absent = np.array([is_missing(v) for v in entries], bool)
    levels = [None if is_missing(v) else level_of(v, field) for v in entries]
    wrong = np.array([v is None for v in levels], bool) & ~absent
    valid, codes = split(array.indices)
    codes = codes.astype(np.int32, copy=False)
    if absent.any():
        valid = ~absent[codes] if valid is None else valid & ~absent[codes]
    if wrong.any():
        bad = wrong[codes] if valid is None else wrong[codes] & valid
        _refuse(array, bad, field, found)
        valid = ~bad if valid is None else valid & ~bad
    if valid is not None:
        codes = np.where(valid, codes, np.int32(0))
    dictionary = np.empty(len(levels), object)
    dictionary[:] = levels
    return Column(codes, valid, dictionary)


def _repeats(array: Any) -> bool:
    """Whether text repeats enough for a dictionary to be worth its making, judged by a sample."""
    sample = array.slice(0, 2048)
    return len(sample) < 64 or len(sample.unique()) < DISTINCT * len(sample)


def _datetime(array: Any, field: Field, found: _Found) -> Column:
    """UTC microseconds; a zoneless time is taken as UTC, finer parts are cut off."""
    import numpy as np

    from anyport.ingest import datetime_column

    pa = need("pyarrow")
    compute = need("pyarrow.compute")
    if _is_string(array.type):
        return datetime_column(array.to_pylist(), field, found)
    zone = array.type.tz if pa.types.is_timestamp(array.type) else None
    micros = compute.cast(array, options=compute.CastOptions(pa.timestamp("us", zone), allow_time_truncate=True))
    valid, values = split(micros)
    stamps = values.view("datetime64[us]")
    return Column(stamps if valid is None else np.where(valid, stamps, np.datetime64("NaT", "us")))


def _tensor(array: Any, field: Field, found: _Found) -> Column:
    """Nested lists as one ndarray; rows whose lengths do not fit the field are refused."""
    import numpy as np

    compute = need("pyarrow.compute")
    pa = need("pyarrow")
    free = list(field.shape)
    good = np.ones(len(array), bool)
    if not _may_hold(array.type, field) or pa.types.is_null(array.type):
        good[:] = False
    level, owner = array, np.arange(len(array))
    for depth, axis in enumerate(field.shape):
        if not good.any() or not hasattr(level.type, "value_type"):
            good[:] = False
            break
        present, lengths = split(compute.list_value_length(level))
        lengths = lengths if present is None else np.where(present, lengths, -1)
        if axis is None:
            known = lengths[good[owner] & (lengths >= 0)]
            axis = free[depth] = int(known[0]) if len(known) else 0
        good[owner[lengths != axis]] = False
        owner = np.repeat(owner, np.maximum(lengths, 0))
        level = compute.list_flatten(level)
    present = validity(level) if good.any() else None
    if present is not None and not field.is_float:
        good[owner[~present]] = False
    if not good.all():
        _refuse(array, ~good, field, found)
    shape = tuple(axis or 0 for axis in free)
    column = blank(field, len(array), shape)
    if not good.any():
        return column
    inner = Field(name=field.name, dtype=field.dtype, levels=field.levels)
    wrong: _Found = {}
    flat = to_column(level.filter(pa.array(good[owner])), inner, wrong).plain().values
    if wrong:
        bad = np.zeros(len(array), bool)
        bad[owner[good[owner]][list(wrong)]] = True
        _refuse(array, bad, field, found)
    flat = flat.reshape(int(good.sum()), *shape)
    if good.all():
        return Column(flat)
    column.values[good] = flat
    return Column(column.values, None if field.is_float else good)


def _refuse(array: Any, wrong: NDArray[np.bool_], field: Field, found: _Found) -> None:
    """Note the cells at `wrong` that hold something, with what they hold."""
    valid = validity(array)
    rows = wrong if valid is None else wrong & valid
    expected, kind = field.says(), array.type.value_type if hasattr(array.type, "index_type") else array.type
    where = rows.nonzero()[0].tolist()
    # many rows may share one long entry of a dictionary: each entry is shown once
    shared = (
        array.indices.take(need("pyarrow").array(where, "int64")).to_pylist() if hasattr(array, "indices") else where
    )
    shown: dict[int, str] = {}
    for row, entry in zip(where, shared, strict=True):
        if entry not in shown:
            shown[entry] = f"{array[row].as_py()!r} ({kind})"[:80]
        got = shown[entry]
        found.setdefault(row, []).append(Refusal(field.name, expected, got))
