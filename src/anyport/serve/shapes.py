"""Rows as vendors' JSON has them: lists of objects or of values in column order, lists of columns, pandas' split."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from anyport import codec, ingest
from anyport.batch import Outcome, Refusal
from anyport.codec import Body, shown
from anyport.errors import BadData, Mistake
from anyport.signature import Signature

CELLS = {"NaN": None, "Infinity": "Infinity", "-Infinity": "-Infinity"}
"""What Python's json writes and JSON does not know → the cell as our own JSON has it."""


def python_json(body: bytes, constant: Callable[[str], Any]) -> Any:
    """The JSON value in `body`, with NaN and infinities as Python's json writes them; `constant` says what they are.
    Mistake as `codec.parse` has it."""
    try:
        return codec.parse(body)
    except Mistake:
        if b"NaN" not in body and b"Infinity" not in body:
            raise
        try:
            value = json.loads(body, parse_float=codec.number, parse_constant=constant)
        except (ValueError, RecursionError):
            value = None  # it is malformed in some other way too, which the first error has said
        if value is None:
            raise
    codec.once(body)
    return value


def listed(value: Any, signature: Signature, where: str) -> Body:
    """The rows of a list: an object a row, or its values in column order; of a model with one column, the value
    itself."""
    if not isinstance(value, list):
        raise BadData(f"{where}: expected a list with one element a row, got {shown(value)}")
    fields = signature.inputs
    if len(fields) == 1 and not all(isinstance(row, dict) for row in value):
        only = fields[0]
        bare = bool(only.shape)  # a tensor is a list itself; a scalar may come alone in one
        cells = [row[0] if not bare and isinstance(row, list) and len(row) == 1 else row for row in value]
        return _columns({only.name: [_of_one(cell, only.name) for cell in cells]}, signature)
    return ordered(value, [field.name for field in fields], signature)


def _of_one(cell: Any, name: str) -> Any:
    """A cell that may come as an object with one key."""
    return cell[name] if isinstance(cell, dict) and cell.keys() == {name} else cell


def keyed(value: Any, signature: Signature, where: str) -> Body:
    """The rows of an object of columns, or of a list as `listed` takes it."""
    return _columns(value, signature) if isinstance(value, dict) else listed(value, signature, where)


def split(value: Any, signature: Signature, where: str) -> Body:
    """pandas' split orientation: {"columns": [name, …], "data": [[…], …]}; without `columns`, in the signature's
    order. `index` is for people."""
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise BadData(f'{where}: expected {{"columns": […], "data": [[…], …]}}, got {shown(value)}')
    more = sorted(set(value) - {"columns", "data", "index"})
    if more:
        raise BadData(f"{where}: there is no key {more[0]!r}", fix="send columns, data and, if you like, index")
    columns = value.get("columns")
    if columns is None:
        return listed(value["data"], signature, f"{where}.data")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise BadData(f"{where}.columns: expected a list of names, got {shown(columns)}")
    ingest.match(columns, signature.inputs, extra="refuse")
    return ordered(value["data"], columns, signature)


def ordered(rows: list[Any], names: Sequence[str], signature: Signature) -> Body:
    """Rows that are lists in the order of `names`, or objects."""
    width = len(names)
    if rows and all(type(row) is list and len(row) == width for row in rows):
        return _columns({name: [row[i] for row in rows] for i, name in enumerate(names)}, signature)
    records = [
        dict(zip(names, row, strict=True)) if isinstance(row, list) and len(row) == width else row for row in rows
    ]
    batch, wrong = codec.records(records, signature)
    for number, row in enumerate(records):
        if not isinstance(row, dict):
            wrong[number] = [Refusal("", f"an object, or a list of {width}: {', '.join(names)}"[:200], shown(row))]
    return codec.judged("records", batch, wrong, signature)


def _columns(value: dict[str, Any], signature: Signature) -> Body:
    batch, wrong = codec.columns(value, signature)
    return codec.judged("columns", batch, wrong, signature)


def predictions(outcome: Outcome, signature: Signature) -> list[Any]:
    """What the original's `predict` returns: the output `prediction` alone; of a model without one, its only output,
    or an object of all of them a row."""
    found = codec.outputs(outcome, signature, keyed=False)
    if "prediction" in found:
        return found["prediction"]
    return rowwise(found)


def rowwise(found: dict[str, list[Any]]) -> list[Any]:
    """One element a row: the value of the only output, or an object of all."""
    if len(found) == 1:
        return next(iter(found.values()))
    return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
