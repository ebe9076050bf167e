"""A fake of Google's REST APIs for functions and their services: what the client sends is parsed strictly by its types.

Nothing of Google's is asked. A function's address is given by the test, and everything is done at once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

EMPTY = "type.googleapis.com/google.protobuf.Empty"
KIND = "type.googleapis.com/google.cloud.functions.v2.Function"


class Fake:
    """A project. `functions` and `traffic` by name; `asked` is every request; `address` is where each answers."""

    def __init__(self) -> None:
        self.url = ""
        self.functions: dict[str, dict[str, Any]] = {}
        self.traffic: dict[str, list[dict[str, Any]]] = {}
        self.uploads: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.address = ""
        self.revisions = 0
        self.denied = ""
        """A path that begins so is refused."""

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        if method == "PUT":
            self.uploads[parts.path] = body
            return 200, {}
        said = json.loads(body) if body else None
        self.asked.append((method, parts.path, said))
        if self.denied and parts.path.startswith(self.denied) and method != "GET":
            return 403, error(403, "Permission 'cloudfunctions.functions.update' denied")
        name = parts.path.removeprefix("/v2/")
        if name.endswith("functions:generateUploadUrl"):
            at = f"/upload/{len(self.uploads)}"
            return 200, {"uploadUrl": self.url + at, "storageSource": {"bucket": "uploads", "object": at}}
        if "/services/" in name:
            return self.service(method, name, said)
        if method == "POST":
            return self.made(f"{name}/{query['functionId'][0]}", said)
        if name not in self.functions:
            return 404, error(404, f"Resource '{name}' was not found")
        if method == "GET":
            return 200, self.functions[name]
        if method == "DELETE":
            del self.functions[name]
            return 200, {"name": "operations/1", "done": True, "response": {"@type": EMPTY}}
        return self.made(name, said)

    def made(self, name: str, said: dict[str, Any]) -> tuple[int, Any]:
        """A new revision."""
        from google.cloud import functions_v2

        functions_v2.Function.from_json(json.dumps(said), ignore_unknown_fields=False)
        self.revisions += 1
        revision = f"{name.rpartition('/')[2]}-{self.revisions:05}"
        service = name.replace("/functions/", "/services/")
        config = {**said["serviceConfig"], "uri": self.address, "service": service, "revision": revision}
        source = said["buildConfig"]["source"]
        build = {**said["buildConfig"], "sourceProvenance": {"resolvedStorageSource": source["storageSource"]}}
        self.functions[name] = {**said, "name": name, "state": "ACTIVE", "serviceConfig": config, "buildConfig": build}
        if config.get("allTrafficOnLatestRevision"):
            self.traffic[service] = [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]
        return 200, {
            "name": "operations/1", "done": True, "response": {"@type": KIND, **self.functions[name]},
        }  # fmt: skip

    def service(self, method: str, name: str, said: Any) -> tuple[int, Any]:
        if method == "PATCH":
            assert sum(one.get("percent", 0) for one in said["traffic"]) == 100
            self.traffic[name] = said["traffic"]
            return 200, {"name": "operations/2", "done": True}
        held = self.traffic[name]
        return 200, {"name": name, "traffic": held, "trafficStatuses": [
            {**one, "uri": self.address} for one in held if one.get("tag")]}  # fmt: skip

    def shares(self, name: str) -> dict[str, int]:
        """Revision (or "latest") → its share of a function's traffic."""
        (service,) = [held for known, held in self.traffic.items() if known.endswith(f"/{name}")]
        return {one.get("revision", "latest"): one["percent"] for one in service if one.get("percent")}


def error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": "ERROR"}}


@contextmanager
def fake() -> Iterator[Fake]:
    """The fake, as long as the block lasts."""
    held = Fake()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, reply = held.answer(self.command, self.path, body)
            said = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
