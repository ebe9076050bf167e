"""Answers → Arrow, laid out by hand so that nothing heavier than pyarrow is imported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anyport.arrow import DISTINCT
from anyport.batch import Column, Outcome
from anyport.errors import need
from anyport.signature import Field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def flat_names(field: Field) -> tuple[str, ...]:
    """The column names of one field: its own, or `name_0` … where a row holds several values."""
    if not field.shape or any(axis is None for axis in field.shape):
        return (field.name,)
    return tuple(f"{field.name}_{i}" for i in range(field.width))


def schema(fields: Sequence[Field]) -> Any:
    """The Arrow schema of answers: every column nullable, class labels as JSON in the field's metadata."""
    pa = need("pyarrow")
    made = []
    for field in fields:
        names = flat_names(field)
        for i, name in enumerate(names):
            meta = None
            if field.levels is not None and len(names) == len(field.levels) > 1 and field.shape:
                meta = {"label": json.dumps(field.levels[i])}
            elif field.levels is not None:
                meta = {"labels": json.dumps(field.levels)}
            made.append(pa.field(name, _arrow_type(field), metadata=meta))
    return pa.schema(made)


def _arrow_type(field: Field) -> Any:
    """The Arrow type of one value of an answer, or of a row where an axis is free."""
    pa = need("pyarrow")
    if field.is_text:
        kind: Any = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}.get(
            type(field.levels[0]) if field.levels and field.dtype == "category" else str, pa.string()
        )
    elif field.dtype == "datetime":
        kind = pa.timestamp("us", "UTC" if field.tz else None)
    else:
        kind = pa.from_numpy_dtype(field.dtype)
    if any(axis is None for axis in field.shape):
        for _ in field.shape:
            kind = pa.list_(kind)
    return kind


def to_arrow(outcome: Outcome, fields: Sequence[Field]) -> Any:
    """The answers as a RecordBatch in the order of `fields`, null where the row was refused."""
    pa = need("pyarrow")
    arrays: list[Any] = []
    shaped = schema(fields)
    for field in fields:
        column = outcome.outputs[field.name].plain()
        null = refused_mask(column, outcome.refused)
        for part in split_columns(column.values, field):
            arrays.append(to_array(part, shaped.field(len(arrays)).type, null))
    return pa.RecordBatch.from_arrays(arrays, schema=shaped)


def to_array(values: NDArray[Any], kind: Any, null: NDArray[np.bool_]) -> Any:
    """An Array of an Arrow type from numpy values, null where `null`.

    Laid out by hand: pa.array imports pandas where that is installed, which takes a second.
    """
    import numpy as np

    pa = need("pyarrow")
    if pa.types.is_list(kind):
        return pa.array([None if n else v for v, n in zip(values.tolist(), null.tolist(), strict=True)], kind)
    if pa.types.is_string(kind):
        return strings([None if n else v for v, n in zip(values.tolist(), null.tolist(), strict=True)])
    dtype = np.dtype("int64" if pa.types.is_timestamp(kind) else kind.to_pandas_dtype())
    if values.dtype == object:
        values = np.array([0 if n else v for v, n in zip(values.tolist(), null.tolist(), strict=True)], dtype)
    plain = np.ascontiguousarray(values.astype(dtype, copy=False))
    held = pa.py_buffer(np.packbits(plain, bitorder="little") if dtype.kind == "b" else plain)
    return pa.Array.from_buffers(kind, len(plain), [_bitmap(null), held])


def strings(values: Sequence[str | None]) -> Any:
    """A string Array of Python strings; each is encoded once where they repeat."""
    import numpy as np

    pa = need("pyarrow")
    codes = {value: i for i, value in enumerate(dict.fromkeys(values))}
    if len(codes) >= DISTINCT * len(values):
        encoded = [b"" if value is None else value.encode() for value in values]
        offsets = np.zeros(len(values) + 1, np.int32)
        np.cumsum([len(e) for e in encoded], out=offsets[1:])
        bitmap = _bitmap(np.array([value is None for value in values], bool))
        held = [bitmap, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
        return pa.Array.from_buffers(pa.string(), len(values), held)
    index = np.fromiter(map(codes.__getitem__, values), np.int32, len(values))
    indices = pa.Array.from_buffers(pa.int32(), len(index), [None, pa.py_buffer(index)])
    return pa.DictionaryArray.from_arrays(indices, strings(list(codes))).dictionary_decode()


def _bitmap(null: NDArray[np.bool_]) -> Any:
    """Arrow's validity bits; None where all are valid."""
    import numpy as np

    return need("pyarrow").py_buffer(np.packbits(~null, bitorder="little")) if null.any() else None


def refused_mask(column: Column, refused: Mapping[int, Any]) -> NDArray[np.bool_]:
    """Rows without an answer: refused, or invalid in the column. A NaN that the model answered stays NaN."""
    import numpy as np

    null = np.zeros(len(column), bool) if column.valid is None else ~column.valid
    if refused:
        null[list(refused)] = True
    return null


def split_columns(values: NDArray[Any], field: Field) -> list[NDArray[Any]]:
    """One array for each of `flat_names(field)`."""
    import numpy as np

    if len(flat_names(field)) == 1 and (not field.shape or None in field.shape):
        return [values]
    flat = values.reshape(len(values), field.width)
    return [np.ascontiguousarray(flat[:, i]) for i in range(field.width)]
