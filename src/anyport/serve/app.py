"""The server as one small ASGI application. The common prediction never gets here: see protocol.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from anyport.errors import BadData, Mistake
from anyport.serve import coding, contracts, cors, logs
from anyport.serve.choice import HEADER
from anyport.serve.contracts import admin
from anyport.serve.hot import Tick
from anyport.serve.lanes import Fork, Lane
from anyport.serve.note import Note
from anyport.serve.reply import TEXT, Problem, Refuse, Reply, current, fault, plain
from anyport.serve.request import Receive, Request, Route, Router
from anyport.serve.site import Site
from anyport.serve.trace import Tracing

if TYPE_CHECKING:
    from anyport.serve.model import Served

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
        settings = site.settings
        self.access = logs.Access(settings.log_format) if settings.access_log else None
        self.tracing: Tracing | None = None
        """Set by the worker, as its exporter has a thread."""
        self.reread: list[Callable[[], None]] = [self.again]
        """What SIGHUP makes it read again."""
        self.connections: Collection[HotProtocol] = ()
        """Those that are open; server.py's."""
        self.ticks: dict[bytes, Tick | Lane] = {}
        """protocol.py's: the raw paths that have a short cut, and where it leads."""
        self.forks: dict[bytes, Fork] = {}
        """The same where that is to be chosen for each request."""
        self.models: dict[Tick, Served] = {}
        """protocol.py's: the model that a short cut leads to."""
        self.logs = settings.access_log
        self.looked = frozenset(
            [b"content-type", b"content-encoding", b"accept", b"x-request-id", HEADER]
            + ([b"origin"] if settings.cors_origins else [])
            + ([b"traceparent"] if settings.otel else [])
        )
        """protocol.py's: the headers that a short cut depends on."""
        self.head: tuple[object, bytes] = (None, b"")
        """protocol.py's: the header lines of this second, made once for all connections."""
        self.heads: dict[bytes, Any] = {}
        """protocol.py's: the heads of ordinary requests of this second."""

    def again(self) -> None:
        """Read the callers' keys again."""
        if self.site.keys is not None:
            self.site.keys.again()

    def release(self, ticks: Container[int]) -> None:
        """Have no connection hold these Ticks (by id) any more."""
        for connection in tuple(self.connections):
            connection.release(ticks)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        sent: list[tuple[bytes, bytes]] = scope["headers"]
        note = self.began(scope)
        reply = await self.reply(scope, receive, note)
        origin = next((value for name, value in sent if name == b"origin"), None)
        more = [*reply.headers, *cors.allowed(origin, self.site.settings.cors_origins)]
        if note.given:
            more.append((b"x-request-id", note.given))
        body = reply.body
        least = self.site.settings.compress_from
        if least and len(body) >= least and reply.kind.partition(b";")[0] in coding.WORTH:
            more.append((b"vary", b"accept-encoding"))
            if any(coding.accepts(value) for name, value in sent if name == b"accept-encoding"):
                body = await coding.squeezed(body)
                more.append((b"content-encoding", b"gzip"))
        headers = [(b"content-type", reply.kind), (b"content-length", b"%d" % len(body)), *more]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self.over(note, reply.status, len(body))

    def began(self, scope: Mapping[str, Any]) -> Note:
        """What is known of a request that begins, which is from now on its task's."""
        path = scope["raw_path"].decode("latin-1")
        note = Note(scope["headers"], scope["method"], path, scope.get("client"), perf_counter())
        note.scheme = scope.get("scheme", "http")
        current.set(note)
        if self.tracing is not None:
            self.tracing.begin(note)
        return note

    def over(self, note: Note, status: int, size: int) -> None:
        """It has been answered with so many bytes: the trace ends, and the log gets its line."""
        note.status, note.bytes = status, size
        now = perf_counter()
        if self.tracing is not None:
            self.tracing.end(note, now)
        if self.access is not None:
            self.access.write(note, now)

    async def reply(self, scope: Mapping[str, Any], receive: Receive, note: Note) -> Reply:
        """The reply to one request."""
        raw: bytes = scope["raw_path"]
        found = self.router.find(raw.decode("latin-1"))
        request = Request(scope, receive, self.site, note)
        started = perf_counter()
        refuse: Refuse = plain
        kind = ""
        try:
            method = "GET" if request.method == "HEAD" else request.method
            route = found[0].get(method) if found is not None else None
            refuse = route.refuse if route is not None else plain
            if method == "OPTIONS" and found is not None:
                headers = cors.preflight(request.headers, found[0], self.site.settings.cors_origins)
                if headers is not None:
                    return Reply(200, b"", TEXT, headers=headers)
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
            note.route = route.path
            try:
                reply = await route.handler(request)
            except Mistake as error:  # of the caller's, in a body that no wire has read
                if isinstance(error, BadData):
                    raise Problem(422, "BadData", error.what, error.fix) from error
                raise Problem(400, "BadBody", error.what, error.fix) from error
        except Problem as problem:
            kind = problem.error
            reply = refuse(problem)
            if request.model is not None and problem.status == 422 and problem.more.get("errors"):
                request.model.slot.refused(len({error["row"] for error in problem.more["errors"]}))
        except Exception as error:
            kind = "Failed"
            reply = refuse(fault(error))
        if request.model is not None:
            request.model.slot.request(reply.status, perf_counter() - started, kind)
            if request.model.shows:
                reply = reply._replace(headers=(*reply.headers, *request.model.shows))
        else:
            self.site.host.request(reply.status, kind)
        return reply
