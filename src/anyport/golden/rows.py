"""Making golden rows: typical ones, and those on which deployments go wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyport.batch import Batch, Column, Outcome, concat, rows, take
from anyport.frameworks import Original
from anyport.golden.ask import answer, single
from anyport.golden.compare import unlike
from anyport.golden.rules import unknown_level
from anyport.golden.synth import synthesise
from anyport.signature import Field, Signature, refusals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_ROWS = 2000
MOST_BYTES = 8 << 20
SECONDS = 4.0
"""For asking the original row by row; of a slow model fewer rows are asked alone, at least LEAST_ROWS."""
LEAST_ROWS = 150
HUGE = 1e30
"""Far beyond any data, yet its cube is finite: past that a distance overflows, and what the original answers
depends on how its library sums."""
UNICODE = ("žluťoučký kůň", "日本語", "🙂", "a'b\"c\\d,e;f\tg", " padded ", "İstanbul", "0012")
"""Strings that encodings, quoting, trimming or case folding spoil."""


@dataclass(frozen=True)
class Golden:
    """Inputs, the original's answers to each asked alone, and why each row is there."""

    inputs: Batch
    outcome: Outcome
    why: tuple[str, ...]
    noise: float
    """Largest difference between the original's answer to a row alone and in a batch."""
    excluded: tuple[int, ...]
    """Rows whose label the original itself changes between alone and batch."""
    unexplained: int = 0
    """Rows that the original refused though no column rule says so."""


