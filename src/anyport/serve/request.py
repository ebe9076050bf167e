"""Request, Route and Router: what a wire contract's handlers get, and how requests find them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from anyport.batch import Outcome, rows
from anyport.codec import Body
from anyport.serve import coding
from anyport.serve.loops import elsewhere, within
from anyport.serve.note import Note
from anyport.serve.reply import Problem, Refuse, Reply, plain
from anyport.serve.wire import Wire
from anyport.signature import Signature

if TYPE_CHECKING:
    from anyport.serve.model import Served
    from anyport.serve.site import Site

SHORT = 256
"""Bytes of a compressed body that is inflated on the event loop; they hold 256 KiB at most."""
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class Request:
    """One HTTP request on its way to an answer."""

    def __init__(self, scope: Mapping[str, Any], receive: Receive, site: Site, note: Note | None = None) -> None:
        self.scope = scope
        self.site = site
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        """Names are lower case; of several with one name, the last."""
        self.params: Mapping[str, str] = {}
        """What the route's pattern holds in braces, percent-decoded."""
        self.model: Served | None = None
        """The model that `answer` asked, once it is known."""
        self.note = note
        """Where its steps are written down, for the log and the trace."""
        self._receive = receive

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of several with one name, the last."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))

    @property
    def kind(self) -> bytes:
        """The content type without its parameters, lower case; b"" where nothing says it."""
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()

    def flag(self, name: str) -> bool:
        """A query parameter that is true or false (absent: false). Problem 400 for anything else."""
        given = self.query.get(name, "false")
        if given not in ("true", "false"):
            raise Problem(400, "BadQuery", f"{name}={given} is neither true nor false")
        return given == "true"

    async def body(self) -> bytes:
        """The whole body, without the coding that it was sent in.

        Problem 413 where it is too large, which the headers may say before anything is sent, 408 where it comes too
        slowly, 415 for a coding that is not taken, 400 for a body that is not in it.
        """
        named = coding.coding(self.headers.get(b"content-encoding", b""))
        body = await self.sent()
        if not named:
            return body
        most = self.site.settings.max_body
        if len(body) <= SHORT:
            return coding.inflate(body, named, most)
        return await elsewhere(coding.inflate, body, named, most)

    async def sent(self) -> bytes:
        """The whole body as it was sent."""
        most = self.site.settings.max_body
        length = self.headers.get(b"content-length")
        if length is not None and int(length) > most:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            problem = self.scope.get("state", {}).get("problem")
            if problem is not None:
                raise problem  # the connection's: too slow, or no end of headers
            if message["type"] != "http.request":
                return b""  # the client has gone, and nobody reads the reply
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise self._too_large()
            if not message.get("more_body", False):
                return b"".join(parts)

    def _too_large(self) -> Problem:
        what = f"the body has more than {self.site.settings.max_body} bytes"
        # the rest of the body is read and forgotten; a client that still waits to be asked for it never sends it
        close = ((b"connection", b"close"),) if b"expect" in self.headers else ()
        return Problem(413, "TooLarge", what, "send fewer rows at a time", headers=close)

    async def answer(self, model: Served, wire: Wire, *, partial: bool = False) -> Reply:
        """The reply of a model to this request's body, in a wire contract.

        Problem: 503 while the model is being loaded, 429 where too many wait for it, 504 where it takes too long,
        and what `body` and the wire raise: 408, 413, 415, 400, 422, 500.
        """
        self.model = model
        if model.predictor is None:
            raise Problem(
                503, "NotReady", "the model is still being loaded", "ask again; GET /readyz says when",
                headers=((b"retry-after", b"1"),),
            )  # fmt: skip
        note = self.note
        if note is not None:
            note.model, note.version = model.name, model.version
        seconds, queue = self.site.settings.timeout, self.site.settings.max_queue
        with model.used():
            body = await self.body()
            try:
                async with within(seconds):
                    asked = wire if note is None else Noted(wire, note)
                    return await model.respond(body, asked, partial=partial, queue=queue)
            except TimeoutError as error:
                what = f"the model did not answer within {seconds:g} seconds"
                raise Problem(
                    504, "Timeout", what, "ask for fewer rows at a time, or later", headers=((b"retry-after", b"1"),)
                ) from error


class Noted:
    """A wire that writes down how many rows there were, and when each step was done."""

    def __init__(self, inner: Wire, note: Note) -> None:
        self.inner = inner
        self.note = note

    def decode(self, body: bytes, signature: Signature, /) -> Body:
        """As `inner`."""
        read = self.inner.decode(body, signature)
        self.note.rows = rows(read.batch)
        self.note.decoded = perf_counter()
        return read

    def encode(self, outcome: Outcome, signature: Signature, /) -> Reply:
        """As `inner`."""
        self.note.encoding = perf_counter()
        reply = self.inner.encode(outcome, signature)
        self.note.encoded = perf_counter()
        return reply


Handler = Callable[[Request], Awaitable[Reply]]
Says = Callable[["Served"], dict[str, Any]]


class Route(NamedTuple):
    """A method and a path pattern, such as /v2/models/{name}/infer, and who answers there."""

    method: str
    """"GET" (HEAD too) or "POST"."""
    path: str
    handler: Handler
    refuse: Refuse = plain
    """How this contract words a Problem."""
    open: bool = False
    """Whether it needs no API key: probes."""
    says: Says | None = None
    """Its OpenAPI operation object for one model; None leaves it out of the document."""


class Router:
    """Finds the route of a raw (still percent-encoded) path. Literal paths come first, then patterns, as listed."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.literal: dict[str, dict[str, Route]] = {}
        self.patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        seen: dict[str, dict[str, Route]] = {}
        for route in routes:
            taken = seen.get(route.path)
            if taken is None:
                taken = seen[route.path] = {}
                if "{" in route.path:
                    self.patterns.append((compiled(route.path), taken))
                else:
                    self.literal[route.path] = taken
            if route.method in taken:
                raise ValueError(f"{route.method} {route.path} is routed twice")
            taken[route.method] = route

    def find(self, raw: str) -> tuple[Mapping[str, Route], Mapping[str, str]] | None:
        """The routes at a path by method, and its parameters; None where there is nothing."""
        found = self.literal.get(raw)
        if found is not None:
            return found, {}
        for pattern, routes in self.patterns:
            match = pattern.fullmatch(raw)
            if match is not None:
                return routes, {name: unquote(value) for name, value in match.groupdict().items()}
        return None


def compiled(path: str) -> re.Pattern[str]:
    """A path pattern as a regular expression; a name in braces is one segment, or what stands before a colon in it."""
    parts = re.split(r"\{(\w+)\}", path)
    return re.compile("".join(f"(?P<{part}>[^/]+?)" if i % 2 else re.escape(part) for i, part in enumerate(parts)))
