"""One JSON row a request: server CPU time per request against the same server with nothing to compute, and a peer.

Method (docs/benchmarks.md): all servers up at once, each pinned to core 0, `wrk` to core 1, 32 connections, rounds
interleaved. The steady figure is CPU time per request over all of a server's tasks (/proc/PID/task/*/schedstat);
requests/s jump with whatever else the machine does. Every server's answer is checked before it is loaded.

- anyport: `anyport serve` as it is.
- constant: the same protocol and routes, each request answered with a constant body.
- uvicorn: a raw ASGI application on the same uvicorn: msgspec decode, the same row filler, one run per request.

Floor: anyport at most 1.7 times constant.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.models import folder, mixed_rows, original, packed
from benchmarks.timing import save

ROUNDS = 5
SECONDS = 2
"""wrk takes whole ones only."""
CONNECTIONS = 32
FLOOR = 1.7
CONSTANT = b'{"prediction":0,"probability":{"0":0.9876543210987654,"1":0.0123456789012345}}'


def constant(bundle: str) -> None:
    """Our server, but nothing is decoded, run or encoded."""
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
    serve.run([bundle], Settings(port=0), json=True)


def raw(bundle: str) -> None:
    """What a careful author writes without us: ASGI, typed decode, one tensor, one run a request."""
    import socket

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
        more = True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        fill(decode(body), tensor[0])
        found = graph.session.run(None, {"X": tensor})[at][0].tolist()
        answer = msgspec.json.encode({
            "prediction": int(labels[found.index(max(found))]), "probability": dict(zip(labels, found, strict=True)),
        })  # fmt: skip
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    print(json.dumps({"url": f"http://127.0.0.1:{sock.getsockname()[1]}"}), flush=True)
    config = uvicorn.Config(app, lifespan="off", access_log=False, log_level="warning", http="httptools", loop="uvloop")
    uvicorn.Server(config).run(sockets=[sock])


@contextmanager
def started(argv: list[str]) -> Iterator[tuple[int, str]]:
    """A server pinned to core 0: its pid and URL."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = ["taskset", "-c", "0", sys.executable, *argv]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as child:
        try:
            assert child.stdout is not None
            yield child.pid, json.loads(child.stdout.readline())["url"]
        finally:
            child.terminate()


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used so far, all its tasks."""
    return sum(int(f.read_text().split()[0]) for f in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def load(url: str, script: Path, seconds: int) -> dict[str, float]:
    """One run of wrk: requests, requests a second, errors, latencies in ms."""
    command = [
        "taskset",
        "-c",
        "1",
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "--latency",
        "-s",
        script,
        url,
    ]
    said = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout|Non-2xx or 3xx responses:?) (\d+)", said)))
    found = {"errors": float(errors), "requests": float(re.search(r"(\d+) requests in", said)[1])}  # type: ignore[index]
    found["per_second"] = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])  # type: ignore[index]
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    for percent, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", said):
        found[f"p{percent}_ms"] = float(value) * units[unit]
    return found


def checked(url: str, row: dict[str, Any], expected: float) -> None:
    """Raise unless the server's answer is the original's."""
    call = urllib.request.Request(f"{url}/predict", json.dumps(row).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(call, timeout=10) as reply:
        got = json.loads(reply.read())["probability"]["1"]
    if abs(got - expected) > 1e-5:
        raise SystemExit(f"{url} answers {got}, the original {expected}")


def main() -> None:
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed here; apt-get install wrk")
    bundle = str(packed("mixed"))
    rows = mixed_rows(1)
    row = json.loads(rows.iloc[0].to_json(double_precision=15))
    expected = float(original("mixed").predict_proba(rows)[0, 1])
    script = folder() / "post.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = [==[{json.dumps(row)}]==]\nwrk.headers["Content-Type"] = "application/json"\n'
    )
    servers = {
        "anyport": ["-m", "anyport.serve", bundle, "--port", "0", "--json"],
        "constant": ["-m", "benchmarks.serving", "constant", bundle],
        "uvicorn": ["-m", "benchmarks.serving", "raw", bundle],
    }
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
    with ExitStack() as stack:
        up = {name: stack.enter_context(started(argv)) for name, argv in servers.items()}
        for name, (_, url) in up.items():
            if name != "constant":
                checked(url, row, expected)
            load(f"{url}/predict", script, 1)
        for _ in range(ROUNDS):
            for name, (pid, url) in up.items():
                before = cpu(pid)
                found = load(f"{url}/predict", script, SECONDS)
                found["cpu_us"] = (cpu(pid) - before) / found["requests"] * 1e6
                rounds[name].append(found)
                time.sleep(0.1)
    figures: dict[str, Any] = {name: middle(found) for name, found in rounds.items()}
    for other in ("constant", "uvicorn"):
        pairs = zip(rounds["anyport"], rounds[other], strict=True)
        figures[f"cpu_over_{other}"] = round(statistics.median(a["cpu_us"] / b["cpu_us"] for a, b in pairs), 2)
    figures["floor_cpu_over_constant"] = FLOOR
    print(json.dumps(figures, indent=1))
    save("serving", figures)
    if any(figures[name]["errors"] for name in servers):
        raise SystemExit("some requests failed")
    if figures["cpu_over_constant"] > FLOOR:
        raise SystemExit(
            f"CPU per request is {figures['cpu_over_constant']} times the constant server's; {FLOOR} is the most"
        )


def middle(found: list[dict[str, float]]) -> dict[str, float]:
    """Medians of a server's rounds; errors are added up."""
    kept = {key: round(statistics.median(one[key] for one in found), 3) for key in found[0]}
    return {**kept, "errors": sum(one["errors"] for one in found)}


ROLES: dict[str, Callable[[str], None]] = {"constant": constant, "raw": raw}

if __name__ == "__main__":
    if len(sys.argv) > 1:
        ROLES[sys.argv[1]](sys.argv[2])
    else:
        main()
