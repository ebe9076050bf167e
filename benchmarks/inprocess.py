"""In-process predictions, one row and a thousand: the original with a DataFrame against anyport.

The issue's floor: one row as a dict 400 times, a batch of 1,000 three times.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

import anyport
from benchmarks.models import mixed_rows, original, packed
from benchmarks.timing import interleaved, ratio, save


def main() -> None:
    bundle = packed("mixed")
    model = original("mixed")
    loaded = anyport.load(bundle)
    rows = mixed_rows(1_000, seed=7)
    records = rows.to_dict("records")
    frames = [rows.iloc[[i]] for i in range(50)]
    worst = max(
        abs(loaded.predict(r)["probability"][1] - p)
        for r, p in zip(records, model.predict_proba(rows)[:, 1], strict=True)
    )
    turn = iter(range(10**9))
    one = interleaved(
        {
            "original, DataFrame": lambda: model.predict_proba(frames[next(turn) % 50]),
            "original, DataFrame made from the dict": lambda: model.predict_proba(
                pd.DataFrame([records[next(turn) % 1000]])
            ),
            "anyport, dict": lambda: loaded.predict(records[next(turn) % 1000]),
        },
        rounds=9, seconds=0.25,
    )  # fmt: skip
    many = interleaved(
        {"original, DataFrame": lambda: model.predict_proba(rows), "anyport, DataFrame": lambda: loaded.predict(rows)},
        rounds=9,
        seconds=0.25,
    )
    figures = {
        "model": "OneHot(8 columns, 102 levels) + Scaler(6) + HistGradientBoosting(100 trees), one thread",
        "rows_compared": len(records),
        "worst_difference": float(worst),
        "one_row_us": {name: round(float(np.median(v)) * 1e6, 2) for name, v in one.items()},
        "one_row_times_faster": round(ratio(one, "original, DataFrame", "anyport, dict"), 1),
        "batch_1000_ms": {name: round(float(np.median(v)) * 1e3, 3) for name, v in many.items()},
        "batch_1000_times_faster": round(ratio(many, "original, DataFrame", "anyport, DataFrame"), 2),
    }
    print(figures)
    save("inprocess", figures)


if __name__ == "__main__":
    main()
