"""Front: the server without a socket, for one bundle: a request goes in, the reply that our server gives comes out."""

from __future__ import annotations

import os
import random
import threading
import weakref
from argparse import Namespace
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote

import msgspec

from anyport import bundle
from anyport.functions.short import Short
from anyport.serve import arguments, keys
from anyport.serve.app import App
from anyport.serve.metrics import Metrics
from anyport.serve.model import Served
from anyport.serve.note import Note
from anyport.serve.reply import Problem, plain
from anyport.serve.settings import Settings
from anyport.serve.site import Site

if TYPE_CHECKING:
    import asyncio

    from anyport.trust import Trust

Known = TypeVar("Known")
UNRESERVED = "/%:@!$&'()*+,;=~"
"""What stays as it is in a path that may or may not be percent-encoded already."""


class Asked(NamedTuple):
    """One HTTP request, however it came. `path` may be percent-encoded; header names may be of any case."""

    method: str
    path: str
    query: str = ""
    """Percent-encoded, without the question mark."""
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""
    client: str = ""


class Answered(NamedTuple):
    """Its reply. Header names are lower case, and `content-length` is among them."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """A header's value; "" where there is none."""
        return next((value for found, value in self.headers if found == name), "")

    @property
    def text(self) -> str | None:
        """The body as text; None where it is bytes of another kind, or compressed."""
        kind = self.header("content-type").partition(";")[0]
        if self.header("content-encoding") or not (kind.startswith("text/") or kind.endswith("json")):
            return None
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            return None


class Front:
    """One bundle, loaded when it is first asked or by `load`, with every route of the server except those that belong
    to a process that stays: /metrics and /stats tell of this one instance only.

    `answer` may be called from any thread, `answered` from one event loop, `here` from one thread; not from several of
    the three. Settings are those of `anyport serve`, from ANYPORT_… variables where none are given.
    """

    def __init__(self, path: Path | str, *, settings: Settings | None = None, trust: Trust | None = None) -> None:
        self.bundle = bundle.read(Path(path))
        self.settings = settings or configured(os.environ)
        self.trust = trust
        metrics = Metrics([(self.bundle.name, self.bundle.version)], 1)
        self.model = Served(self.bundle, metrics.slot(0, 0))
        file = self.settings.api_key_file
        self.app = Kept(Site([self.model], metrics, self.settings, keys.read(file) if file is not None else None))
        self.plain = file is None and not self.settings.access_log
        """Whether an answer needs nothing beside the rows: no key is looked at, no line is written."""
        self._short: Short | None = None
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: asyncio.AbstractEventLoop | None = None

    def load(self) -> None:
        """Load the model and ask it a golden row, if that has not been done. Raises Missing, Untrusted, BadBundle."""
        if self.model.predictor is None:
            with self._lock:
                if self.model.predictor is None:
                    self.model.load(trust=self.trust, threads=self.settings.threads)

    @property
    def rows(self) -> int:
        """How many rows have been asked for so far."""
        return self.app.rows

    async def answered(self, asked: Asked) -> Answered:
        """The reply, on this event loop."""
        self.load()
        raw = quote(asked.path, safe=UNRESERVED)
        headers = [(name.lower().encode("latin-1"), latin(value)) for name, value in asked.headers]
        if asked.body and not any(name == b"content-length" for name, _ in headers):
            headers.append((b"content-length", b"%d" % len(asked.body)))
        scope = {
            "type": "http", "method": asked.method.upper(), "scheme": "https", "path": unquote(raw),
            "raw_path": raw.encode("ascii"), "query_string": latin(asked.query), "headers": headers,
            "client": (asked.client, 0),
        }  # fmt: skip
        said: list[Mapping[str, Any]] = []

        async def receive() -> Mapping[str, Any]:
            return {"type": "http.request", "body": asked.body, "more_body": False}

        async def send(message: Mapping[str, Any]) -> None:
            said.append(message)

        await self.app(scope, receive, send)
        start, end = said
        listed = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"])
        return Answered(start["status"], listed, end["body"])

    def here(self, asked: Asked, *, seconds: float | None = None) -> Answered:
        """The reply, by the one thread that ever asks; 504 where the model takes more than `seconds`."""
        if self._short is None:
            self.load()
            self._short = Short(self.model, self.settings)
        short = self._short.ask(asked) if self.plain else None
        if short is not None:
            body, count = short
            self.app.rows += count
            least = self.settings.compress_from
            more = (("vary", "accept-encoding"),) if least and len(body) >= least else ()
            told = (("content-type", "application/json"), ("content-length", str(len(body))), *more)
            return Answered(200, told, body)
        if seconds is not None:
            most = max(min(seconds, self.settings.timeout), 0.001)
            self.app.site.settings = msgspec.structs.replace(self.settings, timeout=most)
        if self._loop is None:
            import asyncio

            self._loop = asyncio.new_event_loop()
            weakref.finalize(self, closed, self._loop)
        return self._loop.run_until_complete(self.answered(asked))

    def answer(self, asked: Asked) -> Answered:
        """The reply, for whichever thread asks; each may ask at the same time."""
        return self._soon(self.answered(asked))

    def _soon(self, work: Coroutine[Any, Any, Known]) -> Known:
        """Work on an event loop in a thread of its own, which begins with the first of it: a fork that came before
        does no harm."""
        import asyncio

        if self._running is None:
            with self._lock:
                if self._running is None:
                    loop = asyncio.new_event_loop()
                    thread = threading.Thread(target=loop.run_forever, name="anyport-front", daemon=True)
                    thread.start()
                    weakref.finalize(self, ended, loop, thread)
                    self._running = loop
        return asyncio.run_coroutine_threadsafe(work, self._running).result()

    def restored(self) -> None:
        """This process goes on from a snapshot: chance and clocks, the same in each that does, are begun anew."""
        random.seed()
        if self.app.access is not None:
            self.app.access.again()


class Kept(App):
    """The server's application, which counts the rows that it was asked, and holds back no line of its log."""

    rows = 0
    """Of all requests together."""

    def over(self, note: Note, status: int, size: int) -> None:
        super().over(note, status, size)
        self.rows += note.rows
        if self.access is not None:
            self.access.flush()  # an instance may be frozen, or gone, before there are more lines


def ended(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """Stop an event loop that runs in a thread, and close it."""
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    closed(loop)


def closed(loop: asyncio.AbstractEventLoop) -> None:
    """Close an event loop that stands still, with what still waits on it."""
    import asyncio

    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:  # of nothing, gather makes a future of this thread's own loop
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.close()


def configured(environ: Mapping[str, str]) -> Settings:
    """Settings by ANYPORT_… variables; Mistake naming the one that is wrong. The port that a cloud tells a container
    is no matter of ours."""
    ours = {name: value for name, value in environ.items() if name.startswith(arguments.PREFIX)}
    return arguments.settings(Namespace(config=None), ours)


def refused(problem: Problem) -> Answered:
    """A problem in the server's own words."""
    reply = plain(problem)
    return Answered(reply.status, (("content-type", "application/json"),), reply.body)


def latin(text: str) -> bytes:
    """A header's or query's text as the bytes that it stands for: ISO 8859-1 where it is, else UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()
