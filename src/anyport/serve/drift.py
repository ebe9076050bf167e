"""Drift: how far what a server sees and answers is from the Bundle's baseline, column by column.

With p the baseline's shares of a column's bins and q those of the rows seen:

- PSI, the population stability index, is Σ (q - p) ln(q / p), which is Jeffreys' divergence KL(q‖p) + KL(p‖q)
  (Jeffreys 1946; Siddiqi, Credit Risk Scorecards, 2006). A missing value is a bin of its own, and so is text that the
  baseline does not name. Empty bins have no logarithm: half a row is added to every bin on both sides.
- Where nothing has drifted, PSI is not 0 but about (B - 1)(1/n + 1/m) for B bins, n rows seen and m in the baseline,
  as then PSI / (1/n + 1/m) has a χ² distribution with B - 1 degrees of freedom (Yurdakul and Naranjo, Journal of Risk
  Model Validation 14(4), 2020). That is `noise`, and verdicts judge what is above it by the usual 0.1 and 0.25.
- The distance of a number is Kolmogorov's and Smirnov's: the largest gap between the two cumulative distributions of
  values that are not missing, at the baseline's quantile edges. That of text is the total variation ½ Σ |q - p|.
  Both lie between 0 (alike) and 1 (nothing in common).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from anyport.batch import Column
from anyport.signature import Field, Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENOUGH = 0.05
"""Share of a verdict's noise that the rows seen may bring: (B - 1) / n, so 200 rows for 10 quantiles and missing."""
SHIFTED, DRIFTED = 0.1, 0.25
Verdict = Literal["few rows", "stable", "shifted", "drifted"]


@dataclass(frozen=True)
class Axis:
    """How the values of one column are counted: in bins between `edges`, or by `levels` and a bin for all others;
    the last bin is always for missing values."""

    name: str
    side: Literal["input", "output"]
    at: int
    """Its place among the signature's inputs or outputs."""
    field: Field
    levels: tuple[str, ...] | None = None
    edges: tuple[float, ...] = ()
    expected: tuple[float, ...] | None = None
    """The baseline's share of each bin; None where there is no baseline."""

    @property
    def width(self) -> int:
        """Number of bins."""
        return (len(self.edges) if self.levels is None else len(self.levels)) + 2

    def words(self) -> tuple[str, ...]:
        """A name for each bin."""
        if self.levels is not None:
            return (*self.levels, "other", "missing")
        ends = ["-∞", *(f"{edge:.4g}" for edge in self.edges), "∞"]
        return (*(f"{low} to {high}" for low, high in pairwise(ends)), "missing")

    def count(self, values: Column | Sequence[Any]) -> NDArray[Any]:
        """Rows in each bin. Values are a Column, or Python values of which None is missing."""
        import numpy as np

        if self.levels is not None:
            listed = values.plain().values.tolist() if isinstance(values, Column) else values
            if isinstance(values, Column):
                gone = values.missing().tolist()
                listed = [None if missing else v for v, missing in zip(listed, gone, strict=True)]
            place = {level: i for i, level in enumerate(self.levels)}
            other, missing = len(place), len(place) + 1
            found = [missing if v is None else place.get(str(v), other) for v in listed]
            return np.bincount(found, minlength=self.width)
        array = numbers(values) if isinstance(values, Column) else np.array(values, np.float64)
        gone = np.isnan(array)
        bins = np.searchsorted(self.edges, array, side="right")
        bins[gone] = len(self.edges) + 1
        return np.bincount(bins, minlength=self.width)


def numbers(column: Column) -> NDArray[Any]:
    """A column of numbers or times as float64; NaN where missing, times in microseconds since 1970."""
    import numpy as np

    values = column.values
    if values.dtype.kind == "M":
        values = values.astype("datetime64[us]").astype(np.int64)
    made = values.astype(np.float64)
    made[column.missing()] = np.nan
    return made


