"""Pydantic models made from a Signature: the schema names the model's columns, validation is our own codec's."""

from __future__ import annotations

import datetime
import keyword
import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

from anyport import codec
from anyport.errors import need
from anyport.serve import openapi
from anyport.signature import Field, Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic import BaseModel

SCALARS: dict[str, type] = {"f": float, "i": int, "u": int, "b": bool}


def row(signature: Signature, name: str = "Row") -> type[BaseModel]:
    """The model of one row. It accepts a cell exactly where POST /predict does, and holds it as a Python value.

    A column whose name is no attribute's is under an alias: `home city` is `.home_city`. Dumps go by the columns'
    own names, so that `model_dump(mode="json")` is a row as `Mounted.ask` takes it.
    """
    pydantic = need("pydantic")
    fields = {
        attribute: (typed(field), pydantic.Field(alias=field.name, title=field.name))
        for attribute, field in attributes(signature.inputs)
    }
    return made(name, fields, extra="forbid")


def answer(signature: Signature, name: str = "Answer") -> type[BaseModel]:
    """The model of one row's answer, for documents; null where the row was refused, which `errors` then explains."""
    pydantic = need("pydantic")
    fields = {
        attribute: (shown(openapi.value(field, keyed=True)), pydantic.Field(alias=field.name, title=field.name))
        for attribute, field in attributes(signature.outputs)
    }
    errors = {"errors": (shown(openapi.ERROR["properties"]["errors"]), pydantic.Field(default=None))}  # type: ignore[index]
    return made(name, fields | errors)


def made(name: str, fields: dict[str, Any], **config: Any) -> type[BaseModel]:
    """A model class of these fields."""
    pydantic = need("pydantic")
    chosen = pydantic.ConfigDict(
        protected_namespaces=(), serialize_by_alias=True, ser_json_inf_nan="strings", arbitrary_types_allowed=True,
        **config,
    )  # fmt: skip
    model: type[BaseModel] = pydantic.create_model(name, __config__=chosen, __module__=__name__, **fields)
    return model


def attributes(fields: Iterable[Field]) -> Iterable[tuple[str, Field]]:
    """Each field with the attribute that holds it: its own name where Python and Pydantic allow it, else one made
    from it."""
    pydantic = need("pydantic")
    taken: set[str] = set()
    for field in fields:
        name = field.name
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_") or hasattr(
            pydantic.BaseModel, name
        ):  # fmt: skip
            name = re.sub(r"\W|^(?=\d)", "_", name).strip("_") or "column"
            name = f"{name}_" if keyword.iskeyword(name) or hasattr(pydantic.BaseModel, name) else name
            name = name if name.isidentifier() else f"column_{name}"
        stem, number = name, 2
        while name in taken:
            name, number = f"{stem}_{number}", number + 1
        taken.add(name)
        yield name, field


def typed(field: Field) -> Any:
    """The Python type of a cell, checked by the codec and shown as our OpenAPI document shows it."""
    pydantic = need("pydantic")
    schema = pydantic.WithJsonSchema(openapi.cell(field))
    return Annotated[kind(field), pydantic.WrapValidator(checked(field)), schema]


def kind(field: Field) -> Any:
    """The Python type of a cell: bool, int, float, str, datetime, a Literal of closed levels, or lists of one."""
    found: Any
    if field.closed and field.levels and not field.shape and not any(isinstance(v, float) for v in field.levels):
        found = Literal[field.levels]
    elif field.dtype == "datetime":
        found = datetime.datetime
    elif field.dtype == "category" and field.levels:
        found = type(field.levels[0])
    else:
        found = SCALARS.get(field.dtype[0], str) if field.is_number else str
    for _ in field.shape:
        found = list[found]
    return Optional[found] if field.nullable else found  # noqa: UP045 - `found` is a value, which `|` does not take


def checked(field: Field) -> Callable[[Any, Any], Any]:
    """A cell's validator: ValueError in our words where the codec refuses it."""
    alone = Signature(inputs=(field,), outputs=())

    def check(cell: Any, usual: Any) -> Any:
        for refusals in codec.read([{field.name: cell}], alone).refused.values():
            raise ValueError(f"expected {refusals[0].expected}, got {refusals[0].got}")
        return value(cell, field)

    return check


def value(cell: Any, field: Field) -> Any:
    """A good cell as a Python value: infinities as floats, numbers of an integer column as int, datetimes as such."""
    if isinstance(cell, list):
        return [value(part, field) for part in cell]
    if field.is_float and cell is not None:
        return float(codec.INFINITE.get(cell, cell) if isinstance(cell, str) else cell)
    if field.is_int and cell is not None:
        return int(cell)
    if field.dtype == "datetime" and isinstance(cell, str):
        return datetime.datetime.fromisoformat(cell)
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def shown(schema: dict[str, Any]) -> Any:
    """Any value, shown with this schema."""
    return Annotated[Any, need("pydantic").WithJsonSchema(schema)]
