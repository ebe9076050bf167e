"""Servers pinned to one core, wrk on the other, and what the servers used meanwhile."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER_CORE, CLIENT_CORE = "0", "1"
MARK = "ANYPORT_BENCHMARK"
"""An environment variable that every process of a server inherits: how they are found again."""
START = 120
"""Seconds a server may take until it answers."""


@dataclass(frozen=True)
class Server:
    """One server that was started."""

    name: str
    url: str
    script: Path
    """wrk's request, in Lua."""
    body: str
    """A request that it must answer 200 once it is up."""
    log: Path
    child: subprocess.Popen[bytes]

    def pids(self) -> list[int]:
        """All its processes: those that carry its mark, and what descends from them: some overwrite their environment
        with a title."""
        mark = f"{MARK}={token(self.name)}\0".encode()
        found, parents = {self.child.pid}, {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                if state == "Z":
                    continue
                parents[int(folder.name)] = int(parent)
                if mark in (folder / "environ").read_bytes() + b"\0":
                    found.add(int(folder.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):  # it has just ended, or is not ours
                continue
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found & parents.keys())

    def cpu(self) -> float:
        """Seconds of CPU used so far by its processes, ended threads included."""
        return sum(map(seconds, self.pids()))

    def pss(self) -> float:
        """Proportional set size of all its processes, MB."""
        return sum(map(proportional, self.pids()))

    def wait(self) -> None:
        """Until it answers. RuntimeError with the end of its log if it ends, or answers nothing in START seconds."""
        until = time.monotonic() + START
        while not self.answers():
            if self.child.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{self.name} does not answer at {self.url}; its log ends:\n"
                                   f"{self.log.read_text(errors='replace')[-1500:]}")  # fmt: skip
            time.sleep(0.2)

    def answers(self) -> bool:
        """Whether the request is answered 200."""
        try:
            self.ask(self.body)
        except (OSError, http.client.HTTPException):
            return False
        return True

    def ask(self, body: str) -> Any:
        """One JSON answer. OSError (urllib's errors are) where it is not a 200."""
        call = urllib.request.Request(self.url, body.encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(call, timeout=10) as reply:
            return json.loads(reply.read())


def token(name: str) -> str:
    """A server's mark: another run of this benchmark on the machine has others."""
    return f"{os.getpid()}-{name}"


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
def started(
    name: str, argv: Sequence[str], *, url: str, body: str, home: Path, env: Mapping[str, str] | None = None,
    cores: str = SERVER_CORE,
) -> Iterator[Server]:  # fmt: skip
    """A server pinned to `cores`, in a folder of its own; ended with all its processes. `wait` says when it answers."""
    home.mkdir(exist_ok=True)
    log, script = home / "log", home / "request.lua"
    script.write_text(f'wrk.method = "POST"\nwrk.body = [==[{body}]==]\n'
                      'wrk.headers["Content-Type"] = "application/json"\n')  # fmt: skip
    inherited = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **(env or {}), MARK: token(name)}
    with log.open("wb") as out:
        child = subprocess.Popen(
            ["taskset", "-c", cores, *argv], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=inherited,
            cwd=home, start_new_session=True,
        )  # fmt: skip
        server = Server(name, url, script, body, log, child)
        try:
            yield server
        finally:
            end(server)


def end(server: Server) -> None:
    """Ask every process of a server to end; after ten seconds make them."""
    left = set(server.pids())
    for sig, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        for pid in left:
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                continue
        until = time.monotonic() + patience
        while left and time.monotonic() < until:
            time.sleep(0.05)
            server.child.poll()
            # those that overwrote their mark are found by their ids only, once their parent has ended
            left = {pid for pid in left | set(server.pids()) if running(pid)}
        if not left:
            return
    raise RuntimeError(f"{server.name} cannot be ended: {sorted(left)}")


def running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wrk(server: Server, *, seconds: int, connections: int = 32, cores: str = CLIENT_CORE) -> dict[str, float]:
    """One run of wrk: requests, requests a second, errors, latencies in ms, and the server's CPU time a request."""
    command = [
        "taskset", "-c", cores, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency",
        "--timeout", "10s", "-s", str(server.script), server.url,
    ]  # fmt: skip
    before = server.cpu()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = server.cpu() - before
    found = read(said)
    return {**found, "cpu_us": used / max(found["requests"], 1) * 1e6}


def read(said: str) -> dict[str, float]:
    """What wrk prints, as numbers."""
    found = {"requests": float(re.search(r"(\d+) requests in", said)[1])}  # type: ignore[index]
    found["per_second"] = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])  # type: ignore[index]
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    found["errors"] = float(sum(int(n) for part in (broken, refused) if part is not None for n in part.groups()))
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
    for percent, value, unit in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)", said, re.M):
        found[f"p{percent}_ms"] = float(value) * units[unit]
    return found
