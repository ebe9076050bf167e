"""Pipelines, column transformers and unions: they only route features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.encoder import Multiply
from anyport.graph.sklearn import Features, convert, transform
from anyport.graph.sklearn.frame import Frame, beside, lift


def pipeline(b: Builder, model: Any, x: Features) -> Any:
    """Answers of the last step, or Features where it is a transformer."""
    features = chain(b, model.steps[:-1], x)
    last = model.steps[-1][1]
    return features if last is None or last == "passthrough" else convert(b, last, features)


def pipeline_features(b: Builder, model: Any, x: Features) -> Features:
    """`transform` of a pipeline, also where its last step could predict."""
    return chain(b, model.steps, x)


def chain(b: Builder, steps: Sequence[tuple[str, Any]], x: Features) -> Features:
    for _, step in steps:
        if step is not None and step != "passthrough":
            x = transform(b, step, x)
    return x


def column_transformer(b: Builder, model: Any, x: Features) -> Frame:
    """Each transformer on its own columns, side by side; text that is passed through stays text."""
    features = lift(x)
    parts = []
    for name, transformer, columns in model.transformers_:
        if (isinstance(transformer, str) and transformer == "drop") or len(_list(columns)) == 0:
            continue
        chosen = features.select(model._transformer_to_input_indices[name])
        if not (isinstance(transformer, str) and transformer == "passthrough"):
            chosen = lift(transform(b, transformer, chosen))
        parts.append(_weighted(chosen, (model.transformer_weights or {}).get(name)))
    if not parts:
        raise Impossible("the ColumnTransformer keeps no column")
    return beside(parts, sparse=bool(model.sparse_output_))


def _list(columns: Any) -> Sequence[Any]:
    """Column selections are lists, arrays, masks, slices, or one name; only empty lists matter here."""
    if isinstance(columns, (slice, str)) or not hasattr(columns, "__len__"):
        return (columns,)
    import numpy as np

    values = np.asarray(columns)
    return tuple(np.flatnonzero(values)) if values.dtype == bool else tuple(values)


def feature_union(b: Builder, model: Any, x: Features) -> Frame:
    """Several transformers of the same features, side by side."""
    weights = model.transformer_weights or {}
    parts = []
    for name, transformer in model.transformer_list:
        if isinstance(transformer, str) and transformer == "drop":
            continue
        same = isinstance(transformer, str) and transformer == "passthrough"
        made = lift(x) if same else lift(transform(b, transformer, x))
        parts.append(_weighted(made, weights.get(name)))
    if not parts:
        raise Impossible("the FeatureUnion keeps nothing")
    return beside(parts, sparse=any(part.sparse for part in parts))


def _weighted(x: Frame, weight: float | None) -> Frame:
    return x if weight is None else x.steps([(Multiply(float(weight)),)] * x.width)


CONVERTERS = {"Pipeline": pipeline, "ColumnTransformer": column_transformer, "FeatureUnion": feature_union}

TRANSFORMS = {"Pipeline": pipeline_features}
