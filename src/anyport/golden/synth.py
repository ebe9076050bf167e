"""Synthesised rows: like the user's data column by column, copied from no user row."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from anyport.batch import Column
from anyport.signature import Field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from anyport.batch import Batch

FREQUENT = 5
"""Text seen fewer times than this is never copied."""
WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
"""Stand for text where nothing in the data is frequent enough to copy."""


def synthesise(data: Batch, fields: tuple[Field, ...], n: int, rng: np.random.Generator) -> dict[str, Column]:
    """n rows whose columns are drawn independently: numbers between the data's quantiles, levels by their
    frequency, missing values at the data's own rate (and at least 2 % where the model answers them)."""
    return {f.name: column(data[f.name], f, n, rng) for f in fields}


def column(data: Column, field: Field, n: int, rng: np.random.Generator) -> Column:
    """One column of n synthesised values."""
    import numpy as np

    if field.shape:
        return tensor(data, field, n, rng)
    missing = data.missing()
    rate = max(float(missing.mean()) if len(missing) else 0.0, 0.02) if field.nullable else 0.0
    gone = rng.random(n) < rate
    if field.is_text:
        values = text(data, field, n, rng)
        values[gone] = None
        return Column(values, ~gone if gone.any() else None)
    present = data.values[~missing]
    if field.dtype == "datetime":
        ticks = present.astype("datetime64[us]").astype(np.int64)
        low, high = (int(ticks.min()), int(ticks.max())) if len(ticks) else (0, 1)
        drawn = rng.integers(low, high + 1, n).astype("datetime64[us]")
        drawn[gone] = np.datetime64("NaT")
        return Column(drawn)
    values = numbers(present, field, n, rng)
    if field.is_float:
        values[gone] = np.nan
        return Column(values)
    values[gone] = 0
    return Column(values, ~gone if gone.any() else None)


def numbers(present: NDArray[Any], field: Field, n: int, rng: np.random.Generator) -> NDArray[Any]:
    """n numbers between the quantiles of `present`; from its own few values where these are frequent."""
    import numpy as np

    if field.dtype == "bool":
        return rng.random(n) < (float(present.mean()) if len(present) else 0.5)
    if field.closed:
        return rng.choice(np.array(field.levels, field.dtype), n)
    finite = present[np.isfinite(present)] if field.is_float else present
    if len(finite) == 0:
        return rng.normal(size=n).astype(field.dtype)
    distinct, counts = np.unique(finite, return_counts=True)
    if len(distinct) <= 20 and counts.min() >= FREQUENT:
        return rng.choice(distinct, n).astype(field.dtype)
    grid = np.quantile(finite.astype(np.float64), np.linspace(0, 1, 101))
    drawn = np.interp(rng.random(n) * 100, np.arange(101), grid)
    if field.is_int:
        drawn = np.clip(np.rint(drawn), float(finite.min()), float(finite.max()))
    return drawn.astype(field.dtype)


def text(data: Column, field: Field, n: int, rng: np.random.Generator) -> NDArray[Any]:
    """n strings or levels: frequent values by their frequency; else words that are frequent in the documents."""
    import numpy as np

    seen = [v for v in data.plain().values.tolist() if v is not None]
    counted = Counter(seen)
    if field.closed or field.dtype == "category":
        levels = [v for v in field.levels or () if counted[v] >= FREQUENT] or list(field.levels or ())
    else:
        levels = sorted((v for v, c in counted.items() if c >= FREQUENT), key=str)
    out = np.empty(n, object)
    if levels:
        weights = np.array([counted[v] + 1 for v in levels], float)
        picked = rng.choice(len(levels), n, p=weights / weights.sum())
        out[:] = [levels[i] for i in picked.tolist()]
        return out
    words = Counter(w for v in seen for w in set(re.findall(r"\w+", str(v))))
    frequent = sorted(w for w, c in words.items() if c >= FREQUENT) or list(WORDS)
    lengths = [len(str(v).split()) for v in seen] or [1]
    most = max(1, int(np.quantile(lengths, 0.9)))
    out[:] = [" ".join(rng.choice(frequent, int(rng.integers(1, most + 1))).tolist()) for _ in range(n)]
    return out


def tensor(data: Column, field: Field, n: int, rng: np.random.Generator) -> Column:
    """n tensors with the data's own mean, spread and range; free axes keep the data's size."""
    import numpy as np

    values = data.values
    shape = (n, *values.shape[1:])
    if field.is_text:
        return Column(rng.choice(np.array(WORDS, object), shape))
    if values.size == 0:
        return Column(np.zeros(shape, field.dtype))
    if not field.is_float:
        return Column(rng.integers(int(values.min()), int(values.max()) + 1, shape).astype(field.dtype))
    finite = values[np.isfinite(values)]
    drawn = rng.normal(float(finite.mean()), float(finite.std()) or 1.0, shape)
    return Column(np.clip(drawn, float(finite.min()), float(finite.max())).astype(field.dtype))
