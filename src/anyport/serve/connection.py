"""One connection within its limits: what is too large, slow or much is refused, which uvicorn leaves to others."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from anyport.serve import guard
from anyport.serve.app import App
from anyport.serve.reply import Problem, plain

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from anyport.serve.hot import Tick
    from anyport.serve.lanes import Lane


class Guarded(HttpToolsProtocol):
    """A connection. `protocol.py` subclasses it, and says what it still holds (`settle`)."""

    host: App

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.reading = False
        """A request has begun to arrive, and is not whole."""
        self.size = 0
        """Bytes of its body so far."""
        self.seen = perf_counter()
        """When the last request was answered."""
        self.unanswered = 0
        """Requests that the short cut holds."""
        self.kept: Tick | Lane | None = None
        """Set while a request for the short cut is being read."""
        self.parts: list[bytes] = []
        self.heading = False
        """Its headers are being read."""
        self.piecemeal = False
        """What is being read came in several pieces or in a large one: its head is measured."""
        self.moved = False
        self.barren = 0
        """Bytes since the request was last seen to get on: see `pending`."""
        self.late = 0
        """Seconds for which a request has been arriving, or an answer has been unread."""
        self.stuck = 0
        """Bytes that the client had not read when it was first seen not to."""
        self.problem: Problem | None = None
        """Why a callback stopped the parser."""
        self.refused = False
        """Nothing more is taken from it."""
        self.answering: RequestResponseCycle | None = None
        """The request that ASGI works on; `cycle` is the newest, which may wait behind it."""

    def settle(self) -> None:
        """Answer what is held."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """One more, unless there are too many."""
        super().connection_made(transport)
        most = self.host.site.settings.max_connections
        if len(self.connections) > most:
            self.refuse(guard.full(most))

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: uvicorn tells the newest request alone, and the one being answered would still write."""
        if self.answering is not None:
            self.answering.disconnected = True
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """A request for ASGI, which begins now unless one before it is still open."""
        before = self.cycle
        super().on_headers_complete()
        if before is None or before.response_complete:
            self.answering = self.cycle

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.heading:
            return  # a trailer: nobody asks for any, and the scope's headers are the request's
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def pending(self, size: int) -> None:
        """A request is not whole after `size` more bytes: refuse headers, trailers and extensions without end.

        Parser callbacks set `moved`; what comes between two of them is kept in the parser, which has no limit.
        """
        if self.moved:
            self.moved = False
            self.barren = 0
            return
        self.barren += size
        settings = self.host.site.settings
        if self.barren > settings.max_head:
            if self.heading and not self.headers and len(self.url) > settings.max_url:
                self.refuse(guard.long_url(len(self.url), settings.max_url))
            else:
                self.refuse(guard.long_head(f"the headers have more than {settings.max_head} bytes"))

    def measure(self) -> None:
        """Refuse a head that is too large."""
        settings = self.host.site.settings
        if len(self.url) > settings.max_url:
            self.problem = guard.long_url(len(self.url), settings.max_url)
        elif len(self.headers) > guard.HEADERS:
            self.problem = guard.long_head(f"there are more than {guard.HEADERS} headers")
        elif sum(len(name) + len(value) + 4 for name, value in self.headers) > settings.max_head:
            self.problem = guard.long_head(f"the headers have more than {settings.max_head} bytes")
        if self.problem is not None:
            raise self.problem  # the parser stops, and `data_received` goes on from there

    def on_chunk_header(self) -> None:
        self.moved = True

    def on_chunk_complete(self) -> None:
        self.moved = True

    def refuse(self, problem: Problem) -> None:
        """The last word on this connection: what came before is answered first, then nothing more is read.

        Not to be called from the parser's callbacks, which raise instead.
        """
        self.settle()
        if self.refused or self.transport.is_closing():
            return
        self.refused = True
        self.parser = guard.Deaf()  # type: ignore[assignment]
        begun = self.reading and not self.heading and self.kept is None and self.cycle is not None
        self.reading, self.kept, self.parts = False, None, []
        if begun and not self.cycle.response_complete:
            # the application waits for the rest of this request, and says so itself
            self.scope["state"]["problem"] = problem
            self.cycle.keep_alive = self.cycle.more_body = False
            self.cycle.message_event.set()
        elif begun:
            self.ended()  # it has its answer
        elif self.cycle is not None and not self.cycle.response_complete:
            self.queue(problem)
        else:
            reply = plain(problem)
            head = b"".join(b"%b: %b\r\n" % pair for pair in self.server_state.default_headers + guard.lines(reply))
            self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[reply.status], head, reply.body))
            self.ended()

    def ended(self) -> None:
        """All is said; another protocol sees to the end of the connection."""
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        guard.linger(self.transport)

    def queue(self, problem: Problem) -> None:
        """Say it after the answers that ASGI is still working on."""
        HttpToolsProtocol.on_message_begin(self)
        self.scope["method"] = "GET"
        last = RequestResponseCycle(
            scope=self.scope, transport=self.transport, flow=self.flow, logger=self.logger,
            access_logger=self.access_logger, access_log=False, default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(), expect_100_continue=False, keep_alive=False,
            on_response=self.on_response_complete,
        )  # fmt: skip
        self.pipeline.appendleft((last, guard.last_word(problem)))

    def sweep(self, now: float) -> None:
        """Once a second: close what is idle, refuse who sends too slowly, drop who does not read."""
        settings = self.host.site.settings
        if self.flow.write_paused:
            self.stuck = self.stuck or self.transport.get_write_buffer_size()
            self.late += 1
            if self.late > settings.read_timeout + self.stuck // guard.RATE:
                self.transport.abort()
        elif self.reading:
            if not self.flow.read_paused:  # else it is we who make it wait
                self.late += 1
                if self.late > settings.read_timeout + self.size // guard.RATE:
                    self.refuse(guard.slow(self.late))
        elif self.idle(now - settings.keep_alive):
            self.transport.close()

    def idle(self, since: float) -> bool:
        """Whether it has waited for a request since before `since`."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self.unanswered and self.seen < since

    def on_response_complete(self) -> None:
        self.answering = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        self.seen = perf_counter()
