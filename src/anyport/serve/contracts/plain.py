"""anyport's own contract: /predict, /models/…/predict, and what probes and people ask of a server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import msgspec

import anyport
from anyport.serve import exposition, formats, openapi, stats
from anyport.serve.contracts import page
from anyport.serve.loops import elsewhere
from anyport.serve.reply import TEXT, Problem, Reply
from anyport.serve.request import Request, Route
from anyport.serve.site import Site


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
    yield Route("GET", "/stats", recent)
    yield Route("GET", "/openapi.json", document)


async def predict(request: Request) -> Reply:
    """The answers, in the format and form of the question."""
    model = request.site.pick(request.params.get("name"), request.params.get("version"), request.headers)
    wire = await formats.negotiated(request).imported()
    return await request.answer(model, wire, partial=request.flag("partial"))


async def signature(request: Request) -> Reply:
    """Name, version, digest and Signature of a model: what a client needs to speak to it in columns."""
    model = request.site.pick(request.params.get("name"), request.params.get("version"), request.headers)
    said = {
        "name": model.name, "version": model.version, "digest": model.bundle.digest, "form": model.bundle.form,
        "signature": model.signature,
    }  # fmt: skip
    return Reply(200, msgspec.json.encode(said))


async def root(request: Request) -> Reply:
    """The page for a browser; Healthy for a probe."""
    if page.wanted(request):
        return page.index()
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
    """Counters for Prometheus, as OpenMetrics for a scraper that asks for it."""
    site = request.site
    open_metrics = b"application/openmetrics-text" in request.headers.get(b"accept", b"")
    said = await elsewhere(partial(told, site, open_metrics=open_metrics))
    return Reply(200, said.encode(), exposition.OPEN if open_metrics else exposition.TEXT)


def told(site: Site, *, open_metrics: bool) -> str:
    """All metrics, with this worker's own as of now."""
    for model in site.models:
        model.slot.queued(len(model.joiner.asked))
        model.watch.tick(model.slot, site.settings)
    return exposition.text(site, open_metrics=open_metrics)


async def recent(request: Request) -> Reply:
    """The recent past as JSON; ?step=10 for an hour in buckets of 10 seconds, 1 (or nothing) for two minutes."""
    step = request.query.get("step", "1")
    if step not in ("1", "10"):
        raise Problem(400, "BadQuery", f"step={step} is neither 1 nor 10", "ask for ?step=1 or ?step=10")
    encoded = partial(stats.encoded, request.site, seconds=int(step))
    return Reply(200, await elsewhere(encoded))


async def document(request: Request) -> Reply:
    """The OpenAPI document."""
    return Reply(200, openapi.document(request.site))
