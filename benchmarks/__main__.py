"""Every benchmark, one after the other: python -m benchmarks [NAME ...] [OPTION ...]; options go to each of them."""

from __future__ import annotations

import subprocess
import sys

ALL = ("inprocess", "coldstart", "batch", "serving", "breadth", "databases", "sqlbreadth", "container", "serverless")


def main() -> int:
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")] or ALL
    failed = 0
    for name in chosen:
        print(f"\n== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=False).returncode != 0
    made = subprocess.run([sys.executable, "docs/generate.py"], check=False).returncode
    return made or min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
