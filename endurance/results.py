"""Results of long runs: endurance/results/NAME.json, with the commit, the seed and the machine."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def save(name: str, figures: Mapping[str, Any]) -> Path:
    """Write one result; where it went."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    RESULTS.mkdir(exist_ok=True)
    where = RESULTS / f"{name}.json"
    said = {"date": dt.date.today().isoformat(), "commit": commit, "python": platform.python_version(),
            "cores": os.cpu_count(), **figures}  # fmt: skip
    where.write_text(json.dumps(said, indent=2) + "\n")
    return where
