"""Asking a model's own library and its graphs the same rows, one, seven and many at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from anyport.batch import Batch, rows, take
from anyport.bundle import Tolerance
from anyport.frameworks import Candidate, Original, get
from anyport.golden.ask import answer
from anyport.golden.compare import compare
from anyport.packing import described
from anyport.predictor import GraphPredictor

CLOSE = Tolerance(rtol=1e-5, atol=1e-6)


def original(model: Any, data: Any, framework: str) -> Original:
    """The model as pack sees it."""
    assert get(framework).owns(model)
    return described(model, get(framework), data)


def graphs(found: Original) -> dict[str, Candidate]:
    """Every candidate by name."""
    return {c.name: c for c in get(found.framework).candidates(found)}


def repeated(batch: Batch, n: int) -> Batch:
    """n rows, the batch's own over and over."""
    return take(batch, np.arange(n) % rows(batch))


def fault(found: Original, candidate: Candidate, *, exact: bool = False, tolerance: Tolerance = CLOSE) -> str:
    """What is wrong with a graph's answers to 1, 7 and 300 rows; "" if nothing is."""
    graph = candidate.exact if exact else candidate.fast
    assert graph is not None
    try:
        predictor = GraphPredictor(found.signature, graph, None if exact else candidate.encoder)
        for n in (1, 7, 300):
            batch = repeated(found.data, n)
            result = compare(answer(found, batch), predictor.predict(batch), found.signature, tolerance=tolerance)
            assert result.rows == n
            if not result.ok:
                return f"{n} rows: {result.says()}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
