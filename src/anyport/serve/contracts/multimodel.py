"""SageMaker's multi-model API: models are loaded and unloaded while the server runs; only with --contract sagemaker.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/mms-container-apis.html.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from anyport import codec
from anyport.errors import AnyportError, Mistake
from anyport.serve.contracts import mlflow, sagemaker
from anyport.serve.model import Served
from anyport.serve.reply import Problem, Reply
from anyport.serve.request import Request, Route

PAGE = 100
"""Models in one page of the list, unless the request says `limit`."""
FULL = ("bad_alloc", "failed to allocate", "out of memory")
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
    """Load the bundle in the folder `url` as `model_name`, and answer when it answers. Problem 409 where the name is
    taken, 507 where memory is short, 400 where the folder holds no bundle that may be loaded."""
    asked = said(await request.body())
    site = request.site
    if asked.model_name in site.arriving or any(model.name == asked.model_name for model in site.models):
        what = f"{asked.model_name} is loaded already"
        raise Problem(409, "Loaded", what, f"DELETE /models/{quote(asked.model_name, safe='')} first")
    site.arriving.add(asked.model_name)
    try:
        made = await asyncio.get_running_loop().run_in_executor(None, site.loaded, asked.model_name, Path(asked.url))
    except MemoryError as error:
        raise full(asked) from error
    except AnyportError as error:
        raise Problem(error.status, type(error).__name__, f"{asked.url}: {error.what}", error.fix) from error
    except Exception as error:
        if any(word in str(error).lower() for word in FULL):
            raise full(asked) from error
        raise
    finally:
        site.arriving.discard(asked.model_name)
    site.replace((*site.models, made))
    return Reply(200, msgspec.json.encode(described(made)))


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
    """Take a model out; what it is answering still leaves. Problem 404 where it is not loaded."""
    site = request.site
    gone = site.pick(request.params["name"])
    site.replace(tuple(model for model in site.models if model.name != gone.name))
    loop = asyncio.get_running_loop()
    if gone.joiner.task is not None:
        await asyncio.wait([gone.joiner.task])
    await loop.run_in_executor(None, gone.close)
    return Reply(200, b"{}")


async def invoke(request: Request) -> Reply:
    """The answers of one model, as on /invocations. Problem 404 where it is not loaded: SageMaker then loads it."""
    model = request.site.pick(request.params["name"])
    return await request.answer(model, sagemaker.wire(request), partial=request.flag("partial"))
