"""The server's short cut without a socket: the rows of one request, decoded into the model's tensor and answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyport.serve.hot import SMALL, Tick

if TYPE_CHECKING:
    from anyport.functions.front import Asked
    from anyport.serve.model import Served
    from anyport.serve.settings import Settings

JSON = ("application/json", "application/json; charset=utf-8")
TAKEN = ("*/*", "application/json", "application/json, text/plain, */*", "application/json, */*")
"""Values of Accept that JSON is given for."""
LONG = ("content-encoding", "x-request-id", "origin", "anyport-version", "traceparent")
"""Headers that want more than the answer."""


class Still:
    """An event loop that does nothing later: the run is asked for at once."""

    def call_soon(self, work: Any) -> None:
        """Nothing."""


class Short:
    """Answers the common request of a graph with an encoder, byte for byte as the server does; by one thread."""

    def __init__(self, model: Served, settings: Settings) -> None:
        self.least = settings.compress_from
        loop: Any = Still()
        self.tick = Tick(model.hot, model.slot, model.watch, loop, unique=True) if model.hot is not None else None
        self.body: bytes | None = None
        """What `answered` was told."""

    def ask(self, asked: Asked) -> tuple[bytes, int] | None:
        """The 200's body, and how many rows there were; None for anything out of the ordinary."""
        tick = self.tick
        if tick is None or asked.method != "POST" or asked.path != "/predict" or asked.query:
            return None
        if not asked.body or len(asked.body) > SMALL:
            return None
        squeezed = False
        for name, value in asked.headers:
            lower = name.lower()
            if lower in LONG or (lower == "content-type" and value.lower() not in JSON):
                return None
            if lower == "accept" and value not in TAKEN:
                return None
            squeezed = squeezed or lower == "accept-encoding"
        # several answers may be long enough to be compressed, which is not known before the model has run
        if (squeezed and self.least and asked.body[:1] == b"[") or not tick.take(self, asked.body, True):
            return None
        rows, self.body = tick.used, None
        tick.flush()
        if self.body is None or (squeezed and self.least and len(self.body) >= self.least):
            return None
        return self.body, rows

    def answered(self, body: bytes, now: float, keep: bool) -> None:
        """What Tick calls with a 200."""
        self.body = body

    def failed(self, error: Exception, now: float, keep: bool) -> None:
        """What Tick calls where the model failed: the long way says what of it is to be said."""
        self.body = None
