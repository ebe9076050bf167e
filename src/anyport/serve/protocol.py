"""uvicorn's HTTP protocol with a short cut: the common prediction is answered here, everything else by ASGI.

A request on a predict route is kept back until it is whole. If it is an ordinary one (JSON, a valid key, rows that
the hot path takes, nothing before it on this connection still open), it joins the Tick. If not, uvicorn gets it
after all, as though it had come in that moment: app.py then answers it or says what is wrong with it. Answers
leave in the order of the requests: the hot path is not taken while ASGI is busy, and what it holds is flushed
before ASGI starts.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from anyport.serve import openapi
from anyport.serve.app import App
from anyport.serve.hot import Tick
from anyport.serve.reply import Problem, fault, plain

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

JSON = frozenset(
    b"application/json" + rest
    for rest in (b"", *(s + b"charset=" + c for s in (b";", b"; ") for c in (b"utf-8", b"UTF-8")))
)
"""Content types that need no closer look."""
ANSWERS = frozenset((b"*/*", b"application/json", b"application/json, */*", b"application/json, text/plain, */*"))
"""Accept headers that JSON satisfies, and that need no closer look."""
DRAINED = 32 << 20
"""Bytes of a request that are still read after it was answered (413)."""


def protocol(app: App) -> type[HttpToolsProtocol]:
    """The protocol class of one worker, without any short cut yet."""

    class Bound(HotProtocol):
        host = app

    return Bound


def short_cut(app: App, loop: asyncio.AbstractEventLoop) -> None:
    """Open the hot path of every model that has one, on all connections of this loop, and no other."""
    app.ticks.clear()
    ticks = {
        id(model): Tick(model.hot, model.slot, model.watch, loop) for model in app.site.models if model.hot is not None
    }
    for path, model in openapi.routes(app.site.models).items():
        if id(model) in ticks:
            # rows that are all good are answered alike with and without the parameter
            for raw in (path, f"{path}?partial=true"):
                app.ticks[raw.encode()] = ticks[id(model)]


class HotProtocol(HttpToolsProtocol):
    """One connection."""

    host: App

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.tick: Tick | None = None
        """Where this connection's unanswered rows are."""
        self.unanswered = 0
        self.kept: Tick | None = None
        """Set while a request for the hot path is being read."""
        self.parts: list[bytes] = []
        self.size = 0
        self.last = False
        """The server stops: the next answer closes the connection."""
        self.seen = perf_counter()
        self.reading = False
        self.method = b""
        self.offered = False
        """An upgrade: see `declined`."""
        self.drained = 0
        """Bytes read for a request that was answered before its end."""

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, but an offer to upgrade is declined without losing the body that came with it."""
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as error:
                data = self.declined(data[error.args[0] :])
            except httptools.HttpParserError:
                self.send_400_response("this is not HTTP/1.1")
                return

    def declined(self, rest: bytes) -> bytes:
        """The request again, without its offer, and what came after its headers.

        httptools takes everything after such headers for the other protocol's. Java's HttpClient offers h2c with
        the first request of every connection.
        """
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        kept = [h for h in self.headers if h[0] not in (b"upgrade", b"http2-settings", b"connection")]
        head = b"".join(b"%b: %b\r\n" % header for header in kept)
        return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (self.method, self.url, head, rest)

    # what the parser calls

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.kept = None
        self.reading = True
        self.drained = 0

    def on_headers_complete(self) -> None:
        self.offered = self.parser.should_upgrade()
        self.method = self.parser.get_method()
        if self.offered:
            return
        tick = self.host.ticks.get(self.url)
        if tick is None or self.method != b"POST":
            self.cold()
            return
        self.kept = tick
        self.parts = []
        self.size = 0
        if self.expect_100_continue:
            self.cold()  # rare; ASGI asks for the body when it wants it

    def on_body(self, body: bytes) -> None:
        if self.kept is None:
            super().on_body(body)
            if self.cycle.response_complete:
                # nobody reads this any more, but a client that is still sending would not hear a closed door
                self.drained += len(body)
                if self.drained > DRAINED:
                    self.transport.close()
            return
        self.parts.append(body)
        self.size += len(body)
        if self.size > self.host.site.settings.max_body:
            self.cold()

    def on_message_complete(self) -> None:
        if self.offered:
            return
        self.reading = False
        if self.kept is None:
            super().on_message_complete()
            return
        tick, parts = self.kept, self.parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        busy = self.cycle is not None and not self.cycle.response_complete
        if not busy and not self.flow.write_paused and self.ordinary():
            if self.tick is not tick:
                self.settle()
                self.tick = tick
            self.unanswered += 1
            if tick.take(self, body, self.parser.should_keep_alive() and not self.last):
                self.kept = None
                return
            self.unanswered -= 1
        self.cold()
        super().on_message_complete()

    def ordinary(self) -> bool:
        """Whether the headers allow the short cut."""
        for name, value in self.headers:
            if name == b"content-type":
                if value not in JSON:
                    return False
            elif name == b"content-encoding" or (name == b"accept" and value not in ANSWERS):
                return False
        return self.host.site.keys is None or self.host.site.keys.allow(self.headers)

    def cold(self) -> None:
        """Give the request to uvicorn: what was read of it so far, as if it came now."""
        self.settle()
        url, headers, expect, parts = self.url, self.headers, self.expect_100_continue, self.parts
        kept, self.kept, self.parts = self.kept, None, []
        super().on_message_begin()
        self.url = url
        self.headers.extend(headers)  # the scope holds this very list
        self.expect_100_continue = expect
        super().on_headers_complete()
        if self.last:
            self.cycle.keep_alive = False
        if kept is not None:
            for part in parts:
                super().on_body(part)

    def settle(self) -> None:
        """Answer what the hot path still holds of this connection."""
        if self.unanswered and self.tick is not None:
            self.tick.flush()

    # what the Tick calls

    def answered(self, body: bytes, now: float, keep: bool) -> None:
        """Write a 200."""
        self.unanswered -= 1
        self.seen = now
        self.write(200, body, keep)

    def failed(self, error: Exception, now: float, keep: bool) -> None:
        """Write a 500."""
        self.unanswered -= 1
        self.seen = now
        self.write(500, plain(fault(error)).body, keep)

    def write(self, status: int, body: bytes, keep: bool) -> None:
        """One answer, one write."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        host, defaults = self.host, self.server_state.default_headers
        if host.head[0] is not defaults:
            # uvicorn replaces the list once a second, when the date changes
            lines = b"".join(b"%b: %b\r\n" % header for header in defaults)
            host.head = (defaults, lines + b"content-type: application/json\r\ncontent-length: ")
        end = b"\r\n\r\n" if keep else b"\r\nconnection: close\r\n\r\n"
        self.transport.write(b"%b%b%d%b%b" % (STATUS_LINE[status], host.head[1], len(body), end, body))
        if not keep:
            self.transport.close()

    # what the transport and the server call

    def send_400_response(self, msg: str) -> None:
        """A request that is no HTTP: answer what came before it, then say so and close."""
        self.settle()
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            # requests that came whole get their answers, in order, before the connection closes
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        self.write(400, plain(Problem(400, "BadRequest", msg)).body, keep=False)

    def shutdown(self) -> None:
        """The server stops: finish what was begun, then close."""
        self.settle()
        self.last = True
        if self.kept is None:
            super().shutdown()

    def eof_received(self) -> None:
        """The client has said all it will; it may still be reading."""
        self.settle()

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests from it until it does."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flow.resume_reading()

    def idle(self, since: float) -> bool:
        """Whether it has waited for a request since before `since`. After ASGI's answers uvicorn has a timer."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self.reading and not self.unanswered and self.seen < since
