"""What stands in for Azure's host on this machine: an HTTP server that turns each request into an invocation.

    python host.py FOLDER

The function app in FOLDER is run by Microsoft's own worker (azure-functions-runtime, Python 3.13 and later), which
indexes and calls the functions, or, where that is not, by the library azure-functions alone: its converters, and our
calls. Routes lie below the prefix that host.json gives; POST /admin/functions/NAME hands a queue's message or a blob to
a function, as {"data": base64, "metadata": {...}}, and answers with what its output bindings were given.
"""

import asyncio
import base64
import importlib
import importlib.util
import json
import os
import sys
import traceback
import uuid
from collections.abc import Coroutine
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class Message(SimpleNamespace):
    """A message of the worker's protocol: what it was made with. A field that it has not is absent, or empty."""

    def WhichOneof(self, group: str) -> str | None:
        """The one that is set of some fields, as protobuf's own messages say it."""
        names = {"data": ("http", "string", "bytes", "json"), "rpc_data": ("data",)}[group]
        return next((name for name in names if name in self.__dict__), None)


class Kinds:
    """The protocol's messages by name. The worker wants no more of them than that they hold what it puts in."""

    BindingInfo: Any = type("BindingInfo", (Message,), {"undefined": None, "in": 0, "out": 1, "inout": 2})
    StatusResult: Any = type("StatusResult", (Message,), {"Failure": 0, "Success": 1})

    def __getattr__(self, name: str) -> type[Message]:
        # the worker asks whether it was given TypedData itself or the module that has it
        return type(name, (Message,), {})


class Failed(Exception):
    """A function that raised; the text is what it said."""


class Worker:
    """Microsoft's own worker."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    async def begin(self) -> tuple[str, str]:
        """Have it index the functions; who it is."""
        from azure_functions_runtime import handle_event, version

        self.handle = handle_event
        asked = Message(worker_init_request=Message(capabilities={}, function_app_directory=self.folder))
        properties = {"host": "127.0.0.1", "protos": Kinds()}
        said = await handle_event.worker_init_request(Message(request=asked, properties=properties))
        if said.result.status != Kinds.StatusResult.Success:
            raise Failed(f"{said.result.exception.message}\n{said.result.exception.stack_trace}")
        found = await handle_event.functions_metadata_request(Message())
        self.functions: dict[str, tuple[Any, str, str]] = {}
        for one in found.function_metadata_results:
            bindings = [json.loads(text) for text in one.raw_bindings]
            trigger = next(b for b in bindings if b["type"].lower().endswith("trigger"))
            self.functions[one.name] = (one.function_id, trigger["type"], trigger["name"])
        return "azure-functions-runtime", version.VERSION

    async def call(self, name: str, data: Message, metadata: dict[str, Any]) -> tuple[Any, dict[str, bytes]]:
        """What a function returns, and what its outputs were given."""
        key, _, argument = self.functions[name]
        asked = Message(
            invocation_id=str(uuid.uuid4()), function_id=key, input_data=[Binding(name=argument, data=data)],
            trigger_metadata={k: typed(v) for k, v in metadata.items()},
            trace_context=Message(trace_parent="", trace_state="", attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
        )  # fmt: skip
        said = await self.handle.invocation_request(Message(request=Message(invocation_request=asked)))
        if said.result.status != Kinds.StatusResult.Success:
            raise Failed(said.result.exception.message)
        outputs = {one.name: plain(one.data) for one in said.output_data}
        http = getattr(said.return_value, "http", None)
        if http is None:
            return None, outputs
        return (int(http.status_code), dict(http.headers), plain(http.body)), outputs


class Library:
    """The library azure-functions, whose converters are called as the worker calls them."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    async def begin(self) -> tuple[str, str]:
        """Import the app; who it is."""
        import azure.functions as func

        module: Any = importlib.import_module("function_app")
        library: Any = func
        self.kinds, self.datum = library.get_binding_registry(), library.meta.Datum
        self.functions: dict[str, tuple[Any, str, str]] = {}
        self.known: dict[str, Any] = {}
        for one in module.app.get_functions():
            trigger = one.get_trigger()
            self.functions[one.get_function_name()] = (None, trigger.type, trigger.name)
            self.known[one.get_function_name()] = one
        return "azure-functions", func.__version__

    async def call(self, name: str, data: Message, metadata: dict[str, Any]) -> tuple[Any, dict[str, bytes]]:
        """What a function returns, and what its outputs were given."""
        one = self.known[name]
        _, kind, argument = self.functions[name]
        told = {k: self.decoded(typed(v)) for k, v in metadata.items()}
        given = {argument: self.kinds.get(kind).decode(self.decoded(data), trigger_metadata=told)}
        outs = {b.name: b.type for b in one.get_bindings() if b.direction == 1 and b.name != "$return"}
        given |= {out: Out() for out in outs}
        try:
            said = await one.get_user_function()(**given)
        except Exception as error:
            raise Failed(f"{type(error).__name__}: {error}") from error
        encoded = {
            out: self.kinds.get(kind).encode(given[out].get(), expected_type=None)
            for out, kind in outs.items() if given[out].get() is not None
        }  # fmt: skip
        outputs = {out: bytes_of(found.value) for out, found in encoded.items()}
        if said is None:
            return None, outputs
        http = self.kinds.get("http").encode(said, expected_type=None).value
        headers = {k: v.value for k, v in http["headers"].items()}
        return (int(http["status_code"].value), headers, bytes_of(http["body"].value)), outputs

    def decoded(self, data: Message) -> Any:
        """A value of the protocol as the library has it."""
        kind = data.WhichOneof("data") or "bytes"
        if kind != "http":
            return self.datum(getattr(data, kind), kind)
        http = data.http

        def text(value: str) -> Any:
            return self.datum(value, "string")

        return self.datum(
            {"method": text(http.method), "url": text(http.url), "body": self.datum(http.body.bytes, "bytes"),
             "headers": {k: text(v) for k, v in http.headers.items()}, "params": {},
             "query": {k: text(v) for k, v in http.query.items()}}, "http",
        )  # fmt: skip


