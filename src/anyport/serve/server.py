"""uvicorn with our protocol: sockets, workers, readiness, and a stop that lets every answer out."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from types import FrameType
from typing import Any

from uvicorn import Config, Server

import anyport
from anyport.errors import Mistake
from anyport.serve import trace, usage
from anyport.serve.app import App
from anyport.serve.lanes import short_cut
from anyport.serve.protocol import HotProtocol, protocol
from anyport.serve.record import Record
from anyport.serve.site import Site

DRAIN = 20
"""Seconds that answers under way get after a stop."""
DOOR = 64
"""Connections accepted in one turn of the loop."""
log = logging.getLogger("anyport.serve")


class Worker(Server):
    """One process's server. `load` runs in a thread once it listens; `ready` is called after that."""

    def __init__(
        self, config: Config, app: App, load: Callable[[], None], ready: Callable[[], None], *, forked: bool = False
    ) -> None:
        super().__init__(config)
        self.app = app
        self.parent = os.getppid()
        self.load = load
        self.ready = ready
        self.forked = forked
        self.broken: Exception | None = None
        self.grpc: Any = None
        """grpc.aio's server, where the settings want one."""
        self.leave = math.inf
        """When to stop listening (perf_counter's)."""
        self.hup = False
        self.watching: asyncio.Future[None] | None = None
        """The last second's watch, which another thread works at."""
        self.doors: list[Door] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then load: probes are answered meanwhile."""
        await super().startup(sockets=sockets)
        for listening in sockets or ():
            self.doors.append(Door(self, listening.dup()))
        if self.app.site.settings.grpc_port is not None:
            from anyport.serve import rpc

            self.grpc = await rpc.start(self.app.site)
            if self.grpc.certificate is not None:
                self.app.reread.append(self.grpc.certificate.again)
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
        if self.app.site.settings.log_dir is not None:
            self.app.site.keep(await loop.run_in_executor(None, Record(self.app.site.settings).start))
        short_cut(self.app, loop)
        self.app.connections = self.server_state.connections  # type: ignore[assignment]  # they are all of our class
        if self.app.site.control is not None:
            self.app.site.control.start()
        self.ready()

    async def on_tick(self, counter: int) -> bool:
        """uvicorn's tick, ten a second; once a second, every connection is looked at, and the keys' file."""
        now = perf_counter()
        if self.app.access is not None:
            self.app.access.flush()
        if self.hup:
            self.hup = False
            for read in self.app.reread:
                read()
            if self.app.site.control is not None:
                self.app.site.control.hangup()
        if counter % 10 == 0:
            if self.watching is None or self.watching.done():
                connections = len(self.server_state.connections)
                loop = asyncio.get_running_loop()
                self.watching = loop.run_in_executor(None, watched, self.app.site, connections)
            for connection in list(self.server_state.connections):
                if isinstance(connection, HotProtocol):
                    connection.sweep(now)
            if self.app.site.keys is not None:
                self.app.site.keys.refresh()
            if self.app.access is not None:
                self.app.access.again()
            if os.getppid() != self.parent:
                self.should_exit = True  # whoever started us is gone and cannot stop us any more
        if now >= self.leave:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, over HTTP and gRPC at once, and let answers under way out; slow clients are swept still."""
        calls = asyncio.create_task(self.grpc.stop(DRAIN)) if self.grpc is not None else None
        sweeping = asyncio.create_task(self.swept())
        for door in self.doors:
            door.close()
        try:
            await super().shutdown(sockets=sockets)
            if calls is not None:
                await calls
        finally:
            sweeping.cancel()
            if self.app.site.record is not None:
                await asyncio.get_running_loop().run_in_executor(None, self.app.site.record.close)

    async def swept(self) -> None:
        """Look at every connection once a second."""
        while True:
            await asyncio.sleep(1)
            for connection in list(self.server_state.connections):
                if isinstance(connection, HotProtocol):
                    connection.sweep(perf_counter())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Say that we are not ready, wait for `drain_delay`, stop and drain; a second signal stops at once.

        uvicorn's own would raise the signal again at the end, and a server that was asked to stop has not failed.
        """
        if self.forked and sig == signal.SIGINT:
            return  # a terminal's Ctrl-C reaches all of the group; the parent passes on a SIGTERM
        if self.app.site.draining:
            if self.app.access is not None:
                self.app.access.flush()
            # threads that run a model cannot be stopped, and Python would wait for them
            os._exit(128 + sig)
        self.app.site.draining = True
        self.leave = perf_counter() + self.app.site.settings.drain_delay

    def handle_hup(self, sig: int, frame: FrameType | None) -> None:
        """Read again what can change while we run."""
        self.hup = True


class Door:
    """Accepts many connections at a time, beside the loop's own accept.

    libuv accepts one a turn of its loop, and answers all who are in before the next: of a thousand busy callers who
    came at once the last one got in after 1.3 s, and so after 0.1 s.
    """

    def __init__(self, worker: Worker, listening: socket.socket) -> None:
        self.worker, self.listening = worker, listening
        self.loop = asyncio.get_running_loop()
        self.under_way: set[asyncio.Task[Any]] = set()
        listening.setblocking(False)
        self.loop.add_reader(listening, self.accept)

    def accept(self) -> None:
        """Take in those who wait, DOOR at most; what cannot be accepted now is left to the loop."""
        for _ in range(DOOR):
            try:
                came, _address = self.listening.accept()
            except OSError:  # nobody waits, or no file is left, for which the loop has its own remedy
                return
            came.setblocking(False)
            entered = self.loop.connect_accepted_socket(self.protocol, came, ssl=self.worker.config.ssl)
            task = self.loop.create_task(entered)
            self.under_way.add(task)
            task.add_done_callback(self.entered)

    def protocol(self) -> asyncio.Protocol:
        """A connection's protocol, as uvicorn makes it."""
        config, state = self.worker.config, self.worker.server_state
        return config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg]

    def entered(self, task: asyncio.Task[Any]) -> None:
        """A connection is in; or its TLS handshake failed, which is the caller's affair."""
        self.under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("a connection did not come about: %s", error)

    def close(self) -> None:
        """Accept no more."""
        self.loop.remove_reader(self.listening)
        self.listening.close()


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