def make(
    original: Original,
    boundaries: Mapping[str, NDArray[Any]],
    *,
    seed: int = 0,
    limit: int = MOST_ROWS,
    real: bool = False,
) -> Golden:
    """Golden rows of the original, by its data and `seed`. With `real`, typical rows are the user's own."""
    import numpy as np

    rng = np.random.default_rng(seed)
    fields = original.signature.inputs
    size, asked = budget(original, limit, rng)
    parts: list[tuple[str, dict[str, Column]]] = []
    parts += special(original, rng, room=min(size // 3, asked))
    # one column on a split is a row like those that come; all of them at once try many more splits a row
    for on_split in (edges(original, boundaries, rng), all_edges(original, boundaries, rng, size // 6)):
        if on_split is not None:
            keep = rng.permutation(rows(on_split))[: size // 6]
            parts.append(("boundary", take(on_split, np.sort(keep))))
    left = max(size - sum(rows(b) for _, b in parts), size // 4)
    if real:
        n = rows(original.data)
        parts.insert(0, ("typical", take(original.data, np.sort(rng.permutation(n)[:left]))))
    else:
        parts.insert(0, ("typical", synthesise(original.data, fields, left, rng)))
    inputs = concat([b for _, b in parts])
    why = tuple(w for w, b in parts for _ in range(rows(b)))
    return settle(original, inputs, why, asked=asked)


def settle(original: Original, inputs: Batch, why: tuple[str, ...], *, asked: int) -> Golden:
    """Ask the rows in a batch, and alone: the special ones first, then as many others as `asked` allows.

    What a row alone is answered counts; rows that the rules refuse though the original answers are dropped.
    """
    import numpy as np

    together = answer(original, inputs)
    plain = [r for r, w in enumerate(why) if w in ("typical", "boundary")]
    some = set(plain[:: max(len(plain) // max(asked, 1), 1)][:asked])
    index = [r for r, w in enumerate(why) if r in some or w not in ("typical", "boundary") or r in together.refused]
    alone = single(original, take(inputs, index))
    ruled = refusals(inputs, original.signature)
    refused = {index[i] for i in alone.refused}
    odd = (set(ruled) & set(range(len(why)))) - refused
    if odd:
        keep = np.array([r for r in range(len(why)) if r not in odd])
        return settle(original, take(inputs, keep), tuple(why[r] for r in keep.tolist()), asked=asked)
    asked_alone = Outcome(
        take(together.outputs, index), {i: together.refused[r] for i, r in enumerate(index) if r in together.refused}
    )
    noise, apart = disagreement(original.signature, alone, asked_alone)
    outcome = merged(together, alone, index)
    unexplained = len(refused - set(ruled))
    return Golden(inputs, outcome, why, noise, tuple(index[i] for i in apart), unexplained)


def merged(together: Outcome, alone: Outcome, index: list[int]) -> Outcome:
    """The batch's answers, replaced at `index` by those of each row alone."""
    import numpy as np

    outputs = {}
    n = max((len(c) for c in together.outputs.values()), default=0)
    for name, column in together.outputs.items():
        values, valid = column.values.copy(), np.ones(n, bool) if column.valid is None else column.valid.copy()
        other = alone.outputs[name]
        values[index] = other.values
        valid[index] = True if other.valid is None else other.valid
        outputs[name] = Column(values, None if valid.all() else valid)
    kept = {row: why for row, why in together.refused.items() if row not in set(index)}
    refused = {**kept, **{index[i]: why for i, why in alone.refused.items()}}
    return Outcome(outputs, dict(sorted(refused.items())))


def disagreement(signature: Signature, alone: Outcome, together: Outcome) -> tuple[float, tuple[int, ...]]:
    """How far two outcomes of the same rows are apart, and the rows whose labels differ."""
    import numpy as np

    from anyport.bundle import Tolerance

    noise = 0.0
    rows_apart: set[int] = set()
    both = [r for r in range(max((len(c) for c in alone.outputs.values()), default=0))
            if r not in alone.refused and r not in together.refused]  # fmt: skip
    for field in signature.outputs:
        a, b = take(alone.outputs, both)[field.name], take(together.outputs, both)[field.name]
        bad, distance = unlike(a, b, field, Tolerance(0.0, 0.0))
        if field.dtype == "string" or (field.levels is not None and field.name.startswith("prediction")):
            rows_apart |= {both[i] for i in np.flatnonzero(bad).tolist()}
        else:
            noise = max(noise, float(distance.max(initial=0.0)))
    return noise, tuple(sorted(rows_apart))


def budget(original: Original, limit: int, rng: np.random.Generator) -> tuple[int, int]:
    """How many golden rows (by the bytes of a row and `limit`), and how many may be asked alone (by the
    model's speed, in powers of two so that a busy machine gives the same bundle)."""
    few = synthesise(original.data, original.signature.inputs, 3, rng)
    start = time.perf_counter()
    single(original, few)
    each = (time.perf_counter() - start) / 3
    size = sum(f.width * 8 for f in (*original.signature.inputs, *original.signature.outputs))
    fits = max(min(limit, MOST_BYTES // max(size, 1)), 4)
    quick = 2 ** int(math.log2(max(SECONDS / max(each, 1e-6), 1)))
    return fits, max(min(fits, quick), min(fits, LEAST_ROWS))


def special(original: Original, rng: np.random.Generator, *, room: int) -> list[tuple[str, dict[str, Column]]]:
    """Rows with one column changed: missing, unseen, extreme, unicode; and those that the rules refuse."""
    fields = [f for f in original.signature.inputs if not f.shape]
    changes: list[tuple[str, Field, Any]] = []
    for field in fields:
        changes += [(why, field, value) for why, value in odd_values(original.data[field.name], field)]
    if len(changes) > room:
        by_why: dict[str, list[tuple[str, Field, Any]]] = {}
        for change in changes:
            by_why.setdefault(change[0], []).append(change)
        share = max(room // len(by_why), 1)
        changes = [c for group in by_why.values() for c in sample(group, share, rng)]
    if not changes:
        return []
    base = synthesise(original.data, original.signature.inputs, len(changes), rng)
    for name in base:
        base[name] = base[name].plain()
    for row, (_, field, value) in enumerate(changes):
        base[field.name] = put(base[field.name], field, row, value)
    groups: list[tuple[str, dict[str, Column]]] = []
    for why in dict.fromkeys(c[0] for c in changes):
        index = [i for i, c in enumerate(changes) if c[0] == why]
        groups.append((why, take(base, index)))
    return groups


def sample(group: list[Any], n: int, rng: np.random.Generator) -> list[Any]:
    """n of the group, in its order."""
    keep = sorted(rng.permutation(len(group))[:n].tolist())
    return [group[i] for i in keep]


def odd_values(data: Column, field: Field) -> list[tuple[str, Any]]:
    """Values of one column on which deployments go wrong, each with its reason. None is missing."""
    import numpy as np

    odd: list[tuple[str, Any]] = [("missing" if field.nullable else "refused", None)]
    if field.is_float or field.is_int:
        if field.closed:
            odd.append(("refused", unknown_level(field)))
            return odd + [("level", v) for v in (field.levels or ())[:50]]
        present = data.values[~data.missing()]
        finite = present[np.isfinite(present)] if field.is_float else present
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        spread = (high - low) or 1.0
        reach = [low, high, low - spread, high + spread, 0.0]
        if field.is_int:
            limits = np.iinfo(field.dtype)
            numbers: list[Any] = [int(min(max(v, limits.min), limits.max)) for v in reach]
        else:
            numbers = [*reach, -0.0, 5e-324, 1e-30]
            numbers += [field.high if field.high is not None else HUGE, field.low if field.low is not None else -HUGE]
            if field.dtype != "float64":
                most = float(np.finfo(field.dtype).max)
                numbers = [v for v in numbers if abs(v) <= most]
            odd += [("extreme" if field.infinite else "refused", v) for v in (np.inf, -np.inf)]
            odd += [("refused", np.nextafter(v, v * np.inf)) for v in (field.high, field.low) if v is not None]
        inside = [
            v for v in numbers if (field.low is None or v >= field.low) and (field.high is None or v <= field.high)
        ]
        odd += [("extreme", v) for v in inside]
    elif field.is_text:
        odd.append(("refused" if field.closed else "unseen", unknown_level(field)))
        if field.dtype == "string" and not field.closed:
            odd += [("unicode", v) for v in (*UNICODE, "")]
        odd += [("level", v) for v in (field.levels or ())[:50]] if field.dtype == "category" or field.closed else []
    elif field.dtype == "bool":
        odd += [("level", True), ("level", False)]
    return odd


def put(column: Column, field: Field, row: int, value: Any) -> Column:
    """The column with one value changed; None is missing."""
    import numpy as np

    values = column.values.copy()
    valid = np.ones(len(values), bool) if column.valid is None else column.valid.copy()
    if value is None:
        values[row] = np.nan if field.is_float else (np.datetime64("NaT") if field.dtype == "datetime" else (
            None if field.is_text else 0))  # fmt: skip
        valid[row] = False
    else:
        values[row] = value
        valid[row] = True
    keep = None if field.is_float or field.dtype == "datetime" or valid.all() else valid
    return Column(values, keep)


def edges(
    original: Original, boundaries: Mapping[str, NDArray[Any]], rng: np.random.Generator
) -> dict[str, Column] | None:
    """Three rows for every split of every column: the largest value that goes left, one step below, one step above."""
    import numpy as np

    parts = []
    for field in original.signature.inputs:
        found = boundaries.get(field.name)
        if found is None or len(found) == 0 or field.shape or not (field.is_float or field.is_int):
            continue
        values = around(np.unique(np.asarray(found, np.float64)), field)
        if len(values) == 0:
            continue
        batch = synthesise(original.data, original.signature.inputs, len(values), rng)
        batch[field.name] = Column(values)
        parts.append(batch)
    return concat(parts) if parts else None


def all_edges(
    original: Original, boundaries: Mapping[str, NDArray[Any]], rng: np.random.Generator, n: int
) -> dict[str, Column] | None:
    """n rows with every column that has splits on one of them, or one step beside it; each split comes up as
    often as every other of its column."""
    import numpy as np

    found = {}
    for field in original.signature.inputs:
        splits = boundaries.get(field.name)
        if splits is None or len(splits) == 0 or field.shape or not (field.is_float or field.is_int):
            continue
        values = around(np.unique(np.asarray(splits, np.float64)), field)
        if len(values):
            found[field.name] = Column(values[rng.permutation(max(n, len(values)))[:n] % len(values)])
    if not found:
        return None
    return {**synthesise(original.data, original.signature.inputs, n, rng), **found}


def around(splits: NDArray[Any], field: Field) -> NDArray[Any]:
    """Each split and one step of the field's own dtype either side, inside the field's bounds."""
    import numpy as np

    if field.closed:
        return splits[:0]
    if field.is_int:
        limits = np.iinfo(field.dtype)
        near = np.floor(splits[np.abs(splits) < 2**53])
        values = np.unique(np.concatenate([near - 1, near, near + 1]))
        values = values[(values >= limits.min) & (values <= limits.max)]
    else:
        with np.errstate(over="ignore"):
            here = splits.astype(field.dtype)
        step = np.dtype(field.dtype).type
        values = np.concatenate([np.nextafter(here, step(-np.inf)), here, np.nextafter(here, step(np.inf))])
        values = values[np.isfinite(values)]
    low = -np.inf if field.low is None else field.low
    high = np.inf if field.high is None else field.high
    return values[(values >= low) & (values <= high)].astype(field.dtype)
