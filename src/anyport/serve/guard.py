"""What a connection may cost: limits on heads, pipelines and slowness, and a last word that reaches the client."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from anyport.serve.reply import Problem, Reply, plain

HEADERS = 128
"""Header lines of one request."""
PIPELINE = 128
"""Requests that may wait on one connection for the answer to the one before."""
RATE = 4096
"""Bytes a second that a body, or the reading of an answer, must make to be more than dawdling."""
LINGER = 2.0
"""Seconds in which a refused client may still send, so that it reads the refusal: a closed socket would answer what it
sends with a reset, and that throws away what it has not read (https://www.rfc-editor.org/rfc/rfc9112#section-9.6)."""
FILES = 640
"""Files that are not connections: lingering ones, models, logs."""
LINGERED = 8 << 20
"""Bytes that it may send meanwhile."""
LINGERING = 512
"""Connections that may do so at a time."""
CLOSE = (b"connection", b"close")


class Deaf:
    """The parser of a connection that is not listened to any more."""

    def feed_data(self, data: bytes) -> None:
        """Forgotten."""


class Lingering(asyncio.Protocol):
    """Takes over a connection after its last word: forgets what comes, and closes."""

    count: ClassVar[int] = 0

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.more = LINGERED
        self.end = asyncio.get_running_loop().call_later(LINGER, transport.abort)
        Lingering.count += 1

    def connection_lost(self, exc: Exception | None) -> None:
        Lingering.count -= 1
        self.end.cancel()

    def data_received(self, data: bytes) -> None:
        """Forgotten; too much of it ends the patience."""
        self.more -= len(data)
        if self.more < 0:
            self.transport.abort()

    def eof_received(self) -> bool:
        """The client has read what there was, or will not."""
        self.transport.close()
        return False


def linger(transport: asyncio.Transport) -> None:
    """Close, once the client has had the time to read what was written."""
    if transport.is_closing():
        return
    if Lingering.count >= LINGERING:
        transport.close()
        return
    transport.set_protocol(Lingering(transport))
    transport.resume_reading()
    if transport.can_write_eof():
        transport.write_eof()


def last_word(problem: Problem) -> Any:
    """An ASGI application that says this and closes: for a refusal that must wait until others are answered."""
    reply = plain(problem)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": reply.status, "headers": lines(reply)})
        await send({"type": "http.response.body", "body": reply.body})

    return app


def lines(reply: Reply) -> list[tuple[bytes, bytes]]:
    """The header lines of a reply that is the last on its connection."""
    kept = [pair for pair in reply.headers if pair[0] != b"connection"]
    return [(b"content-type", reply.kind), (b"content-length", b"%d" % len(reply.body)), *kept, CLOSE]


def full(most: int) -> Problem:
    """503: no room for another connection."""
    what = f"this server has {most} connections open and takes no more"
    return Problem(503, "Full", what, "ask again, or another replica", headers=((b"retry-after", b"1"),))


def slow(seconds: int) -> Problem:
    """408: the client takes too long to send."""
    what = f"the request was not whole after {seconds} seconds"
    return Problem(408, "TooSlow", what, "send it faster, or in smaller parts", headers=(CLOSE,))


def long_url(size: int, most: int) -> Problem:
    """414."""
    return Problem(414, "TooLong", f"the URL has more than {most} bytes ({size})", "send data in the body")


def long_head(what: str) -> Problem:
    """431."""
    return Problem(431, "TooManyHeaders", what, "send fewer or shorter headers", headers=(CLOSE,))


def deep() -> Problem:
    """429: one connection asks for too much at once."""
    what = f"more than {PIPELINE} requests wait on this connection"
    return Problem(429, "TooMany", what, "read the answers before you ask for more", headers=((b"retry-after", b"1"),))


def room(wanted: int) -> int:
    """How many connections this process can have open, up to `wanted`; the limit of open files is raised for them."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = wanted + FILES
    if soft != resource.RLIM_INFINITY and soft < min(hard, wanted + FILES):
        soft = min(hard, wanted + FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - FILES))