class Binding(Message):
    """A value for an argument of a function."""


class Out:
    """An output binding of the library's kind."""

    value: Any = None

    def set(self, value: Any) -> None:
        self.value = value

    def get(self) -> Any:
        return self.value


def typed(value: Any) -> Message:
    """A value as the host says it of a trigger: text as it is, all else as JSON."""
    return Message(string=value) if isinstance(value, str) else Message(json=json.dumps(value))


def plain(data: Message) -> bytes:
    """The bytes of a value of the protocol."""
    return bytes_of(next((value for value in vars(data).values() if value is not None), b""))


def bytes_of(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


class Handler(BaseHTTPRequestHandler):
    """A request of a caller's, as the host takes it."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    """Buffered: a reply that goes out in two packets waits 40 ms for the second."""

    server: "Server"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        server, path = self.server, urlsplit(self.path).path
        try:
            if path.startswith("/admin/functions/"):
                self.told(server, path.rpartition("/")[2], json.loads(body))
            elif not (path.startswith(f"{server.prefix}/") or path == server.prefix):
                self.reply(404, {}, b"")
            else:
                self.asked(server, body)
        except Failed as error:
            self.reply(500, {"content-type": "text/plain"}, str(error).encode())
        except Exception:
            self.reply(500, {"content-type": "text/plain"}, traceback.format_exc().encode())

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = answer

    def asked(self, server: "Server", body: bytes) -> None:
        """HTTP, of the function that has all routes."""
        name = next(name for name, (_, kind, _) in server.app.functions.items() if kind == "httpTrigger")
        http = Message(
            method=self.command, url=f"http://{self.headers['host']}{self.path}", body=Message(bytes=body),
            headers={k.lower(): v for k, v in self.headers.items()}, params={},
            query=dict(parse_qsl(urlsplit(self.path).query)),
        )  # fmt: skip
        said, _ = server.wait(server.app.call(name, Message(http=http), {}))
        self.reply(*said)

    def told(self, server: "Server", name: str, said: dict[str, Any]) -> None:
        """A message, or a blob."""
        if name not in server.app.functions:
            self.reply(404, {}, b"")
            return
        data = Message(bytes=base64.b64decode(said["data"]))
        _, outputs = server.wait(server.app.call(name, data, said["metadata"]))
        found = {out: base64.b64encode(value).decode() for out, value in outputs.items()}
        self.reply(200, {"content-type": "application/json"}, json.dumps(found).encode())

    def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        return


class Server(ThreadingHTTPServer):
    """Many callers at once, on one worker."""

    daemon_threads = True
    request_queue_size = 64

    loop: asyncio.AbstractEventLoop
    app: Any
    prefix = ""

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


async def main(folder: str) -> None:
    """Serve until the end."""
    worker = importlib.util.find_spec("azure_functions_runtime") is not None
    server = Server(("127.0.0.1", int(os.environ.get("PORT", "0"))), Handler)
    server.loop = asyncio.get_running_loop()
    with open(os.path.join(folder, "host.json")) as file:
        found = json.load(file).get("extensions", {}).get("http", {}).get("routePrefix", "api").strip("/")
    server.prefix = f"/{found}" if found else ""
    server.app = (Worker if worker else Library)(folder)
    name, version = await server.app.begin()
    kinds = {name: kind for name, (_, kind, _) in server.app.functions.items()}
    said = {"worker": name, "version": version, "pid": os.getpid(), "port": server.server_port, "functions": kinds}
    print(f"host: {json.dumps(said)}", flush=True)
    Thread(target=server.serve_forever, daemon=True).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    asyncio.run(main(sys.argv[1]))
