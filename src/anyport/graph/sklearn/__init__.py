"""scikit-learn → ONNX, our own: converters compute in the builder's float dtype and cast where the original casts.

A converter is `(b, estimator, x) -> Answers` (predictors) or `(b, transformer, x) -> Features`.
Meta-estimators pass `x` on untouched; everything else asks `x.tensor()`. What no family below knows
goes to skl2onnx's converter, inlined (stock.py).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from anyport.errors import Impossible
from anyport.graph.build import Builder

FAMILIES = (
    "trees", "linear", "neighbours", "bayes", "svm", "cluster", "neural", "kernels",  # predictors
    "meta", "multi", "outlier", "others",
    "compose", "scale", "encode", "impute", "expand", "select", "decompose", "text",  # transformers
)  # fmt: skip
"""Modules beside this one; each has `CONVERTERS: dict[class name, function]`, and where classes of it both
predict and transform (KMeans, LDA, stacking, RFE), `TRANSFORMS` of the same shape for their `transform`."""


class Features(Protocol):
    """n rows of `width` features, not necessarily in the graph yet: a column may still be raw."""

    @property
    def width(self) -> int:
        """Number of features."""

    def tensor(self) -> str:
        """The graph value [N, width] in the builder's float dtype; makes it on first call."""

    def select(self, indices: list[int]) -> Features:
        """Some of the features, in the order given."""

    def slots(self) -> list[int] | None:
        """The encoder slots these features are, in order, when they are the encoder's own output untouched
        (so that a tree's threshold can be folded back to the raw column); else None."""


@dataclass(frozen=True)
class Tensor:
    """Features that are a graph value already."""

    b: Builder
    value: str
    width: int

    def tensor(self) -> str:
        return self.value

    def select(self, indices: list[int]) -> Tensor:
        if indices == list(range(self.width)):
            return self
        index = self.b.constant(indices, "int64")
        return Tensor(self.b, self.b.add("Gather", [self.value, index], axis=1), len(indices))

    def slots(self) -> list[int] | None:
        return None


@dataclass(frozen=True)
class Answers:
    """What a predictor gives, as graph values. All floats are of the builder's float dtype."""

    prediction: str | None = None
    """Classifier: int64 [N], an index into classes_. Regressor: float [N] or [N, targets]. Clusterer: int64 [N]."""
    probability: str | None = None
    """[N, classes], where the original has predict_proba."""
    decision: str | None = None
    """[N] or [N, classes]: the original's decision_function, for meta-estimators that read it."""
    per_target: tuple[Answers, ...] | None = None
    """Multi-output classifiers: one Answers a target; the fields above are then None."""


def find(estimator: Any, table: str = "CONVERTERS") -> Callable[[Builder, Any, Any], Any] | None:
    """Our converter of this estimator's class (exact class, never a subclass's), or None."""
    kind = type(estimator)
    if kind.__module__.partition(".")[0] != "sklearn":
        from anyport.graph import boosters

        return boosters.find(estimator) if table == "CONVERTERS" else None
    for family in FAMILIES:
        try:
            module = importlib.import_module(f"anyport.graph.sklearn.{family}")
        except ModuleNotFoundError as error:
            if error.name != f"anyport.graph.sklearn.{family}":
                raise
            continue
        found = getattr(module, table, {}).get(kind.__name__)
        if found is not None:
            return found  # type: ignore[no-any-return]
    return None


def convert(b: Builder, estimator: Any, x: Features) -> Any:
    """Answers of a predictor, or Features of a transformer. Impossible where nothing converts it."""
    found = find(estimator)
    if found is None:
        from anyport.graph.sklearn.stock import stock

        return stock(b, estimator, x)
    return found(b, estimator, x)


def transform(b: Builder, estimator: Any, x: Features) -> Features:
    """What the estimator's `transform` gives, for steps that stand before another; Impossible where nothing knows."""
    found = find(estimator, "TRANSFORMS")
    made = found(b, estimator, x) if found is not None else convert(b, estimator, x)
    if isinstance(made, Answers):
        raise Impossible(f"{type(estimator).__name__} is used as a transformer, which has no converter")
    return made  # type: ignore[no-any-return]
