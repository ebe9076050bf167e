"""A server in a thread of the tests' own process, and one request to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyport import bundle
from anyport.serve import keys, server
from anyport.serve.app import App
from anyport.serve.control import Control
from anyport.serve.deployment import Deployment
from anyport.serve.metrics import Metrics
from anyport.serve.model import Served
from anyport.serve.settings import Settings
from anyport.serve.site import Site


class Up:
    """A server in a thread of this process."""

    def __init__(self, app: App, worker: server.Worker, port: int) -> None:
        self.app = app
        self.worker = worker
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def ask(
        self, body: Any, path: str = "/predict", *, method: str = "POST", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON (or text) of one request on a connection of its own."""
        status, found, text = self.raw(body, path, method=method, **headers)
        return status, found, json.loads(text) if "json" in found.get("content-type", "") else text.decode()

    def raw(
        self, body: Any, path: str = "/predict", *, method: str = "POST", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and bytes. `body` is bytes, or what JSON can hold; `Content_Type` is a header's name."""
        import http.client

        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        given = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        connection.request(method, path, data if method == "POST" else None, given)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        found = {k.lower(): v for k, v in response.getheaders()}
        for name in [k for k in found if len(response.headers.get_all(k, [])) > 1]:
            found[name] = ", ".join(response.headers.get_all(name, []))  # a list may be sent in several lines
        return response.status, found, text


@contextmanager
def up(
    *folders: Path, wait: bool = True, load: bool = True, keys: keys.Keys | None = None, **options: Any
) -> Iterator[Up]:
    """A running server of these bundles."""
    read = [bundle.read(folder) for folder in folders]
    metrics = Metrics([(one.name, one.version) for one in read], 1)
    models = [Served(one, metrics.slot(i, 0)) for i, one in enumerate(read)]
    app = App(Site(models, metrics, Settings(**options), keys))
    app.site.control = Control(app, Deployment(app.site))
    ready = threading.Event()

    def loading() -> None:
        for model in models if load else ():
            model.load(trust=None, threads=1)

    made = server.worker(app, loading, ready.set)
    listening = server.bind("127.0.0.1", 0)
    thread = threading.Thread(target=lambda: made.run(sockets=[listening]))
    thread.start()
    try:
        if wait:
            assert ready.wait(20)
        yield Up(app, made, listening.getsockname()[1])
    finally:
        made.should_exit = True
        thread.join(20)
        app.site.control.deployment.close()
        for model in models:
            model.close()
        assert not thread.is_alive()


def same(got: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether an answer is the original's, within float noise."""
    return got["prediction"] == expected["prediction"] and all(
        abs(got["probability"][label] - p) < 1e-9 for label, p in expected["probability"].items()
    )
