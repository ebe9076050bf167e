"""One connection of the real protocol on a transport of memory, and what must hold of everything it writes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from anyport.bundle import Bundle
from anyport.serve.app import App
from anyport.serve.lanes import short_cut
from anyport.serve.metrics import Metrics
from anyport.serve.model import Served
from anyport.serve.protocol import HotProtocol, protocol
from anyport.serve.settings import Settings
from anyport.serve.site import Site

HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n:]+: ?[^\r\n]*\r\n)*)\r\n")
PATIENCE = 5.0
"""Seconds after which nothing may still be under way."""


class Memory(asyncio.Transport):
    """Keeps what is written, and like asyncio's drops what is written after it was closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, one: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.loop = loop
        self.one = one
        self.out = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        if not self.closed:
            self.out += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.loop.call_soon(self.one.connection_lost, None)

    def set_protocol(self, protocol: Any) -> None:
        """From now on this one hears of the end."""
        self.one = protocol

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """The client would read an end; here it sees what was written anyway."""

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        """Nothing is read here anyway."""

    def resume_reading(self) -> None:
        """As above."""

    def get_write_buffer_size(self) -> int:
        return 0


class Connection:
    """A server of one model, asked over one connection after the other."""

    def __init__(self, bundle: Bundle) -> None:
        metrics = Metrics([(bundle.name, bundle.version)], 1)
        model = Served(bundle, metrics.slot(0, 0))
        model.load(trust=None, threads=1)
        self.app = App(Site([model], metrics, Settings(max_body=4096)))
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(self.raised)
        self.kind = protocol(self.app)
        self.config = Config(self.app, http=self.kind, lifespan="off", ws="none", log_config=None, access_log=False)
        self.config.load()
        self.state = ServerState()
        self.state.default_headers = [(b"server", b"anyport")]
        short_cut(self.app, self.loop)
        self.broken: dict[str, Any] | None = None

    def raised(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Whatever ends in the loop's exception handler is a fault of ours."""
        self.broken = context

    def say(self, data: bytes, cuts: Sequence[int]) -> list[int]:
        """Send bytes in pieces; the statuses of the replies. AssertionError where a reply is none."""
        one = self.kind(self.config, self.state, {}, _loop=self.loop)
        transport = Memory(self.loop, one)
        self.broken = None
        self.loop.run_until_complete(self.conversation(one, transport, data, cuts))
        assert self.broken is None, f"{self.broken}"
        found = replies(bytes(transport.out))
        assert all(status < 500 for status in found), f"{found} to {data!r}: {bytes(transport.out)!r}"
        return found

    async def conversation(self, one: HotProtocol, transport: Memory, data: bytes, cuts: Sequence[int]) -> None:
        """All of it, until nothing is under way any more."""
        one.connection_made(transport)
        start = 0
        for size in [*cuts, len(data)]:
            piece = data[start : start + size]
            start += size
            if piece and not transport.closed:
                one.data_received(piece)
                await asyncio.sleep(0)
        await self.quiet(lambda: bool(self.state.tasks or one.unanswered))
        if not transport.closed:
            one.eof_received()
            transport.close()
        await self.quiet(lambda: bool(self.state.tasks))
        assert not self.state.tasks, f"still at work on {data!r}"

    async def quiet(self, busy: Callable[[], bool]) -> None:
        """Wait until nothing is under way, or for too long: what waits for more bytes waits on."""
        turns, until = 0, perf_counter() + PATIENCE
        while busy() and (turns < 50 or (self.threads() and perf_counter() < until)):
            turns += 1
            await asyncio.sleep(0 if turns < 50 else 0.001)

    def threads(self) -> bool:
        """Whether another thread works on an answer."""
        return any(model.waiting for model in self.app.site.models)


def replies(out: bytes) -> list[int]:
    """The statuses of whole replies one after the other, and nothing else."""
    found = []
    at = 0
    while at < len(out):
        head = HEAD.match(out, at)
        assert head is not None, f"no HTTP reply at {at}: {out!r}"
        status = int(head[1])
        found.append(status)
        at = head.end()
        length = re.search(rb"(?im)^content-length: *(\d+)\r$", head[2])
        if status == 100:
            continue
        if length is None:
            assert re.search(rb"(?im)^(transfer-encoding: chunked|connection: close)\r$", head[2]), f"{out!r}"
            break
        if at < len(out) and not out.startswith(b"HTTP/1.1 ", at):  # else it replies to HEAD and has no body
            at += int(length[1])
            assert at <= len(out), f"a reply is cut short: {out!r}"
    return found
