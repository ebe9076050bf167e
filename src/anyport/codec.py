"""JSON bytes ↔ Batch and Outcome, by the Signature: one row, a list of rows, or columns; the answer mirrors the form.

    {"age": 3, "city": "Oslo"}                 → {"prediction": "no", "probability": {"no": 0.9, "yes": 0.1}}
    [{"age": 3, "city": "Oslo"}, …]            → [{"prediction": "no", "probability": {…}}, …]
    {"columns": {"age": [3, …], "city": […]}}  → {"columns": {"prediction": ["no", …], "probability": [[0.9, 0.1], …]}}

null is a missing value, infinities are the strings "Infinity" and "-Infinity", NaN is never written (it is null),
datetimes are ISO 8601 text (without an offset: UTC). Every column must be there; no others may. `columns` with an
object in it cannot be mistaken for a row, because no cell is an object.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from anyport import ingest
from anyport.batch import Column, Outcome, Refusal
from anyport.errors import BadData, Mistake
from anyport.signature import Field, Signature, refusals

if TYPE_CHECKING:
    from numpy.typing import NDArray

Form = Literal["row", "records", "columns"]
Wrong = dict[int, list[Refusal]]
INFINITE = {"Infinity": math.inf, "-Infinity": -math.inf}
SHOWN = 80
"""Characters of a wrong value that an error repeats."""

_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Body:
    """A decoded request: its rows, and every cell that the model refuses (their rows hold placeholders)."""

    form: Form
    batch: dict[str, Column]
    refused: Mapping[int, tuple[Refusal, ...]]


@dataclass(frozen=True, slots=True)
class Beyond:
    """A number literal that no double holds, as it was written."""

    text: str


def number(text: str) -> float | Beyond:
    """A number literal as a double."""
    value = float(text)
    return Beyond(text) if math.isinf(value) else value


_parse: Callable[[bytes], Any] = msgspec.json.Decoder(float_hook=number).decode


def parse(body: bytes) -> Any:
    """The JSON value in `body`; a Mistake that says at which byte it is malformed."""
    try:
        value = _parse(body)
    except UnicodeDecodeError as error:
        start = bytes(body).find(error.object[error.start :])
        raise Mistake(f"the body is not UTF-8: byte {max(start, error.start)} cannot be read") from error
    except RecursionError as error:
        raise Mistake("the JSON is nested too deeply") from error
    except msgspec.DecodeError as error:
        said = where(str(error), body)
        raise Mistake(f"the body is not JSON: {said}", fix="check quotes, commas and brackets") from error
    # every key has a colon behind it: as many of them as keys, and no key was read twice
    if body.count(b":") != keys_in(value):
        once(body)
    return value


def keys_in(value: Any) -> int:
    """How many keys the objects of a body have; fewer than there are where lists mix objects with other things."""
    count, open_ones = 0, [value]
    while open_ones:  # no recursion: a body may be nested as deeply as msgspec reads
        one = open_ones.pop()
        if isinstance(one, dict):
            count += len(one)
            open_ones += [v for v in one.values() if isinstance(v, dict | list)]
        elif one and isinstance(one, list) and isinstance(one[0], dict | list):
            open_ones += [v for v in one if isinstance(v, dict | list)]
    return count


def once(body: bytes) -> None:
    """BadData where an object in `body`, which is JSON, has a key twice: readers differ in which value they take."""

    def pairs(found: list[tuple[str, Any]]) -> None:
        if len(dict(found)) != len(found):
            name = next(n for i, (n, _) in enumerate(found) if any(n == m for m, _ in found[:i]))
            count = sum(n == name for n, _ in found)
            raise BadData(f"key {shown(name)} is given {count} times in one object", fix="give every key once")

    try:
        json.loads(body, object_pairs_hook=pairs, parse_float=str, parse_int=str)
    except RecursionError as error:
        raise Mistake("the JSON is nested too deeply") from error


def where(message: str, body: bytes) -> str:
    """msgspec's message with a byte position, which it leaves out where the text just ends."""
    if not body.strip():
        return "it is empty"
    return f"it ends too early (byte {len(body)})" if "truncated" in message else message


def decode(body: bytes, signature: Signature) -> Body:
    """The rows of a request body. Mistake where it is no JSON, BadData where it is no rows at all."""
    return read(parse(body), signature)


def read(value: Any, signature: Signature) -> Body:
    """The rows in a JSON value. BadData where it is no rows at all."""
    form: Form = "records" if isinstance(value, list) else "row"
    if isinstance(value, list):
        batch, wrong = records(value, signature)
    elif isinstance(value, dict) and len(value) == 1 and isinstance(value.get("columns"), dict):
        form = "columns"
        batch, wrong = columns(value["columns"], signature)
    elif isinstance(value, dict):
        batch, wrong = records([value], signature)
    else:
        raise BadData(
            f"expected a row, a list of rows or columns, got {shown(value)}",
            fix='send {"column": value, …} with one key a column',
        )
    return judged(form, batch, wrong, signature)


