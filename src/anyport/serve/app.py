"""The routes, as one small ASGI application. The common prediction never gets here: see protocol.py."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl

import msgspec

import anyport
from anyport.serve import openapi
from anyport.serve.hot import Tick
from anyport.serve.keys import Keys
from anyport.serve.metrics import Metrics
from anyport.serve.model import Reply, Served, failed, told

TEXT = b"text/plain; charset=utf-8"
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class App:
    """Everything one worker serves."""

    def __init__(
        self, models: Sequence[Served], metrics: Metrics, *, keys: Keys | None = None, max_body: int = 16 << 20
    ) -> None:
        self.models = tuple(models)
        self.metrics = metrics
        self.keys = keys
        self.max_body = max_body
        self.routes = routes(models)
        self.pages: dict[str, Callable[[], Reply]] = {
            "/": lambda: Reply(200, b"Healthy", TEXT),
            "/livez": lambda: Reply(200, b'{"live":true}'),
            "/readyz": self.readyz,
            "/metrics": lambda: Reply(200, metrics.text().encode(), b"text/plain; version=0.0.4; charset=utf-8"),
            "/openapi.json": lambda: Reply(200, openapi.document(self.routes)),
        }
        self.open = {"/", "/livez", "/readyz"}
        """Probes: they need no key."""
        self.ticks: dict[bytes, Tick] = {}
        """protocol.py's: the raw paths that have a short cut, and where it leads."""
        self.head: tuple[object, bytes] = (None, b"")
        """protocol.py's: the header lines of this second, made once for all connections."""

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        reply = await self.reply(scope, receive)
        headers = [(b"content-type", reply.kind), (b"content-length", b"%d" % len(reply.body)), *reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def reply(self, scope: Mapping[str, Any], receive: Receive) -> Reply:
        """The reply to one request."""
        path, method = scope["path"], scope["method"]
        if path not in self.open and self.keys is not None and not self.keys.allow(scope["headers"]):
            reply = told(401, "Unauthorized", "no valid API key", "send Authorization: Bearer KEY")
            return reply._replace(headers=((b"www-authenticate", b"Bearer"),))
        model = self.routes.get(path)
        if model is not None:
            if method != "POST":
                return not_allowed(method, "POST")
            started = perf_counter()
            try:
                reply = await self.predict(model, scope, receive)
            except Exception as error:
                reply = failed(error)
            model.slot.request(reply.status, perf_counter() - started)
            return reply
        page = self.pages.get(path)
        if page is None:
            return told(404, "NotFound", f"there is nothing at {path}", "POST /predict; GET /openapi.json lists all")
        return page() if method in ("GET", "HEAD") else not_allowed(method, "GET, HEAD")

    async def predict(self, model: Served, scope: Mapping[str, Any], receive: Receive) -> Reply:
        """The reply to a prediction."""
        if model.predictor is None:
            reply = told(503, "NotReady", "the model is still being loaded", "ask again; GET /readyz says when")
            return reply._replace(headers=((b"retry-after", b"1"),))
        wrong = unacceptable(scope["headers"])
        if wrong is not None:
            return wrong
        body = await self.body(scope["headers"], receive)
        if body is None:
            reply = told(413, "TooLarge", f"the body has more than {self.max_body} bytes", "send fewer rows at a time")
            # the rest of the body is read and forgotten; a client that still waits to be asked for it never sends it
            waits = any(name == b"expect" for name, _ in scope["headers"])
            return reply._replace(headers=((b"connection", b"close"),)) if waits else reply
        partial = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("partial", "false")
        if partial not in ("true", "false"):
            return told(400, "BadQuery", f"partial={partial} is neither true nor false")
        return await model.respond(body, partial=partial == "true")

    async def body(self, headers: Sequence[tuple[bytes, bytes]], receive: Receive) -> bytes | None:
        """The whole body; None where it is too large, which the headers may say before anything is sent."""
        for name, value in headers:
            if name == b"content-length" and int(value) > self.max_body:
                return None
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b""  # the client has gone, and nobody reads the reply
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.max_body:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)

    def readyz(self) -> Reply:
        """200 when every model has answered its golden row, and who answers."""
        ready = all(model.predictor is not None for model in self.models)
        said = {
            "ready": ready, "server": "anyport", "version": anyport.__version__, "pid": os.getpid(),
            "models": [
                {"name": m.name, "version": m.version, "digest": m.bundle.digest, "form": m.bundle.form}
                for m in self.models
            ],
        }  # fmt: skip
        return Reply(200 if ready else 503, msgspec.json.encode(said))


def routes(models: Sequence[Served]) -> dict[str, Served]:
    """Path → model. The first model is /predict; of several versions of one name, the first is the name's own."""
    found: dict[str, Served] = {"/predict": models[0]} if models else {}
    for model in models:
        found.setdefault(f"/models/{model.name}/predict", model)
        found[f"/models/{model.name}/versions/{model.version}/predict"] = model
    return found


def not_allowed(method: str, allowed: str) -> Reply:
    """405."""
    reply = told(405, "MethodNotAllowed", f"{method} is not taken here", f"use {allowed}")
    return reply._replace(headers=((b"allow", allowed.encode()),))


def unacceptable(headers: Sequence[tuple[bytes, bytes]]) -> Reply | None:
    """415 where the body is not plain JSON; None where it is, or where nothing says what it is."""
    for name, value in headers:
        if name == b"content-type":
            kind, _, parameters = value.partition(b";")
            kind = kind.strip().lower()
            plain = kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))
            charset = parameters.strip().lower().replace(b'"', b"")
            if not plain or charset not in (b"", b"charset=utf-8"):
                said = value.decode("latin-1")
                return told(415, "NotJson", f"{said} is not taken here", "send Content-Type: application/json in UTF-8")
        if name == b"content-encoding" and value.strip().lower() != b"identity":
            return told(415, "Encoded", f"{value.decode('latin-1')} bodies are not taken here", "send it uncompressed")
    return None
