"""orbital's SQL of the same pipeline, written in its own environment: python peer.py MODEL.joblib FOLDER DIALECT ..."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main() -> int:
    import joblib
    import orbital
    from orbital.types import DoubleColumnType, StringColumnType

    model, folder, *dialects = sys.argv[1:]
    pipeline = joblib.load(model)
    kinds = {"age": DoubleColumnType(), "income": DoubleColumnType(), "balance": DoubleColumnType(),
             "tenure": DoubleColumnType(), "city": StringColumnType(), "plan": StringColumnType()}  # fmt: skip
    found = {}
    for dialect in dialects:
        start = time.perf_counter()
        text = orbital.export_sql("people", orbital.parse_pipeline(pipeline, kinds), dialect=dialect)
        found[dialect] = {"seconds": round(time.perf_counter() - start, 3), "bytes": len(text)}
        (Path(folder) / f"{dialect}.sql").write_text(text)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
