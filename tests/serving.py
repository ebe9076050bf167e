"""A server in a process of its own, with a port for HTTP and one for gRPC."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SRC = Path(__file__).resolve().parents[1] / "src"
STARTS = 60
"""Seconds that a server may take until it is ready."""


@dataclass(frozen=True)
class Process:
    """A running server and where it listens."""

    child: subprocess.Popen[str]
    url: str
    grpc: str
    log: IO[str]
    """What it has written on standard error."""

    @property
    def http(self) -> str:
        """HOST:PORT."""
        return self.url.removeprefix("http://")


@contextmanager
def process(*argv: str | Path, grpc: bool = True) -> Iterator[Process]:
    """`python -m anyport.serve`, ready, with a gRPC port where that is wanted."""
    env = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "anyport.serve", *map(str, argv), "--port", "0", "--json"]
    command += ["--grpc-port", "0"] if grpc else []
    # its log goes to a file: a pipe that nobody reads fills up, and then the server waits for ever
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True) as child,
    ):
        assert child.stdout is not None
        try:
            heard, _, _ = select.select([child.stdout], [], [], STARTS)
            line = child.stdout.readline() if heard else ""
            log.seek(0)
            assert line, f"no server within {STARTS} s: {log.read()}"
            said = json.loads(line)
            yield Process(child, said["url"], said.get("grpc") or "", log)
        finally:
            child.kill()
