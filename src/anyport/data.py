"""Reading the data that proves a model: CSV, Parquet, Arrow, JSON Lines, npy/npz, or a live table."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import msgspec

from anyport.errors import BadData, Mistake, need
from anyport.frameworks import Hints

INT = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|Infinity)|nan|NaN")
SUFFIXES = (".csv", ".csv.gz", ".parquet", ".arrow", ".feather", ".jsonl", ".ndjson", ".npy", ".npz")


def read(source: Any, *, label: str | None, hints: Hints) -> Any:
    """The rows of a path or live table, without the target column `label`.

    A CSV column is a number only if every value is written as one: "001" stays text, and so does a column
    whose categories the model knows as text.
    """
    data = read_file(Path(source), hints) if isinstance(source, str | Path) else source
    if label is not None:
        # pyarrow calls them column_names; its `columns` are the arrays themselves
        names = list(data if isinstance(data, dict) else getattr(data, "column_names", getattr(data, "columns", ())))
        if label not in names:
            raise BadData(f"--label {label}: the data has no such column", fix=f"columns: {', '.join(map(str, names))}")
        if isinstance(data, dict):
            data = {k: v for k, v in data.items() if k != label}
        else:
            data = data.drop(columns=[label]) if hasattr(data, "iloc") else data.drop([label])
    if hasattr(data, "__len__") and len(data) == 0:
        raise BadData("the data has no rows; anyport proves a model on real ones")
    return data


def read_file(path: Path, hints: Hints) -> Any:
    """The table in a file, by its suffix."""
    if not path.is_file():
        raise Mistake(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise BadData(f"{path} is empty")
    name = path.name.lower()
    try:
        if name.endswith((".csv", ".csv.gz")):
            return read_csv(path, hints)
        if name.endswith(".parquet"):
            return need("pyarrow.parquet").read_table(path).to_pandas()
        if name.endswith((".arrow", ".feather")):
            return need("pyarrow.feather").read_table(path).to_pandas()
        if name.endswith((".jsonl", ".ndjson")):
            # pandas' own reader makes dates of columns whose name sounds like one
            return need("pandas").DataFrame(msgspec.json.Decoder(dict[str, Any]).decode_lines(path.read_bytes()))
        if name.endswith((".npy", ".npz")):
            import numpy as np

            loaded = np.load(path, allow_pickle=False)
            return loaded if name.endswith(".npy") else dict(loaded)
    except (ValueError, OSError, msgspec.DecodeError) as error:
        raise BadData(f"{path} cannot be read: {str(error).splitlines()[0] if str(error) else error}") from error
    raise Mistake(f"{path}: this kind of data file is not known", fix=f"use one of: {', '.join(SUFFIXES)}")


def read_csv(path: Path, hints: Hints) -> Any:
    """A CSV with every column typed by all of its values; only an empty field is missing."""
    pandas = need("pandas")
    with warnings.catch_warnings():
        # without index_col=False the surplus fields of a first row silently become an index, and shift every column
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        try:
            frame = pandas.read_csv(path, dtype="object", keep_default_na=False, na_values=[""], index_col=False)
        except pandas.errors.ParserWarning as error:
            raise BadData(f"{path}: rows have more fields than the header has names") from error
    first = pandas.read_csv(path, dtype="object", header=None, nrows=1).iloc[0].tolist()
    twice = sorted({str(n) for n in first if first.count(n) > 1})
    if twice:
        raise BadData(f"{path}: column {twice[0]!r} appears {first.count(twice[0])} times", fix="rename one of them")
    return frame.apply(lambda column: typed(column, hints, pandas))


def typed(column: Any, hints: Hints, pandas: Any) -> Any:
    """One CSV column as ints, floats, bools or text."""
    known = hints.levels.get(str(column.name))
    if known and any(isinstance(v, str) for v in known):
        return column
    present = column.dropna()
    if len(present) == 0:
        return column.astype("float64")
    if all(INT.fullmatch(v) for v in present):
        return column.astype("int64" if len(present) == len(column) else "float64")
    if all(FLOAT.fullmatch(v) for v in present) and not any(re.match(r"[+-]?0[0-9]", v) for v in present):
        return column.astype("float64")
    if all(v.lower() in ("true", "false") for v in present):
        return column.map({"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False})
    return column
