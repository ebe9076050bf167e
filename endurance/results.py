"""What an endurance run found, kept as endurance/results/NAME.json."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def save(name: str, figures: dict[str, Any], *, seed: int | None = None, packages: tuple[str, ...] = ()) -> Path:
    """Write figures with the commit, the seed, and the versions of Python, anyport and `packages`."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{name}.json"
    found = {one: here(one) for one in ("anyport", *packages)}
    said = {"commit": commit(), "seed": seed, "python": platform.python_version(), "versions": found, **figures}
    file.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return file


def commit() -> str:
    """The commit that ran, with a plus sign where files differ from it."""

    def git(*argv: str) -> str:
        return subprocess.run(
            ["git", *argv], cwd=FOLDER.parent, capture_output=True, text=True, check=True
        ).stdout.strip()  # fmt: skip

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", "../src") else "")


def here(package: str) -> str:
    """Its version in this environment."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
