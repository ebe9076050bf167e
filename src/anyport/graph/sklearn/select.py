"""Feature selection: a mask found when fitting."""

from __future__ import annotations

from typing import Any

from anyport.graph.build import Builder
from anyport.graph.sklearn import Features
from anyport.graph.sklearn.frame import Frame, lift


def chosen(b: Builder, t: Any, x: Features) -> Frame:
    """The features the fitted selector keeps; they come out of one array, so they share its dtype."""
    return lift(x).joined().select([int(i) for i in t.get_support(indices=True)])


CONVERTERS = dict.fromkeys(
    (
        "VarianceThreshold", "SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr", "SelectFwe",
        "GenericUnivariateSelect", "SelectFromModel", "SequentialFeatureSelector",
    ),
    chosen,
)  # fmt: skip
