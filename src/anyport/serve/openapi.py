"""The OpenAPI 3.1 document: the routes with the models' own columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec

import anyport
from anyport import codec
from anyport.serve import contracts, formats
from anyport.serve.request import Route
from anyport.serve.statuses import SECURITY, STATUSES, completed
from anyport.signature import Field, Signature

if TYPE_CHECKING:
    from anyport.serve.model import Served
    from anyport.serve.site import Site


def document(site: Site) -> bytes:
    """The document as JSON."""
    models = site.models
    keyed = site.keys is not None
    lead = leads(site)
    paths: dict[str, Any] = {}
    for path, model in routes(site).items():
        versions = () if path == versioned(model) else site.choices[model.name].names
        paths[path] = {"post": completed(predict(path, model), keys=keyed, model=True, versions=versions)}
    schemas: dict[str, Any] = {"Error": ERROR}
    for model in models:
        schemas[f"{key(model)}.Row"] = row(model.signature)
        schemas[f"{key(model)}.Answer"] = answer(model.signature)
    for path, (title, kind, free) in PAGES.items():
        schema = {"type": "object"} if kind == "application/json" else {"type": "string"}
        said = {"summary": title, "responses": {"200": response(title, schema, kind)}}
        paths[path] = {"get": completed(said, keys=keyed and not free, model=False)}
    for route, path, model in operations(site):
        assert route.says is not None
        named = route.method == "POST" or "{name}" in route.path
        versions = site.choices[model.name].names if named and "{version}" not in route.path else ()
        said = completed(route.says(model), keys=keyed and not route.open, model=named, versions=versions)
        paths.setdefault(path, {})[route.method.lower()] = said
    unready = response("A model is still being loaded, or there are too many connections.", {"type": "object"})
    paths["/readyz"]["get"]["responses"]["503"] |= unready
    title = ", ".join(dict.fromkeys(model.name for model in lead)) or "anyport"
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": title, "version": anyport.__version__},
            "paths": paths,
            "components": {"schemas": schemas, **({"securitySchemes": SECURITY} if keyed else {})},
        }
    )


def leads(site: Site) -> list[Served]:
    """One model a name, in order: the first version that has traffic."""
    return [choice.lead for choice in site.choices.values()]


def operations(site: Site) -> Iterator[tuple[Route, str, Served]]:
    """Route, path and model of every contract's routes that say what they do, once for each model that their path can
    name; a path without a version is described by the version that has traffic."""
    lead = leads(site)
    for route in contracts.routes(site.settings):
        if route.says is None:
            continue
        named, versioned = "{name}" in route.path, "{version}" in route.path
        for model in site.models if versioned else lead if named else lead[:1]:
            path = route.path.replace("{name}", quote(model.name, safe=""))
            yield route, path.replace("{version}", quote(model.version, safe="")), model


def read(summary: str, said: Mapping[str, Any], error: dict[str, Any], *, unready: bool = False) -> dict[str, Any]:
    """The operation object of a GET. `unready`: the same answer comes with 503 too."""
    responses = {"200": response(summary, said), "500": response(STATUSES["500"], error)}
    if unready:
        responses["503"] = response(STATUSES["503"], said)
    return {"summary": summary, "responses": responses}


def operation(
    summary: str, asked: Mapping[str, Any], said: Mapping[str, Any], error: dict[str, Any], statuses: Sequence[str]
) -> dict[str, Any]:
    """An operation object: schemas of the body and of the answer by media type, and of errors."""
    answers = {kind: {"schema": schema} if schema else {} for kind, schema in said.items()}
    return {
        "summary": summary,
        "requestBody": {
            "required": True, "content": {kind: {"schema": schema} if schema else {} for kind, schema in asked.items()},
        },
        "responses": {
            "200": {"description": "The answers.", "content": answers},
            **{status: response(STATUSES[status], error) for status in statuses},
        },
    }  # fmt: skip


def ref(model: Served, part: Literal["Row", "Answer"]) -> dict[str, Any]:
    """A reference to one of a model's schemas."""
    return {"$ref": f"#/components/schemas/{key(model)}.{part}"}


