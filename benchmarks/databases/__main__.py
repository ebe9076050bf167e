"""Gradient boosting of 100 trees of depth 6 in PostgreSQL, DuckDB and SQLite, beside orbital's SQL of the same model.

    python -m benchmarks.databases [--quick]

One core, interleaved rounds, every answer compared with the original's. Writes benchmarks/results/databases.json.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.databases.model import NUMBERS, fitted, rows
from benchmarks.timing import save

FOLDER = Path(__file__).parents[2]
PEER = FOLDER / ".envs" / "peers-orbital" / "bin" / "python"
BULK = 100_000
TABLE = "people"


def boundary_rows(bundle: Any, model: Any, n: int) -> pd.DataFrame:
    """n rows, a third of them with every number on a split of the model or one double beside it."""
    from anyport.frameworks import Original, get
    from anyport.ingest import to_batch

    data = rows(n, seed=5)
    batch, _ = to_batch(data.head(10), bundle.signature.inputs)
    splits = get("sklearn").boundaries(Original(model, "sklearn", bundle.signature, batch))
    rng = np.random.default_rng(6)
    third = n // 3
    for name in NUMBERS:
        picked = rng.choice(np.asarray(splits[name], np.float64), third)
        side = rng.integers(0, 3, third)
        values = data[name].to_numpy().copy()
        values[:third] = np.where(side == 0, picked, np.nextafter(picked, np.where(side == 1, np.inf, -np.inf)))
        data[name] = values
    return data


def timed(calls: Mapping[str, Callable[[], Any]], *, rounds: int, least: float) -> dict[str, list[float]]:
    """Seconds a call, each variant in each round; short ones are repeated for `least` seconds, their median kept."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            took: list[float] = []
            until = time.perf_counter() + least
            while not took or time.perf_counter() < until:
                start = time.perf_counter()
                call()
                took.append(time.perf_counter() - start)
            found[name].append(statistics.median(took))
    return found


def parity(expected: Any, got: Any) -> dict[str, float]:
    """Worst difference of the probability, and labels that flip at one half."""
    values = np.asarray(got, float)
    return {
        "rows": len(values),
        "worst": float(np.abs(values - expected).max()),
        "flips": int(((values > 0.5) != (expected > 0.5)).sum()),
    }


def peer(model: Path, folder: Path) -> dict[str, Any]:
    """orbital's texts, in its own environment; {} with the reason where that is not there."""
    if not PEER.exists():
        return {"missing": "its environment is not there: make bench-envs"}
    script = Path(__file__).with_name("peer.py")
    argv = [*map(str, (PEER, script, model, folder)), "duckdb", "postgres", "sqlite"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"missing": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def compile_times(bundle: Any, rounds: int) -> dict[str, float]:
    """Seconds from the bundle to the SQL text, by engine."""
    from anyport.sql.compile import compiled, selected
    from anyport.sql.dialect import DUCKDB, POSTGRES, SQLITE

    found = {}
    for d in (DUCKDB, POSTGRES, SQLITE):
        took = []
        for _ in range(rounds):
            start = time.perf_counter()
            selected(compiled(bundle, d), d, '"people"')
            took.append(time.perf_counter() - start)
        found[d.name] = round(statistics.median(took), 3)
    return found


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--quick", action="store_true", help="fewer rows and rounds; nothing is saved")
    quick = words.parse_args().quick
    rounds, bulk = (2, 5_000) if quick else (5, BULK)
    warnings.simplefilter("ignore")
    import joblib

    import anyport
    from anyport import targets
    from benchmarks.databases import sides

    with tempfile.TemporaryDirectory(prefix="anyport-bench-") as name:
        folder = Path(name)
        model, data = fitted()
        joblib.dump(model, folder / "model.joblib")
        bundle = anyport.pack(model, data, name="churn", out=folder / "churn.anyport")
        theirs = peer(folder / "model.joblib", folder)
        many = boundary_rows(bundle, model, bulk)
        expected = model.predict_proba(many)[:, 1]
        artefacts = {t: targets.build(bundle, t, folder / t, table=TABLE) for t in ("postgres", "sqlite")}
        artefacts["duckdb"] = targets.build(bundle, "duckdb", folder / "duckdb")
        artefacts["udf"] = targets.build(bundle, "duckdb", folder / "udf", engine="udf")
        found: dict[str, Any] = {"rows": bulk, "compile_s": compile_times(bundle, rounds), "orbital": theirs}
        for engine, opened in sides.ENGINES.items():
            print(f"-- {engine}", flush=True)
            with closing(opened(artefacts, many, folder, theirs)) as side:
                calls = side.calls()
                got = {way: parity(expected, ask()) for way, ask in side.answers().items()}
                took = timed(calls, rounds=rounds, least=0 if quick else 0.5)
                found[engine] = {
                    "version": side.version, "bytes": side.bytes, "seconds": took, "parity": got,
                    "failed": side.failed,
                }  # fmt: skip
                for way, seconds in took.items():
                    each = statistics.median(seconds)
                    rate = "" if way.startswith("one row") else f"  {bulk / each:10,.0f} rows/s"
                    print(f"{way:40} {each * 1e3:12.2f} ms{rate}  {got.get(way, '')}", flush=True)
        found["reached"] = sides.reached(found)
    for key, value in found["reached"].items():
        print(f"{key:40} {value}")
    if not quick:
        save("databases", found)
    wrong = [way for e in sides.ENGINES for way, p in found[e]["parity"].items()
             if not way.startswith("orbital") and (p["flips"] or p["worst"] > sides.WORST.get(way, 1e-12))]  # fmt: skip
    if wrong:
        print(f"not the original's answers: {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
