"""uvicorn with our protocol: sockets, workers, readiness, and a stop that lets every answer out."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from types import FrameType
from typing import Any

from uvicorn import Config, Server

import anyport
from anyport.errors import Mistake
from anyport.serve import usage
from anyport.serve.app import App
from anyport.serve.protocol import HotProtocol, protocol, short_cut
from anyport.serve.site import Site

KEEP_ALIVE = 75
"""Seconds an idle connection is kept: longer than load balancers keep theirs (60), so that they close first."""
DRAIN = 20
"""Seconds that answers under way get after a stop."""
log = logging.getLogger("anyport.serve")


class Worker(Server):
    """One process's server. `load` runs in a thread once it listens; `ready` is called after that."""

    def __init__(self, config: Config, app: App, load: Callable[[], None], ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.app = app
        self.parent = os.getppid()
        self.load = load
        self.ready = ready
        self.broken: Exception | None = None
        self.grpc: Any = None
        """grpc.aio's server, where the settings want one."""
        self.watching: asyncio.Future[None] | None = None
        """The last second's watch, which another thread works at."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then load: probes are answered meanwhile."""
        await super().startup(sockets=sockets)
        if self.app.site.settings.grpc_port is not None:
            from anyport.serve import rpc

            self.grpc = await rpc.start(self.app.site)
        self.loading = asyncio.create_task(self.loaded())

    async def loaded(self) -> None:
        """Load off the loop; a failure stops the server and is raised by `serve_one`."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(None, self.load)
        except Exception as error:
            self.broken = error
            self.should_exit = True
            return
        for model in self.app.site.models:
            model.slot.begin()
        watched(self.app.site, len(self.server_state.connections))
        self.app.site.changed = partial(short_cut, self.app, loop)
        self.app.site.changed()
        self.ready()

    async def on_tick(self, counter: int) -> bool:
        """uvicorn's tick, ten a second; once a second, idle connections of the hot path are closed."""
        if counter % 10 == 0:
            if self.watching is None or self.watching.done():
                connections = len(self.server_state.connections)
                loop = asyncio.get_running_loop()
                self.watching = loop.run_in_executor(None, watched, self.app.site, connections)
            since = perf_counter() - KEEP_ALIVE
            for connection in list(self.server_state.connections):
                if isinstance(connection, HotProtocol) and connection.idle(since):
                    connection.transport.close()
            if os.getppid() != self.parent:
                self.should_exit = True  # whoever started us is gone and cannot stop us any more
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, over HTTP and gRPC at once, and let answers under way out."""
        calls = asyncio.create_task(self.grpc.stop(DRAIN)) if self.grpc is not None else None
        await super().shutdown(sockets=sockets)
        if calls is not None:
            await calls

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop and drain; a second Ctrl-C stops at once. uvicorn's own would raise the signal again at the end,
        and a server that was asked to stop has not failed."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def watched(site: Site, connections: int) -> None:
    """The second's work that no request should wait for: counting what was seen."""
    usage.report(site.host, connections)
    for model in site.models:
        model.slot.queued(len(model.joiner.asked))
        try:
            model.watch.tick(model.slot, site.settings)
        except Exception:  # counting must never stop; the next second may be fine
            log.exception("model %s: the last second could not be counted", model.name)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Mistake where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise Mistake(f"cannot listen on {host} port {port}: {error.strerror}", fix="choose another --port") from error
    made.listen(2048)
    made.set_inheritable(True)
    return made


def worker(app: App, load: Callable[[], None], ready: Callable[[], None]) -> Worker:
    """A server of this process, not yet running."""
    config = Config(
        app, http=protocol(app), ws="none", lifespan="off", interface="asgi3", loop="auto", log_config=None,
        log_level="warning", access_log=False, proxy_headers=False, timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=DRAIN, headers=[("server", f"anyport/{anyport.__version__}")],
    )  # fmt: skip
    return Worker(config, app, load, ready)


def serve_one(app: App, sockets: Sequence[socket.socket], load: Callable[[], None], ready: Callable[[], None]) -> None:
    """Serve in this process until a signal asks to stop. Raises what loading raised."""
    # a long body is decoded in a thread; the default of 5 ms would be every other caller's latency
    sys.setswitchinterval(0.001)
    one = worker(app, load, ready)
    try:
        one.run(sockets=list(sockets))
    finally:
        for model in app.site.models:
            model.close()
    if one.broken is not None:
        raise one.broken
