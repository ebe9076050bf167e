"""Column and Batch: the only shape data has inside anyport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Column:
    """One column of n rows, in the canonical form of its dtype.

    | dtype        | values                                  | a missing value is          |
    |--------------|-----------------------------------------|-----------------------------|
    | bool, (u)int | ndarray of that dtype, (n, *shape)      | valid False, value 0        |
    | float        | ndarray of that dtype, (n, *shape)      | NaN; `valid` stays None     |
    | string       | object array of str, (n,)               | valid False, value None     |
    | category     | object array of the levels' own type    | valid False, value None     |
    | datetime     | datetime64[us], UTC, (n,)               | NaT; `valid` stays None     |

    `valid` is None when every row is valid. With `dictionary` set (string and category only)
    `values` are int32 codes into it, which is how Arrow and pandas hold repeated text;
    a missing value then has code 0 and valid False (the dictionary may be empty).
    """

    values: NDArray[Any]
    valid: NDArray[np.bool_] | None = None
    dictionary: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def plain(self) -> Column:
        """The same column without a dictionary."""
        import numpy as np

        if self.dictionary is None:
            return self
        if len(self.dictionary) == 0:
            return Column(np.full(len(self.values), None, dtype=object), np.zeros(len(self.values), bool))
        values = np.asarray(self.dictionary, dtype=object)[self.values]
        if self.valid is not None:
            values[~self.valid] = None
        return Column(values, self.valid)

    def missing(self) -> NDArray[np.bool_]:
        """Which rows are missing, whatever the dtype. Shape (n,): any element of a tensor row counts."""
        import numpy as np

        if self.valid is not None:
            return ~self.valid
        kind = self.values.dtype.kind
        if kind == "f":
            nan = np.isnan(self.values)
            flat: NDArray[np.bool_] = nan.any(axis=tuple(range(1, nan.ndim))) if nan.ndim > 1 else nan
            return flat
        if kind == "M":
            nat: NDArray[np.bool_] = np.isnat(self.values)
            return nat
        return np.zeros(len(self.values), bool)


Batch = Mapping[str, Column]


def rows(batch: Batch) -> int:
    """Number of rows; 0 for a batch without columns."""
    for column in batch.values():
        return len(column)
    return 0


def take(batch: Batch, index: Any) -> dict[str, Column]:
    """The rows at `index`: an integer array, a boolean mask or a slice."""
    return {
        name: Column(c.values[index], None if c.valid is None else c.valid[index], c.dictionary)
        for name, c in batch.items()
    }


def concat(batches: Sequence[Batch]) -> dict[str, Column]:
    """The rows of several batches with the same columns, in order."""
    import numpy as np

    if not batches:
        return {}
    joined = {}
    for name in batches[0]:
        parts = [b[name].plain() for b in batches]
        valid = None
        if any(p.valid is not None for p in parts):
            valid = np.concatenate([np.ones(len(p), bool) if p.valid is None else p.valid for p in parts])
        joined[name] = Column(np.concatenate([p.values for p in parts]), valid)
    return joined


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one row has no answer: the column at fault, what it takes, and what came."""

    column: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"column {self.column!r}: expected {self.expected}, got {self.got}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Answers to a batch: every output has one row per input row, invalid where the row was refused."""

    outputs: Batch
    refused: Mapping[int, tuple[Refusal, ...]]
