"""A function's own files: the handler, the part of anyport that it needs, the bundle, and the consent to open it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from anyport.bundle import Bundle
from anyport.errors import BadBundle, Impossible
from anyport.kit import lock
from anyport.kit.runtime import carry
from anyport.kit.wheels import sizes
from anyport.pyform import lock_text

Known = TypeVar("Known")
MB = 1_000_000
QUICK = 0.01
"""Seconds of one row from which on an instance answers one request at a time."""
WAIT = 0.05
"""Seconds that the last of the requests at once waits for the others' rows, at most."""
AT_ONCE = 80
"""Requests at once that an instance is given at most; Cloud Run's own default
(https://cloud.google.com/run/docs/about-concurrency, 2026-11)."""


def lay(bundle: Bundle, out: Path, files: Mapping[str, Path], *roots: str) -> None:
    """Write `files` (name → source), runtime/ with what the modules `roots` need, and config/, by which a Python model
    is opened: who deploys a function wants just this bundle opened in it."""
    for name, source in files.items():
        shutil.copyfile(source, out / name)
    more = ["anyport.pyworker", f"anyport.frameworks.{bundle.manifest.framework}"] if bundle.form == "python" else []
    carry(out / "runtime", *roots, *more)
    consent = out / "config" / "anyport" / "packed"
    consent.parent.mkdir(parents=True)
    consent.write_text(f"{bundle.digest} {bundle.name}\n")


def packages(bundle: Bundle, *parts: str) -> str:
    """What the function installs, pinned and hashed, as one requirements.txt. A Python model brings its own versions;
    what it has not comes from the parts that anyport ships. Impossible where a part needs another version."""
    if bundle.form == "graph":
        return lock.shipped("graph", *parts)
    own = lock_text(bundle)
    mine = {name: version for name, version, _ in lock.pins(own)}
    blocks = []
    for block in lock.blocks(lock.shipped(*parts)) if parts else ():
        name, version, _ = next(lock.pins(block))
        if name not in mine:
            blocks.append(block)
        elif mine[name].split(".")[0] != version.split(".")[0]:
            raise Impossible(
                f"the model was packed with {name} {mine[name]}; the function needs {name} {version}",
                fix="pack the model with that version, or build it --to docker",
            )
    return own + "".join(blocks)


def told(parts: Mapping[str, int]) -> str:
    """What fills a package, as one line: the largest parts, in MB."""
    largest = list(parts.items())[:5]
    rest = sum(parts.values()) - sum(size for _, size in largest)
    said = [f"{name} {size / MB:.1f}" for name, size in largest] + ([f"others {rest / MB:.1f}"] if rest else [])
    return f"{sum(parts.values()) / MB:.1f} MB unpacked: {', '.join(said)}"


def filling(folders: Mapping[str, Path]) -> dict[str, int]:
    """Bytes of each part of a package; of lib/, which holds libraries, each of its own parts."""
    found: dict[str, int] = {}
    for name, folder in folders.items():
        listed = sizes(folder)
        found |= listed if name == "lib" else {name: sum(listed.values())}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def seconds(bundle: Bundle) -> float | None:
    """Of one row, as it was measured when the bundle was packed; None in form python, which nobody has measured."""
    kept = next((t for t in bundle.manifest.tried if t.name == bundle.manifest.kept), None)
    return kept.microseconds / 1e6 if kept is not None and kept.microseconds is not None else None


def concurrency(bundle: Bundle) -> int:
    """Requests at once. One for a model in form python, which answers one row after the other, and for a graph that
    takes more than QUICK for a row; else as many as keep the last one waiting no longer than WAIT."""
    took = seconds(bundle)
    if bundle.form == "python" or took is None or took > QUICK:
        return 1
    return max(1, min(AT_ONCE, int(WAIT / took)))


def facts(path: Path, kind: type[Known], title: str) -> Known:
    """What function.json in an artefact says. BadBundle where it is none of a function's."""
    try:
        return msgspec.json.decode((path / "function.json").read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise BadBundle(f"{path} is no artefact for {title}: function.json cannot be read") from error


def memory(bundle: Bundle) -> int:
    """MiB: the runtime, and the model in memory a few times over; a Python model's libraries take more."""
    size = sum((bundle.path / name).stat().st_size for name in bundle.manifest.files) >> 20
    return max((512 if bundle.form == "graph" else 1024), 256 + 6 * size)


def sized(bundle: Bundle) -> str:
    """What the concurrency is by, in words."""
    took = seconds(bundle)
    return "a model in form python answers one at a time" if took is None else f"a row took {took * 1e3:.2f} ms"
