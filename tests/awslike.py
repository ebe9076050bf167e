"""What stands in for AWS: moto for every call, and the functions themselves run by Amazon's own runtime client.

moto keeps functions, versions, aliases, roles and objects, but runs functions only in Docker; here an invocation runs
the very zip that was uploaded for the version that is meant.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from anyport.kit.runtime_api import RuntimeApi, runtime_api

FUNCTIONS = "/2015-03-31/functions"


class Functions:
    """The zips that were uploaded, by function and version, and a process for each that was asked."""

    def __init__(self, closing: ExitStack) -> None:
        self.latest: dict[str, bytes] = {}
        self.published: dict[tuple[str, str], bytes] = {}
        self.running: dict[bytes, RuntimeApi] = {}
        self.closing = closing
        self.lock = threading.Lock()

    def invoke(self, name: str, version: str, event: bytes) -> tuple[bytes, bool]:
        """Payload, and whether the function failed."""
        code = self.published[name, version]
        with self.lock:
            if code not in self.running:
                self.running[code] = self.closing.enter_context(running(code))
        found = self.running[code].invoke(event, seconds=60)
        return found.payload, found.failed


@contextmanager
def running(code: bytes) -> Iterator[RuntimeApi]:
    """A function's zip, unpacked and asked by awslambdaric in a process of its own, with this environment's packages in
    place of the zip's, which are for another Python."""
    import shutil

    with tempfile.TemporaryDirectory() as folder, runtime_api() as api:
        with zipfile.ZipFile(_file(Path(folder) / "function.zip", code)) as archive:
            archive.extractall(folder)
        shutil.rmtree(Path(folder) / "lib")
        env = {**os.environ, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.port}"}
        argv = [sys.executable, "-m", "awslambdaric", "handler.handler"]
        with subprocess.Popen(argv, cwd=folder, env=env, stdout=subprocess.DEVNULL) as process:
            try:
                assert api.began.wait(120)
                yield api
            finally:
                process.kill()


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class Threads(WSGIServer):
    """One request at a time is too few: a function is asked by eight callers at once."""

    daemon_threads = True

    def process_request(self, request: Any, client_address: Any) -> None:
        threading.Thread(target=self._one, args=(request, client_address), daemon=True).start()

    def _one(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        finally:
            self.shutdown_request(request)


@contextmanager
def cloud() -> Iterator[str]:
    """The address of it, fresh, until the block ends."""
    from moto.core.models import default_user_config
    from moto.moto_api._internal import moto_api_backend
    from moto.server import DomainDispatcherApplication, create_backend_app

    moto_api_backend.reset()
    default_user_config["lambda"] = {"use_docker": False}
    inner = DomainDispatcherApplication(create_backend_app)
    with ExitStack() as closing:
        functions = Functions(closing)
        with make_server("127.0.0.1", 0, application(inner, functions), Threads, Quiet) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()


def application(inner: Callable[..., Any], functions: Functions) -> Callable[..., Any]:
    """moto, with an eye on the code of functions, and invocations answered by that code."""

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        path, method = unquote(environ.get("PATH_INFO", "")), environ["REQUEST_METHOD"]
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        parts = path.removeprefix(FUNCTIONS).strip("/").split("/") if path.startswith("/2015-03-31/functions") else []
        if len(parts) == 2 and parts[1] == "invocations":
            return invoked(inner, functions, environ, parts[0], body, start)
        environ["wsgi.input"] = _stream(body)
        said: list[Any] = []
        reply = b"".join(inner(environ, lambda status, headers, *_: said.extend([status, headers])))
        if said[0].startswith("20"):
            watched(functions, method, parts, body, reply)
        start(said[0], said[1])
        return [reply]

    return app


def watched(functions: Functions, method: str, parts: list[str], body: bytes, reply: bytes) -> None:
    """Remember the code of what was created, updated or published."""
    if method == "POST" and parts == [""]:
        given = json.loads(body)
        functions.latest[given["FunctionName"]] = base64.b64decode(given["Code"]["ZipFile"])
    elif method == "PUT" and len(parts) == 2 and parts[1] == "code":
        functions.latest[parts[0]] = base64.b64decode(json.loads(body)["ZipFile"])
    elif method == "POST" and len(parts) == 2 and parts[1] == "versions":
        functions.published[parts[0], json.loads(reply)["Version"]] = functions.latest[parts[0]]


def invoked(
    inner: Callable[..., Any], functions: Functions, environ: dict[str, Any], name: str, body: bytes, start: Any
) -> list[bytes]:
    """The answer of the version that is meant; moto says which one an alias means."""
    query = dict(pair.split("=", 1) for pair in environ.get("QUERY_STRING", "").split("&") if "=" in pair)
    version = query.get("Qualifier", "$LATEST")
    if not version.isdigit():
        asked = {**environ, "REQUEST_METHOD": "GET", "PATH_INFO": f"/2015-03-31/functions/{name}/aliases/{version}",
                 "QUERY_STRING": "", "CONTENT_LENGTH": "0", "wsgi.input": _stream(b"")}  # fmt: skip
        said: list[Any] = []
        reply = b"".join(inner(asked, lambda status, headers, *_: said.extend([status, headers])))
        if not said[0].startswith("2"):
            start(said[0], said[1])
            return [reply]
        version = json.loads(reply)["FunctionVersion"]
    payload, failed = functions.invoke(name, version, body)
    headers = [("Content-Type", "application/json"), ("X-Amz-Executed-Version", version)]
    start("200 OK", [*headers, *([("X-Amz-Function-Error", "Unhandled")] if failed else [])])
    return [payload]


def _stream(data: bytes) -> Any:
    import io

    return io.BytesIO(data)