def judged(form: Form, batch: dict[str, Column], wrong: Wrong, signature: Signature) -> Body:
    """A Body of rows whose cells were read; `wrong` (changed here) holds those that are not of their field's type, and
    gets those that the model does not answer."""
    for row, said in refusals(batch, signature).items():
        told = wrong.setdefault(row, [])
        seen = {refusal.column for refusal in told}
        # "" stands for the whole row: it was no object, so none of its columns is missing on its own
        told += [refusal for refusal in said if refusal.column not in seen and "" not in seen]
    return Body(form, batch, {row: tuple(wrong[row]) for row in sorted(wrong)})


def records(values: Sequence[Any], signature: Signature) -> tuple[dict[str, Column], Wrong]:
    """The Batch of a list of objects, and what does not fit in it."""
    wrong: Wrong = {}
    names = [field.name for field in signature.inputs]
    known = frozenset(names)
    for row, record in enumerate(values):
        if not isinstance(record, dict):
            wrong[row] = [Refusal("", "an object with one key a column", shown(record))]
        elif record.keys() != known:
            absent = [field for field in signature.inputs if field.name not in record]
            free = [field.name for field in absent]
            more = [name for name in record if name not in known]
            wrong[row] = [Refusal(n, f"no such column{ingest.meant(n, free)}", shown(record[n])) for n in more]
            wrong[row] += [Refusal(f.name, f.says(), "nothing: the key is not there") for f in absent]
    batch = {}
    for field in signature.inputs:
        name = field.name
        batch[name] = column([r.get(name) if isinstance(r, dict) else None for r in values], field, wrong)
    return batch, wrong


def columns(values: Mapping[str, Any], signature: Signature) -> tuple[dict[str, Column], Wrong]:
    """The Batch of an object of lists. BadData where the columns themselves are not the model's."""
    ingest.match(list(values), signature.inputs, extra="refuse")
    for name, listed in values.items():
        if not isinstance(listed, list):
            raise BadData(f"column {name!r}: expected a list with one value a row, got {shown(listed)}")
    if len({len(listed) for listed in values.values()}) > 1:
        sizes = ", ".join(f"{name} {len(listed)}" for name, listed in values.items())
        raise BadData(f"columns differ in length: {sizes}")
    wrong: Wrong = {}
    return {field.name: column(values[field.name], field, wrong) for field in signature.inputs}, wrong


def column(listed: list[Any], field: Field, wrong: Wrong) -> Column:
    """One column from JSON values; cells that are not the field's are added to `wrong` and hold a placeholder."""
    import numpy as np

    if field.shape:
        return tensors(listed, field, wrong)
    if field.is_float:
        listed = [INFINITE.get(cell, cell) if type(cell) is str else cell for cell in listed]
    quick = plain_column(listed, field)
    if quick is not None:
        return quick
    refused: Wrong = {}
    # a number that float32 cannot hold becomes infinite here and is refused below
    with np.errstate(over="ignore"):
        made = ingest.to_column(listed, field, refused)
    if field.dtype in ("float16", "float32"):
        for row in np.isinf(made.values).nonzero()[0].tolist():
            if not math.isinf(listed[row]):
                ingest.refuse(refused, row, field, listed[row])
    for row in refused:
        wrong.setdefault(row, []).append(Refusal(field.name, field.says(), shown(listed[row])))
    return made


def plain_column(listed: list[Any], field: Field) -> Column | None:
    """The column without a look at single cells, where their Python types allow it; else None."""
    import numpy as np

    kinds = set(map(type, listed))
    try:
        if field.dtype == "float64" and kinds <= {float, int, NoneType}:
            return Column(np.array(listed, np.float64))  # None becomes NaN
        if field.is_int and kinds <= {int}:
            return Column(np.array(listed, field.dtype))
    except OverflowError:
        return None
    if field.dtype == "string" and kinds <= {str}:
        made = np.empty(len(listed), object)
        made[:] = listed
        return Column(made)
    return None


def tensors(listed: list[Any], field: Field, wrong: Wrong) -> Column:
    """One tensor column from nested lists. Rows of a batch must agree on free axes; the first good row decides."""
    import numpy as np

    made = [None if cell is None else tensor(cell, field) for cell in listed]
    shape = next((value.shape for value in made if value is not None), tuple(axis or 0 for axis in field.shape))
    dtype = object if field.is_text else np.dtype(field.dtype)
    out = np.full((len(listed), *shape), np.nan if field.is_float else (None if field.is_text else 0), dtype)
    valid = np.ones(len(listed), bool)
    for row, (cell, value) in enumerate(zip(listed, made, strict=True)):
        if value is not None and value.shape == shape:
            out[row] = value
        elif cell is None:
            valid[row] = field.is_float
        else:
            wrong.setdefault(row, []).append(Refusal(field.name, field.says(), shown(cell)))
    return Column(out, None if valid.all() else valid)


