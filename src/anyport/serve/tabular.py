"""Tensors of the Open Inference Protocol as the rows of a model, and its answers as tensors: REST and gRPC share it.

Every column is a tensor of its own, [n] or [n, 1]; a model that takes only numbers takes one matrix [n, columns] too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from anyport import codec, ingest
from anyport.batch import Column, Outcome, Refusal
from anyport.codec import Body, Wrong
from anyport.errors import Mistake
from anyport.serve.tensors import DTYPES, Tensor
from anyport.signature import Field, Signature, refusals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MATRIX = "input"
"""What the matrix of all columns is called; another name that is no column's will do where there are several."""
NUMBERS = frozenset("iuf")


def datatype(field: Field) -> str:
    """The datatype of a field's tensor. Text and ISO 8601 datetimes are BYTES, levels of their own type."""
    if field.dtype == "category" and field.levels:
        return {str: "BYTES", int: "INT64", float: "FP64", bool: "BOOL"}[type(field.levels[0])]
    if field.is_text or field.dtype == "datetime":
        return "BYTES"
    return field.dtype.upper().replace("FLOAT", "FP")


def described(field: Field) -> dict[str, Any]:
    """Name, datatype and shape of a field's tensor, -1 for a free axis; the first is the rows."""
    return {"name": field.name, "datatype": datatype(field), "shape": [-1, *(axis or -1 for axis in field.shape)]}


def body(tensors: Sequence[Tensor], signature: Signature) -> Body:
    """The rows that tensors hold. Mistake where they are not the model's inputs; cells that it does not take are in
    `refused`, as are rows that it would not answer."""
    given = columns(tensors, signature)
    sizes = {len(tensor.values) for tensor in given.values()}
    if len(sizes) > 1:
        said = ", ".join(f"{name} {len(tensor.values)}" for name, tensor in given.items())
        raise Mistake(f"the inputs differ in their number of rows: {said}")
    wrong: Wrong = {}
    batch = {field.name: column(given[field.name], field, wrong) for field in signature.inputs}
    for row, said_of in refusals(batch, signature).items():
        told = wrong.setdefault(row, [])
        seen = {refusal.column for refusal in told}
        told += [refusal for refusal in said_of if refusal.column not in seen]
    return Body("columns", batch, {row: tuple(wrong[row]) for row in sorted(wrong)})


def columns(tensors: Sequence[Tensor], signature: Signature) -> dict[str, Tensor]:
    """One tensor a column, by name. Mistake unless each column is there once and nothing else is."""
    fields = signature.inputs
    known = [field.name for field in fields]
    if len(tensors) == 1 and is_matrix(tensors[0], fields):
        matrix = tensors[0]
        parts = [None if matrix.valid is None else matrix.valid[:, i] for i in range(len(fields))]
        return {f.name: Tensor(f.name, matrix.datatype, matrix.values[:, i], parts[i]) for i, f in enumerate(fields)}
    given = {tensor.name: tensor for tensor in tensors}
    takes = f"the model takes: {', '.join(known[:20])}{' …' if len(known) > 20 else ''}"
    if len(given) < len(tensors):
        raise Mistake("an input is given twice", fix=takes)
    for name in given:
        if name not in known:
            raise Mistake(f"unknown input {name!r}{ingest.meant(name, set(known) - set(given))}", fix=takes)
    for name in known:
        if name not in given:
            raise Mistake(f"input {name!r} is missing", fix=takes)
    return given


def is_matrix(tensor: Tensor, fields: Sequence[Field]) -> bool:
    """Whether a tensor holds all columns of a model that takes only numbers, in the signature's order."""
    fits = tensor.values.ndim == 2 and tensor.values.shape[1] == len(fields) and tensor.datatype != "BYTES"
    named = tensor.name == MATRIX or len(fields) > 1
    return (
        fits and named
        and all(field.is_number and not field.shape for field in fields)
        and tensor.name not in {field.name for field in fields}
    )  # fmt: skip


def column(tensor: Tensor, field: Field, wrong: Wrong) -> Column:
    """One column from its tensor; cells that the field does not take are added to `wrong` and hold a placeholder.
    Mistake where shape or datatype are not the field's."""
    import numpy as np

    shape = tensor.values.shape
    expected = tuple(described(field)["shape"])
    fits = len(shape) == len(expected) and all(e in (-1, s) for e, s in zip(expected, shape, strict=True))
    if not fits and not (not field.shape and shape[1:] == (1,)):
        said = "[n] or [n, 1]" if not field.shape else f"[n, {', '.join(str(a or 'any') for a in field.shape)}]"
        raise Mistake(f"input {field.name!r}: expected the shape {said}, got {list(shape)}")
    if np.dtype(DTYPES[tensor.datatype]).kind not in taken(field):
        also = " (or any other number)" if taken(field) & NUMBERS else ""
        raise Mistake(f"input {field.name!r}: expected {datatype(field)}{also}, got {tensor.datatype}")
    flat, valid = tensor.values.ravel(), None if tensor.valid is None else tensor.valid.ravel()
    bad: Wrong = {}
    cell = msgspec.structs.replace(field, shape=()) if field.shape else field
    made = cells(flat, valid, cell, bad)
    if field.shape:
        return stacked(made, shape, field, bad, wrong)
    for row in bad:
        wrong.setdefault(row, []).append(Refusal(field.name, field.says(), shown(flat[row])))
    return made


