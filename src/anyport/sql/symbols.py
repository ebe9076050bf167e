"""Arrays of expressions: what every operator on them needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible
from anyport.sql.expr import Node, Pool

if TYPE_CHECKING:
    from numpy.typing import NDArray

Operator = Callable[[Pool, Sequence[Any], Mapping[str, Any]], Any]
"""Arrays in, an array (or a tuple of them) out: numbers, where they are constant; Nodes, where they hang on the row."""


def held(pool: Pool, array: NDArray[Any]) -> NDArray[Any]:
    """A constant as it comes from the file; texts as objects."""
    return array.astype(object) if array.dtype.kind in "SU" else array


def symbolic(array: Any) -> bool:
    """Whether an array holds expressions."""
    return bool(array.dtype == object and array.size and isinstance(array.reshape(-1)[0], Node))


def nodes(pool: Pool, array: Any) -> NDArray[Any]:
    """The array as expressions."""
    import numpy as np

    if symbolic(array):
        return array  # type: ignore[no-any-return]
    out = np.empty(array.shape, object)
    flat = out.reshape(-1)
    for i, value in enumerate(array.reshape(-1)):
        flat[i] = pool.const(value.decode() if isinstance(value, bytes) else value)
    return out


def whole(array: Any, what: str) -> Any:
    """A constant array; Impossible where it hangs on the row."""
    if symbolic(array):
        raise Impossible(f"{what} depends on the row")
    return array


def each(op: str, numpy_name: str = "") -> Operator:
    """An operator that works element by element."""

    def run(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        import numpy as np

        if not any(symbolic(g) for g in given) and numpy_name:
            with np.errstate(all="ignore"):
                return np.asarray(getattr(np, numpy_name)(*given))
        return mapped(lambda *a: pool.apply(op, *a), *(nodes(pool, g) for g in given))

    return run


def mapped(change: Callable[..., Node], *arrays: Any) -> Any:
    """An array of what `change` makes of the elements, broadcast."""
    import numpy as np

    spread = np.broadcast_arrays(*arrays)
    out = np.empty(spread[0].shape, object)
    flat = out.reshape(-1)
    for i, elements in enumerate(zip(*(s.reshape(-1) for s in spread), strict=True)):
        flat[i] = change(*elements)
    return out


def axes_of(given: Sequence[Any], attributes: Mapping[str, Any], at: int = 1) -> Any:
    """The axes of a reduction, from its second input or its attribute."""
    if len(given) > at and given[at] is not None:
        return [int(v) for v in whole(given[at], "an axis").reshape(-1)]
    return attributes.get("axes")


def plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
