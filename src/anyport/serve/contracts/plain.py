"""anyport's own contract: /predict, /models/…/predict, and what probes and people ask of a server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

import anyport
from anyport.serve import formats, openapi
from anyport.serve.reply import TEXT, Reply
from anyport.serve.request import Request, Route


def routes() -> Iterator[Route]:
    """Ours."""
    for path in ("/predict", "/models/{name}/predict", "/models/{name}/versions/{version}/predict"):
        yield Route("POST", path, predict)
    for path in ("/signature", "/models/{name}/signature", "/models/{name}/versions/{version}/signature"):
        yield Route("GET", path, signature)
    yield Route("GET", "/", root, open=True)
    yield Route("GET", "/livez", livez, open=True)
    yield Route("GET", "/readyz", readyz, open=True)
    yield Route("GET", "/metrics", metrics)
    yield Route("GET", "/openapi.json", document)


async def predict(request: Request) -> Reply:
    """The answers, in the format and form of the question."""
    model = request.site.pick(request.params.get("name"), request.params.get("version"), request.headers)
    return await request.answer(model, formats.negotiated(request), partial=request.flag("partial"))


async def signature(request: Request) -> Reply:
    """Name, version, digest and Signature of a model: what a client needs to speak to it in columns."""
    model = request.site.pick(request.params.get("name"), request.params.get("version"), request.headers)
    said = {
        "name": model.name, "version": model.version, "digest": model.bundle.digest, "form": model.bundle.form,
        "signature": model.signature,
    }  # fmt: skip
    return Reply(200, msgspec.json.encode(said))


async def root(request: Request) -> Reply:
    """Healthy."""
    return Reply(200, b"Healthy", TEXT)


async def livez(request: Request) -> Reply:
    """The process runs."""
    return Reply(200, b'{"live":true}')


async def readyz(request: Request) -> Reply:
    """200 when every model has answered its golden row and no stop was asked for, and who answers."""
    site = request.site
    ready = site.ready and not site.draining
    said = {
        "ready": ready, "server": "anyport", "version": anyport.__version__, "pid": os.getpid(),
        "models": [
            {"name": m.name, "version": m.version, "digest": m.bundle.digest, "form": m.bundle.form}
            for m in site.models
        ],
    }  # fmt: skip
    return Reply(200 if ready else 503, msgspec.json.encode(said), headers=() if ready else ((b"retry-after", b"1"),))


async def metrics(request: Request) -> Reply:
    """Counters for Prometheus."""
    return Reply(200, request.site.metrics.text().encode(), b"text/plain; version=0.0.4; charset=utf-8")


async def document(request: Request) -> Reply:
    """The OpenAPI document."""
    return Reply(200, openapi.document(request.site))
