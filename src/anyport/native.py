"""A Batch in the original's own container, dtype by dtype as its training data was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyport.batch import Batch, Column
from anyport.errors import need
from anyport.signature import Field, Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray


def native(batch: Batch, signature: Signature) -> Any:
    """The batch in the original's own container: what its training data looked like, dtype by dtype."""
    import numpy as np

    if signature.container == "tensors":
        return {f.name: native_tensor(batch[f.name], f) for f in signature.inputs}
    if signature.container == "list":
        return batch[signature.inputs[0].name].plain().values.tolist()
    if signature.container == "array":
        return native_array(batch, signature)
    pandas = need("pandas")
    series = {f.name: native_series(batch[f.name], f, pandas) for f in signature.inputs}
    length = len(next(iter(batch.values()))) if batch else 0
    return pandas.DataFrame(series, columns=[f.name for f in signature.inputs], index=np.arange(length))


def native_tensor(column: Column, field: Field) -> NDArray[Any]:
    """One tensor; ValueError for a missing value of a dtype that has none."""
    plain = column.plain()
    if plain.valid is not None and not plain.valid.all():
        raise ValueError(f"tensor {field.name!r} holds {field.dtype}, which has no missing value")
    return plain.values


def native_array(batch: Batch, signature: Signature) -> NDArray[Any]:
    """One 2-d array of the original's dtype; object dtype where it held text."""
    import numpy as np

    first = signature.inputs[0]
    if first.is_text or first.native == "object":
        columns = [with_missing(batch[f.name], f) for f in signature.inputs]
        return np.stack(columns, axis=1) if columns else np.zeros((0, 0), object)
    parts = []
    for field in signature.inputs:
        column = batch[field.name]
        values = column.values
        if column.valid is not None and not column.valid.all():
            values = np.where(column.valid, values.astype(np.float64), np.nan)
        parts.append(values)
    return np.stack(parts, axis=1)


def with_missing(column: Column, field: Field) -> NDArray[Any]:
    """Values as objects, with the original's own mark where one is missing."""
    import numpy as np

    plain = column.plain()
    out = np.empty(len(plain.values), object)
    out[:] = plain.values.tolist()
    missing = plain.missing()
    if missing.any():
        mark: Any = {"nan": np.nan, "none": None}.get(field.missing, np.nan)
        if field.missing == "na":
            mark = need("pandas").NA
        out[missing] = mark
    return out


def native_series(column: Column, field: Field, pandas: Any) -> Any:
    """One pandas column of the original's dtype; a missing int or bool without a nullable dtype turns it to
    float or object, as pandas itself does."""
    import numpy as np

    dtype = field.native or field.dtype
    missing = column.missing()
    if field.dtype == "datetime":
        series = pandas.Series(column.values)
        if field.tz:
            series = series.dt.tz_localize("UTC").dt.tz_convert(field.tz)
        return series.astype(dtype) if dtype.startswith("datetime") else series
    if field.dtype == "category":
        values = column.plain().values
        known = list(field.levels or ())
        new = sorted(set(values[~missing].tolist()) - set(known), key=str)
        kind = pandas.CategoricalDtype([*known, *new], ordered=field.ordered)
        return pandas.Series(pandas.Categorical(values.tolist(), dtype=kind))
    if field.dtype == "string":
        values = with_missing(column, field)
        return pandas.Series(values, dtype="object" if dtype == "object" else dtype)
    if not missing.any():
        return pandas.Series(column.values).astype(dtype)
    if dtype[:1].isupper() or dtype == "boolean" or "[pyarrow]" in dtype:
        series = pandas.Series(column.values).astype(dtype)
        series[missing] = pandas.NA
        return series
    if field.is_float:
        return pandas.Series(column.values).astype(dtype)
    if field.dtype == "bool" or dtype == "object":
        return pandas.Series(with_missing(column, field), dtype=object)
    return pandas.Series(np.where(missing, np.nan, column.values.astype(np.float64)))
