"""ONNX operators that move elements and calculate nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyport.errors import Impossible
from anyport.sql.expr import Pool
from anyport.sql.symbols import axes_of, nodes, symbolic, whole


def reshape(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    shape = [int(v) for v in whole(given[1], "a shape")]
    shape = [given[0].shape[i] if v == 0 else v for i, v in enumerate(shape)]
    return given[0].reshape(shape)


def slice_(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    x = given[0]
    starts, ends = (whole(g, "a slice") for g in given[1:3])
    axes = whole(given[3], "a slice") if len(given) > 3 and given[3] is not None else range(len(starts))
    steps = whole(given[4], "a slice") if len(given) > 4 and given[4] is not None else [1] * len(starts)
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index[int(axis)] = slice(int(start), int(end) if abs(int(end)) < 2**31 else None, int(step))
    return x[tuple(index)]


def concat(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    import numpy as np

    if any(symbolic(g) for g in given):
        given = [nodes(pool, g) for g in given]
    return np.concatenate(given, axis=attributes["axis"])


def split(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    import numpy as np

    x, axis = given[0], attributes.get("axis", 0)
    if len(given) > 1 and given[1] is not None:
        ends = np.cumsum(whole(given[1], "a split"))[:-1]
        return tuple(np.split(x, ends, axis=axis))
    return tuple(np.array_split(x, attributes["num_outputs"], axis=axis))


def shape_of(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    import numpy as np

    return np.array(given[0].shape[attributes.get("start", 0) : attributes.get("end")], np.int64)


def expand(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    import numpy as np

    shape = [int(v) for v in whole(given[1], "a shape")]
    return np.broadcast_to(given[0], np.broadcast_shapes(given[0].shape, tuple(shape)))


def unsqueeze(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    import numpy as np

    return np.expand_dims(given[0], tuple(axes_of(given, attributes)))


def squeeze(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    import numpy as np

    axes = axes_of(given, attributes)
    if axes is None:
        raise Impossible("Squeeze of every axis of length one")
    return np.squeeze(given[0], tuple(axes))


def identity(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    return given[0]


def constant(pool: Pool, given: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    return attributes["value"]