def taken(field: Field) -> frozenset[str]:
    """Kinds of arrays that a field's cells are read from."""
    if field.dtype == "bool":
        return NUMBERS | {"b"}
    kind = datatype(field)
    return NUMBERS if kind.startswith(("FP", "INT", "UINT")) else frozenset({"O" if kind == "BYTES" else "b"})


def cells(flat: NDArray[Any], valid: NDArray[np.bool_] | None, field: Field, bad: Wrong) -> Column:
    """A column of scalars; what is no value of the field is noted in `bad`."""
    import numpy as np

    if field.dtype == "bool" and flat.dtype.kind != "b":
        there: NDArray[np.bool_] = flat == flat  # NaN is missing
        for row in np.flatnonzero(there & (flat != 0) & (flat != 1)).tolist():
            ingest.refuse(bad, row, field, flat[row])
        made = Column(flat == 1, None if there.all() else there)
    elif field.is_text or field.dtype == "datetime":
        items = flat.tolist()
        if valid is not None:
            items = [item if ok else None for item, ok in zip(items, valid.tolist(), strict=True)]
        items = [text(item, row, field, bad) for row, item in enumerate(items)]
        return ingest.to_column(items, field, bad)
    else:
        # a number that the field's float cannot hold becomes infinite here and is refused below
        with np.errstate(over="ignore"):
            made = ingest.to_column(flat, field, bad)
        if field.dtype in ("float16", "float32") and flat.dtype.kind == "f":
            for row in (np.isinf(made.values) & ~np.isinf(flat)).nonzero()[0].tolist():
                ingest.refuse(bad, row, field, flat[row])
    if valid is None:
        return made
    if field.is_float:
        return Column(np.where(valid, made.values, math.nan).astype(field.dtype))
    both = valid if made.valid is None else valid & made.valid
    return Column(made.values, None if both.all() else both)


def text(item: Any, row: int, field: Field, bad: Wrong) -> Any:
    """An element of BYTES as str; one that is no UTF-8 is noted in `bad`."""
    if not isinstance(item, bytes):
        return item
    try:
        return item.decode()
    except UnicodeDecodeError:
        ingest.refuse(bad, row, field, item)
        return None


def stacked(made: Column, shape: tuple[int, ...], field: Field, bad: Wrong, wrong: Wrong) -> Column:
    """A column of tensors from one of their elements. A row all of whose elements are missing is missing itself; a
    single missing element that is no float has nothing that could stand for it."""
    import numpy as np

    plain, width = made.plain(), math.prod(shape[1:])
    values = plain.values.reshape(shape)
    broken = np.zeros((len(values), width), bool)
    broken.ravel()[list(bad)] = True
    valid: NDArray[np.bool_] | None = None
    if plain.valid is not None:
        there = plain.valid.reshape(len(values), width)
        valid = np.asarray(there.any(axis=1), bool)
        broken |= valid[:, None] & ~there
    for row in np.flatnonzero(broken.any(axis=1)).tolist():
        wrong.setdefault(row, []).append(Refusal(field.name, field.says(), codec.shown(values[row].tolist())))
    return Column(values, valid)


def shown(value: Any) -> str:
    """An element as an error repeats it."""
    value = value.item() if hasattr(value, "item") else value
    return repr(value)[: codec.SHOWN] if isinstance(value, bytes) else codec.shown(value)


def answers(outcome: Outcome, fields: Sequence[Field]) -> list[Tensor]:
    """The outputs of these fields as tensors, in this order."""
    return [answer(outcome.outputs[field.name].plain(), field) for field in fields]


def answer(made: Column, field: Field) -> Tensor:
    """One output as a tensor [n, …]."""
    import numpy as np

    kind = datatype(field)
    values = made.values
    if field.dtype == "datetime":
        values = np.empty(len(made), object)
        values[:] = codec.cells(made, field)
    valid = made.valid
    if values.dtype.kind == "O":
        there = np.array([cell is not None for cell in values.ravel().tolist()], bool).reshape(values.shape)
        return Tensor(field.name, kind, values, None if there.all() else there)
    if valid is not None and not valid.all():
        valid = np.broadcast_to(valid.reshape(-1, *(1 for _ in values.shape[1:])), values.shape)
    return Tensor(field.name, kind, values.astype(DTYPES[kind], copy=False), valid)
