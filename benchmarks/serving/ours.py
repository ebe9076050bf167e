"""The servers measured that are built on anyport: python -m benchmarks.serving.ours ROLE BUNDLE PORT.

- constant: the same server, protocol and routes, but nothing is decoded, run or encoded.
- raw: what a careful author writes on bare uvicorn: ASGI, typed decode, one tensor, one run a request.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

CONSTANT = b'{"prediction":0,"probability":{"0":0.9876543210987654,"1":0.0123456789012345}}'


def constant(bundle: str, port: int) -> None:
    """Our server, but each request is answered with the same body."""
    from time import perf_counter

    from anyport import serve
    from anyport.serve import protocol
    from anyport.serve.hot import Tick
    from anyport.serve.settings import Settings

    class Constant(Tick):
        def take(self, caller: Any, body: bytes, keep: bool) -> bool:
            if not self.waiting:
                self.loop.call_soon(self.flush)
            self.waiting.append((caller, 0, 1, False, keep, perf_counter()))
            return True

        def flush(self) -> None:
            waiting, self.waiting = self.waiting, []
            now = perf_counter()
            for caller, _, _, _, keep, _ in waiting:
                caller.answered(CONSTANT, now, keep)

    protocol.Tick = Constant  # type: ignore[misc]
    serve.run([bundle], Settings(port=port), json=True)


def raw(bundle: str, port: int) -> None:
    """Bare uvicorn."""
    import msgspec
    import numpy as np
    import uvicorn

    from anyport import predictor
    from anyport.bundle import read
    from anyport.graph.rows import compile_row
    from anyport.serve.hot import row_type

    graph = predictor.of(read(bundle))
    assert isinstance(graph, predictor.GraphPredictor)
    assert graph.encoder is not None
    fill = compile_row(graph.signature, graph.encoder, access="attribute")
    decode = msgspec.json.Decoder(row_type(graph.signature)).decode
    tensor = np.zeros((1, graph.encoder.width), graph.encoder.tensor)
    at = graph.outputs.index("probability")
    labels = [str(label) for label in graph.signature.labels or ()]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = scope["method"] == "POST"
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        if not body:
            answer = b"{}"
        else:
            fill(decode(body), tensor[0])
            found = graph.session.run(None, {"X": tensor})[at][0].tolist()
            answer = msgspec.json.encode({
                "prediction": int(labels[found.index(max(found))]),
                "probability": dict(zip(labels, found, strict=True)),
            })  # fmt: skip
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    uvicorn.run(
        app, port=port, lifespan="off", access_log=False, log_level="warning", http="httptools", loop="uvloop",
    )  # fmt: skip


ROLES: dict[str, Callable[[str, int], None]] = {"constant": constant, "raw": raw}

if __name__ == "__main__":
    ROLES[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
