"""Servers pinned to one core, wrk on the other, and what the servers used meanwhile."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER_CORE, CLIENT_CORE = "0", "1"
MARK = "ANYPORT_BENCHMARK"
"""An environment variable that every process of a server inherits: how they are found again."""
START = 120
"""Seconds a server may take until it answers."""


@dataclass(frozen=True)
class Server:
    """One server that is up."""

    name: str
    url: str
    script: Path
    """wrk's request, in Lua."""

    def pids(self) -> list[int]:
        """All its processes."""
        wanted = f"{MARK}={self.name}\0".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (folder / "environ").read_bytes() + b"\0":
                    found.append(int(folder.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):  # it has just ended, or is not ours
                continue
        return found

    def cpu(self) -> float:
        """Seconds of CPU used so far by its processes, ended threads included."""
        return sum(map(seconds, self.pids()))

    def pss(self) -> dict[int, float]:
        """Proportional set size of each process, MB."""
        return {pid: proportional(pid) for pid in self.pids()}


def seconds(pid: int) -> float:
    """CPU time of one process from its clock, in nanoseconds' resolution (clock_getcpuclockid(3))."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:  # it has just ended
        return 0.0


def proportional(pid: int) -> float:
    """PSS in MB: pages shared by n processes count 1/n for each."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", text, re.M)[1]) / 1024  # type: ignore[index]


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(
    name: str, argv: Sequence[str], *, url: str, alive: str, script: Path, log: Path,
    env: Mapping[str, str] | None = None, core: str = SERVER_CORE,
) -> Iterator[Server]:  # fmt: skip
    """A server pinned to `core`, yielded once `alive` answers 200; ended with all its processes.

    Raises RuntimeError with the end of its log if it ends, or answers nothing in START seconds.
    """
    inherited = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **(env or {}), MARK: name}
    server = Server(name, url, script)
    with log.open("wb") as out:
        child = subprocess.Popen(
            ["taskset", "-c", core, *argv], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=inherited,
            start_new_session=True,
        )  # fmt: skip
        try:
            until = time.monotonic() + START
            while not answers(alive):
                if child.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{name} does not answer at {alive}; its log ends:\n{log.read_text()[-2000:]}")
                time.sleep(0.1)
            yield server
        finally:
            end(server, child)


def answers(url: str) -> bool:
    """Whether a GET is answered 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def end(server: Server, child: subprocess.Popen[bytes]) -> None:
    """Ask every process of a server to end; after ten seconds make them."""
    for sig, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        for pid in server.pids():
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                continue
        until = time.monotonic() + patience
        while time.monotonic() < until:
            child.poll()
            if not server.pids():
                return
            time.sleep(0.05)
    raise RuntimeError(f"{server.name} cannot be ended: {server.pids()}")


def wrk(server: Server, *, seconds: int, connections: int = 32) -> dict[str, float]:
    """One run of wrk: requests, requests a second, errors, latencies in ms, and the server's CPU time a request."""
    command = [
        "taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency",
        "--timeout", "10s", "-s", str(server.script), server.url,
    ]  # fmt: skip
    before = server.cpu()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = server.cpu() - before
    return {**read(said), "cpu_us": used / max(read(said)["requests"], 1) * 1e6}


def read(said: str) -> dict[str, float]:
    """What wrk prints, as numbers."""
    found = {"requests": float(re.search(r"(\d+) requests in", said)[1])}  # type: ignore[index]
    found["per_second"] = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])  # type: ignore[index]
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    wrong = re.search(r"wrong answers: (\d+)", said)
    found["errors"] = float(sum(int(n) for part in (broken, refused, wrong) if part is not None for n in part.groups()))
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    for percent, value, unit in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)", said, re.M):
        found[f"p{percent}_ms"] = float(value) * units[unit]
    return found
