"""A stand-in for Storage and Pub/Sub on this machine: what a function of events reads, and where its answers go."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class Place:
    """What is there: `objects` by gs:// URL, `published` by topic. A place that is `closed` answers 503."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.objects: dict[str, bytes] = {}
        self.published: dict[str, list[tuple[bytes, dict[str, str]]]] = {}
        self.closed = False


@contextmanager
def google() -> Iterator[Place]:
    """The stand-in, as long as the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    place = Place(f"http://127.0.0.1:{server.server_port}")
    server.place = place  # type: ignore[attr-defined]  # handlers are made by the server, which is all they know
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield place
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """The four calls that a function makes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        names = parts.path.split("/")  # /storage/v1/b/BUCKET/o/NAME
        if parts.path.startswith("/storage/v1/b/") and len(names) == 7:
            found = self.place.objects.get(f"gs://{unquote(names[4])}/{unquote(names[6])}")
            if found is not None:
                self.reply(200, found)
                return
        self.refuse(404, f"No such object: {unquote(parts.path)}")

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.place.closed:
            self.refuse(503, "Service Unavailable")
        elif parts.path.startswith("/upload/storage/v1/b/"):
            name = parse_qs(parts.query)["name"][0]
            self.place.objects[f"gs://{unquote(parts.path.split('/')[5])}/{name}"] = body
            self.reply(200, b"{}")
        elif parts.path.endswith(":publish"):
            topic = unquote(parts.path.removeprefix("/v1/").removesuffix(":publish"))
            messages = json.loads(body)["messages"]
            held = self.place.published.setdefault(topic, [])
            held += [(base64.b64decode(one["data"]), one["attributes"]) for one in messages]
            self.reply(200, json.dumps({"messageIds": [str(i) for i in range(len(messages))]}).encode())
        else:
            self.refuse(404, f"no call {self.path}")

    @property
    def place(self) -> Place:
        found: Place = self.server.place  # type: ignore[attr-defined]  # see `google`
        return found

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, what: str) -> None:
        self.reply(status, json.dumps({"error": {"code": status, "message": what}}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        return
