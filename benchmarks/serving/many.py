"""What many connections and several workers cost: 1,000 busy ones, 10,000 idle ones, CPU and memory of workers."""

from __future__ import annotations

import resource
import socket
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.serving.groups import ROWS, anyport, begin
from benchmarks.serving.load import Server, wrk
from benchmarks.serving.peers import encoded

IDLE = 10_000
BUSY = 1_000
SOURCES = 4
"""Loopback addresses that idle connections come from: one has some 28,000 ports, and wrk needs some too."""
BOTH = "0,1"


def measured(*, rounds: int, seconds: int) -> dict[str, Any]:
    """Of the linear model: every figure by its name."""
    found: dict[str, Any] = {}
    with up("linear") as server:
        # longer than the rest: a thousand connections are opened first
        found["busy"] = [wrk(server, seconds=2 * seconds + 1, connections=BUSY) for _ in range(rounds)]
        found["busy_p99_ms"] = round(statistics.median(one["p99_ms"] for one in found["busy"]), 2)
        with idle(server) as opened:
            found["beside_idle"] = wrk(server, seconds=seconds)
            found["idle_lost"] = sum(map(closed, opened))
            # and each of them still answers
            found["idle_refused"] = sum(not asked(one, server) for one in opened)
    found["idle_errors"] = found["idle_lost"] + found["idle_refused"] + found["beside_idle"]["errors"]
    with up("linear", cores=BOTH) as one, up("linear", "--workers", "2", cores=BOTH) as two:
        pair: list[tuple[dict[str, float], dict[str, float]]] = []
        for server in (one, two):
            wrk(server, seconds=1, cores=BOTH)
        for _ in range(rounds):
            pair.append((wrk(one, seconds=seconds, cores=BOTH), wrk(two, seconds=seconds, cores=BOTH)))
    found["workers"] = [{"one": a, "two": b} for a, b in pair]
    found["two_workers_cpu"] = round(statistics.median(b["cpu_us"] / a["cpu_us"] for a, b in pair), 3)
    found["pss_mb"] = {str(count): memory(count) for count in (1, 2, 4)}
    found["pss_over_one"] = round(max(
        found["pss_mb"][count][when] / found["pss_mb"]["1"][when] for count in "24" for when in ("start", "loaded")
    ), 3)  # fmt: skip
    return found


def memory(workers: int) -> dict[str, float]:
    """PSS of the server with so many workers, parent included, MB: right after its start, and after some load."""
    with up("mixed", "--workers", str(workers)) as server:
        fresh = server.pss()
        wrk(server, seconds=2)
        return {"start": round(fresh, 1), "loaded": round(server.pss(), 1)}


@contextmanager
def up(model: str, *more: str, cores: str = "0") -> Iterator[Server]:
    """Our server, answering."""
    row = ROWS[model](1, seed=9).to_dict("records")[0]
    entry = anyport(model, *more)
    body = encoded(entry.wire, {str(k): v for k, v in row.items()})
    with begin("anyport" + "".join(more).replace("--", "-"), entry, body, cores=cores) as server:
        server.wait()
        yield server


@contextmanager
def idle(server: Server) -> Iterator[list[socket.socket]]:
    """IDLE connections, each of which was answered once."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < IDLE + 500:
        raise RuntimeError(f"{IDLE} connections need as many open files; the limit here is {hard} (ulimit -Hn)")
    with ExitStack() as stack:
        opened = []
        for i in range(IDLE):
            one = stack.enter_context(socket.socket())
            # binding to port 0 takes a port of this address, not of all of them
            one.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT, ip(7)
            one.bind((f"127.0.0.{2 + i % SOURCES}", 0))
            one.settimeout(10)
            one.connect(address(server))
            opened.append(one)
        if refused := sum(not asked(one, server) for one in opened):
            raise RuntimeError(f"{refused} of {IDLE} connections were not answered")
        yield opened


def address(server: Server) -> tuple[str, int]:
    host, port = server.url.split("/")[2].split(":")
    return host, int(port)


def asked(one: socket.socket, server: Server) -> bool:
    """Whether a request on this connection is answered 200."""
    body = server.body.encode()
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    try:
        one.sendall(head.encode() + body)
        return one.recv(4096).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def closed(one: socket.socket) -> bool:
    """Whether the server has ended this connection."""
    one.setblocking(False)
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        one.settimeout(10)
