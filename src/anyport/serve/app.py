"""The server as one small ASGI application. The common prediction never gets here: see protocol.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from anyport.serve import contracts
from anyport.serve.contracts import admin
from anyport.serve.hot import Tick
from anyport.serve.lanes import Fork, Lane
from anyport.serve.reply import Problem, Refuse, Reply, fault, plain
from anyport.serve.request import Receive, Request, Route, Router
from anyport.serve.site import Site

if TYPE_CHECKING:
    from anyport.serve.protocol import HotProtocol

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class App:
    """What one worker answers: the contracts' routes, or others in their place."""

    def __init__(self, site: Site, routes: Iterable[Route] | None = None) -> None:
        self.site = site
        if routes is None:
            routes = [*contracts.routes(site.settings), *(admin.routes() if site.admin is not None else ())]
        self.router = Router([*routes])
        self.connections: Collection[HotProtocol] = ()
        """Those that are open; server.py's."""
        self.ticks: dict[bytes, Tick | Lane] = {}
        """protocol.py's: the raw paths that have a short cut, and where it leads."""
        self.forks: dict[bytes, Fork] = {}
        """The same where that is to be chosen for each request."""
        self.head: tuple[object, bytes] = (None, b"")
        """protocol.py's: the header lines of this second, made once for all connections."""
        self.heads: dict[bytes, Any] = {}
        """protocol.py's: the heads of ordinary requests of this second."""

    def release(self, ticks: Container[int]) -> None:
        """Have no connection hold these Ticks (by id) any more."""
        for connection in tuple(self.connections):
            connection.release(ticks)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        reply = await self.reply(scope, receive)
        headers = [(b"content-type", reply.kind), (b"content-length", b"%d" % len(reply.body)), *reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def reply(self, scope: Mapping[str, Any], receive: Receive) -> Reply:
        """The reply to one request."""
        raw: bytes = scope["raw_path"]
        found = self.router.find(raw.decode("latin-1"))
        request = Request(scope, receive, self.site)
        started = perf_counter()
        refuse: Refuse = plain
        try:
            method = "GET" if request.method == "HEAD" else request.method
            route = found[0].get(method) if found is not None else None
            refuse = route.refuse if route is not None else plain
            keys = self.site.keys
            if not (route is not None and route.open) and keys is not None and not keys.allow(scope["headers"]):
                raise Problem(
                    401, "Unauthorized", "no valid API key", "send Authorization: Bearer KEY",
                    headers=((b"www-authenticate", b"Bearer"),),
                )  # fmt: skip
            if found is None:
                what = f"there is nothing at {request.path}"
                raise Problem(404, "NotFound", what, "POST /predict; GET /openapi.json lists all")
            if route is None:
                allowed = ", ".join({"GET": "GET, HEAD"}.get(one, one) for one in found[0])
                raise Problem(
                    405, "MethodNotAllowed", f"{request.method} is not taken here", f"use {allowed}",
                    headers=((b"allow", allowed.encode()),),
                )  # fmt: skip
            request.params = found[1]
            reply = await route.handler(request)
        except Problem as problem:
            reply = refuse(problem)
            if request.model is not None and problem.status == 422 and problem.more.get("errors"):
                request.model.slot.refused(len({error["row"] for error in problem.more["errors"]}))
        except Exception as error:
            reply = refuse(fault(error))
        if request.model is not None:
            request.model.slot.request(reply.status, perf_counter() - started)
            if request.model.shows:
                reply = reply._replace(headers=(*reply.headers, *request.model.shows))
        return reply
