"""TensorFlow Serving's REST API, of which KServe's v1 protocol is a part: /v1/models/NAME[/versions/V][:predict].

Source: tensorflow/serving, g3doc/api_rest.md; KServe's v1: https://kserve.github.io/website, "Data Plane V1".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from anyport import codec
from anyport.batch import Outcome
from anyport.codec import Body, shown
from anyport.errors import BadData, Mistake
from anyport.serve import openapi, shapes, words
from anyport.serve.model import Served
from anyport.serve.reply import Problem, Reply
from anyport.serve.request import Handler, Request, Route
from anyport.signature import Field, Signature

SIGNATURE = "serving_default"
READS: dict[str, Callable[[Any, Signature, str], Body]] = {"instances": shapes.listed, "inputs": shapes.keyed}
"""Key of the body → how the rows under it are read: by row, or by column."""


def routes() -> Iterator[Route]:
    """TensorFlow Serving's."""
    yield Route("GET", "/v1/models", models, refuse)
    for path in ("/v1/models/{name}/versions/{version}", "/v1/models/{name}"):
        yield Route("POST", f"{path}:predict", predict, refuse, says=says)
        for other in ("classify", "regress"):
            yield Route("POST", f"{path}:{other}", without(other), refuse)
        yield Route("GET", f"{path}/metadata", metadata, refuse)
        yield Route("GET", path, status, refuse)


def picked(request: Request) -> Served:
    """The model that the path names."""
    return request.site.pick(request.params["name"], request.params.get("version"), request.headers)


async def predict(request: Request) -> Reply:
    """The answers, by row or by column as asked. Content-Type is not looked at, nor is it there: the documentation's
    `curl -d` says that JSON is a form."""
    return await request.answer(picked(request), Predict())


def without(verb: str) -> Handler:
    """The handler of an API that takes tf.Example records, which no model here reads."""

    async def handler(request: Request) -> Reply:
        picked(request)
        what = f"{verb} takes tf.Example records, and this model takes columns"
        raise Problem(400, "Unsupported", what, "use :predict")

    return handler


class Predict:
    """`instances` (rows) → `predictions`; `inputs` (columns) → `outputs`. Of several outputs each is named."""

    def decode(self, body: bytes, signature: Signature, /) -> Body:
        """The rows."""
        value = codec.parse(body)
        found = [key for key in READS if isinstance(value, dict) and key in value]
        if len(found) != 1:
            raise Mistake(f"expected either instances (rows) or inputs (columns), got {shown(value)}")
        self.key = found[0]
        more = sorted(value.keys() - {self.key, "signature_name"})
        if more:
            raise Mistake(f"there is no key {more[0]!r} beside {self.key}", fix=f"send {self.key} alone")
        if value.get("signature_name", SIGNATURE) not in (SIGNATURE, ""):
            raise Mistake(f"there is no signature {shown(value['signature_name'])}", fix=f"use {SIGNATURE}, or none")
        rows = unpacked(value[self.key]) if b'"b64"' in body else value[self.key]
        return READS[self.key](rows, signature, self.key)

    def encode(self, outcome: Outcome, signature: Signature, /) -> Reply:
        """The answers; NaN is null, infinities are text."""
        found = codec.outputs(outcome, signature, keyed=False)
        if self.key == "instances":
            return Reply(200, msgspec.json.encode({"predictions": shapes.rowwise(found)}))
        return Reply(200, msgspec.json.encode({"outputs": next(iter(found.values())) if len(found) == 1 else found}))


def unpacked(value: Any) -> Any:
    """A JSON value with the text that {"b64": "…"} stands for. BadData where that is not base64 of UTF-8."""
    if isinstance(value, list):
        return [unpacked(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != {"b64"}:
        return {key: unpacked(one) for key, one in value.items()}
    try:
        return base64.b64decode(value["b64"], validate=True).decode()
    except (TypeError, ValueError, binascii.Error) as error:
        raise BadData(f"expected base64 of UTF-8 text, got {shown(value)}") from error


async def models(request: Request) -> Reply:
    """KServe's list of names."""
    names = list(dict.fromkeys(model.name for model in request.site.models))
    return Reply(200, msgspec.json.encode({"models": names}))


async def status(request: Request) -> Reply:
    """Every version that is meant, and KServe's `ready` beside."""
    first = picked(request)
    version = request.params.get("version")
    meant = [m for m in request.site.models if m.name == first.name and version in (None, m.version)]
    said = [
        {"version": model.version, "state": "AVAILABLE" if model.predictor is not None else "LOADING",
         "status": {"error_code": "OK", "error_message": ""}}
        for model in meant
    ]  # fmt: skip
    ready = all(model.predictor is not None for model in meant)
    return Reply(200, msgspec.json.encode({"model_version_status": said, "name": first.name, "ready": ready}))


async def metadata(request: Request) -> Reply:
    """The signature as a SignatureDef."""
    model = picked(request)
    inputs, outputs = (
        {f.name: tensor(f) for f in fields} for fields in (model.signature.inputs, model.signature.outputs)
    )
    made = {"inputs": inputs, "outputs": outputs, "method_name": "tensorflow/serving/predict"}
    said = {
        "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: made}}},
    }
    return Reply(200, msgspec.json.encode(said))


def tensor(field: Field) -> dict[str, Any]:
    """A field as TensorInfo."""
    sizes = [-1, *(-1 if axis is None else axis for axis in field.shape)]
    return {
        "dtype": dtype(field), "name": field.name,
        "tensor_shape": {"dim": [{"size": str(size), "name": ""} for size in sizes], "unknown_rank": False},
    }  # fmt: skip


def dtype(field: Field) -> str:
    """TensorFlow's name of a field's type; a category has its levels'."""
    if field.dtype == "category" and field.levels and not isinstance(field.levels[0], str):
        return {bool: "DT_BOOL", int: "DT_INT64", float: "DT_DOUBLE"}[type(field.levels[0])]
    names = {"float64": "DT_DOUBLE", "float32": "DT_FLOAT", "float16": "DT_HALF"}
    return names.get(field.dtype, f"DT_{field.dtype.upper()}" if field.is_number else "DT_STRING")


def refuse(problem: Problem) -> Reply:
    """{"error": text}."""
    said = msgspec.json.encode({"error": words.line(problem)})
    return Reply(words.status(problem), said, headers=problem.headers)


def says(model: Served) -> dict[str, Any]:
    """Its OpenAPI operation."""
    instance = {"anyOf": [openapi.ref(model, "Row"), {}]}
    name = {"type": "string"}
    body = {"anyOf": [
        openapi.only("instances", {"type": "array", "items": instance}, signature_name=name),
        openapi.only("inputs", {"type": ["object", "array"]}, signature_name=name),
    ]}  # fmt: skip
    said = {"anyOf": [openapi.only("predictions", {"type": "array"}), openapi.only("outputs", {})]}
    return openapi.operation(
        f"Predict with {model.name} {model.version}, as TensorFlow Serving and KServe v1 ask",
        {"application/json": body}, {"application/json": said}, openapi.only("error", {"type": "string"}),
        ("400", "401", "413", "415", "500", "503"),
    )  # fmt: skip
