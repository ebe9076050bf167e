"""One chunk's answers: only rows that can be answered reach the predictor, a cache-sized part at a time."""

from __future__ import annotations

from collections.abc import Mapping

from anyport.batch import Batch, Column, Outcome, Refusal, concat, take
from anyport.predictor import Predictor, blank, scatter
from anyport.signature import Signature, refusals

FREE_ROWS = 256
"""Rows of a chunk where an axis is free: each may be of a size of its own."""
CELLS = 1 << 22
"""Cells of a chunk: 32 MB as doubles."""
RUN_CELLS = 1 << 19
"""Cells of the tensor of one run: what is encoded is still in the cache when the graph reads it."""


def chunk_rows(asked: int, signature: Signature) -> int:
    """Rows read together, fewer where rows are wide."""
    width = max(sum(f.width for f in signature.inputs), sum(f.width for f in signature.outputs), 1)
    return max(1, min(asked, FREE_ROWS if free_axes(signature) else asked, CELLS // width))


def free_axes(signature: Signature) -> frozenset[str]:
    """The inputs whose rows may differ in shape."""
    return frozenset(f.name for f in signature.inputs if None in f.shape)


def run_rows(predictor: Predictor, signature: Signature) -> int:
    """Rows of one run of the predictor."""
    encoder = getattr(predictor, "encoder", None)
    width = encoder.width if encoder is not None else sum(f.width for f in signature.inputs)
    return max(256, RUN_CELLS // max(width, 1))


def answer(
    predictor: Predictor, batch: Batch, wrong: Mapping[int, tuple[Refusal, ...]], rows: int, signature: Signature
) -> Outcome:
    """The Outcome of a chunk in which the rows `wrong` are refused already."""
    import numpy as np

    if not wrong:
        return _in_runs(predictor, batch, rows, signature)
    good = np.setdiff1d(np.arange(rows), list(wrong))
    bad = np.array(sorted(wrong))
    refused: dict[int, tuple[Refusal, ...]] = dict(wrong)
    for at, said in refusals(take(batch, bad), signature).items():
        row = int(bad[at])
        seen = {refusal.column for refusal in wrong[row]}
        # "" stands for the whole row: it could not be split, so none of its cells is missing on its own
        refused[row] += tuple(r for r in said if r.column not in seen and "" not in seen)
    if not len(good):
        return Outcome(blank(signature, rows), refused)
    outcome = _in_runs(predictor, take(batch, good), len(good), signature)
    for at, said in outcome.refused.items():
        refused[int(good[at])] = said
    return Outcome({name: scatter(column, good, rows) for name, column in outcome.outputs.items()}, refused)


def _in_runs(predictor: Predictor, batch: Batch, rows: int, signature: Signature) -> Outcome:
    """The Outcome of several runs as one."""
    if rows == 0:
        return Outcome(blank(signature, 0), {})
    size = run_rows(predictor, signature)
    if rows <= size:
        return predictor.predict(batch)
    parts: list[Mapping[str, Column]] = []
    refused: dict[int, tuple[Refusal, ...]] = {}
    for start in range(0, rows, size):
        outcome = predictor.predict(take(batch, slice(start, start + size)))
        parts.append(outcome.outputs)
        refused.update({start + row: said for row, said in outcome.refused.items()})
    return Outcome(concat(parts), refused)
