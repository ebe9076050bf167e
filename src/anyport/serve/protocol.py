"""uvicorn's HTTP protocol with a short cut: the common prediction is answered here, everything else by ASGI.

A request on a predict route is kept back until it is whole. If it is an ordinary one (JSON, a valid key, rows that
the hot path takes, nothing before it on this connection still open), it joins the Tick. If not, uvicorn gets it
after all, as though it had come in that moment: app.py then answers it or says what is wrong with it. Answers
leave in the order of the requests: the hot path is not taken while ASGI is busy, and what it holds is flushed
before ASGI starts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import TYPE_CHECKING, Any, NamedTuple

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from anyport.serve import guard
from anyport.serve.app import App
from anyport.serve.choice import HEADER
from anyport.serve.connection import Guarded
from anyport.serve.hot import Tick
from anyport.serve.lanes import Lane, Told, bare
from anyport.serve.note import Note, parent
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
HEADS = 256
"""Heads that are remembered a second; clients that never send the same one twice gain nothing and cost nothing."""
LONGEST = 1024
"""Bytes of such a head."""
LENGTHS = tuple(b"%d\r\n\r\n" % length for length in range(1024))
"""The end of an answer's head, by the length of its body."""


def protocol(app: App) -> type[HotProtocol]:
    """The protocol class of one worker, without any short cut yet."""

    class Bound(HotProtocol):
        host = app

    return Bound


class Head(NamedTuple):
    """A head that was parsed and found ordinary once. The same bytes again, at a message's start and with as long a
    body behind them, mean the same: clients send them with every request, and parsing is half of our own work.
    Measured (30 numbers, µs of CPU a request): 34.6 with it, 43.8 without; a minimal C++ server there: 15.3.
    """

    url: bytes
    headers: list[tuple[bytes, bytes]]
    length: int
    """Bytes of the body."""
    way: Tick | Lane | None
    """Where its requests go; after a reload it is another one, and the head is judged anew."""


