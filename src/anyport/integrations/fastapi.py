"""FastAPI: `router(bundle)` is an APIRouter whose routes answer as our server does, in an application of the user's.

app.include_router(router("churn.anyport", prefix="/churn"))
"""

# no `from __future__ import annotations`: FastAPI reads the annotations of routes made inside a function

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyport.bundle import Bundle
from anyport.errors import need
from anyport.integrations import pydantic
from anyport.integrations.mounted import LIVE, Mounted, asked, mounted
from anyport.integrations.pydantic import answer as answer_model
from anyport.integrations.pydantic import row as row_model
from anyport.serve import openapi
from anyport.serve.reply import Reply
from anyport.serve.statuses import STATUSES as WORDS
from anyport.trust import Trust

if TYPE_CHECKING:
    from fastapi import APIRouter
    from fastapi import Request as Asked

__all__ = ["Mounted", "answer_model", "router", "row_model"]


def router(
    bundle: Mounted | Bundle | Path | str,
    *,
    prefix: str = "",
    tags: Sequence[str | Enum] | None = None,
    dependencies: Sequence[Any] | None = None,
    trust: Trust | None = None,
    threads: int = 1,
) -> "APIRouter":
    """POST /predict, GET /signature, /livez and /readyz under `prefix`.

    POST /predict takes and gives exactly the bytes that our server's does: one row, a list of rows or columns;
    422 lists every bad cell; `?partial=true`. The application's lifespan loads the model and lets it go; where no
    lifespan runs, the first question loads it. Short questions to a quick model are answered on the event loop, all
    others in Starlette's threads. `trust` and `threads` are Mounted's, for a bundle that is not Mounted yet.
    Missing where FastAPI is not installed.
    """
    need("fastapi")
    from fastapi import APIRouter, FastAPI, Request, Response
    from starlette.concurrency import run_in_threadpool

    model = mounted(bundle, trust=trust, threads=threads)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(model.load)
        yield
        await run_in_threadpool(model.close)

    made = APIRouter(
        prefix=prefix, tags=list(tags or [model.name]), dependencies=list(dependencies or []), lifespan=lifespan
    )

    def sent(reply: Reply) -> Response:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reply.headers}
        return Response(reply.body, reply.status, {**headers, "content-type": reply.kind.decode("latin-1")})

    async def predict(request: Request) -> Response:
        said = asked(request.method, request.url.path, request.scope["query_string"], request.headers.items())
        body = await limited(request, model.max_body)
        if body is not None and model.quick(body):
            return sent(model.answer(said, body))
        return sent(await run_in_threadpool(model.answer, said, body))

    async def signature() -> Response:
        return sent(model.described())

    async def livez() -> Response:
        return sent(LIVE)

    def readyz() -> Response:
        return sent(model.ready())

    made.add_api_route(
        "/predict", predict, methods=["POST"], summary=f"Predict with {model.name} {model.version}",
        description=SAYS, response_class=Response, responses=responses(model), openapi_extra=extra(model),
    )  # fmt: skip
    made.add_api_route("/signature", signature, summary="What the model takes and gives.", responses=OBJECT)
    made.add_api_route("/livez", livez, summary="The process runs.", responses=OBJECT)
    made.add_api_route("/readyz", readyz, summary="The model has answered its golden row.", responses={
        **OBJECT, 503: {"description": "The model cannot be loaded.", "content": CONTENT},
    })  # fmt: skip
    return made


SAYS = (
    "One row, a list of rows, or columns; the answer has the form of the question. null is a missing value; "
    'infinities are "Infinity" and "-Infinity".'
)
CONTENT: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
OBJECT: dict[int | str, dict[str, Any]] = {200: {"description": "As it says.", "content": CONTENT}}
STATUSES = ("400", "413", "415", "422", "500")
"""What POST /predict may answer beside 200."""


async def limited(request: "Asked", most: int) -> bytes | None:
    """The request's body, or None once it is longer than `most` bytes; the rest is then not read."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        return None
    read = bytearray()
    async for part in request.stream():
        read += part
        if len(read) > most:
            return None
    return bytes(read)


def extra(model: Mounted) -> dict[str, Any]:
    """What the OpenAPI document says of the question: FastAPI does not see it, as our codec reads the body."""
    one = pydantic.row(model.signature, f"{model.name}Row").model_json_schema()
    inputs = {field.name: {"type": "array", "items": openapi.cell(field)} for field in model.signature.inputs}
    body: dict[str, Any] = {
        "schema": {"oneOf": [one, {"type": "array", "items": one}, openapi.columns(inputs)]}
    }  # fmt: skip
    example = model.example()
    if example is not None:
        columns = {"columns": {"value": {"columns": {name: [cell] for name, cell in example.items()}}}}
        # FastAPI drops a null that an object holds from its document, and the row would lack that column; not a list's
        whole = None not in example.values()
        body["examples"] = {"row": {"value": example}, "records": {"value": [example]}, **columns} if whole else columns
    partial = {
        "name": "partial", "in": "query", "required": False, "schema": {"type": "boolean", "default": False},
        "description": "Answer the good rows; the others are null and carry `errors`.",
    }  # fmt: skip
    return {"parameters": [partial], "requestBody": {"required": True, "content": {"application/json": body}}}


def responses(model: Mounted) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of the answers."""
    one = pydantic.answer(model.signature, f"{model.name}Answer").model_json_schema()
    outputs = {
        field.name: {"type": "array", "items": openapi.value(field, keyed=False)} for field in model.signature.outputs
    }
    answers = {"oneOf": [one, {"type": "array", "items": one}, openapi.columns(outputs, errors=True)]}
    said: dict[int | str, dict[str, Any]] = {200: openapi.response("The answers.", answers)}
    return said | {status: openapi.response(WORDS[status], openapi.ERROR) for status in STATUSES}