def tensor(cell: Any, field: Field) -> NDArray[Any] | None:
    """One row's tensor, or None where the nested lists are ragged, of another shape, or of another type."""
    import numpy as np

    flat, shape = flatten(cell)
    if flat is None or len(shape) != len(field.shape):
        return None
    if any(axis is not None and axis != size for axis, size in zip(field.shape, shape, strict=True)):
        return None
    wrong: Wrong = {}
    made = column(flat, msgspec.structs.replace(field, shape=()), wrong)
    # a null in an integer or text tensor has no value that could stand for it
    if wrong or (made.valid is not None and not made.valid.all()):
        return None
    return np.asarray(made.plain().values).reshape(shape)


def flatten(cell: Any) -> tuple[list[Any] | None, tuple[int, ...]]:
    """The leaves of nested lists and their shape; (None, ()) where the lists are ragged or `cell` is no list."""
    if not isinstance(cell, list):
        return None, ()
    level: list[Any] = cell
    shape = [len(level)]
    while level and isinstance(level[0], list):
        size = len(level[0])
        if any(not isinstance(part, list) or len(part) != size for part in level):
            return None, ()
        level = [leaf for part in level for leaf in part]
        shape.append(size)
    return level, tuple(shape)


def shown(value: Any) -> str:
    """A wrong value as JSON text, cut to a length that fits a line."""
    if isinstance(value, Beyond):
        return value.text[:SHOWN]
    if isinstance(value, float) and math.isinf(value):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    text = _encode(_plain(value if not isinstance(value, str) else value[: SHOWN + 1])).decode()
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _plain(value: Any, depth: int = 8) -> Any:
    if isinstance(value, Beyond):
        return value.text
    if isinstance(value, list | dict) and not depth:
        return "…"
    if isinstance(value, list):
        return [_plain(v, depth - 1) for v in value[:SHOWN]]
    return {k: _plain(v, depth - 1) for k, v in value.items()} if isinstance(value, dict) else value


def keys(field: Field) -> tuple[str, ...] | None:
    """The object keys of an output with one number a label, in label order; None for every other output."""
    if not field.levels or field.shape != (len(field.levels),):
        return None
    named = tuple(level if isinstance(level, str) else _encode(level).decode() for level in field.levels)
    return named if len(set(named)) == len(named) else None


def cells(made: Column, field: Field | None) -> list[Any]:
    """A column's values as JSON-ready data, one a row: None where missing or NaN."""
    import numpy as np

    made = made.plain()
    values = made.values
    if values.dtype.kind == "M":
        zone = "Z" if field is not None and field.tz else ""
        listed: list[Any] = [None if np.isnat(v) else f"{v}{zone}" for v in values]
    elif values.dtype.kind == "f" and not np.isfinite(values).all():
        listed = finite(values.tolist())
    else:
        listed = values.tolist()
    if made.valid is not None:
        listed = [value if valid else None for value, valid in zip(listed, made.valid.tolist(), strict=True)]
    return listed


def finite(value: Any) -> Any:
    if isinstance(value, list):
        return [finite(v) for v in value]
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def answer(outcome: Outcome, form: Form, signature: Signature) -> bytes:
    """The reply to a body of `form`; refused rows are null and carry `errors` (what `?partial=true` asks for)."""
    if form == "columns":
        body: dict[str, Any] = {"columns": outputs(outcome, signature, keyed=False)}
        if outcome.refused:
            body["errors"] = problems(outcome.refused)
        return _encode(body)
    made = objects(outcome, signature)
    return _encode(made if form == "records" else made[0])


def outputs(outcome: Outcome, signature: Signature, *, keyed: bool) -> dict[str, list[Any]]:
    """Every output as JSON-ready values, one a row, null where the row was refused; with `keyed`, one number a label
    is an object."""
    found: dict[str, list[Any]] = {}
    for field in signature.outputs:
        values = cells(outcome.outputs[field.name], field)
        if outcome.refused:
            values = [None if row in outcome.refused else value for row, value in enumerate(values)]
        named = keys(field)
        if named is not None and keyed:
            values = [None if value is None else dict(zip(named, value, strict=True)) for value in values]
        found[field.name] = values
    return found


def objects(outcome: Outcome, signature: Signature) -> list[dict[str, Any]]:
    """One JSON-ready answer a row; refused ones carry `errors`."""
    found = outputs(outcome, signature, keyed=True)
    made = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
    for number, said in outcome.refused.items():
        made[number]["errors"] = [problem(None, refusal) for refusal in said]
    return made


def problems(refused: Mapping[int, Sequence[Refusal]]) -> list[dict[str, Any]]:
    """Every refused cell as JSON-ready data, in row order."""
    return [problem(row, refusal) for row in sorted(refused) for refusal in refused[row]]


def problem(row: int | None, refusal: Refusal) -> dict[str, Any]:
    """One refused cell: row (unless None), column, expected, got."""
    said = {"column": refusal.column, "expected": refusal.expected, "got": refusal.got}
    return said if row is None else {"row": row, **said}
