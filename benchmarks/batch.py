"""A file of 1,000,000 rows: `anyport predict` against pandas and the original, whole processes, interleaved.

Floors: the mixed scikit-learn pipeline at least 5 times faster and under 350 MB at its peak; LightGBM at least
twice as fast with thresholds in exact double. Both outputs are compared row by row.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.models import folder, packed
from benchmarks.timing import save

ROWS = int(os.environ.get("ANYPORT_BENCH_ROWS", "1000000"))
ROUNDS = int(os.environ.get("ANYPORT_BENCH_ROUNDS", "5"))
FLOORS = {"mixed": {"times_faster": 5.0, "peak_mb": 350.0}, "boosted": {"times_faster": 2.0, "peak_mb": 450.0}}

# what a user writes today; predict_proba once and labels from it, which is the quicker of the two ways
SCRIPT = """
import sys
import joblib
import pandas as pd
model = joblib.load(sys.argv[1])
rows = pd.read_parquet(sys.argv[2])
probability = model.predict_proba(rows)
answers = pd.DataFrame({f"probability_{i}": probability[:, i] for i in range(probability.shape[1])})
answers.insert(0, "prediction", model.classes_[probability.argmax(axis=1)])
answers.to_parquet(sys.argv[3])
"""
OURS = "import sys; from anyport.cli import main; sys.exit(main())"
MAKE = """
import sys
import numpy as np, pandas as pd
from benchmarks.models import mixed_rows
name, count, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if name == "mixed":
    rows = mixed_rows(count, seed=7)
else:
    rows = pd.DataFrame(np.random.default_rng(7).normal(size=(count, 30)), columns=[f"n{i}" for i in range(30)])
rows.to_parquet(out)
"""


@dataclass(frozen=True)
class Run:
    """One whole process."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def measured(command: list[str]) -> Run:
    """Run a command to its end. Its peak is read from /proc while it lives: ru_maxrss would be its parent's."""
    peak = 0
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.01):
            peak = max(peak, high_water(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    ended.set()
    watcher.join()
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])} … exited {process.returncode}:\n{said.decode()}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak / 1024)


def high_water(pid: int) -> int:
    """The most memory the process has had resident so far, in KB; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def compared(ours: Path, theirs: Path) -> dict[str, Any]:
    """How far the two answers are apart, over all rows."""
    import numpy as np
    import pandas as pd

    mine, their = pd.read_parquet(ours), pd.read_parquet(theirs)
    assert list(mine.columns) == list(their.columns), (mine.columns, their.columns)
    assert len(mine) == len(their)
    flips = int((mine.prediction.to_numpy() != their.prediction.to_numpy()).sum())
    numbers = [c for c in mine.columns if c != "prediction"]
    worst = float(np.abs(mine[numbers].to_numpy() - their[numbers].to_numpy()).max())
    return {"rows": len(mine), "label_flips": flips, "largest_difference": worst}


def benchmark(name: str) -> dict[str, Any]:
    """Medians over interleaved rounds; ratios are medians of the rounds' own."""
    bundle, model = packed(name), folder() / f"{name}.joblib"
    source = folder() / f"{name}.parquet"
    if not source.exists():
        subprocess.run([sys.executable, "-c", MAKE, name, str(ROWS), str(source)], check=True)
    ours, theirs = folder() / f"{name}-ours.parquet", folder() / f"{name}-theirs.parquet"
    commands = {
        "pandas + original": [sys.executable, "-c", SCRIPT, str(model), str(source), str(theirs)],
        "anyport predict": [sys.executable, "-c", OURS, "predict", str(bundle), str(source), "-o", str(ours)],
    }
    found: dict[str, list[Run]] = {variant: [] for variant in commands}
    for turn in range(ROUNDS):
        for variant, command in commands.items():
            found[variant].append(measured(command))
            run = found[variant][-1]
            said = f"{run.seconds:6.2f} s, cpu {run.cpu_seconds:6.2f} s, {run.peak_mb:5.0f} MB"
            print(f"{name} round {turn}: {variant:18} {said}", flush=True)
    pairs = list(zip(found["pandas + original"], found["anyport predict"], strict=True))
    times = statistics.median(a.seconds / b.seconds for a, b in pairs)
    peak = max(r.peak_mb for r in found["anyport predict"])
    floor = FLOORS[name]
    return {
        "seconds": {v: round(statistics.median(r.seconds for r in runs), 2) for v, runs in found.items()},
        "cpu_seconds": {v: round(statistics.median(r.cpu_seconds for r in runs), 2) for v, runs in found.items()},
        "peak_mb": {v: round(max(r.peak_mb for r in runs)) for v, runs in found.items()},
        "rows_per_second": {v: round(ROWS / statistics.median(r.seconds for r in runs)) for v, runs in found.items()},
        "times_faster": round(times, 2),
        "times_less_cpu": round(statistics.median(a.cpu_seconds / b.cpu_seconds for a, b in pairs), 2),
        "floor": floor,
        "reached": times >= floor["times_faster"] and peak < floor["peak_mb"],
        "answers": compared(ours, theirs),
    }


def main() -> None:
    figures = {name: benchmark(name) for name in FLOORS}
    for name, figure in figures.items():
        print(name, figure)
    save("batch", {"rows": ROWS, "rounds": ROUNDS, **figures})


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    main()
