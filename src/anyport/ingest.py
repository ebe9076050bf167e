"""Data in any container ↔ Batch, matched by name: pandas, polars, pyarrow, numpy, dicts, lists."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from anyport.batch import Column, Refusal
from anyport.errors import BadData
from anyport.signature import Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

Refused = dict[int, tuple[Refusal, ...]]


def to_batch(
    data: Any, fields: Sequence[Field], *, extra: Literal["refuse", "ignore"] = "refuse"
) -> tuple[dict[str, Column], Refused]:
    """The Batch that `data` holds, and the cells that are not of their Field's dtype (their row gets a
    placeholder; the caller must not answer it). BadData for columns that are missing, extra or doubled.

    None, NaN, NaT and pd.NA are one thing: a missing value.
    """
    root = type(data).__module__.partition(".")[0]
    if root == "polars":
        data = data.to_arrow()
        root = "pyarrow"
    if root == "pyarrow":
        from anyport.arrow import from_arrow

        names = list(data.schema.names)
        match(names, fields, extra=extra)
        return from_arrow(data, fields)
    columns = raw_columns(data, fields)
    match(list(columns), fields, extra=extra)
    refused: dict[int, list[Refusal]] = {}
    batch = {}
    lengths = {len(columns[f.name]) for f in fields}
    if len(lengths) > 1:
        sizes = ", ".join(f"{f.name} {len(columns[f.name])}" for f in fields)
        raise BadData(f"columns differ in length: {sizes}")
    for field in fields:
        batch[field.name] = to_column(columns[field.name], field, refused)
    return batch, {row: tuple(refused[row]) for row in sorted(refused)}


def raw_columns(data: Any, fields: Sequence[Field]) -> Mapping[str, Any]:
    """Column name → sequence of values, from any container; positions stand for names only in bare arrays."""
    import numpy as np

    if type(data).__module__.partition(".")[0] == "scipy":
        data = data.toarray()
    if type(data).__module__.partition(".")[0] == "torch":
        data = data.detach().cpu().numpy()
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        names = [str(c) for c in data.columns]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise BadData(f"column {twice[0]!r} appears {names.count(twice[0])} times", fix="rename one of them")
        return {str(c): data[c] for c in data.columns}
    if hasattr(data, "iloc"):
        return {fields[0].name if fields else str(data.name or "x0"): data}
    if isinstance(data, Mapping):
        if data and all(is_scalar(v) for v in data.values()):
            return {str(k): [v] for k, v in data.items()}
        return {str(k): v for k, v in data.items()}
    if isinstance(data, np.ndarray):
        return array_columns(data, fields)
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        if all(isinstance(r, Mapping) for r in data):
            return record_columns(data, fields)
        if len(fields) == 1 and not (
            data and isinstance(data[0], Sequence | np.ndarray) and not isinstance(data[0], str)
        ):
            return {fields[0].name: list(data)}
        return array_columns(np.asarray(data), fields)
    raise BadData(
        f"cannot read rows from a {type(data).__module__}.{type(data).__qualname__}",
        fix="pass a pandas, polars or pyarrow table, a numpy array, a dict of columns or a list of records",
    )


def is_scalar(value: Any) -> bool:
    """Whether a value is one cell, and not a column of them."""
    if hasattr(value, "ndim"):
        return bool(value.ndim == 0)
    return isinstance(value, str | bytes) or not hasattr(value, "__len__")


def record_columns(records: Sequence[Mapping[str, Any]], fields: Sequence[Field]) -> dict[str, list[Any]]:
    """Columns of a list of dicts; a key that a record lacks is an error naming the row."""
    names = [f.name for f in fields] or list(dict.fromkeys(str(k) for r in records for k in r))
    for row, record in enumerate(records):
        unlike = [n for n in names if n not in record]
        if unlike:
            raise BadData(f"row {row} lacks column {unlike[0]!r}{meant(unlike[0], list(record))}")
        more = [str(k) for k in record if k not in names]
        if more:
            raise BadData(f"row {row} has an unknown column {more[0]!r}{meant(more[0], names)}")
    return {n: [r[n] for r in records] for n in names}


def array_columns(array: NDArray[Any], fields: Sequence[Field]) -> dict[str, Any]:
    """Columns of a bare array, by position: one tensor Field takes it whole."""
    if len(fields) == 1 and fields[0].shape:
        return {fields[0].name: array}
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    names = [f.name for f in fields] or [f"x{i}" for i in range(array.shape[1])]
    if array.ndim != 2 or array.shape[1] != len(names):
        raise BadData(
            f"an array of shape {array.shape} does not fit {len(names)} columns", fix=f"pass (rows, {len(names)})"
        )
    return {name: array[:, i] for i, name in enumerate(names)}


def match(names: Sequence[str], fields: Sequence[Field], *, extra: str) -> None:
    """BadData unless `names` are the fields' names, in any order."""
    known = {f.name for f in fields}
    absent = [f.name for f in fields if f.name not in names]
    more = [n for n in names if n not in known]
    if absent:
        listed = ", ".join(repr(n) for n in absent[:5]) + (" …" if len(absent) > 5 else "")
        raise BadData(
            f"missing column{'s' if len(absent) > 1 else ''} {listed}{meant(absent[0], more)}",
            fix=f"the model takes: {', '.join(f.name for f in fields[:20])}{' …' if len(fields) > 20 else ''}",
        )
    if more and extra == "refuse":
        raise BadData(
            f"unknown column{'s' if len(more) > 1 else ''} {', '.join(repr(n) for n in more[:5])}"
            f"{meant(more[0], list(known))}",
            fix="drop it, or pass it through with --id",
        )
    for name in names:
        if list(names).count(name) > 1:
            raise BadData(f"column {name!r} appears {list(names).count(name)} times", fix="rename one of them")


