"""local: a folder that answers files on any machine with Python, numpy and onnxruntime; nothing else of ours needed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyport.bundle import Bundle, read
from anyport.errors import Impossible
from anyport.kit.process import popen
from anyport.kit.runtime import carry as carry_runtime
from anyport.kit.runtime import closure, view
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
    """bundle/, runtime/ (the part of anyport that predicts), predict.py and the requirements of both."""
    carry(bundle, out)
    roots = ["anyport.cli.predict", "anyport.frames"]
    if bundle.form == "python":
        roots += ["anyport.pyworker", f"anyport.frameworks.{bundle.manifest.framework}"]
    carry_runtime(out / "runtime", *roots)
    shutil.copyfile(Path(__file__).with_name("predict.py"), out / "predict.py")
    lock = bundle.member(LOCK)
    if lock is not None:
        shutil.copyfile(lock, out / "requirements.txt")
    else:
        pins = "".join(f"{name}=={version}\n" for name, version in closure(*RUNTIME).items())
        (out / "requirements.txt").write_text(pins)
    return Artifact("local", out, bundle.form, bundle.digest)


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """predict.py in a process that can import nothing but what requirements.txt names; a Python-form model in
    its locked environment."""
    bundle = read(artifact.path / "bundle")
    if artifact.form == "python":
        with apart(bundle) as predictor:
            engine = Engine(
                "Python", bundle.manifest.python, f"pid {predictor.worker.pid}: locked environment", "native"
            )
            yield Running(predictor, engine)
        return
    script = artifact.path / "predict.py"
    with popen([view(*RUNTIME), "-IB", script, "--frames"], pipes=True) as worker:
        engine = Engine(
            "ONNX Runtime", closure(*RUNTIME)["onnxruntime"], f"pid {worker.pid}: predict.py --frames", "native"
        )
        yield Running(SubprocessPredictor(bundle.signature, worker), engine)


@contextmanager
def connect(artifact: Artifact, live: Any) -> Iterator[Running]:
    """There is no endpoint."""
    raise Impossible("local has no live endpoint", fix="leave out --live")
    yield


def plan(artifact: Artifact, options: Any, live: Any) -> Sequence[Step]:
    """Nothing is deployed: the folder is the deployment."""
    return ()
