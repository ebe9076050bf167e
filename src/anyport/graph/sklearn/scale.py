"""Scalers: steps of one column each, in the dtype that scikit-learn computes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyport.graph.build import Builder
from anyport.graph.encoder import Add, Clip, Divide, Multiply, Step, Subtract
from anyport.graph.sklearn import Features
from anyport.graph.sklearn.frame import Frame, lift


def _chains(*rows: Sequence[Step] | None) -> list[tuple[Step, ...]]:
    """Rows of one step per feature, as one chain per feature."""
    return list(zip(*(row for row in rows if row is not None), strict=True))


def _divide(x: Frame, scale: Any) -> list[Step]:
    """Sparse matrices are multiplied by the reciprocal."""
    if x.sparse:
        return [Multiply(float(v)) for v in 1.0 / scale]
    return [Divide(float(v)) for v in scale]


def standard(b: Builder, t: Any, x: Features) -> Frame:
    """(x - mean) / scale; means are rounded to the data's dtype first."""
    features = lift(x)
    dtype = features.float_dtype()
    mean = None if not t.with_mean else [Subtract(float(v)) for v in t.mean_.astype(dtype)]
    scale = None if not t.with_std else _divide(features, t.scale_ if features.sparse else t.scale_.astype(dtype))
    return _apply(features, dtype, mean, scale)


def min_max(b: Builder, t: Any, x: Features) -> Frame:
    """x * scale + min, then clipped where asked."""
    features = lift(x)
    clip: list[Step] | None = [Clip(*map(float, t.feature_range))] * features.width if t.clip else None
    scale, low = [Multiply(float(v)) for v in t.scale_], [Add(float(v)) for v in t.min_]
    return _apply(features, features.float_dtype(), scale, low, clip)


def max_abs(b: Builder, t: Any, x: Features) -> Frame:
    """x / scale, then clipped to ±1 where asked."""
    features = lift(x)
    clip: list[Step] | None = [Clip(-1.0, 1.0)] * features.width if t.clip else None
    return _apply(features, features.float_dtype(), _divide(features, t.scale_), clip)


def robust(b: Builder, t: Any, x: Features) -> Frame:
    """(x - center) / scale."""
    features = lift(x)
    center = [Subtract(float(v)) for v in t.center_] if t.with_centering and not features.sparse else None
    scale = _divide(features, t.scale_) if t.with_scaling else None
    return _apply(features, features.float_dtype(), center, scale)


def _apply(x: Frame, dtype: str, *rows: Sequence[Step] | None) -> Frame:
    chains = _chains(*rows) or [()] * x.width
    return x.steps(chains, dtype=dtype)


CONVERTERS = {"StandardScaler": standard, "MinMaxScaler": min_max, "MaxAbsScaler": max_abs, "RobustScaler": robust}
