"""A fake of Azure: Resource Manager for sites, plans and storage, a site's SCM endpoint, and its blobs.

Nothing of Azure's is asked. What the client sends to ARM must have the names that Microsoft's own models know.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

KEYS = {"keys": [{"keyName": "key1", "value": "c2VjcmV0", "permissions": "Full"}]}


class Fake:
    """A subscription. `resources` by their path below the resource group; `published` is every package."""

    def __init__(self) -> None:
        self.url = ""
        self.resources: dict[str, Any] = {}
        self.settings: dict[str, str] = {}
        self.blobs: dict[str, bytes] = {}
        self.published: list[bytes] = []
        self.address = ""
        """Host and port where the app answers."""
        self.status = 4
        """Of a deployment: 4 is done, 3 failed."""
        self.denied = False
        self.keys = {"blobs_extension": "b=/="}
        """Of the app's own extensions."""

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, Any]:
        path = unquote(urlsplit(target).path)
        if path.startswith("/api/"):
            return self.scm(path, body)
        if not path.startswith("/subscriptions/"):
            return self.blob(method, path, headers, body)
        if self.denied and method != "GET":
            return 403, {"error": {"code": "AuthorizationFailed", "message": "does not have authorization"}}
        name = path.partition("/providers/")[2]
        said = json.loads(body) if body else None
        if method == "POST":
            return self.asked(name, said)
        if method in ("PUT", "PATCH"):
            if name.endswith("/config/appsettings"):
                self.settings = said["properties"]
                return 200, said
            self.resources[name] = self.made(path, name, said)
            return 200, self.resources[name]
        if name not in self.resources:
            return 404, {"error": {"code": "ResourceNotFound", "message": f"{name} was not found"}}
        if method == "DELETE":
            del self.resources[name]
            return 200, None
        return 200, self.resources[name]

    def made(self, path: str, name: str, said: dict[str, Any]) -> dict[str, Any]:
        held = {**self.resources.get(name, {}), "id": path, "name": name.rpartition("/")[2]}
        properties = {**held.get("properties", {}), **said.get("properties", {})}
        if "/sites/" in name:
            config = properties["functionAppConfig"]
            unknown(config)
            config["deployment"]["storage"]["value"] = f"{self.url}/packages"
            for one in said.get("properties", {}).get("siteConfig", {}).get("appSettings", ()):
                self.settings[one["name"]] = one["value"]
            names = [{"name": self.address, "hostType": "Standard"}, {"name": self.host, "hostType": "Repository"}]
            properties |= {"defaultHostName": self.address, "state": "Running", "hostNameSslStates": names}
        return {**held, **said, "properties": {**properties, "provisioningState": "Succeeded"}}

    def asked(self, name: str, said: Any) -> tuple[int, Any]:
        if name.endswith("/listKeys"):
            return 200, KEYS
        if name.lower().endswith("/listaccountsas"):
            return 200, {"accountSasToken": "sig=x"}
        if name.endswith("/config/appsettings/list"):
            return 200, {"properties": self.settings}
        if name.endswith("/host/default/listkeys"):
            return 200, {"masterKey": "master", "functionKeys": {"default": "a key"}, "systemKeys": self.keys}
        return 404, {"error": {"code": "NotFound", "message": f"no call {name}"}}

    def scm(self, path: str, body: bytes) -> tuple[int, Any]:
        if path == "/api/publish":
            if self.status == 4:
                self.published.append(body)
                self.blobs["/packages/released-package.zip"] = body
            return 202, "deployment-1"
        return 200, {"status": self.status, "status_text": "pip: no matching distribution"}

    def blob(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        if method == "PUT" and "x-ms-copy-source" in headers:
            self.blobs[path] = self.blobs[urlsplit(headers["x-ms-copy-source"]).path]
            return 202, b""
        if method == "PUT":
            inside = f"/blobServices/default/containers/{path.split('/')[1]}"
            if headers["x-ms-blob-type"] != "BlockBlob" or not any(name.endswith(inside) for name in self.resources):
                return 404, b"ContainerNotFound"
            self.blobs[path] = body
            return 201, b""
        if method == "DELETE":
            return (202 if self.blobs.pop(path, None) is not None else 404), b""
        found = self.blobs.get(path)
        return (200, found) if found is not None else (404, b"")


def unknown(config: dict[str, Any]) -> None:
    """Fail for a name that Microsoft's own model of the configuration does not know, however deep."""
    from azure.mgmt.web import models

    def names(model: Any, said: dict[str, Any]) -> None:
        known = {f._rest_name: f for f in model._attr_to_rest_field.values()}
        assert set(said) <= set(known), f"{model.__name__} has no {set(said) - set(known)}"

    names(models.FunctionAppConfig(), config)
    names(models.FunctionsDeployment(), config["deployment"])
    names(models.FunctionsDeploymentStorage(), config["deployment"]["storage"])
    names(models.FunctionsRuntime(), config["runtime"])
    names(models.FunctionsScaleAndConcurrency(), config["scaleAndConcurrency"])
    names(models.FunctionsScaleAndConcurrencyTriggersHttp(), config["scaleAndConcurrency"]["triggers"]["http"])


@contextmanager
def fake() -> Iterator[Fake]:
    """The fake, as long as the block lasts."""
    held = Fake()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, reply = held.answer(self.command, self.path, self.headers, body)
            said = reply if isinstance(reply, bytes) else b"" if reply is None else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = do

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
