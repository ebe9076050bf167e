"""rest: our HTTP server as a folder of its own; Python, numpy, ONNX Runtime and uvicorn are all it needs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from anyport.bundle import Bundle, read
from anyport.client import HttpPredictor
from anyport.errors import need
from anyport.kit.endpoint import Live, reached, serving
from anyport.kit.process import Held, popen
from anyport.kit.runtime import carry as carry_runtime
from anyport.kit.runtime import closure, view
from anyport.target import Artifact, Engine, NoOptions, Reason, Running, Spec, Step
from anyport.targets import carry

SPEC = Spec(name="rest", title="an HTTP server", kind="server", takes=("graph", "python"), extra="serve")
Options = NoOptions
SERVER = ("httptools", "msgspec", "numpy", "uvicorn", *(() if sys.platform == "win32" else ("uvloop",)))
"""What the server itself needs."""


def fits(bundle: Bundle, options: Any) -> Reason | None:
    """Every bundle can be served."""
    return None


def build(bundle: Bundle, out: Path, options: Any) -> Artifact:
    """bundle/, runtime/ (the part of anyport that serves), serve.py, requirements.txt and a README."""
    need("uvicorn")
    need("httptools")
    carry(bundle, out)
    roots = ["anyport.serve.__main__"]
    if bundle.form == "python":
        roots += ["anyport.pyworker", f"anyport.frameworks.{bundle.manifest.framework}"]
    carry_runtime(out / "runtime", *roots)
    for name in ("serve.py", "README.md"):
        shutil.copyfile(Path(__file__).with_name(name), out / name)
    pins = "".join(f"{name}=={version}\n" for name, version in closure(*server(bundle)).items())
    (out / "requirements.txt").write_text(pins)
    return Artifact("rest", out, bundle.form, bundle.digest)


def server(bundle: Bundle) -> tuple[str, ...]:
    """The distributions that serving this bundle needs; a Python model has its own in a process of its own."""
    return (*SERVER, "onnxruntime") if bundle.form == "graph" else SERVER


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """serve.py in a process that can import nothing but what requirements.txt names."""
    bundle = read(artifact.path / "bundle")
    said: dict[str, Any] = {}

    def ready(held: Held) -> bool:
        for line in held.log.read_bytes().splitlines(keepends=True):
            if line.startswith(b'{"url":') and line.endswith(b"\n"):
                said.update(msgspec.json.decode(line))
                return True
        return False

    argv: list[str | Path] = [view(*server(bundle)), "-IB", artifact.path / "serve.py", "--port", "0", "--json"]
    with popen(argv, ready=ready, timeout=600) as held, HttpPredictor(said["url"], bundle.signature) as predictor:
        answering = serving(predictor, bundle)
        process = f"pid {answering.pid}: serve.py"
        yield Running(predictor, Engine(f"{answering.server} serve", answering.version, process, "native"))
        if not held.alive():
            raise held.died()


@contextmanager
def connect(artifact: Artifact, live: Live) -> Iterator[Running]:
    """The user's own server, asked for this very model. Mistake where it serves another."""
    with reached(live, read(artifact.path / "bundle")) as (predictor, said):
        yield Running(predictor, Engine(f"{said.server} serve", said.version, predictor.url, "live"))


def plan(artifact: Artifact, options: Any, live: Any) -> Sequence[Step]:
    """Nothing is deployed: the folder is the deployment, and its README says how to start it."""
    return ()
