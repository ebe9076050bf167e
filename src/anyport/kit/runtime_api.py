"""Lambda's Runtime API, played for one runtime client: events go in, and what the function answered comes out.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html, and what awslambdaric 4.2 asks for.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

ARN = "arn:aws:lambda:eu-west-1:000000000000:function:local"
PREFIX = "/2018-06-01/runtime/"


class Invoked(NamedTuple):
    """What came of one event."""

    payload: bytes
    failed: bool
    """The function raised; the payload is {"errorMessage", "errorType", …}."""


class Event(NamedTuple):
    """One event on its way."""

    number: str
    body: bytes
    seconds: float
    answer: Future[Invoked]


class RuntimeApi:
    """The API at 127.0.0.1:`port`. A runtime client takes one event at a time; events wait in order."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.began = threading.Event()
        """Set when the function has been initialised and asks for its first event."""
        self.init_error: bytes | None = None
        self.restored = False
        """Whether a snapshot was restored on the way: a client that was told to take part in SnapStart asks for it."""
        self._waiting: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._open: dict[str, Event] = {}

    def invoke(self, event: bytes, *, seconds: float = 900, timeout: float | None = None) -> Invoked:
        """What the function makes of an event for which it has so many seconds; waits `timeout` (default: 5 more).

        TimeoutError where nothing came, which is what a function that was ended gives.
        """
        one = Event(str(uuid.uuid4()), event, seconds, Future())
        self._waiting.put(one)
        return one.answer.result(timeout if timeout is not None else seconds + 5)

    def next(self) -> Event | None:
        """The next event; None when the API is closed."""
        self.began.set()
        one = self._waiting.get()
        if one is not None:
            self._open[one.number] = one
        return one

    def done(self, number: str, result: Invoked) -> bool:
        """What the client says of an event; False where it was given no such event."""
        one = self._open.pop(number, None)
        if one is not None:
            one.answer.set_result(result)
        return one is not None

    def close(self) -> None:
        """Let the client's question for a next event end, and nobody wait for an answer that cannot come."""
        self._waiting.put(None)
        for one in self._open.values():
            one.answer.cancel()


@contextmanager
def runtime_api(host: str = "127.0.0.1") -> Iterator[RuntimeApi]:
    """The API on a free port, until the block ends."""
    server = _Server((host, 0), _Handler)
    api = server.api = RuntimeApi(server.server_address[1])
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield api
    finally:
        api.close()
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    api: RuntimeApi
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that is ended breaks its connections; who waits for its answer is told otherwise."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    """Buffered: unbuffered, head and body are two packets, and each answer waits 40 ms for Nagle's algorithm."""
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """The next event, or the end of a snapshot's restoring."""
        api = self.server.api
        if self.path == f"{PREFIX}restore/next":
            api.restored = True
            self._say(200, b"{}", {})
            return
        one = api.next()
        if one is None:
            self._say(410, b"{}", {})
            return
        deadline = int((time.time() + one.seconds) * 1000)
        self._say(200, one.body, {
            "Lambda-Runtime-Aws-Request-Id": one.number, "Lambda-Runtime-Deadline-Ms": str(deadline),
            "Lambda-Runtime-Invoked-Function-Arn": ARN,
        })  # fmt: skip

    def do_POST(self) -> None:
        """An answer, or an error of an event or of the initialisation."""
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length is not None else b"".join(self._chunks())
        api = self.server.api
        parts = self.path.removeprefix(PREFIX).split("/")
        if parts == ["init", "error"] or parts == ["restore", "error"]:
            api.init_error = body
            api.began.set()
            self._say(202, b'{"status":"OK"}', {})
        elif parts[0] == "invocation" and len(parts) == 3 and parts[2] in ("response", "error"):
            known = api.done(parts[1], Invoked(body, parts[2] == "error"))
            self._say(202 if known else 404, b'{"status":"OK"}', {})
        else:
            self._say(404, b"{}", {})

    def _chunks(self) -> Iterator[bytes]:
        """A body that comes in chunks, as a streaming client sends it."""
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            data = self.rfile.read(size)
            self.rfile.readline()
            if not size:
                return
            yield data

    def _say(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the client's own words are its log."""
