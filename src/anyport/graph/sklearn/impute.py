"""Imputers of single columns, and indicators of what was missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from anyport.graph.build import Builder
from anyport.graph.encoder import Impute
from anyport.graph.sklearn import Features
from anyport.graph.sklearn.cells import SELF, Cell, Const, Feature, Levels, Num, Part, Term, missing, renamed
from anyport.graph.sklearn.frame import Frame, graph_frame, lift


def is_gap(marker: Any, value: Any) -> bool:
    """Whether scikit-learn takes a single value for missing (`_get_mask`): None is not NaN there."""
    if type(marker).__name__ == "NAType":
        return missing(value)
    if isinstance(marker, float) and marker != marker:
        return isinstance(value, float) and value != value
    return value is None if marker is None else bool(value == marker)


def simple(b: Builder, t: Any, x: Features) -> Frame:
    """SimpleImputer with every strategy, numbers and text, any marker, add_indicator, keep_empty_features."""
    import numpy as np

    features = lift(x)
    numbers = np.dtype(t._fit_dtype).kind != "O"
    dtype = features.float_dtype() if numbers else "object"
    kept: list[Feature] = []
    for i, fill in enumerate(t.statistics_.tolist()):
        if t.keep_empty_features or not (isinstance(fill, float) and fill != fill):
            kept.append(_filled(b, features.select([i]), t.missing_values, fill, dtype))
    made = features.having(kept)
    if not t.add_indicator:
        return made
    return made.having((*made.features, *_masks(b, features, t.missing_values, t.indicator_.features_)))


def _filled(b: Builder, one: Frame, marker: Any, fill: Any, dtype: str) -> Feature:
    import numpy as np

    feature = one.features[0]
    if isinstance(feature, Cell) and (feature.other is SELF or isinstance(fill, str)):
        return renamed(feature, lambda v: fill if v is not SELF and is_gap(marker, v) else v, [marker])
    if dtype == "float32":
        fill = float(np.float32(fill))
    if missing(marker):
        return one.steps([(Impute(float(fill)),)], dtype="float64").features[0]
    value = one.tensor()
    hit = b.add("Equal", [value, b.constant(float(marker), b.float)])
    made = b.add("Where", [hit, b.constant(float(fill), b.float), value])
    return graph_frame(b, made, 1, dtype=feature.dtype).features[0]


def indicator(b: Builder, t: Any, x: Features) -> Frame:
    """MissingIndicator: one output for each feature that it reports."""
    features = lift(x)
    return features.having(_masks(b, features, t.missing_values, t.features_))


def _masks(b: Builder, x: Frame, marker: Any, chosen: Any) -> list[Feature]:
    return [_mask(b, x.select([int(i)]), marker) for i in chosen]


def _mask(b: Builder, one: Frame, marker: Any) -> Feature:
    feature = one.features[0]
    if isinstance(feature, (Part, Term)) or (isinstance(feature, Num) and feature.steps and not missing(marker)):
        value = one.tensor()
        gone = b.add("IsNaN", [value]) if missing(marker) else b.add("Equal", [value, b.constant(marker, b.float)])
        return graph_frame(b, b.cast(gone, b.float), 1, dtype="bool").features[0]
    if isinstance(feature, Num):
        if any(isinstance(s, Impute) for s in feature.steps):
            return Const(0.0, "bool")
        if missing(marker):
            return Cell(Levels(feature.column, ()), 0.0, {}, 1.0, 0.0, "bool")
    made = renamed(feature, lambda v: float(v is not SELF and is_gap(marker, v)), [marker])
    return replace(made, dtype="bool")


CONVERTERS = {"SimpleImputer": simple, "MissingIndicator": indicator}