def axes(signature: Signature, baseline: Mapping[str, Any] | None) -> tuple[Axis, ...]:
    """The columns that are counted: all scalar ones of the baseline; without one, outputs that are labels."""
    found = []
    for side, fields in (("output", signature.outputs), ("input", signature.inputs)):
        for at, field in enumerate(fields):
            if field.shape:
                continue
            said = None if baseline is None else baseline[f"{side}s"].get(field.name)
            made = axis(field, side, at, said)  # type: ignore[arg-type]
            if made is not None:
                found.append(made)
    return tuple(found)


def axis(field: Field, side: Literal["input", "output"], at: int, said: Mapping[str, Any] | None) -> Axis | None:
    """One column's, from what baseline.json says of it; without it only labels can be counted."""
    if said is None:
        if side == "input" or not field.levels:
            return None
        return Axis(field.name, side, at, field, tuple(map(str, field.levels)))
    present = 1.0 - said["missing"]
    if "levels" in said:
        shares = (*said["levels"].values(), said["other"])
        levels, edges = tuple(said["levels"]), ()
    else:
        shares = tuple(said["shares"]) or (0.0,)
        levels, edges = None, tuple(said["edges"])
    return Axis(field.name, side, at, field, levels, edges, (*(s * present for s in shares), said["missing"]))


@dataclass(frozen=True)
class Drift:
    """What is known of one column's drift. Numbers are None where there are too few rows to say."""

    column: str
    side: str
    rows: int
    verdict: Verdict
    psi: float | None = None
    noise: float | None = None
    """The PSI to be expected where nothing has drifted."""
    distance: float | None = None
    measure: Literal["ks", "tv"] = "ks"
    missing: float | None = None
    """Share of missing values seen, and `expected_missing` the baseline's; `unseen`: of text that it does not name."""
    expected_missing: float = 0.0
    unseen: float | None = None
    expected_unseen: float = 0.0


def of(axis: Axis, counts: NDArray[Any], base_rows: int) -> Drift:
    """The drift of a column from the rows in each bin. ValueError where the axis has no baseline."""
    import numpy as np

    if axis.expected is None:
        raise ValueError(f"{axis.name} has no baseline")
    p = np.array(axis.expected)
    n = int(counts.sum())
    measure: Literal["ks", "tv"] = "ks" if axis.levels is None else "tv"
    bins = int(((p > 0) | (counts > 0)).sum())
    unseen = float(p[-2]) if axis.levels is not None else 0.0
    if n == 0 or (bins - 1) / n > ENOUGH:
        return Drift(axis.name, axis.side, n, "few rows", None, None, None, measure, None, float(p[-1]), None, unseen)
    q = counts / n
    noise = max(bins - 1, 0) * (1 / n + 1 / max(base_rows, 1))
    index = psi(p * base_rows, counts)
    far = ks(p[:-1], q[:-1]) if measure == "ks" else tv(p, q)
    above = index - noise
    verdict: Verdict = "stable" if above < SHIFTED else "shifted" if above < DRIFTED else "drifted"
    return Drift(
        axis.name, axis.side, n, verdict, index, noise, far, measure, float(q[-1]), float(p[-1]),
        float(q[-2]) if measure == "tv" else None, unseen,
    )  # fmt: skip


def psi(base: NDArray[Any], seen: NDArray[Any]) -> float:
    """The population stability index of two histograms of rows over the same bins; bins empty in both count nothing."""
    import numpy as np

    used = (base > 0) | (seen > 0)
    p, q = base[used] + 0.5, seen[used] + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def ks(p: NDArray[Any], q: NDArray[Any]) -> float:
    """The largest gap between two cumulative distributions; 0 where one has no mass at all."""
    import numpy as np

    if p.sum() <= 0 or q.sum() <= 0:
        return 0.0
    return float(np.abs(np.cumsum(p / p.sum()) - np.cumsum(q / q.sum())).max())


def tv(p: NDArray[Any], q: NDArray[Any]) -> float:
    """The total variation distance of two distributions."""
    import numpy as np

    return float(np.abs(p - q).sum() / 2)
