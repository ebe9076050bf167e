"""Every benchmark, one after the other: python -m benchmarks [NAME ...]."""

from __future__ import annotations

import subprocess
import sys

ALL = ("inprocess", "coldstart", "batch", "serving", "breadth", "container")


def main() -> int:
    chosen = sys.argv[1:] or ALL
    for name in chosen:
        print(f"\n== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False)
        if done.returncode:
            return done.returncode
    return subprocess.run([sys.executable, "docs/generate.py"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
