"""HTTP: a request as the library azure-functions hands it over, to the server's routes and back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from anyport.functions.front import Asked, Front

if TYPE_CHECKING:
    from azure.functions import HttpRequest, HttpResponse

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
HOP = ("content-length", "connection", "transfer-encoding", "keep-alive")
"""Headers that the host writes itself."""


def prefix(host: Path) -> str:
    """What stands before every route, as host.json says it, with a slash before it; /api where it says nothing
    (https://learn.microsoft.com/azure/azure-functions/functions-bindings-http-webhook#hostjson-settings)."""
    try:
        said = json.loads(host.read_text("utf-8"))
    except FileNotFoundError:
        said = {}
    found = str(said.get("extensions", {}).get("http", {}).get("routePrefix", "api")).strip("/")
    return f"/{found}" if found else ""


def level(environ: Mapping[str, str] = os.environ) -> str:
    """Who may ask: ANYPORT_AUTH is FUNCTION (who has a key of the function's), ADMIN, or ANONYMOUS for everyone."""
    return environ.get("ANYPORT_AUTH", "").upper() or "FUNCTION"


async def answer(front: Front, request: HttpRequest, before: str) -> HttpResponse:
    """The server's reply to a request; `before` is the prefix of every route, which is none of the server's."""
    import azure.functions as func

    parts = urlsplit(request.url)
    path = parts.path
    if before and (path == before or path.startswith(f"{before}/")):
        path = path[len(before) :]
    query = parts.query or urlencode(dict(request.params))
    asked = Asked(request.method, path or "/", query, pairs(request.headers), request.get_body())
    found = await front.answered(asked)
    headers = {name: value for name, value in found.headers if name not in HOP}
    return func.HttpResponse(found.body, status_code=found.status, headers=headers)


def pairs(headers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Headers, without the length of a body that a proxy may have inflated."""
    return [(name, str(value)) for name, value in headers.items() if name.lower() != "content-length"]
