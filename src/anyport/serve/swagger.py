"""The description of /score that Azure ML reads: Swagger 2.0, which knows no union of types, and OpenAPI 3.0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyport.serve.model import Served
from anyport.signature import Field

SECURITY = {"type": "apiKey", "name": "Authorization", "in": "header"}


def two(model: Served) -> dict[str, Any]:
    """Swagger 2.0: a list of rows in, a list of answers out."""
    rows, answers = ({"type": "array", "items": {"$ref": f"#/definitions/{part}"}} for part in ("Row", "Answer"))
    return {
        "swagger": "2.0", "info": info(model), "schemes": ["https"], "consumes": ["application/json"],
        "produces": ["application/json"], "securityDefinitions": {"Bearer": SECURITY},
        "paths": {
            "/": {"get": {"operationId": "ServiceHealthCheck", "responses": {"200": {"description": "Healthy."}}}},
            "/score": {"post": {
                "operationId": "RunMLService", "summary": summary(model), "security": [{"Bearer": []}],
                "parameters": [{"in": "body", "name": "serviceInputPayload", "required": True, "schema": rows}],
                "responses": {
                    "200": {"description": "One answer a row.", "schema": answers},
                    "default": {"description": "What is wrong.", "schema": {"$ref": "#/definitions/ErrorResponse"}},
                },
            }},
        },
        "definitions": definitions(model, null="x-nullable"),
    }  # fmt: skip


def three(model: Served) -> dict[str, Any]:
    """OpenAPI 3.0."""
    rows, answers = ({"type": "array", "items": {"$ref": f"#/components/schemas/{part}"}} for part in ("Row", "Answer"))
    wrong = {"$ref": "#/components/schemas/ErrorResponse"}
    return {
        "openapi": "3.0.3", "info": info(model),
        "paths": {
            "/": {"get": {"operationId": "ServiceHealthCheck", "responses": {"200": {"description": "Healthy."}}}},
            "/score": {"post": {
                "operationId": "RunMLService", "summary": summary(model), "security": [{"Bearer": []}],
                "requestBody": {"required": True, "content": {"application/json": {"schema": rows}}},
                "responses": {
                    "200": {"description": "One answer a row.", "content": {"application/json": {"schema": answers}}},
                    "default": {"description": "What is wrong.", "content": {"application/json": {"schema": wrong}}},
                },
            }},
        },
        "components": {"schemas": definitions(model, null="nullable"), "securitySchemes": {"Bearer": SECURITY}},
    }  # fmt: skip


VERSIONS: dict[str, Callable[[Served], dict[str, Any]]] = {
    "2": two, "2.0": two, "3": three, "3.0": three, "3.0.3": three,
}  # fmt: skip
"""?version= → the document. Azure's own server knows the same names."""


def info(model: Served) -> dict[str, Any]:
    return {"title": model.name, "version": model.version}


def summary(model: Served) -> str:
    return f"Predict with {model.name} {model.version}"


def definitions(model: Served, *, null: str) -> dict[str, Any]:
    """Row, Answer and ErrorResponse."""
    row: dict[str, Any] = {
        "type": "object", "properties": {f.name: schema(f, f.nullable, null) for f in model.signature.inputs},
        "required": [f.name for f in model.signature.inputs],
    }  # fmt: skip
    example = model.example()
    if example is not None:
        row["example"] = example
    answer = {"type": "object", "properties": {f.name: answered(f, null) for f in model.signature.outputs}}
    error = {"type": "object", "properties": {"message": {"type": "string"}}}
    return {"Row": row, "Answer": answer, "ErrorResponse": error}


def answered(field: Field, null: str) -> dict[str, Any]:
    """The schema of an output: an object where it has one number a label."""
    from anyport import codec

    named = codec.keys(field)
    if named is None:
        return schema(field, True, null)
    return {"type": "object", "properties": {name: {"type": "number", null: True} for name in named}, null: True}


def schema(field: Field, nullable: bool, null: str) -> dict[str, Any]:
    """The schema of a field in the words that both versions know."""
    made: dict[str, Any] = {"type": kind(field)}
    if field.dtype == "datetime":
        made["format"] = "date-time"
    elif field.is_float:
        made["format"] = "double"
    elif field.is_int:
        made["format"] = "int64"
    if field.closed and field.levels and field.is_text:
        made["enum"] = list(field.levels)
    for _ in field.shape:
        made = {"type": "array", "items": made}
    return made | {null: True} if nullable else made


def kind(field: Field) -> str:
    """The JSON type of one value."""
    if field.dtype == "category" and field.levels:
        return {bool: "boolean", int: "integer", float: "number", str: "string"}[type(field.levels[0])]
    if field.dtype == "bool":
        return "boolean"
    return "number" if field.is_float else "integer" if field.is_int else "string"
