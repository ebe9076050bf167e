"""Imputers of single columns, and indicators of what was missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.encoder import Impute
from anyport.graph.sklearn import Features, convert
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.sklearn.cells import SELF, Cell, Const, Feature, Levels, Num, Part, Term, missing, renamed
from anyport.graph.sklearn.distances import remembered
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
    return _with_indicator(b, t, features, features.having(kept))


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


def iterative(b: Builder, t: Any, x: Features) -> Frame:
    """IterativeImputer: the fitted rounds of regressions, each read where the value was missing."""
    features = lift(x)
    if t.sample_posterior:
        raise Impossible("IterativeImputer with sample_posterior draws at random")
    if not missing(t.missing_values):
        raise Impossible("IterativeImputer with a marker other than NaN")
    start = simple(b, t.initial_imputer_, features)
    kept = list(range(features.width))
    if not t.keep_empty_features:
        kept = [i for i in kept if not t._is_empty_feature[i]]
    gaps = [b.add("IsNaN", [features.select([i]).tensor()]) for i in kept]
    now = list(graph_frame(b, start.tensor(), len(kept), like=features).features)
    for feature, neighbours, estimator in t.imputation_sequence_ if t.n_iter_ else ():
        answers = convert(b, estimator, features.having(now[int(i)] for i in neighbours))
        guess = m.reshaped(b, answers.prediction, 1)
        low, high = float(t._min_value[feature]), float(t._max_value[feature])
        guess = b.add("Min", [b.add("Max", [guess, b.constant(low)]), b.constant(high)])
        own = features.having([now[feature]]).tensor()
        made = b.add("Where", [gaps[feature], guess, own])
        now[feature] = graph_frame(b, made, 1, like=features).features[0]
    return _with_indicator(b, t, features, features.having(now))


def nearest(b: Builder, t: Any, x: Features) -> Frame:
    """KNNImputer: the mean of the nearest training rows that have the value, by distance over what both have."""
    import numpy as np

    features = lift(x)
    if t.metric != "nan_euclidean" or callable(t.weights) or not missing(t.missing_values):
        raise Impossible("KNNImputer with a metric, weights or a marker of its own")
    fit, gone = remembered(np.nan_to_num(t._fit_X)), np.asarray(t._mask_fit_X)
    value = features.tensor()
    empty = b.add("IsNaN", [value])
    zeroed = b.add("Where", [empty, b.constant(0.0), value])
    here = b.add("Sub", [b.constant(1.0), b.cast(empty, b.float)])
    # (x - p)² over features that both have, in scikit-learn's three products
    squares = b.add("MatMul", [m.square(b, zeroed), b.constant((~gone).T.astype(np.float64))])
    cross = m.affine(b, zeroed, -2.0 * fit.T)
    own = b.add("MatMul", [here, b.constant((fit**2).T)])
    far = b.add("Max", [b.add("Add", [b.add("Add", [cross, squares]), own]), b.constant(0.0)])
    both = b.add("MatMul", [here, b.constant((~gone).T.astype(np.float64))])
    none = b.add("Equal", [both, b.constant(0.0)])
    far = m.scale(b, b.add("Div", [far, b.add("Max", [both, b.constant(1.0)])]), float(features.width))
    far = b.add("Where", [none, b.constant(np.inf), b.add("Sqrt", [far])])
    made: list[Feature] = []
    for i in np.flatnonzero(t._valid_mask).tolist() if not t.keep_empty_features else range(features.width):
        if not t._valid_mask[i]:
            made.append(Const(0.0))
            continue
        donors = np.flatnonzero(~gone[:, i])
        guess = _guess(b, t, m.columns(b, far, donors.tolist()), fit[donors, i])
        column = m.tall(b, m.column(b, value, i))
        one = b.add("Where", [m.tall(b, m.column(b, empty, i)), guess, column])
        made += graph_frame(b, one, 1, like=features).features
    return _with_indicator(b, t, features, features.having(made))


def _guess(b: Builder, t: Any, far: str, values: Any) -> str:
    """[N, donors] distances → [N, 1], the mean of the nearest donors' values; of all where none is comparable."""
    import numpy as np

    count = min(t.n_neighbors, len(values))
    nearest_, index = b.add_many("TopK", [far, b.constant([count], "int64")], outputs=2, axis=1, largest=0, sorted=1)
    infinite = b.add("Equal", [nearest_, b.constant(np.inf)])
    if t.weights == "distance":
        exact = b.add("Equal", [nearest_, b.constant(0.0)])
        some = b.add("ReduceMax", [b.cast(exact, b.float), b.constant([1], "int64")], keepdims=1)
        weight = b.add("Div", [b.constant(1.0), b.add("Where", [exact, b.constant(1.0), nearest_])])
        weight = b.add("Where", [b.cast(some, "bool"), b.cast(exact, b.float), weight])
    else:
        weight = b.add("Sub", [b.constant(1.0), b.cast(infinite, b.float)])
    weight = b.add("Where", [infinite, b.constant(0.0), weight])
    total = m.total(b, weight)
    sums = m.total(b, b.add("Mul", [weight, m.choose(b, values.astype(np.float64), index)]))
    nothing = b.add("Equal", [total, b.constant(0.0)])
    mean = b.add("Div", [sums, b.add("Where", [nothing, b.constant(1.0), total])])
    return b.add("Where", [nothing, b.constant(float(values.mean())), mean])


def _with_indicator(b: Builder, t: Any, x: Frame, made: Frame) -> Frame:
    if not t.add_indicator:
        return made
    return made.having((*made.features, *_masks(b, x, t.missing_values, t.indicator_.features_)))


CONVERTERS = {
    "SimpleImputer": simple,
    "MissingIndicator": indicator,
    "IterativeImputer": iterative,
    "KNNImputer": nearest,
}
