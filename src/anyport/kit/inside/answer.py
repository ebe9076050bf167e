"""Inside a database's Python: arrays of an engine's values in, a tuple of answers for each row out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyport import ort
from anyport.batch import Column
from anyport.bundle import read
from anyport.predictor import GraphPredictor, encoder_of, of

if TYPE_CHECKING:
    from anyport.signature import Field


def runtime() -> tuple[int, ...]:
    """The version of ONNX Runtime."""
    return tuple(int(part) for part in ort.runtime().__version__.split(".")[:3] if part.isdigit())


def answering(path: str) -> Callable[[Sequence[Any], Sequence[str] | None], list[tuple[Any, ...]]]:
    """The function that answers with the bundle in a folder, which is needed no longer. It takes an array for each
    scalar column; or, where `names` is given, one array of rows by these names."""
    bundle = read(Path(path))
    older = bundle.path.with_suffix(".onnx")
    predictor = GraphPredictor(bundle.signature, older, encoder_of(bundle)) if older.is_file() else of(bundle)
    fields = bundle.signature.inputs
    widths = [f.width if f.shape else 1 for f in fields]

    def answers(args: Sequence[Any], names: Sequence[str] | None) -> list[tuple[Any, ...]]:
        arrays = args if names is None else [[row[n] for row in args[0] or ()] for n in names]
        batch, at = {}, 0
        for field, width in zip(fields, widths, strict=True):
            batch[field.name] = column(field, [a or [] for a in arrays[at : at + width]])
            at += width
        got = predictor.predict(batch)
        n = len(arrays[0] or ())
        cells: list[list[Any]] = []
        for field in bundle.signature.outputs:
            values = got.outputs[field.name].plain().values.reshape(n, -1)
            if field.is_float:
                cells += [[None if v != v else v for v in line] for line in values.T.astype(float).tolist()]
            else:
                cells += values.T.tolist()
        rows = [(*row, None) for row in zip(*cells, strict=True)]
        for i, why in got.refused.items():
            first = why[0]
            rows[i] = (*(None for _ in cells), f"column {first.column!r}: expected {first.expected}, got {first.got}")
        return rows

    return answers


def column(field: Field, arrays: Sequence[Sequence[Any]]) -> Column:
    """A column of the batch, from an array for each of its scalars."""
    import numpy as np

    made = []
    for array in arrays:
        valid = np.array([v is not None for v in array], bool)
        if field.is_text:
            values: Any = np.empty(len(array), object)
            values[:] = array
        elif field.is_float:
            with np.errstate(over="ignore"):
                values = np.array([np.nan if v is None else v for v in array], np.float64).astype(field.dtype)
        elif field.dtype == "datetime":
            values = np.array([0 if v is None else v for v in array], np.int64).astype("datetime64[us]")
        else:
            values = np.array([0 if v is None else int(v) for v in array]).astype(field.dtype)
        made.append((values, valid))
    if not field.shape:
        return Column(made[0][0], None if made[0][1].all() else made[0][1])
    shape = (len(made[0][0]), *(a or 1 for a in field.shape))
    return Column(np.stack([v for v, _ in made], axis=1).reshape(shape))
