"""Proving graph candidates: right on every row first, then the fastest of those."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from anyport.batch import Batch, Outcome, concat, rows, take
from anyport.bundle import Tolerance, Tried
from anyport.errors import AnyportError, Impossible
from anyport.frameworks import Candidate, Original
from anyport.golden.ask import answer
from anyport.golden.compare import compare
from anyport.golden.rows import Golden, edges
from anyport.golden.synth import synthesise
from anyport.predictor import GraphPredictor
from anyport.signature import Signature, refusals

if TYPE_CHECKING:
    from numpy.typing import NDArray

REAL_ROWS = 20_000
FURTHER_ROWS = 4_000
EDGE_ROWS = 200_000


@dataclass(frozen=True)
class Kept:
    """The graph that goes into the bundle."""

    candidate: Candidate
    exact: bytes | None


@dataclass(frozen=True)
class Exam:
    """Rows with the original's answers, that every candidate must reproduce."""

    signature: Signature
    tolerance: Tolerance
    inputs: Batch
    expected: Outcome
    golden: Golden


def exam(
    original: Original, golden: Golden, boundaries: Mapping[str, NDArray[Any]], tolerance: Tolerance, *, seed: int = 1
) -> Exam:
    """The user's rows, thousands of synthesised ones, and every split of the model; only rows that the
    original answers and the rules let through (golden rows try the refusals)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    n = rows(original.data)
    own = take(original.data, np.sort(rng.permutation(n)[:REAL_ROWS])) if n > REAL_ROWS else original.data
    fields = original.signature.inputs
    size = max(FURTHER_ROWS * 8 // max(sum(f.width for f in fields), 8), 32)
    parts: list[Batch] = [own, synthesise(original.data, fields, min(size, FURTHER_ROWS), rng)]
    on_split = edges(original, boundaries, rng)
    if on_split is not None:
        many = rows(on_split)
        parts.append(on_split if many <= EDGE_ROWS else take(on_split, np.sort(rng.permutation(many)[:EDGE_ROWS])))
    inputs = concat(parts)
    bad = refusals(inputs, original.signature)
    if bad:
        inputs = take(inputs, np.setdiff1d(np.arange(rows(inputs)), list(bad)))
    expected = answer(original, inputs)
    if expected.refused:
        keep = np.setdiff1d(np.arange(rows(inputs)), list(expected.refused))
        inputs, expected = take(inputs, keep), Outcome(take(expected.outputs, keep), {})
    return Exam(original.signature, tolerance, inputs, expected, golden)


def prove(
    candidates: Iterable[Candidate], paper: Exam, *, say: Callable[[str], None]
) -> tuple[Kept | None, tuple[Tried, ...]]:
    """The fastest candidate that answers every row as the original did, and what became of each one."""
    right: list[tuple[float, Candidate]] = []
    raw: dict[bytes, str] = {}  # every exact graph proven, and what is wrong with it; candidates share them
    tried: list[Tried] = []
    try:
        for candidate in candidates:
            say(f"proving {candidate.name} on {rows(paper.inputs) + rows(paper.golden.inputs):,} rows")
            result, predictor = examine(candidate, paper)
            if predictor is not None and candidate.doubt:
                result = msgspec.structs.replace(result, rejected=candidate.doubt)
            elif predictor is not None:
                cost, microseconds = speed(predictor, paper.inputs)
                right.append((cost, candidate))
                result = msgspec.structs.replace(result, microseconds=microseconds)
                if candidate.exact is not None and candidate.exact not in raw:
                    raw[candidate.exact] = raw_fault(candidate.exact, paper)
                    if raw[candidate.exact]:
                        why = raw[candidate.exact]
                        tried.append(Tried(name=f"{candidate.name}, raw inputs", why="exact.onnx", rejected=why))
            tried.append(result)
    except Impossible as error:
        if not tried:
            raise
        tried.append(Tried(name="further candidates", why="", rejected=error.what))
    if not right:
        return None, tuple(tried)
    _, best = min(right, key=lambda r: r[0])
    exact = next((graph for graph, fault in raw.items() if not fault), None)
    return Kept(best, exact), tuple(tried)


def examine(candidate: Candidate, paper: Exam) -> tuple[Tried, GraphPredictor | None]:
    """Load the candidate and compare its answers; the predictor only if it is right everywhere."""

    def rejected(why: str, **found: Any) -> tuple[Tried, None]:
        return Tried(name=candidate.name, why=candidate.why, rejected=why, **found), None

    try:
        predictor = GraphPredictor(paper.signature, candidate.fast, candidate.encoder)
    except Exception as error:  # onnxruntime raises its own kinds for a graph it cannot load
        return rejected(f"ONNX Runtime does not load it: {first_line(error)}")
    total, worst = 0, 0.0
    golden = paper.golden
    for inputs, expected, excluded in (
        (golden.inputs, golden.outcome, golden.excluded), (paper.inputs, paper.expected, ()),
    ):  # fmt: skip
        try:
            got = predictor.predict(inputs)
        except AnyportError as error:
            return rejected(error.what)
        except Exception as error:  # a node that fails at run time rejects the graph
            return rejected(f"it fails at run time: {first_line(error)}")
        found = compare(expected, got, paper.signature, tolerance=paper.tolerance, excluded=excluded)
        total += found.rows
        worst = max(worst, found.worst)
        if not found.ok:
            return rejected(found.says(), worst=found.worst, flips=found.flips, rows=found.rows)
    few = take(golden.inputs, slice(0, 50))
    for row in range(rows(few)):
        one = predictor.predict(take(few, slice(row, row + 1)))
        alone = Outcome(take(golden.outcome.outputs, slice(row, row + 1)),
                        {0: golden.outcome.refused[row]} if row in golden.outcome.refused else {})  # fmt: skip
        found = compare(
            alone, one, paper.signature, tolerance=paper.tolerance, excluded=(0,) if row in golden.excluded else ()
        )
        if not found.ok:
            return rejected(f"alone, unlike in a batch: {found.says()}")
    return Tried(name=candidate.name, why=candidate.why, worst=worst, rows=total), predictor


def raw_fault(model: bytes, paper: Exam) -> str:
    """Why exact.onnx, which takes raw inputs, is not right; "" if it is."""
    try:
        predictor = GraphPredictor(paper.signature, model, None)
        got = predictor.predict(paper.golden.inputs)
    except Exception as error:  # any failure rejects the graph
        return first_line(error)
    found = compare(
        paper.golden.outcome, got, paper.signature, tolerance=paper.tolerance, excluded=paper.golden.excluded
    )
    return "" if found.ok else found.says()


def first_line(error: Exception) -> str:
    """An exception in one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:200]


def speed(predictor: GraphPredictor, inputs: Batch) -> tuple[float, float]:
    """Cost of a candidate (geometric mean of one row alone and one row of a batch), and µs of one row alone."""
    one = take(inputs, slice(0, 1))
    many = take(inputs, slice(0, 1000))
    alone = best_of(lambda: predictor.predict(one), 30)
    batch = best_of(lambda: predictor.predict(many), 3) / max(rows(many), 1)
    return (alone * batch) ** 0.5, round(alone * 1e6, 1)


def best_of(call: Callable[[], object], times: int) -> float:
    """Shortest of several runs, in seconds."""
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best
