"""Where anyport keeps things of this user: settings and a cache that may be deleted at any time."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from anyport.errors import Mistake


def config() -> Path:
    """The folder of config.toml: $XDG_CONFIG_HOME/anyport, else ~/.config/anyport. It need not exist."""
    return _home("XDG_CONFIG_HOME", ".config") / "anyport"


def cache(part: str) -> Path:
    """An existing, private folder `part` of the cache: below $XDG_CACHE_HOME, else ~/.cache.

    Where neither can be written (a function on a read-only disk) it lies below the temporary folder.
    """
    folder = _home("XDG_CACHE_HOME", ".cache") / "anyport" / part
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass  # read-only home; the temporary folder below is the answer to it
    user = os.getuid() if hasattr(os, "getuid") else "user"
    root = Path(tempfile.gettempdir()) / f"anyport-{user}"
    try:
        root.mkdir(mode=0o700, exist_ok=True)
        # Anyone may have made a folder of this name in /tmp; what we read from it would then be theirs.
        found = root.lstat()
        if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
            raise Mistake(f"{root} belongs to another user", fix="set XDG_CACHE_HOME to a folder of your own")
        (root / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"no cache folder can be written: {error}", fix="set XDG_CACHE_HOME") from error
    return root / part


def _home(variable: str, below: str) -> Path:
    given = os.environ.get(variable, "")
    if given and Path(given).is_absolute():
        return Path(given)
    try:
        return Path.home() / below
    except RuntimeError:  # no HOME and no passwd entry: a container with an unknown user id
        return Path(os.devnull) / below
