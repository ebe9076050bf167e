"""A server in a process of its own, with a port for HTTP and one for gRPC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src"


@dataclass(frozen=True)
class Process:
    """A running server and where it listens."""

    child: subprocess.Popen[str]
    url: str
    grpc: str

    @property
    def http(self) -> str:
        """HOST:PORT."""
        return self.url.removeprefix("http://")


@contextmanager
def process(*argv: str | Path) -> Iterator[Process]:
    """`python -m anyport.serve` with a gRPC port, ready."""
    env = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "anyport.serve", *map(str, argv), "--port", "0", "--grpc-port", "0", "--json"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            line = child.stdout.readline()
            assert line, child.stderr.read()
            said = json.loads(line)
            yield Process(child, said["url"], said["grpc"])
        finally:
            child.kill()
