"""Lanes: the hot path where a name has several versions: which one is asked, and what its answer says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from anyport.serve import openapi
from anyport.serve.choice import DRAWN, HEADER, Choice, label
from anyport.serve.hot import Caller, Tick
from anyport.serve.record import Copy

if TYPE_CHECKING:
    import asyncio

    from anyport.serve.app import App
    from anyport.serve.model import Served

OK = b"HTTP/1.1 200 OK\r\n"


class Asker(Caller, Protocol):
    """A connection, as far as a lane speaks to it."""

    def answered(self, body: bytes, now: float, keep: bool, start: bytes = ...) -> None:
        """Write a 200 whose status line and first headers are `start`."""


class Lane:
    """One version's way through its model's only Tick: to the connection it is a Tick."""

    def __init__(self, tick: Tick, start: bytes, version: bytes, model: Served) -> None:
        self.tick = tick
        self.start = start
        """Status line of a 200, and the header that says the version, if any does."""
        self.version = version
        self.model = model

    def take(self, caller: Asker, body: bytes, keep: bool) -> bool:
        """As the Tick's."""
        told = Told(self, caller, body)
        taken = self.tick.take(told, body, keep)
        record = self.model.record
        if taken and record is not None and record.wanted():
            _, start, stop, *_ = self.tick.waiting[-1]
            told.logged = stop - start
        return taken

    def flush(self) -> None:
        """As the Tick's."""
        self.tick.flush()


class Told:
    """A caller whose answer says more than the rows, or is kept: for a shadow or the log."""

    __slots__ = ("body", "caller", "id", "lane", "logged")

    def __init__(self, lane: Lane, caller: Asker, body: bytes) -> None:
        self.lane = lane
        self.caller = caller
        self.body = body
        self.logged = 0
        """Rows, where they go into the prediction log."""
        self.id = ""
        """The request's, where it has one."""

    def answered(self, body: bytes, now: float, keep: bool) -> None:
        """Write the 200; the shadow and the log come after it."""
        self.caller.answered(body, now, keep, self.lane.start)
        mirror = self.lane.model.mirror
        if mirror is not None:
            mirror.offer((self.lane.model, self.body, body))
        record = self.lane.model.record
        if self.logged and record is not None:
            size = len(self.body)
            record.offer(Copy(self.lane.model, record.clock(), self.id, self.logged, size, self.body, body))

    def failed(self, error: Exception, now: float, keep: bool) -> None:
        """Write the 500."""
        self.caller.failed(error, now, keep)


class Fork:
    """A hot path shared by several versions."""

    def __init__(self, choice: Choice, lanes: Mapping[bytes, Lane]) -> None:
        self.choice = choice
        self.lanes = lanes

    def lane(self, headers: list[tuple[bytes, bytes]]) -> Lane | None:
        """The lane of the version that the headers name, or of one that is drawn, which is noted in them so that
        ASGI does not draw again. None where it has none, or is none: ASGI knows."""
        for name, value in headers:
            if name == HEADER:
                return self.lanes.get(value)
        drawn = label(self.choice.draw().version)
        headers.append((DRAWN, drawn))
        return self.lanes.get(drawn)


def short_cut(app: App, loop: asyncio.AbstractEventLoop) -> None:
    """Open the hot path of every model that has one, on all connections of this loop: what was open before ends."""
    site = app.site
    lanes: dict[int, Tick | Lane] = {}
    for model in site.models:
        if model.hot is not None:
            if model.tick is None:
                model.tick = Tick(model.hot, model.slot, model.watch, loop, unique=site.settings.unique_keys)
            lanes[id(model)] = lane(model, model.tick)
    ticks: dict[bytes, Tick | Lane] = {}
    forks: dict[bytes, Fork] = {}
    for path, model in openapi.routes(site).items():
        choice = site.choices[model.name]
        # rows that are all good are answered alike with and without the parameter
        for raw in (path.encode(), f"{path}?partial=true".encode()):
            if len(choice.versions) > 1 and path != openapi.versioned(model):
                told = {v: one for v, m in choice.labels.items() if isinstance(one := lanes.get(id(m)), Lane)}
                forks[raw] = Fork(choice, told)
            elif id(model) in lanes:
                ticks[raw] = lanes[id(model)]
    app.ticks, app.forks = ticks, forks
    app.models = {model.tick: model for model in site.models if model.tick is not None}


def lane(model: Served, tick: Tick) -> Tick | Lane:
    """Where its requests go: straight into its Tick, unless answers say their version or are kept."""
    if not model.shows and model.record is None:
        return tick
    start = OK + b"".join(b"%b: %b\r\n" % header for header in model.shows)
    return Lane(tick, start, label(model.version), model)


def bare(way: Tick | Lane) -> Tick:
    """The Tick that a lane leads to."""
    return way.tick if isinstance(way, Lane) else way