def worker(
    app: App, load: Callable[[], None], ready: Callable[[], None], *,
    secure: ssl.SSLContext | None = None, forked: bool = False,
) -> Worker:  # fmt: skip
    """A server of this process, not yet running."""
    config = Config(
        app, http=protocol(app), ws="none", lifespan="off", interface="asgi3", loop="auto", log_config=None,
        log_level="warning", access_log=False, proxy_headers=False, timeout_keep_alive=app.site.settings.keep_alive,
        timeout_graceful_shutdown=DRAIN, headers=[("server", f"anyport/{anyport.__version__}")],
    )  # fmt: skip
    if secure is not None:
        config.load()
        config.ssl = secure
    return Worker(config, app, load, ready, forked=forked)


def serve_one(
    app: App, sockets: Sequence[socket.socket], load: Callable[[], None], ready: Callable[[], None], *,
    secure: ssl.SSLContext | None = None, forked: bool = False,
) -> None:  # fmt: skip
    """Serve in this process until a signal asks to stop. Raises what loading raised."""
    # a long body is decoded in a thread; the default of 5 ms would be every other caller's latency
    sys.setswitchinterval(0.001)
    if app.site.settings.otel:
        app.tracing = trace.tracing()
    one = worker(app, load, ready, secure=secure, forked=forked)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, one.handle_hup)
    try:
        one.run(sockets=list(sockets))
    finally:
        if app.site.control is not None:
            app.site.control.deployment.close()
        else:
            for model in app.site.models:
                model.close()
        for model in app.site.models:
            model.close()
        if app.access is not None:
            app.access.flush()
        if app.tracing is not None:
            app.tracing.close()
    if one.broken is not None:
        raise one.broken
