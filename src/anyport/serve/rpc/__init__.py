"""The gRPC port: grpc.aio on the event loop of the HTTP server, each call answered by an App of its own routes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from anyport.errors import Mistake, need
from anyport.serve.app import App
from anyport.serve.reply import Reply
from anyport.serve.rpc import certificate, service
from anyport.serve.rpc.messages import messages
from anyport.serve.settings import Settings
from anyport.serve.site import Site

CODES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED", 413: "RESOURCE_EXHAUSTED", 415: "INVALID_ARGUMENT", 422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
"""HTTP status → gRPC status."""
FRAMING = frozenset({"content-length", "content-encoding", "transfer-encoding", "expect"})
"""Headers that speak of an HTTP body; as metadata of a call they mean nothing."""


@contextmanager
def reserved(settings: Settings) -> Iterator[Settings]:
    """Hold the settings' gRPC port, on which all workers then listen however they come and go; a free one for 0. The
    settings with the port that it is; as they were where they want none.

    Missing without grpcio and protobuf; Mistake where the port cannot be had.
    """
    if settings.grpc_port is None:
        yield settings
        return
    need("grpc")
    need("google.protobuf")
    certificate.check(settings)
    host, port = settings.host, settings.grpc_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as held:
        try:
            # without SO_REUSEPORT this fails where anybody listens; with it, another server would get half our calls
            with socket.socket(family, socket.SOCK_STREAM) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind((host, port))
                port = alone.getsockname()[1]
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((host, port))
        except OSError as error:
            what = f"cannot listen on {host} port {port}: {error.strerror}"
            raise Mistake(what, fix="choose another --grpc-port") from error
        yield msgspec.structs.replace(settings, grpc_port=port)


def address(settings: Settings) -> str:
    """HOST:PORT as gRPC and people write it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.grpc_port}"


@dataclass(frozen=True)
class Running:
    """A gRPC server that listens."""

    server: Any
    stopping: asyncio.Event
    certificate: certificate.Certificate | None

    async def stop(self, grace: float) -> None:
        """Take no more calls; end open streams after the answer they wait for, and let calls under way out."""
        self.stopping.set()
        await self.server.stop(grace)


async def start(site: Site) -> Running:
    """A server where the settings say. Made after the fork, which gRPC's threads would not survive."""
    import grpc.aio

    settings = site.settings
    stopping = asyncio.Event()
    made = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_body), ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 1),
        ]
    )  # fmt: skip
    made.add_generic_rpc_handlers(handlers(App(site, service.routes()), stopping))
    shown = None if settings.tls_cert is None else certificate.Certificate(settings)
    if shown is None:
        made.add_insecure_port(address(settings))
    else:
        made.add_secure_port(address(settings), shown.credentials())
    await made.start()
    return Running(made, stopping, shown)


def handlers(app: App, stopping: asyncio.Event) -> tuple[Any, ...]:
    """gRPC's handlers of every method, bytes in and bytes out."""
    import grpc

    made: dict[str, dict[str, Any]] = {}
    for route in service.routes():
        _, package, method = route.path.split("/")
        made.setdefault(package, {})[method] = grpc.unary_unary_rpc_method_handler(unary(app, route.path))
    made[service.INFERENCE]["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(stream(app, stopping))
    return tuple(grpc.method_handlers_generic_handler(name, methods) for name, methods in made.items())


def unary(app: App, path: str) -> Any:
    """The handler of one method: the reply's bytes, or the status and text of what is wrong."""
    import grpc

    async def answered(body: bytes, context: Any) -> bytes:
        reply = await call(app, path, body, context)
        if reply.status == 200:
            return reply.body
        code = getattr(grpc.StatusCode, CODES.get(reply.status, "UNKNOWN"))
        await context.abort(code, reply.body.decode(), tuple((k.decode(), v.decode()) for k, v in reply.headers))
        raise AssertionError("abort raises")

    return answered


def stream(app: App, stopping: asyncio.Event) -> Any:
    """Triton's ModelStreamInfer: one response a request, in order; an error ends nothing."""

    async def answered(bodies: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        kind = messages()["ModelStreamInferResponse"]
        async for body in until(stopping, aiter(bodies)):
            reply = await call(app, f"/{service.INFERENCE}/ModelInfer", body, context)
            said = kind()
            if reply.status == 200:
                said.infer_response.ParseFromString(reply.body)
            else:
                said.error_message = reply.body.decode()
            yield said.SerializeToString()

    return answered


async def until(stopping: asyncio.Event, bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What comes before the stream ends or the server stops."""
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        while True:
            coming = asyncio.ensure_future(anext(bodies, None))
            await asyncio.wait({coming, stopped}, return_when=asyncio.FIRST_COMPLETED)
            body = coming.result() if coming.done() else None
            if body is None:
                coming.cancel()
                return
            yield body
    finally:
        stopped.cancel()


async def call(app: App, path: str, body: bytes, context: Any) -> Reply:
    """A call as the request that our routes answer."""
    headers = [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in context.invocation_metadata() or ()
        if name not in FRAMING
    ]
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": headers, "scheme": "http", "http_version": "2", "client": None,
    }  # fmt: skip

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    note = app.began(scope)
    reply = await app.reply(scope, receive, note)
    app.over(note, reply.status, len(reply.body))
    return reply
