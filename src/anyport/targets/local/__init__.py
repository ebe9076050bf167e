"""local: a folder that answers files on any machine with Python, numpy and onnxruntime; nothing else of ours needed."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyport.bundle import Bundle, read
from anyport.errors import Impossible
from anyport.kit.process import popen
from anyport.kit.runtime import source
from anyport.pyform import LOCK, SubprocessPredictor, apart
from anyport.target import Artifact, Engine, NoOptions, Reason, Running, Spec, Step
from anyport.targets import carry

SPEC = Spec(name="local", title="a script on this machine", kind="runtime", takes=("graph", "python"))
Options = NoOptions
Live = NoOptions
RUNTIME = ("msgspec", "numpy", "onnxruntime")


def fits(bundle: Bundle, options: Any) -> Reason | None:
    """Every bundle runs here."""
    return None


def build(bundle: Bundle, out: Path, options: Any) -> Artifact:
    """bundle/, runtime/ (anyport's own source), predict.py and the requirements of both."""
    carry(bundle, out)
    shutil.copytree(source() / "anyport", out / "runtime" / "anyport")
    shutil.copyfile(Path(__file__).with_name("predict.py"), out / "predict.py")
    lock = bundle.member(LOCK)
    if lock is not None:
        shutil.copyfile(lock, out / "requirements.txt")
    else:
        pins = "".join(f"{name}=={importlib.metadata.version(name)}\n" for name in RUNTIME)
        (out / "requirements.txt").write_text(pins)
    return Artifact("local", out, bundle.form, bundle.digest)


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """predict.py in a process of its own; a Python-form model in its locked environment."""
    bundle = read(artifact.path / "bundle")
    if artifact.form == "python":
        with apart(bundle) as predictor:
            engine = Engine(
                "Python", bundle.manifest.python, f"pid {predictor.worker.pid}: locked environment", "native"
            )
            yield Running(predictor, engine)
        return
    script = artifact.path / "predict.py"
    # -I: no PYTHONPATH, no user site-packages, no current folder: only what the artefact brings
    with popen([sys.executable, "-I", script, "--frames"], pipes=True) as worker:
        version = importlib.metadata.version("onnxruntime")
        engine = Engine("ONNX Runtime", version, f"pid {worker.pid}: predict.py --frames", "native")
        yield Running(SubprocessPredictor(bundle.signature, worker), engine)


@contextmanager
def connect(artifact: Artifact, live: Any) -> Iterator[Running]:
    """There is no endpoint."""
    raise Impossible("local has no live endpoint", fix="leave out --live")
    yield


def plan(artifact: Artifact, options: Any, live: Any) -> Sequence[Step]:
    """Nothing is deployed: the folder is the deployment."""
    return ()
