"""XGBoost, LightGBM and CatBoost models → graph, read from what each library itself saves.

A converter is `(b, model, x) -> Answers`, as in graph/sklearn; `x` holds numbers, categories as codes
(`codes` of each module says which).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from anyport.errors import Impossible
from anyport.graph.build import Builder

LIBRARIES = ("xgboost", "lightgbm", "catboost")


def find(model: Any) -> Callable[[Builder, Any, Any], Any] | None:
    """The converter of this model's class (exact class), or None."""
    kind = type(model)
    library = kind.__module__.partition(".")[0]
    if library not in LIBRARIES:
        return None
    module = importlib.import_module(f"anyport.graph.boosters.{library}")
    converters: Mapping[str, Callable[[Builder, Any, Any], Any]] = module.CONVERTERS
    return converters.get(kind.__name__)


def converter(model: Any) -> Callable[..., Any]:
    """The converter of this model's class; Impossible where there is none."""
    found = find(model)
    if found is None:
        raise Impossible(f"no graph of a {type(model).__module__}.{type(model).__qualname__}")
    return found
