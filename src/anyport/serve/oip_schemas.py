"""The OpenAPI operations of the Open Inference Protocol's routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyport.serve import openapi, tabular

if TYPE_CHECKING:
    from anyport.serve.model import Served

ERROR = openapi.only("error", {"type": "string"})
TEXT = {"type": "string"}
SHAPE = {"type": "array", "items": {"type": "integer"}}
METADATA = {
    "type": "object", "required": ["name", "datatype", "shape"],
    "properties": {"name": TEXT, "datatype": TEXT, "shape": SHAPE, "parameters": {"type": "object"}},
}  # fmt: skip


def server(model: Served) -> dict[str, Any]:
    """GET /v2."""
    said = record(name=TEXT, version=TEXT, extensions={"type": "array", "items": TEXT})
    return openapi.read("Name, version and extensions of the server", said, ERROR)


def live(model: Served) -> dict[str, Any]:
    """GET /v2/health/live."""
    return openapi.read("The process runs", record(live={"type": "boolean"}), ERROR)


def ready(model: Served) -> dict[str, Any]:
    """GET /v2/health/ready."""
    return openapi.read("Every model answers", record(ready={"type": "boolean"}), ERROR, unready=True)


def index(model: Served) -> dict[str, Any]:
    """POST /v2/repository/index."""
    states = {"type": "array", "items": record(name=TEXT, version=TEXT, state=TEXT, reason=TEXT)}
    asked = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    made = openapi.operation("Every model and its state", {"application/json": asked}, json(states), ERROR, ("400",))
    made["requestBody"]["required"] = False
    return made


def metadata(model: Served) -> dict[str, Any]:
    """GET of a model."""
    tensors = {"type": "array", "items": METADATA}
    versions = {"type": "array", "items": TEXT}
    said = record(name=TEXT, versions=versions, platform=TEXT, inputs=tensors, outputs=tensors)
    return openapi.read(f"The columns of {model.name} as tensors", said, ERROR)


def model_ready(model: Served) -> dict[str, Any]:
    """GET of a model's readiness."""
    return openapi.read(f"{model.name} answers", record(name=TEXT, ready={"type": "boolean"}), ERROR, unready=True)


def config(model: Served) -> dict[str, Any]:
    """GET of a model's configuration."""
    listed = {"type": "array", "items": record(name=TEXT, data_type=TEXT, dims=SHAPE)}
    said = record(name=TEXT, platform=TEXT, max_batch_size={"type": "integer"}, input=listed, output=listed)
    return openapi.read(f"The configuration of {model.name}, as Triton words it", said, ERROR)


def infer(model: Served) -> dict[str, Any]:
    """POST of a model's infer."""
    fields = [tabular.described(field) for field in model.signature.inputs]
    names, kinds = ([one[key] for one in fields] for key in ("name", "datatype"))
    tensor = {
        "type": "object", "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string", "examples": names}, "datatype": {"type": "string", "examples": kinds},
            "shape": SHAPE, "data": {"type": "array"}, "parameters": {"type": ["object", "null"]},
        },
    }  # fmt: skip
    output = openapi.only("name", TEXT, parameters={"type": ["object", "null"]})
    asked = openapi.only(
        "inputs", {"type": "array", "items": tensor}, id={"type": ["string", "null"]},
        parameters={"type": ["object", "null"]}, outputs={"type": ["array", "null"], "items": output},
    )  # fmt: skip
    said = {
        "type": "object", "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": TEXT, "model_version": TEXT, "id": TEXT, "outputs": {"type": "array", "items": METADATA},
        },
    }  # fmt: skip
    return openapi.operation(
        f"Predict with {model.name} {model.version}, as the Open Inference Protocol asks",
        {"application/json": asked, "application/octet-stream": {}},
        {"application/json": said, "application/octet-stream": {}}, ERROR, ("400", "422"),
    )  # fmt: skip


def record(**properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with all of these."""
    return {"type": "object", "required": list(properties), "properties": properties}


def json(schema: dict[str, Any]) -> dict[str, Any]:
    """An answer in JSON."""
    return {"application/json": schema}
