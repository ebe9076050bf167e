"""Split points in raw columns: thresholds folded back over the encoder's steps, to the double at which they flip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anyport.graph.encoder import Bins, Encoder, Number
from anyport.graph.trees import LEAF, MEMBER, TINY, TreeTable, at_most
from anyport.signature import Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def raw_boundaries(
    encoder: Encoder, trees: Sequence[tuple[TreeTable, Sequence[int] | None]], signature: Signature
) -> dict[str, NDArray[np.float64]]:
    """By column of numbers: every double at which some comparison answers differently from the next double up,
    ascending. Only for features that are the encoder's own (`trees` as in `Builder.trees`)."""
    import numpy as np

    limits = thresholds(trees)
    found: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for entry in encoder.entries:
        if not isinstance(entry, (Number, Bins)):
            continue
        field = signature.input(entry.column)
        if field.shape or not (field.is_float or field.is_int):
            continue
        if isinstance(entry, Bins):
            asked = [(False, np.nextafter(np.asarray(entry.edges, np.float64), -np.inf))]
        else:
            rounds = encoder.tensor == "float32"
            asked = [(rounds or cast32, values) for cast32, values in limits.get(entry.slot, [])]
        for rounded, values in asked:
            found[entry.column].append(folded(entry, np.unique(values), rounded=rounded))
    return {column: np.unique(np.concatenate(parts)) for column, parts in found.items() if sum(map(len, parts))}


def thresholds(
    trees: Sequence[tuple[TreeTable, Sequence[int] | None]],
) -> dict[int, list[tuple[bool, NDArray[np.float64]]]]:
    """By encoder slot: whether the trees round it to float32, and what they compare it with (x <= t)."""
    import numpy as np

    found: dict[int, list[tuple[bool, Any]]] = defaultdict(list)
    for table, slots in trees:
        if slots is None:
            continue
        splits = (table.mode != LEAF) & (table.mode != MEMBER)
        if not splits.any():
            continue
        features, values = table.feature[splits], at_most(table)[splits]
        order = np.argsort(features, kind="stable")
        kinds, starts = np.unique(features[order], return_index=True)
        for feature, part in zip(kinds, np.split(values[order], starts[1:]), strict=True):
            found[slots[feature]].append((table.cast32, part))
            if table.zero_missing[feature]:
                found[slots[feature]].append((table.cast32, np.array([TINY, np.nextafter(-TINY, -np.inf)])))
    return found


def folded(entry: Number | Bins, limits: NDArray[Any], *, rounded: bool) -> NDArray[np.float64]:
    """For each limit the largest finite double r such that steps(r) <= limit differs from the next double's
    answer; limits that no double crosses are left out. The steps rise or fall throughout."""
    import numpy as np

    from anyport.graph.encode import run_steps

    def goes(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        with np.errstate(all="ignore"):
            x = run_steps(entry.steps, unkey(keys))
            return (x.astype(np.float32) if rounded else x) <= limits

    most = np.full(len(limits), key(np.array([np.finfo(np.float64).max]))[0])
    low, high = -most, most
    first = goes(low)
    crossed = first != goes(high)
    for _ in range(64):
        middle = (low >> 1) + (high >> 1) + (low & high & 1)  # (low + high) // 2, which would overflow
        same = goes(middle) == first
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return np.asarray(unkey(low)[crossed], np.float64)


def key(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """Doubles as integers in the same order; -0.0 and 0.0 are one."""
    import numpy as np

    bits = x.view(np.int64)
    return np.where(bits < 0, np.iinfo(np.int64).min - bits, bits)


def unkey(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """The doubles of `key`."""
    import numpy as np

    return np.where(keys < 0, np.iinfo(np.int64).min - keys, keys).view(np.float64)
