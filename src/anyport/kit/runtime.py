"""anyport's own source as a folder that can be put on another interpreter's path, with nothing beside it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import anyport
from anyport.places import cache


def source() -> Path:
    """A folder that holds the package `anyport` as it is here, and nothing else; kept in the cache by its content.

    The folder that anyport was imported from may be site-packages: on a path, it would bring everything.
    """
    here = Path(anyport.__file__).parent
    files = sorted(p for p in here.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    digest = hashlib.sha256()
    content = [(file.relative_to(here).as_posix(), file.read_bytes()) for file in files]
    for name, data in content:
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    home = cache("runtime") / digest.hexdigest()[:24]
    if home.is_dir():
        return home
    work = Path(tempfile.mkdtemp(prefix=".", dir=home.parent))
    try:
        for name, data in content:
            target = work / "new" / "anyport" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        try:
            os.rename(work / "new", home)
        except OSError:
            if not home.is_dir():  # else another process made the same one meanwhile
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return home
