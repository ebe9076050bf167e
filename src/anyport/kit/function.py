"""A function's own files: the handler, the part of anyport that it needs, the bundle, and the consent to open it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from anyport.bundle import Bundle
from anyport.errors import Impossible
from anyport.kit import lock
from anyport.kit.runtime import carry
from anyport.kit.wheels import sizes
from anyport.pyform import lock_text

MB = 1_000_000


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
