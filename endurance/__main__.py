"""python -m endurance [--minutes N] [NAME …]: every long run, or those named; exit 1 where one fails.

With --minutes each gets so many (CI: 2) and nothing is written; without, the full runs, whose results are kept.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from endurance.results import save

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / ".envs" / "endurance" / "bin" / "python"
"""atheris and schemathesis have an environment of their own."""
RUNS = {"decode": 6_500_000, "rows": 1_500_000, "http": 1_500_000, "contracts": 600_000}
"""Executions of each fuzzing target: more than 10 million together."""
SEED = 20261125


def fuzz(minutes: float | None) -> bool:
    """Every target, one after the other. A crash prints the input that caused it."""
    figures = {}
    for target, runs in RUNS.items():
        limit = [f"--runs={runs}"] if minutes is None else [f"--seconds={round(minutes * 60 / len(RUNS))}"]
        command = [TOOLS, "-m", "endurance.fuzz", target, f"--seed={SEED}", *limit]
        done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
        found = re.search(r"^Done (\d+) runs in (\d+) second", done.stderr, re.M)
        if done.returncode or found is None:
            print(done.stderr[-6000:])
            print(f"fuzz {target}: FAILED")
            return False
        covered = re.findall(r"cov: (\d+) ft: (\d+)", done.stderr)[-1]
        figures[target] = {
            "executions": int(found[1]), "seconds": int(found[2]), "edges": int(covered[0]), "features": int(covered[1])
        }  # fmt: skip
        print(f"fuzz {target}: {figures[target]}", flush=True)
    if minutes is None:
        total = sum(one["executions"] for one in figures.values())
        save("fuzz", {"executions": total, "crashes": 0, "targets": figures}, seed=SEED, packages=("atheris",))
    return True


def openapi(minutes: float | None) -> bool:
    """Requests generated from the OpenAPI document."""
    limit = ["--requests=100000", f"--seed={SEED}"] if minutes is None else [f"--seconds={round(minutes * 60)}"]
    keep = [] if minutes is None else ["--keep-nothing"]
    done = subprocess.run([TOOLS, "-m", "endurance.openapi", *limit, *keep], cwd=ROOT, check=False)
    return done.returncode == 0


def soak(minutes: float | None) -> bool:
    """Half load with reloads."""
    limit = ["--minutes=20"] if minutes is None else [f"--minutes={minutes}", "--keep-nothing"]
    done = subprocess.run([sys.executable, "-m", "endurance.soak", *limit], cwd=ROOT, check=False)
    return done.returncode == 0


ALL = {"fuzz": fuzz, "openapi": openapi, "soak": soak}


def main() -> int:
    parser = argparse.ArgumentParser(description="Long runs.")
    parser.add_argument("names", nargs="*", default=list(ALL), help=", ".join(ALL))
    parser.add_argument("--minutes", type=float, help="of each; without it the full runs, whose results are kept")
    given = parser.parse_args()
    failed = []
    for name in given.names:
        print(f"== {name}", flush=True)
        if not ALL[name](given.minutes):
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all well")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
