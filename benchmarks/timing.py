"""Interleaved timing: every variant in every round, medians of per-round ratios, and the machine it ran on."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def interleaved(variants: Mapping[str, Callable[[], object]], *, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds per call of each variant in each round: calls repeated for `seconds`, their median kept."""
    for call in variants.values():
        call()
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, call in variants.items():
            took = []
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                start = time.perf_counter()
                call()
                took.append(time.perf_counter() - start)
            found[name].append(statistics.median(took))
    return found


def ratio(found: Mapping[str, list[float]], base: str, ours: str) -> float:
    """How many times faster `ours` is: the median of the rounds' ratios."""
    return statistics.median(b / o for b, o in zip(found[base], found[ours], strict=True))


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    versions = {}
    for name in ("numpy", "onnxruntime", "scikit-learn", "pandas", "pyarrow", "lightgbm", "uvicorn"):
        versions[name] = importlib.metadata.version(name)
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.processor())  # fmt: skip
    return {
        "date": dt.date.today().isoformat(), "commit": commit, "cpu": model, "cores": os.cpu_count(),
        "python": platform.python_version(), "versions": versions, "load": os.getloadavg()[0],
    }  # fmt: skip


def save(name: str, figures: Mapping[str, Any]) -> None:
    """benchmarks/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine(), **figures}, indent=2, sort_keys=False)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(f"wrote {RESULTS / name}.json")
