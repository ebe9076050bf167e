"""A server and raw sockets for the tests that abuse it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import served

from anyport import bundle
from anyport.serve import keys, server, tls
from anyport.serve.app import App
from anyport.serve.metrics import Metrics
from anyport.serve.model import Served
from anyport.serve.settings import Settings
from anyport.serve.site import Site

MODEL = served.fitted()
ROWS = served.rows(60, seed=9)
ANSWERS = served.ask(MODEL, ROWS)


class Running:
    """A server in a thread of this process."""

    def __init__(self, app: App, port: int, settings: Settings) -> None:
        self.app = app
        self.port = port
        self.settings = settings
        self.model = app.site.models[0]

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, body: Any, path: str = "/predict", extra: str = "", *, method: str = "POST") -> Answer:
        """One request on a connection of its own."""
        with self.open() as sock:
            sock.sendall(request(body, path, extra, method=method))
            return answers(sock, 1)[0]


class Answer:
    """One answer as it was read."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(body: Any, path: str = "/predict", extra: str = "", *, method: str = "POST") -> bytes:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "" if "content-type" in extra.lower() else "Content-Type: application/json\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: {len(data)}\r\n{extra}\r\n".encode() + data


def answers(sock: socket.socket, count: int, data: bytes = b"") -> list[Answer]:
    """The next answers on a connection; fewer where it ends."""
    found: list[Answer] = []
    while len(found) < count:
        head, split, rest = data.partition(b"\r\n\r\n")
        if split:
            first, *more = head.decode("latin-1").split("\r\n")
            pairs = [(k.lower(), v) for k, v in (line.split(": ", 1) for line in more)]
            headers = dict(pairs)
            # a browser takes no Access-Control-Allow-Origin that is said twice, nor anyone most of the others
            twice = {name for name, _ in pairs if name != "vary"}
            assert len(twice) == len([name for name, _ in pairs if name != "vary"]), f"a header comes twice: {pairs}"
            length = int(headers.get("content-length", 0))
            if len(rest) >= length:
                found.append(Answer(int(first.split()[1]), headers, rest[:length]))
                data = rest[length:]
                continue
        more_data = sock.recv(1 << 16)
        if not more_data:
            break
        data += more_data
    return found


def until(true: Callable[[], object], seconds: float = 10) -> None:
    """Wait until something holds; fail where it does not come to."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"still not so after {seconds} s"
        time.sleep(0.01)


def same(got: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether an answer is the original's, within float noise."""
    return got["prediction"] == expected["prediction"] and all(
        abs(got["probability"][label] - p) < 1e-9 for label, p in expected["probability"].items()
    )


@contextmanager
def up(folder: Path, *, asked: keys.Keys | None = None, **options: Any) -> Iterator[Running]:
    """A running server of a bundle."""
    read = bundle.read(folder)
    settings = Settings(**options)
    metrics = Metrics([(read.name, read.version)], 1)
    model = Served(read, metrics.slot(0, 0))
    app = App(Site([model], metrics, settings, asked))
    ready = threading.Event()
    made = server.worker(
        app, lambda: model.load(trust=None, threads=1), ready.set, secure=tls.context(settings)
    )  # fmt: skip
    listening = server.bind("127.0.0.1", 0)
    thread = threading.Thread(target=lambda: made.run(sockets=[listening]))
    thread.start()
    try:
        assert ready.wait(20)
        yield Running(app, listening.getsockname()[1], settings)
    finally:
        made.should_exit = True
        thread.join(20)
        model.close()
        assert not thread.is_alive()
