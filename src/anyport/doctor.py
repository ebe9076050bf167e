"""doctor: what this machine has and lacks, each with the line that fixes it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

import msgspec

from anyport.errors import EXTRAS, AnyportError
from anyport.target import Spec

NEEDED = ("numpy", "onnxruntime", "msgspec")
OPTIONAL = (
    "pandas", "pyarrow", "polars", "onnx", "scikit-learn", "skl2onnx", "xgboost", "lightgbm", "catboost", "torch",
    "keras",     "tensorflow",
    "mlflow", "skops", "cloudpickle", "cryptography", "uvicorn", "httptools", "uv",
)  # fmt: skip
MODULES = {"scikit-learn": "sklearn"}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the machine."""

    name: str
    state: Literal["ok", "absent", "wrong"]
    says: str
    fix: str = ""


def examine(bundle: str | None = None) -> list[Finding]:
    """Everything anyport can use, in order: interpreter, base, extras, targets, and the bundle if one is given."""
    found = [interpreter()]
    found += [distribution(name, needed=True) for name in NEEDED]
    found += [distribution(name, needed=False) for name in OPTIONAL]
    found.append(writable())
    found += [engine(name) for name in target_names()]
    if bundle is not None:
        found.append(read_bundle(bundle))
    return found


def interpreter() -> Finding:
    """The Python that runs this."""
    version = platform.python_version()
    good = sys.version_info >= (3, 11)
    return Finding(name="python", state="ok" if good else "wrong", says=f"{version} on {platform.machine()}",
                   fix="" if good else "install Python 3.11 or newer")  # fmt: skip


def distribution(name: str, *, needed: bool) -> Finding:
    """An installed library, or the line that installs it."""
    try:
        return Finding(name=name, state="ok", says=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        extra = EXTRAS.get(MODULES.get(name, name))
        fix = "pip install anyport" if needed else f"pip install 'anyport[{extra}]'" if extra else f"pip install {name}"
        return Finding(name=name, state="wrong" if needed else "absent", says="not installed", fix=fix)


def writable() -> Finding:
    """Whether bundles can be written and unpacked here."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / 1e9
    good = os.access(folder, os.W_OK) and free > 1
    return Finding(name="temporary folder", state="ok" if good else "wrong", says=f"{folder}, {free:.0f} GB free",
                   fix="" if good else "set TMPDIR to a writable folder with room")  # fmt: skip


def target_names() -> list[str]:
    from anyport import targets

    return targets.names()


def engine_of(spec: Spec) -> str:
    """'present', or what the target's engine lacks on this machine."""
    lacking = [p for p in spec.programs if shutil.which(p) is None]
    if lacking:
        return f"needs {', '.join(lacking)}"
    if spec.answers:
        from anyport.kit.process import run

        if run(spec.answers, timeout=30).code:
            how = f": {spec.start}" if spec.start else ""
            return f"{spec.programs[0]} is installed, but its engine does not answer{how}"
    if spec.extra:
        absent = [m for m, extra in EXTRAS.items() if extra == spec.extra and not installed(m)]
        if absent:
            return f"pip install 'anyport[{spec.extra}]'"
    return "present"


def installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def engine(name: str) -> Finding:
    """A target and its engine."""
    from anyport import targets

    spec = targets.get(name).SPEC
    state = engine_of(spec)
    good = state == "present"
    return Finding(name=f"target {name}", state="ok" if good else "absent", says=spec.title, fix="" if good else state)


def read_bundle(path: str) -> Finding:
    """Whether a bundle is whole."""
    from anyport.bundle import read

    try:
        bundle = read(Path(path))
    except AnyportError as error:
        return Finding(name=path, state="wrong", says=error.what, fix=error.fix)
    return Finding(name=path, state="ok", says=f"{bundle.name} {bundle.version}, form {bundle.form}, every hash right")
