"""Vertex AI's custom container contract: {"instances": […]} → {"predictions": […]} on the routes that AIP_… name.

Source: ModelContainerSpec of google-cloud-aiplatform 2.7;
https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements. Errors: https://google.aip.dev/193.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from anyport import codec
from anyport.batch import Outcome
from anyport.codec import Body, shown
from anyport.errors import Mistake
from anyport.serve import formats, openapi, shapes, words
from anyport.serve.model import Served
from anyport.serve.reply import Problem, Reply
from anyport.serve.request import Request, Route
from anyport.serve.settings import Settings
from anyport.signature import Signature

CODES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT", 500: "INTERNAL", 503: "UNAVAILABLE",
}  # fmt: skip


def routes() -> Iterator[Route]:
    """Vertex's default route, which holds the endpoint's and the deployment's ids."""
    yield Route("POST", "/v1/endpoints/{endpoint}/deployedModels/{deployed}:predict", predict, refuse)


def named(settings: Settings) -> Iterator[Route]:
    """The routes of AIP_PREDICT_ROUTE and AIP_HEALTH_ROUTE (settings predict_route and health_route)."""
    if settings.predict_route is not None:
        yield Route("POST", settings.predict_route, predict, refuse, says=says)
    if settings.health_route is not None:
        yield Route("GET", settings.health_route, health, refuse, open=True)


async def predict(request: Request) -> Reply:
    """The answers of the first model."""
    formats.media(request, {b"application/json": formats.JSON})
    return await request.answer(request.site.pick(None, None, request.headers), Instances())


async def health(request: Request) -> Reply:
    """200 when every model answers, else 503."""
    return Reply(200 if request.site.ready else 503, b"{}")


class Instances:
    """Instances are objects, or lists in column order; predictions are our own answers, one object a row."""

    def decode(self, body: bytes, signature: Signature, /) -> Body:
        """The rows."""
        value = codec.parse(body)
        if not isinstance(value, dict) or "instances" not in value:
            raise Mistake(f'expected {{"instances": […]}}, got {shown(value)}', fix="send the rows under instances")
        more = sorted(value.keys() - {"instances", "parameters"})
        if more:
            raise Mistake(f"there is no key {more[0]!r} beside instances", fix="send instances alone")
        if value.get("parameters") not in (None, {}):
            raise Mistake(f"parameters: this model takes none, got {shown(value['parameters'])}", fix="leave them out")
        return shapes.listed(value["instances"], signature, "instances")

    def encode(self, outcome: Outcome, signature: Signature, /) -> Reply:
        """The answers."""
        return Reply(200, msgspec.json.encode({"predictions": codec.objects(outcome, signature)}))


def refuse(problem: Problem) -> Reply:
    """{"error": {"code", "message", "status"}}, with a BadRequest that names each field, as Google's APIs do."""
    status = words.status(problem)
    error: dict[str, Any] = {"code": status, "message": words.line(problem), "status": CODES.get(status, "UNKNOWN")}
    if problem.more.get("errors"):
        error["details"] = [{
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [
                {"field": f"instances[{cell['row']}].{cell['column']}".rstrip("."),
                 "description": f"expected {cell['expected']}, got {cell['got']}"}
                for cell in problem.more["errors"]
            ],
        }]  # fmt: skip
    return Reply(status, msgspec.json.encode({"error": error}), headers=problem.headers)


def says(model: Served) -> dict[str, Any]:
    """Its OpenAPI operation."""
    instance = {"anyOf": [openapi.ref(model, "Row"), {"type": "array"}]}
    said = openapi.only("predictions", {"type": "array", "items": openapi.ref(model, "Answer")})
    body = openapi.only("instances", {"type": "array", "items": instance}, parameters={"type": ["object", "null"]})
    error = openapi.only("error", openapi.only("code", {"type": "integer"}, message={"type": "string"}))
    return openapi.operation(
        f"Predict with {model.name} {model.version}, as Vertex AI asks", {"application/json": body},
        {"application/json": said}, error, ("400", "401", "413", "415", "500", "503"),
    )  # fmt: skip
