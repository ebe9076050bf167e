"""The page at / for people: the models, a form to ask them, live charts. Its files are in serve/page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

import anyport
from anyport import codec
from anyport.serve.reply import Headers, Reply
from anyport.serve.request import Request, Route

if TYPE_CHECKING:
    from anyport.bundle import Manifest
    from anyport.serve.model import Served
    from anyport.signature import Field

FILES = Path(__file__).parent.parent / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE: Headers = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)
"""Nothing but its own files may run or be loaded, and nobody may frame it."""


def routes() -> Iterator[Route]:
    """What the page is made of. Its files say nothing of the models, so they need no key; what they are does."""
    yield Route("GET", "/page/page.css", style, open=True)
    yield Route("GET", "/page/page.js", script, open=True)
    yield Route("GET", "/page/models.json", models)


def wanted(request: Request) -> bool:
    """Whether a browser asks for / (probes send no Accept, or */*)."""
    return b"text/html" in request.headers.get(b"accept", b"")


def index() -> Reply:
    """The page itself; it finds everything by relative addresses, so that it works below any prefix."""
    headers = (*SAFE, (b"vary", b"accept"))
    return Reply(200, (FILES / "index.html").read_bytes(), b"text/html; charset=utf-8", headers)


async def style(request: Request) -> Reply:
    """page.css."""
    return Reply(200, (FILES / "page.css").read_bytes(), b"text/css; charset=utf-8", SAFE)


async def script(request: Request) -> Reply:
    """page.js."""
    return Reply(200, (FILES / "page.js").read_bytes(), b"text/javascript; charset=utf-8", SAFE)


async def models(request: Request) -> Reply:
    """What the page says of each model and makes its form from."""
    said = {"server": f"anyport {anyport.__version__}", "models": [of(model) for model in request.site.models]}
    return Reply(200, msgspec.json.encode(said), headers=((b"cache-control", b"no-store"),))


def of(model: Served) -> dict[str, Any]:
    """One model: what it is, how it was proven, its fields, and a row that it answers (None until it is loaded)."""
    manifest = model.bundle.manifest
    return {
        "name": model.name, "version": model.version, "digest": model.bundle.digest,
        "ready": model.predictor is not None, "framework": manifest.framework, "form": manifest.form,
        "created": model.bundle.meta().get("created"),
        "proof": proof(manifest), "example": model.example(),
        "path": f"models/{quote(model.name)}/versions/{quote(model.version, safe='')}/predict",
        "inputs": [described(field) for field in model.signature.inputs],
        "outputs": [{**described(field), "keys": codec.keys(field)} for field in model.signature.outputs],
    }  # fmt: skip


def described(field: Field) -> dict[str, Any]:
    """A field, with its type in words."""
    return {
        "name": field.name, "dtype": field.dtype, "shape": field.shape, "nullable": field.nullable,
        "levels": field.levels, "closed": field.closed, "low": field.low, "high": field.high, "tz": field.tz,
        "says": field.says(),
    }  # fmt: skip


def proof(manifest: Manifest) -> str:
    """In words, how the model that answers here was compared with the original."""
    for tried in manifest.tried:
        if tried.name == manifest.kept and tried.worst is not None:
            flips = f", {tried.flips} labels differ" if tried.flips else ", every label the same"
            return f"within {tried.worst:.1g} of the original on {tried.rows:,} rows{flips}"
    if manifest.form == "python":
        return "the original object itself, in its locked environment"
    return "the bundle does not say how its graph was proven"
