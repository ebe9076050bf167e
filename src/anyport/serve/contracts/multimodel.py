"""SageMaker's multi-model API: models are loaded and unloaded while the server runs; only with --contract sagemaker.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/mms-container-apis.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from anyport import codec
from anyport.errors import Mistake
from anyport.serve.contracts import mlflow, sagemaker
from anyport.serve.model import Served
from anyport.serve.plan import Entry, Plan
from anyport.serve.reply import Problem, Reply
from anyport.serve.request import Request, Route

if TYPE_CHECKING:
    from anyport.serve.control import Control

PAGE = 100
"""Models in one page of the list, unless the request says `limit`."""
FULL = ("memoryerror", "bad_alloc", "failed to allocate", "out of memory")
"""How a runtime's message says that memory is short."""


def routes() -> Iterator[Route]:
    """The API. They stand beside /models/NAME/predict, which is ours."""
    yield Route("GET", "/models", several, mlflow.refuse)
    yield Route("POST", "/models", load, mlflow.refuse)
    yield Route("GET", "/models/{name}", one, mlflow.refuse)
    yield Route("DELETE", "/models/{name}", unload, mlflow.refuse)
    yield Route("POST", "/models/{name}/invoke", invoke, mlflow.refuse)


async def several(request: Request) -> Reply:
    """What is loaded, in pages: `limit` models, after `next_page_token`."""
    query = request.query
    start, limit = number(query, "next_page_token", 0), number(query, "limit", PAGE)
    found = request.site.models
    said: dict[str, Any] = {"models": [described(model) for model in found[start : start + limit]]}
    if start + limit < len(found):
        said["nextPageToken"] = str(start + limit)
    return Reply(200, msgspec.json.encode(said))


def number(query: Mapping[str, str], name: str, otherwise: int) -> int:
    """A query parameter that is a whole number. Problem 400 where it is none."""
    text = query.get(name, "")
    if not text:
        return otherwise
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Problem(400, "BadQuery", f"{name}={text} is no number")
    return int(text)


async def one(request: Request) -> Reply:
    """One model. Problem 404 where it is not loaded."""
    return Reply(200, msgspec.json.encode(described(request.site.pick(request.params["name"]))))


def described(model: Served) -> dict[str, str]:
    """A model in SageMaker's words."""
    return {"modelName": model.name, "modelUrl": str(model.bundle.path)}


class Load(msgspec.Struct):
    """What POST /models says."""

    model_name: str
    url: str


async def load(request: Request) -> Reply:
    """Load the bundle in the folder `url` as `model_name`, in every worker, and answer when it answers. Problem 409
    where the name is taken, 507 where memory is short, 400 where the folder holds no bundle that may be loaded."""
    asked = said(await request.body())
    taken = quote(asked.model_name, safe="")

    def with_it(plan: Plan) -> Plan:
        if any(one.name == asked.model_name for one in plan.models):
            raise Problem(409, "Loaded", f"{asked.model_name} is loaded already", f"DELETE /models/{taken} first")
        entry = Entry(asked.url, asked.model_name, alias=asked.model_name)
        return msgspec.structs.replace(plan, models=(*plan.models, entry))

    try:
        await control(request).change(with_it)
    except Problem as problem:
        if any(word in problem.what.lower() for word in FULL):
            raise full(asked) from problem
        if problem.error == "CannotLoad":
            raise Problem(500, problem.error, f"{asked.url}: {problem.what}", problem.fix) from problem
        if problem.status == 422:
            raise Problem(400, problem.error, f"{asked.url}: {problem.what}", problem.fix) from problem
        raise
    return Reply(200, msgspec.json.encode(described(request.site.pick(asked.model_name))))


def control(request: Request) -> Control:
    """Who changes the plan."""
    made = request.site.control
    assert made is not None, "a server without one has no such routes"
    return made


def full(asked: Load) -> Problem:
    """507: SageMaker then unloads a model that is not in use and asks again."""
    return Problem(507, "Full", f"there is no memory for {asked.model_name}", "unload a model, and ask again")


def said(body: bytes) -> Load:
    """The request. Problem 400 where it is none."""
    try:
        asked = msgspec.convert(codec.parse(body), Load)
    except (Mistake, msgspec.ValidationError) as error:
        raise Problem(400, "BadBody", str(error), 'send {"model_name": NAME, "url": FOLDER}') from error
    if not asked.model_name:
        raise Problem(400, "BadBody", "model_name is empty")
    return asked


async def unload(request: Request) -> Reply:
    """Take a model out of every worker; what it is answering still leaves. Problem 404 where it is not loaded."""
    name = request.params["name"]

    def without(plan: Plan) -> Plan:
        request.site.pick(name)
        kept = tuple(one for one in plan.models if one.name != name)
        traffic = {other: weights for other, weights in plan.traffic.items() if other != name}
        return msgspec.structs.replace(plan, models=kept, traffic=traffic)

    await control(request).change(without)
    return Reply(200, b"{}")


async def invoke(request: Request) -> Reply:
    """The answers of one model, as on /invocations. Problem 404 where it is not loaded: SageMaker then loads it."""
    model = request.site.pick(request.params["name"])
    return await request.answer(model, await sagemaker.wire(request), partial=request.flag("partial"))
