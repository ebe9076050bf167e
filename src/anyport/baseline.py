"""baseline.json: how the user's columns and the model's answers were distributed, which drift is measured against."""

from __future__ import annotations

from collections import Counter
from typing import Any

from anyport.batch import Batch, Column, Outcome
from anyport.golden.synth import FREQUENT
from anyport.signature import Field, Signature

BINS = 10


def make(data: Batch, answers: Outcome, signature: Signature) -> dict[str, Any]:
    """Per column: the share missing, and quantile edges with shares (numbers) or shares of levels (text).

    Text seen fewer than 5 times is counted under `other`, never named.
    """
    return {
        "rows": max((len(c) for c in data.values()), default=0),
        "inputs": {f.name: describe(data[f.name], f) for f in signature.inputs if not f.shape},
        "outputs": {
            f.name: describe(answers.outputs[f.name], f)
            for f in signature.outputs
            if not f.shape and f.name in answers.outputs
        },
    }


def describe(column: Column, field: Field) -> dict[str, Any]:
    """One column's distribution."""
    import numpy as np

    missing = column.missing()
    rate = float(missing.mean()) if len(missing) else 0.0
    if field.is_text or field.dtype == "bool" or field.levels is not None:
        values = [v for v in column.plain().values.tolist() if v is not None]
        counted = Counter(values)
        total = max(len(values), 1)
        keep = {
            str(v): c / total
            for v, c in sorted(counted.items(), key=lambda i: (-i[1], str(i[0])))[:200]
            if c >= FREQUENT
        }
        return {"missing": rate, "levels": keep, "other": max(0.0, round(1.0 - sum(keep.values()), 12))}
    present = column.values[~missing]
    if field.dtype == "datetime":
        present = present.astype("datetime64[us]").astype(np.int64)
    present = present.astype(np.float64)
    present = present[np.isfinite(present)]
    if len(present) == 0:
        return {"missing": rate, "edges": [], "shares": []}
    edges = np.unique(np.quantile(present, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = np.bincount(np.searchsorted(edges, present, side="right"), minlength=len(edges) + 1)
    return {"missing": rate, "edges": edges.tolist(), "shares": (counts / len(present)).tolist()}