def meant(name: str, others: Iterable[str]) -> str:
    """` (did you mean 'age'?)`, or nothing."""
    import difflib

    close = difflib.get_close_matches(name, list(others), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def to_column(values: Any, field: Field, refused: dict[int, list[Refusal]]) -> Column:
    """One column in canonical form; cells of another type are added to `refused`."""
    if field.shape:
        return tensor_column(values, field, refused)
    fast = numpy_column(values, field)
    if fast is not None:
        return fast
    items = values.tolist() if hasattr(values, "tolist") and not hasattr(values, "iloc") else list(values)
    if field.is_text:
        return text_column(items, field, refused)
    if field.dtype == "datetime":
        return datetime_column(items, field, refused)
    return number_column(items, field, refused)


def numpy_column(values: Any, field: Field) -> Column | None:
    """The column straight from a numpy or pandas dtype that needs no look at single cells; else None."""
    import numpy as np

    dtype = getattr(values, "dtype", None)
    if type(dtype).__name__ == "CategoricalDtype" and hasattr(values, "cat"):
        codes = np.asarray(values.cat.codes, dtype=np.int32)
        levels = [level_of(v, field) for v in values.cat.categories.tolist()]
        if any(v is None for v in levels) or not field.is_text:
            return None
        return coded(codes, levels)
    if field.dtype == "string" and hasattr(values, "iloc"):
        codes, found = values.array.factorize()  # half the time of pandas.factorize, which wraps an Index round it
        uniques = found.tolist()
        if not all(type(v) is str for v in uniques):
            return None
        return coded(codes, uniques)
    if not isinstance(dtype, np.dtype):
        return None
    array = np.asarray(values)
    if field.is_float and dtype.kind in "fiu":
        return Column(array.astype(field.dtype))
    if field.is_int and dtype.kind in "iu":
        cast = array.astype(field.dtype)
        return Column(cast) if (cast == array).all() else None
    if field.is_int and dtype.kind == "f":
        valid = ~np.isnan(array)
        with np.errstate(invalid="ignore"):
            cast = np.where(valid, array, 0).astype(field.dtype)
            whole = (cast == array) | ~valid
        return Column(cast, None if valid.all() else valid) if whole.all() else None
    if field.dtype == "bool" and dtype.kind == "b":
        return Column(array.astype(bool))
    if field.dtype == "datetime" and dtype.kind == "M":
        return Column(array.astype("datetime64[us]"))
    return None


def coded(codes: NDArray[Any], levels: list[Any]) -> Column:
    """A dictionary column from codes, of which -1 is missing, and the levels they number."""
    import numpy as np

    dictionary = np.empty(len(levels), object)
    dictionary[:] = levels
    valid = codes >= 0
    return Column(np.where(valid, codes, 0).astype(np.int32), None if valid.all() else valid, dictionary)


def is_missing(value: Any) -> bool:
    """None, NaN, NaT or pd.NA."""
    if value is None:
        return True
    if isinstance(value, float):
        return value != value
    return type(value).__name__ in ("NAType", "NaTType") or (hasattr(value, "dtype") and bool(value != value))


def number_column(items: Sequence[Any], field: Field, refused: dict[int, list[Refusal]]) -> Column:
    """Numbers and bools from Python objects: ints where whole, floats from ints, bools only from bools."""
    import numpy as np

    out = np.zeros(len(items), field.dtype)
    valid = np.ones(len(items), bool)
    for row, value in enumerate(items):
        if is_missing(value):
            valid[row] = False
            if field.is_float:
                out[row] = np.nan
            continue
        number = number_of(value, field)
        if number is None:
            refuse(refused, row, field, value)
        else:
            out[row] = number
    return Column(out, None if field.is_float or valid.all() else valid)


def number_of(value: Any, field: Field) -> Any:
    """`value` as the field's number, or None when it is not one."""
    import numpy as np

    if isinstance(value, bool | np.bool_):
        return bool(value) if field.dtype == "bool" else None
    if field.dtype == "bool":
        return None
    if isinstance(value, int | np.integer):
        if field.is_int:
            limits = np.iinfo(field.dtype)
            return int(value) if limits.min <= value <= limits.max else None
        return float(value) if abs(int(value)) < 1 << 1023 else None
    if isinstance(value, float | np.floating):
        if field.is_float:
            return float(value)
        return number_of(int(value), field) if np.isfinite(value) and value == int(value) else None
    return None


def text_column(items: Sequence[Any], field: Field, refused: dict[int, list[Refusal]]) -> Column:
    """Strings and category levels from Python objects."""
    import numpy as np

    out = np.empty(len(items), object)
    valid = np.ones(len(items), bool)
    for row, value in enumerate(items):
        if is_missing(value):
            valid[row] = False
            continue
        level = level_of(value, field)
        if level is None:
            valid[row] = False
            refuse(refused, row, field, value)
        out[row] = level
    return Column(out, None if valid.all() else valid)


def level_of(value: Any, field: Field) -> Any:
    """`value` as a level of the field (a str, or of the type its levels have), or None when it is not one."""
    import numpy as np

    if isinstance(value, np.generic):
        value = value.item()
    kind = type(field.levels[0]) if field.levels and field.dtype == "category" else str
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value == value and value == int(value):
        return int(value)
    return value if type(value) is kind else (str(value) if kind is str and isinstance(value, str) else None)


def datetime_column(items: Sequence[Any], field: Field, refused: dict[int, list[Refusal]]) -> Column:
    """Datetimes from datetime objects, ISO 8601 text or dates; naive ones are taken as UTC."""
    import numpy as np

    out = np.full(len(items), np.datetime64("NaT", "us"), "datetime64[us]")
    for row, value in enumerate(items):
        if is_missing(value):
            continue
        try:
            if isinstance(value, str):
                value = dt.datetime.fromisoformat(value)
            if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
                value = dt.datetime(value.year, value.month, value.day)
            if isinstance(value, dt.datetime):
                if value.tzinfo is not None:
                    value = value.astimezone(dt.UTC).replace(tzinfo=None)
                out[row] = np.datetime64(value, "us")
                continue
            if isinstance(value, np.datetime64):
                out[row] = value
                continue
        except (ValueError, OverflowError):
            pass  # refused below, with the value as it came
        refuse(refused, row, field, value)
    return Column(out)


def tensor_column(values: Any, field: Field, refused: dict[int, list[Refusal]]) -> Column:
    """A tensor of shape (n, *field.shape); a batch whose shape does not fit is BadData."""
    import numpy as np

    if type(values).__module__.partition(".")[0] == "torch":
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise BadData(f"column {field.name!r}: the rows' tensors differ in shape") from error
    if len(array) == 0:
        return Column(np.zeros((0, *(a or 0 for a in field.shape)), field.dtype if not field.is_text else object))
    if array.dtype.kind == "O" and not field.is_text:
        try:
            array = np.stack([np.asarray(v) for v in values])
        except ValueError as error:
            raise BadData(f"column {field.name!r}: the rows' tensors differ in shape") from error
    fits = array.ndim == len(field.shape) + 1 and all(
        a is None or a == n for a, n in zip(field.shape, array.shape[1:], strict=True)
    )
    if not fits:
        raise BadData(f"column {field.name!r}: expected rows of {field.says()}, got shape {array.shape[1:]}")
    if field.is_text:
        return Column(array.astype(object))
    allowed = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}[np.dtype(field.dtype).kind]
    if array.dtype.kind not in allowed:
        raise BadData(f"column {field.name!r}: expected {field.says()}, got {array.dtype}")
    return Column(array.astype(field.dtype))


def refuse(refused: dict[int, list[Refusal]], row: int, field: Field, value: Any) -> None:
    """Note that one cell is not of its field's dtype."""
    refused.setdefault(row, []).append(Refusal(field.name, field.says(), f"{value!r} ({type(value).__name__})"[:80]))
