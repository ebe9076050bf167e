"""Wheels for another machine: a lock installed for a platform and a Python that need not be here, trimmed, and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from anyport.errors import Impossible
from anyport.kit import lock
from anyport.kit.process import run
from anyport.kit.trim import trim
from anyport.places import cache

Machine = Literal["x86_64", "arm64"]
PLATFORMS: Mapping[Machine, str] = {"x86_64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
"""Machine → uv's name of the platform. glibc 2.28 is what ONNX Runtime's wheels need; for an older one, a resolver
that may choose takes ONNX Runtime 1.16. A lock leaves nothing to choose."""


def installed(text: str, *, machine: Machine, python: str, whole: bool) -> Path:
    """A folder of what the lock's packages are for a machine and a Python (3.13), without what no prediction needs, or
    `whole` as `trim` says; kept in the cache. With bytecode where that Python is here, see `compiler`.

    Raises Impossible, naming it, for a package that has no wheel for them; Offline.
    """
    list(lock.pins(text))
    compiled = compiler(python)
    key = "\n".join([text, machine, python, digest_of_trim(), f"{whole} {compiled is not None}"])
    home = cache("wheels") / hashlib.sha256(key.encode()).hexdigest()[:24]
    if home.is_dir():
        return home
    house = lock.wheelhouse_of(None)
    work = Path(tempfile.mkdtemp(prefix=".", dir=home.parent))
    try:
        (work / "requirements.lock").write_text(text)
        done = lock.uv(
            "pip", "install", "--target", str(work / "new"), "--python-platform", PLATFORMS[machine],
            "--python-version", python, "--no-deps", "--require-hashes", "--only-binary", ":all:",
            "--link-mode", "copy", "-r", "requirements.lock",
            *(("--no-index", "--find-links", str(house)) if house else ()), cwd=work,
        )  # fmt: skip
        if done.code:
            raise lock.why(done, f"the packages cannot be had for Python {python} on {machine}")
        new = work / "new"
        trim(new, whole=whole)
        tidy(new)
        if compiled is not None:
            compile_all(new, compiled)
        try:
            os.rename(new, home)
        except OSError:
            if not home.is_dir():  # else another process made the same one meanwhile
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return home


def digest_of_trim() -> str:
    """Of what decides which files are left."""
    from anyport.kit import trim as module

    return hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()


def tidy(site: Path) -> None:
    """Delete what an installer leaves: its lock, launchers, and records that name files which are gone."""
    for name in (".lock", "bin"):
        found = site / name
        if found.is_dir():
            shutil.rmtree(found)
        else:
            found.unlink(missing_ok=True)
    for record in [*site.glob("*.dist-info/RECORD"), *site.glob("*.dist-info/INSTALLER"),
                   *site.glob("*.dist-info/REQUESTED"), *site.glob("*.dist-info/uv_cache.json")]:  # fmt: skip
        record.unlink()


def compiler(python: str) -> Path | None:
    """An interpreter of this version on this machine; None where there is none."""
    with tempfile.TemporaryDirectory(prefix="anyport-") as folder:
        done = lock.uv("python", "find", "--no-python-downloads", "--no-project", python, cwd=Path(folder))
    found = Path(done.stdout.decode().strip()) if not done.code else None
    return found if found is not None and found.exists() else None


def compile_all(folder: Path, python: Path) -> None:
    """Bytecode beside every module, checked against nothing: a function's disk is read-only, and would be compiled for
    again in each start. One process, so that the same sources give the same bytes."""
    done = run(
        [python, "-I", "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash", "-s", str(folder),
         str(folder)],
        timeout=600,
    )  # fmt: skip
    # 1: a few files of some packages are templates, which no compiler takes
    if done.code not in (0, 1):
        raise Impossible(f"the packages cannot be compiled by {python}: {done.stderr.strip()[-500:]}")


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each part of a folder, the largest first."""
    found: dict[str, int] = {}
    for file in folder.rglob("*"):
        if file.is_file():
            part = file.relative_to(folder).parts[0]
            found[part] = found.get(part, 0) + file.stat().st_size
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
