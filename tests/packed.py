"""The zoo's bundles on disk, each packed once per session, by whichever process asks first."""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from pathlib import Path

import zoo


@dataclass(frozen=True)
class Shelf:
    """A folder of packed exhibits."""

    folder: Path

    def bundle(self, name: str) -> Path:
        """The bundle of one exhibit; packed now if nobody has."""
        import anyport

        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.anyport"
        with (self.folder / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file is closed, however we end
            if not path.is_dir():
                made = zoo.load()[name].make()
                anyport.pack(made.model, made.data, name=name, out=path)
        return path