def only(name: str, schema: Mapping[str, Any], **more: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object with one required key, and others that may be there."""
    return {"type": "object", "required": [name], "properties": {name: schema, **more}}


def routes(site: Site) -> dict[str, Served]:
    """Path → model. The first name is /predict; a name is described by its version that has traffic."""
    lead = leads(site)
    found: dict[str, Served] = {"/predict": lead[0]} if lead else {}
    found |= {f"/models/{quote(model.name)}/predict": model for model in lead}
    return found | {versioned(model): model for model in site.models}


def versioned(model: Served) -> str:
    """The path of one version, which no plan's traffic touches."""
    return f"/models/{quote(model.name)}/versions/{quote(model.version, safe='')}/predict"


PAGES = {
    "/livez": ("The process runs.", "application/json", True),
    "/readyz": ("Every model has answered its golden row.", "application/json", True),
    "/metrics": ("Counters for Prometheus.", "text/plain", False),
    "/stats": ("The recent past: rates, latency, errors, drift.", "application/json", False),
    "/openapi.json": ("This document.", "application/json", False),
    "/": ("Healthy.", "text/plain", True),
}
ERROR = {
    "type": "object",
    "required": ["error", "what", "fix"],
    "properties": {
        "error": {"type": "string"},
        "what": {"type": "string", "description": "What is wrong."},
        "fix": {"type": "string", "description": "What to change."},
        "id": {"type": "string", "description": "Of a 500: the log has the reason under it."},
        "errors": {"type": "array", "description": "Every cell that does not fit.", "items": {
            "type": "object",
            "required": ["column", "expected", "got"],
            "properties": {
                "row": {"type": "integer", "description": "From 0; not in answers that are one object a row."},
                "column": {"type": "string"}, "expected": {"type": "string"}, "got": {"type": "string"},
            },
        }},
    },
}  # fmt: skip


def key(model: Served) -> str:
    """The model's name in component names, which allow fewer characters than versions."""
    version = "".join(c if c.isalnum() or c in "._-" else "_" for c in model.version)
    return f"{model.name}.{version}"


def response(description: str, schema: Any, kind: str = "application/json") -> dict[str, Any]:
    """A response object."""
    return {"description": description, "content": {kind: {"schema": schema}}}


def predict(path: str, model: Served) -> dict[str, Any]:
    """The operation of one predict route."""
    one, said = ref(model, "Row"), ref(model, "Answer")
    inputs = {field.name: {"type": "array", "items": cell(field)} for field in model.signature.inputs}
    outputs = {field.name: {"type": "array", "items": value(field, keyed=False)} for field in model.signature.outputs}
    error = {"$ref": "#/components/schemas/Error"}
    example = model.example()
    body: dict[str, Any] = {"schema": {"oneOf": [one, {"type": "array", "items": one}, columns(inputs)]}}
    if example is not None:
        body["examples"] = {
            "row": {"value": example}, "records": {"value": [example]},
            "columns": {"value": {"columns": {name: [cell] for name, cell in example.items()}}},
        }  # fmt: skip
    answers = {"oneOf": [said, {"type": "array", "items": said}, columns(outputs, errors=True)]}
    return {
        "summary": f"Predict with {model.name} {model.version}",
        "description": "One row, a list of rows, or columns; the answer has the form of the question. "
        'null is a missing value; infinities are "Infinity" and "-Infinity".',
        "operationId": "predict" + path.removesuffix("/predict").replace("/", "_"),
        "parameters": [
            {
                "name": "partial", "in": "query", "schema": {"type": "boolean", "default": False},
                "description": "Answer the good rows; the others are null and carry `errors`.",
            }
        ],
        "requestBody": {"required": True, "content": others({"application/json": body})},
        "responses": {
            "200": {"description": "The answers.", "content": others({"application/json": {"schema": answers}})},
            **{status: response(STATUSES[status], error) for status in ("400", "406", "422")},
        },
    }  # fmt: skip


def others(content: dict[str, Any]) -> dict[str, Any]:
    """What there is of JSON, and the other formats, which OpenAPI cannot describe."""
    return content | {kind: {} for kind in formats.contents({}) if kind not in content}


def columns(properties: dict[str, Any], *, errors: bool = False) -> dict[str, Any]:
    """The schema of the column form."""
    inner = {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip
    outer: dict[str, Any] = {"columns": inner}
    if errors:
        outer["errors"] = ERROR["properties"]["errors"]  # type: ignore[index]
    return {"type": "object", "properties": outer, "required": ["columns"], "additionalProperties": False}


def row(signature: Signature) -> dict[str, Any]:
    """The schema of one row."""
    properties = {field.name: cell(field) for field in signature.inputs}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def answer(signature: Signature) -> dict[str, Any]:
    """The schema of one row's answer."""
    properties = {field.name: value(field, keyed=True) for field in signature.outputs}
    return {"type": "object", "properties": {**properties, "errors": ERROR["properties"]["errors"]},  # type: ignore[index]
            "required": list(properties)}  # fmt: skip


def cell(field: Field) -> dict[str, Any]:
    """The schema of one input cell, with the rules of the field."""
    schema = scalar(field, infinite=field.infinite)
    if not field.shape:
        return nullable(schema) if field.nullable else schema
    return nested(schema, field)


def value(field: Field, *, keyed: bool) -> dict[str, Any]:
    """The schema of one output value; null where the row was refused."""
    named = codec.keys(field) if keyed else None
    if named is not None:
        number = nullable({"type": "number"})
        return nullable({"type": "object", "properties": dict.fromkeys(named, number), "required": list(named)})
    return nullable(nested(nullable(scalar(field, infinite=True)), field))


def nested(schema: dict[str, Any], field: Field) -> dict[str, Any]:
    """Arrays around a scalar's schema, one a free or fixed axis."""
    for axis in reversed(field.shape):
        schema = {"type": "array", "items": schema}
        if axis is not None:
            schema |= {"minItems": axis, "maxItems": axis}
    return schema


def scalar(field: Field, *, infinite: bool) -> dict[str, Any]:
    """The schema of one number, text, bool or datetime."""
    if field.is_number and field.dtype != "bool":
        schema: dict[str, Any] = {"type": "integer" if field.is_int else "number"}
        if field.low is not None:
            schema["minimum"] = field.low
        if field.high is not None:
            schema["maximum"] = field.high
        if field.is_float and infinite:
            return {"anyOf": [schema, {"enum": ["Infinity", "-Infinity"]}]}
        return schema
    if field.dtype == "bool":
        return {"type": "boolean"}
    if field.dtype == "datetime":
        return {"type": "string", "description": "ISO 8601; UTC where it has no offset."}
    if field.levels and field.closed:
        return {"enum": list(field.levels)}
    kinds = {str: "string", int: "integer", float: "number", bool: "boolean"}
    kind = kinds[type(field.levels[0])] if field.levels and field.dtype == "category" else "string"
    schema = {"type": kind}
    return schema | {"examples": list(field.levels[:20])} if field.levels else schema


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}
