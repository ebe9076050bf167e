"""Fields from data: what each column of the user's rows, and each answer of the model, is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from anyport.errors import BadData, need
from anyport.ingest import is_missing, meant
from anyport.signature import Container, Dtype, Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.frameworks import Hints

NUMBERS = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
)  # fmt: skip


def inputs(data: Any, hints: Hints) -> tuple[tuple[Field, ...], Container, Any]:
    """Fields, container, and the data as the original takes it (tables become pandas; extra columns are an error)."""
    import numpy as np

    if hints.inputs is not None:
        return hints.inputs, hints.container or "tensors", data if hints.data is None else hints.data
    root = type(data).__module__.partition(".")[0]
    if root in ("polars", "pyarrow"):
        data = data.to_pandas()
    elif root == "scipy":
        data = data.toarray()
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        if hints.container == "list" and data.shape[1] == 1:
            return (text_field(),), "list", data.iloc[:, 0].tolist()
        return frame(data, hints)
    if hints.container == "tensors" or (isinstance(data, Mapping) and any(np.ndim(v) > 1 for v in data.values())):
        tensors = data if isinstance(data, Mapping) else {(hints.columns or ("x",))[0]: data}
        arrays = {str(k): np.asarray(v) for k, v in tensors.items()}
        return tuple(tensor(k, v) for k, v in arrays.items()), "tensors", arrays
    if isinstance(data, Mapping) or (isinstance(data, Sequence) and data and isinstance(data[0], Mapping)):
        return frame(need("pandas").DataFrame(data), hints)
    if hasattr(data, "iloc"):
        data = data.tolist()
    if isinstance(data, list) and data and all(isinstance(v, str) for v in data):
        return (text_field(),), "list", data
    array = np.asarray(data)
    if array.dtype.kind in "OU" and array.ndim == 1:
        return (text_field(),), "list", array.tolist()
    if array.ndim == 1:
        raise BadData(
            f"the data has one axis (shape {array.shape}); rows of columns are needed", fix="X.reshape(-1, 1)"
        )
    if array.ndim > 2:
        return (tensor((hints.columns or ("x",))[0], array),), "tensors", {(hints.columns or ("x",))[0]: array}
    if hints.columns is not None and len(hints.columns) == array.shape[1] and hints.container == "dataframe":
        return frame(need("pandas").DataFrame(array, columns=list(hints.columns)), hints)
    if hints.columns is not None and len(hints.columns) != array.shape[1]:
        raise BadData(f"the data has {array.shape[1]} columns, the model was fitted on {len(hints.columns)}")
    names = hints.columns or tuple(f"x{i}" for i in range(array.shape[1]))
    return tuple(column(array[:, i], n, hints) for i, n in enumerate(names)), "array", array


def text_field() -> Field:
    """The one column of a model that takes documents."""
    return Field(name="text", dtype="string", native="object")


def frame(data: Any, hints: Hints) -> tuple[tuple[Field, ...], Container, Any]:
    """Fields of a DataFrame, in the order the model was fitted in."""
    data = data.rename(columns=str)
    names = list(data.columns)
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise BadData(f"column {twice[0]!r} appears {names.count(twice[0])} times", fix="rename one of them")
    if hints.columns is not None:
        absent = [n for n in hints.columns if n not in names]
        more = [n for n in names if n not in hints.columns]
        if absent:
            raise BadData(f"the data lacks column {absent[0]!r}, which the model was fitted on{meant(absent[0], more)}")
        if more:
            raise BadData(
                f"column {more[0]!r} is in the data, but the model was not fitted on it",
                fix=f"if it is the target: --label {more[0]} (in Python: label={more[0]!r}); else drop it",
            )
        data = data[list(hints.columns)]
    if data.shape[1] == 0:
        raise BadData("the data has no columns")
    if hints.container == "array":
        array = data.to_numpy()
        return tuple(column(array[:, i], n, hints) for i, n in enumerate(data.columns)), "array", array
    return tuple(column(data[n], n, hints) for n in data.columns), "dataframe", data


def tensor(name: str, array: NDArray[Any]) -> Field:
    """A tensor input: every axis but the batch's is fixed to the example's size."""
    if array.dtype.name not in NUMBERS:
        raise BadData(f"tensor {name!r} has dtype {array.dtype}; numbers are needed")
    return Field(name=name, dtype=cast(Dtype, array.dtype.name), shape=tuple(array.shape[1:]), native=array.dtype.name)


def column(values: Any, name: str, hints: Hints) -> Field:
    """The Field of one pandas or numpy column. Nullable and bounds are found later by asking the original."""
    import numpy as np

    native = str(values.dtype)
    known = hints.levels.get(name)
    if native == "category":
        levels = [v.item() if isinstance(v, np.generic) else v for v in values.cat.categories.tolist()]
        kinds = {type(v) for v in levels}
        if not kinds <= {str} and not kinds <= {int} and not kinds <= {float} and not kinds <= {bool}:
            raise BadData(f"column {name!r}: category levels of mixed types {sorted(k.__name__ for k in kinds)}")
        ordered = bool(values.cat.ordered)
        return Field(name=name, dtype="category", levels=tuple(levels), native="category", ordered=ordered)
    if native.startswith("datetime64"):
        return Field(name=name, dtype="datetime", tz=str(values.dt.tz) if "," in native else None, native=native)
    lowered = native.lower().removesuffix("[pyarrow]")
    lowered = {"boolean": "bool", "double": "float64", "float": "float32"}.get(lowered, lowered)
    if lowered in NUMBERS:
        return Field(name=name, dtype=cast(Dtype, lowered), native=native, levels=numbers(known, lowered))
    if lowered.startswith(("string", "str")) or native.startswith("<U"):
        items = [v for v in values.tolist() if is_missing(v)]
        return Field(name=name, dtype="string", native="object" if native.startswith("<U") else native,
                     missing=mark(items), levels=texts(known))  # fmt: skip
    if native == "object":
        return object_column(values.tolist(), name, known)
    raise BadData(f"column {name!r} has dtype {native}, which no target can carry", fix="convert it to numbers or text")


def object_column(items: list[Any], name: str, known: tuple[Any, ...] | None) -> Field:
    """The Field of an object column: all text, all bools or all numbers, with or without missing values."""
    kinds = {type(v).__name__ for v in items if not is_missing(v)}
    missing = mark([v for v in items if is_missing(v)])
    if kinds <= {"str", "str_"}:
        return Field(name=name, dtype="string", native="object", missing=missing, levels=texts(known))
    if kinds <= {"bool", "bool_"}:
        return Field(name=name, dtype="bool", native="object", missing=missing)
    if kinds <= {"int", "int64", "int32"}:
        return Field(name=name, dtype="int64", native="object", missing=missing)
    if kinds <= {"float", "float64", "float32", "int", "int64", "Decimal"}:
        return Field(name=name, dtype="float64", native="object", missing=missing)
    raise BadData(
        f"column {name!r} mixes {', '.join(sorted(kinds))}",
        fix=f"make it one type, for example df[{name!r}] = df[{name!r}].astype(str)",
    )


def numbers(levels: tuple[Any, ...] | None, dtype: str) -> tuple[Any, ...] | None:
    """The categories that the model knows of a column of numbers."""
    if levels is None or dtype == "bool" or not all(isinstance(v, int | float) for v in levels):
        return None
    present = [v for v in levels if v == v]
    return tuple(float(v) if dtype.startswith("float") else int(v) for v in present) or None


def texts(levels: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    """The known levels of a string column that are text."""
    if levels is None:
        return None
    return tuple(str(v) for v in levels if isinstance(v, str)) or None


def mark(missing: Sequence[Any]) -> Literal["nan", "none", "na"]:
    """How missing values are written, from the first one seen."""
    if not missing or isinstance(missing[0], float):
        return "nan"
    return "none" if missing[0] is None else "na"


def outputs(answers: Mapping[str, NDArray[Any]], hints: Hints) -> tuple[Field, ...]:
    """Fields of the model's answers: labels for classifiers, widths for everything with more than one column."""
    fields = []
    for name, array in answers.items():
        shape = tuple(int(a) for a in array.shape[1:])
        labels = hints.labels.get(name.replace("probability", "prediction"))
        if labels is not None:
            labels = tuple(label(v) for v in labels)
        dtype: str = array.dtype.name
        if array.dtype.kind in "OUS":
            dtype = "string" if all(isinstance(v, str) for v in array.ravel()[:100].tolist()) else "float64"
        if dtype not in (*NUMBERS, "string"):
            raise BadData(f"the model answers {name!r} with dtype {array.dtype}, which no target can carry")
        fields.append(Field(name=name, dtype=cast(Dtype, dtype), shape=shape, levels=labels, nullable=True))
    return tuple(fields)


def label(value: Any) -> Any:
    """A class label as plain data."""
    import numpy as np

    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, str | int | float | bool):
        raise BadData(f"class label {value!r} is a {type(value).__name__}; text, numbers and bools can be carried")
    return value
