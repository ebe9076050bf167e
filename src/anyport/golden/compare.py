"""Comparing answers: labels must be equal, numbers within the tolerance, refusals in the same rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyport.batch import Column, Outcome
from anyport.bundle import Tolerance
from anyport.signature import Field, Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Difference:
    """One answer that is not the original's."""

    row: int
    output: str
    expected: Any
    got: Any


@dataclass(frozen=True)
class Comparison:
    """What comparing two outcomes found. `worst` is the largest absolute difference between finite numbers."""

    rows: int
    differences: tuple[Difference, ...]
    flips: int
    wrong: int
    """Rows with any difference."""
    worst: float

    @property
    def ok(self) -> bool:
        return self.wrong == 0

    def says(self) -> str:
        """In one line."""
        if self.ok:
            return f"{self.rows} rows, worst difference {self.worst:.2g}"
        first = self.differences[0]
        flips = f", {self.flips} label{'s' if self.flips != 1 else ''} flipped" if self.flips else ""
        return (
            f"{self.wrong} of {self.rows} rows differ{flips}; row {first.row} {first.output}: "
            f"expected {first.expected}, got {first.got}"
        )


def compare(
    expected: Outcome,
    got: Outcome,
    signature: Signature,
    *,
    tolerance: Tolerance,
    excluded: Collection[int] = (),
    show: int = 20,
) -> Comparison:
    """Compare `got` with the original's answers. Labels of rows in `excluded` are not compared (the original
    contradicts itself there); `show` limits the differences listed, not those counted."""
    import numpy as np

    n = max((len(c) for c in expected.outputs.values()), default=0)
    differences: list[Difference] = []
    wrong = np.zeros(n, bool)
    for row in sorted(set(expected.refused) ^ set(got.refused)):
        says = "refused" if row in expected.refused else "an answer"
        reason = next(iter(expected.refused.get(row) or got.refused.get(row) or ()), None)
        differences.append(
            Difference(row, "(row)", says, f"{'an answer' if says == 'refused' else 'refused'}: {reason}")
        )
        wrong[row] = True
    answered = np.array([r not in expected.refused and r not in got.refused for r in range(n)], bool)
    worst, flips = 0.0, 0
    for field in signature.outputs:
        have = got.outputs.get(field.name)
        if have is None or len(have) != n:
            size = "nothing" if have is None else f"{len(have)} rows"
            differences.append(Difference(0, field.name, f"{n} rows", size))
            wrong[:] = True
            continue
        bad, distance = unlike(expected.outputs[field.name], have, field, tolerance)
        if field.levels is not None and field.name.startswith("prediction"):
            bad[[r for r in excluded if r < n]] = False
            flipped = int((bad & answered).sum())
            flips += flipped
            if flipped <= tolerance.flips * n:
                bad[:] = False
        bad &= answered
        worst = max(worst, float(np.max(distance, initial=0.0, where=answered)))
        for row in np.flatnonzero(bad)[:show].tolist():
            differences.append(Difference(row, field.name, value(expected, field, row), value(got, field, row)))
        wrong |= bad
    differences.sort(key=lambda d: d.row)
    return Comparison(n, tuple(differences[:show]), flips, int(wrong.sum()), worst)


def unlike(expected: Column, got: Column, field: Field, tolerance: Tolerance) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Which rows of an output differ, and by how much (0 for text and non-finite numbers). Both (n,)."""
    import numpy as np

    a, b = expected.plain().values, got.plain().values
    n = len(a)
    if a.shape != b.shape:
        return np.ones(n, bool), np.zeros(n)
    lost = (expected.missing() != got.missing()) if field.dtype == "string" or not field.is_float else np.zeros(n, bool)
    if field.dtype == "string" or (field.levels is not None and field.name.startswith("prediction")):
        return lost | flat(a != b).any(axis=1), np.zeros(n)
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        distance = np.abs(x - y)
        # an infinite expectation would make the tolerance infinite too, and anything equal to it
        near = np.isfinite(x) & (distance <= tolerance.atol + tolerance.rtol * np.abs(x))
        same = (x == y) | (np.isnan(x) & np.isnan(y)) | near
        distance = np.where(np.isfinite(distance), distance, 0.0)
    return lost | (~flat(same)).any(axis=1), flat(distance).max(axis=1, initial=0.0)


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """(n, everything else)."""
    return array.reshape(len(array), -1) if len(array) else array.reshape(0, 1)


def value(outcome: Outcome, field: Field, row: int) -> Any:
    """One answer, as plain data."""
    column = outcome.outputs[field.name].plain()
    if column.valid is not None and not column.valid[row]:
        return None
    item = column.values[row]
    return item.tolist() if hasattr(item, "tolist") else item