class HotProtocol(Guarded):
    """One connection."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.tick: Tick | Lane | None = None
        """Where this connection's unanswered rows are."""
        self.last = False
        """The server stops: the next answer closes the connection."""
        self.method = b""
        self.offered = False
        """An upgrade: see `declined`."""
        self.drained = 0
        """Bytes read for a request that was answered before its end."""
        self.noted = False
        """The request has an id of its own, or is to be logged."""
        self.lines: deque[tuple[bytes, Note | None]] | None = None
        """Where any unanswered row of this connection has them: a header line, and what to log, of each."""

        self.ordinarily: bytes | None = None
        """The body of a request that was just taken by the hot path: its head may be remembered."""

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, but an offer to upgrade is declined without losing the body that came with it."""
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        size = len(data)
        whole = not self.reading
        if whole:
            end = data.find(b"\r\n\r\n") + 4
            head = self.host.heads.get(data[:end])
            if head is not None and head.length == size - end and self.again(head, data[end:]):
                return
        self.piecemeal = self.reading or size > self.host.site.settings.max_head
        while data:
            try:
                self.ordinarily = None
                self.parser.feed_data(data)
                if whole and self.ordinarily is not None:
                    self.learn(data, len(self.ordinarily))
                break
            except httptools.HttpParserUpgrade as error:
                data = self.declined(data[error.args[0] :])
            except httptools.HttpParserError:
                self.refuse(self.problem or Problem(400, "BadRequest", "this is not HTTP/1.1"))
                return
        if self.reading:
            self.pending(size)

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

    def again(self, head: Head, body: bytes) -> bool:
        """Whether a request with this head was taken by the hot path; if not, nothing has changed.

        What may change between two requests is asked each time, as in `on_message_complete`.
        """
        tick = self.host.ticks.get(head.url)
        busy = self.refused or (self.cycle is not None and not self.cycle.response_complete)
        if tick is None or tick is not head.way or busy or self.last or self.flow.write_paused:
            return False
        if self.lines is not None:
            return False  # answers under way have notes, and this one would need its place among them
        keys = self.host.site.keys
        if keys is not None and not keys.allow(head.headers):
            return False
        if self.tick is not tick:
            self.settle()
            self.tick = tick
        self.unanswered += 1
        if tick.take(self, body, True):
            return True
        self.unanswered -= 1
        return False

    def learn(self, data: bytes, length: int) -> None:
        """Keep the head of `data`, if that is one whole request with a plain body of this length."""
        heads = self.host.heads
        end = data.find(b"\r\n\r\n") + 4
        # a chunked body, or a second request behind this one, would be longer
        if len(data) - end == length and end <= LONGEST and len(heads) < HEADS:
            heads[data[:end]] = Head(self.url, self.headers, length, self.host.ticks.get(self.url))

    # what the parser calls

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.kept = None
        self.reading = self.heading = self.moved = True
        self.drained = self.late = self.size = 0

    def on_headers_complete(self) -> None:
        if self.piecemeal or len(self.headers) > guard.HEADERS or len(self.url) > self.host.site.settings.max_url:
            self.measure()
        self.heading = False
        self.moved = True
        self.offered = self.parser.should_upgrade()
        self.method = self.parser.get_method()
        if self.offered:
            return
        tick = self.host.ticks.get(self.url)
        if tick is None and self.url in self.host.forks:
            tick = self.host.forks[self.url].lane(self.headers)
        if tick is None or self.method != b"POST":
            self.cold()
            return
        self.kept = tick
        self.parts = []
        if self.expect_100_continue:
            self.cold()  # rare; ASGI asks for the body when it wants it

    def on_body(self, body: bytes) -> None:
        self.moved = True
        self.size += len(body)
        if self.kept is None:
            super().on_body(body)
            if self.cycle.response_complete:
                # nobody reads this any more, but a client that is still sending would not hear a closed door
                self.drained += len(body)
                if self.drained > DRAINED:
                    self.transport.close()
            return
        self.parts.append(body)
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
            keep = self.parser.should_keep_alive() and not self.last
            if tick.take(self, body, keep):
                self.kept = None
                if self.noted or self.lines is not None:
                    self.remember(bare(tick))
                elif keep:
                    self.ordinarily = body
                return
            self.unanswered -= 1
        self.cold()
        super().on_message_complete()

    def ordinary(self) -> bool:
        """Whether the headers allow the short cut."""
        host = self.host
        self.noted = host.logs
        looked, traced = host.looked, host.tracing is not None
        for name, value in self.headers:
            if name in looked:
                if name == b"content-type":
                    if value not in JSON:
                        return False
                elif name == b"x-request-id":
                    self.noted = True
                elif name == b"accept":
                    if value not in ANSWERS:
                        return False
                elif name == HEADER:
                    if not self.meant(value):
                        return False
                elif name == b"traceparent":
                    above = parent(value)
                    traced = above is None or above.sampled
                else:
                    return False
        return not traced and (host.site.keys is None or host.site.keys.allow(self.headers))

    def remember(self, tick: Tick) -> None:
        """The last request that was taken wants a line in its answer, or in the log; or one before it does."""
        if self.lines is None:
            self.lines = deque([(b"", None)] * (self.unanswered - 1))
        if not self.noted:
            self.lines.append((b"", None))
            return
        caller, start, stop, _, _, at = tick.waiting[-1]
        note = Note(self.headers, "POST", self.url.partition(b"?")[0].decode("latin-1"), self.client, at)
        note.rows = stop - start
        if isinstance(caller, Told):
            caller.id = note.id
        if self.host.logs:
            model = self.host.models[tick]
            note.model, note.version = model.name, model.version
        self.lines.append((b"\r\nx-request-id: " + note.given if note.given else b"", note))

    def meant(self, version: bytes) -> bool:
        """Whether a version that the headers name is the one that is about to be asked."""
        kept = self.kept
        return isinstance(kept, Lane) and kept.version == version

    def cold(self) -> None:
        """Give the request to uvicorn: what was read of it so far, as if it came now."""
        self.settle()
        if len(self.pipeline) >= guard.PIPELINE:
            self.problem = guard.deep()
            self.heading = True  # ASGI never hears of this request
            raise self.problem
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

    def release(self, leaving: Container[int]) -> None:
        """Let go of Ticks whose models leave: a request that is still being read for one goes to ASGI."""
        if self.kept is not None and id(bare(self.kept)) in leaving:
            try:
                self.cold()
            except Problem as problem:  # too many requests of this connection are open already
                self.refuse(problem)
        if self.tick is not None and id(bare(self.tick)) in leaving and not self.unanswered:
            self.tick = None

    def settle(self) -> None:
        """Answer what the hot path still holds of this connection."""
        if self.unanswered and self.tick is not None:
            self.tick.flush()

    # what the Tick calls

    def answered(self, body: bytes, now: float, keep: bool, start: bytes = STATUS_LINE[200]) -> None:
        """Write a 200."""
        self.unanswered -= 1
        self.seen = now
        host, state, length = self.host, self.server_state, len(body)
        # what `write` does with the common answer
        if keep and self.lines is None and length < len(LENGTHS) and host.head[0] is state.default_headers:
            state.total_requests += 1
            if not self.transport.is_closing():
                self.transport.write(b"".join((start, host.head[1], LENGTHS[length], body)))
            return
        self.write(start, body, keep, b"" if self.lines is None else self.recalled(200, body, now))

    def failed(self, error: Exception, now: float, keep: bool) -> None:
        """Write a 500."""
        self.unanswered -= 1
        self.seen = now
        body = plain(fault(error, self.lines[0][1] if self.lines else None)).body
        self.write(STATUS_LINE[500], body, keep, b"" if self.lines is None else self.recalled(500, body, now))

    def recalled(self, status: int, body: bytes, now: float) -> bytes:
        """The header line of the next answer; and it is logged."""
        assert self.lines is not None
        line, note = self.lines.popleft()
        if not self.lines:
            self.lines = None
        if note is not None and self.host.access is not None:
            note.status, note.bytes = status, len(body)
            self.host.access.write(note, now)
        return line

    def write(self, start: bytes, body: bytes, keep: bool, line: bytes = b"") -> None:
        """One answer, one write. `start` is its status line, and headers of its own if it has any."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        host, defaults = self.host, self.server_state.default_headers
        if host.head[0] is not defaults:
            # uvicorn replaces the list once a second, when the date changes
            lines = b"".join(b"%b: %b\r\n" % header for header in defaults)
            host.head = (defaults, lines + b"content-type: application/json\r\ncontent-length: ")
            host.heads.clear()
        end = b"\r\n\r\n" if keep else b"\r\nconnection: close\r\n\r\n"
        if line:
            end = line + end
        self.transport.write(b"%b%b%d%b%b" % (start, host.head[1], len(body), end, body))
        if not keep:
            self.transport.close()

    # what the transport and the server call

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
        self.stuck = self.late = 0
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flow.resume_reading()
