"""What a fitted scikit-learn model says of its inputs: names, container, and the categories of each column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

INNER = ("best_estimator_", "estimator_", "regressor_", "classifier_")
"""Where meta-estimators keep the fitted model that sees the raw columns."""
VECTORIZERS = ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer")
KEEPS = (
    "StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "FunctionTransformer", "PowerTransformer",
    "QuantileTransformer", "OrdinalEncoder", "Binarizer", "KNNImputer", "IterativeImputer",
)  # fmt: skip
"""Transformers whose output i is made of input i alone."""


def inner(model: Any) -> Iterator[Any]:
    """The model and what it wraps, outermost first, along the path of the raw columns."""
    seen: set[int] = set()
    while model is not None and id(model) not in seen:
        seen.add(id(model))
        yield model
        steps = getattr(model, "steps", None)
        if steps:
            model = next((s for _, s in steps if s is not None and not isinstance(s, str)), None)
            continue
        found = next((getattr(model, name) for name in INNER if getattr(model, name, None) is not None), None)
        if type(model).__name__ == "FrozenEstimator":
            found = model.estimator
        elif hasattr(model, "calibrated_classifiers_"):
            found = model.calibrated_classifiers_[0].estimator
        elif found is None:
            members = getattr(model, "estimators_", None)
            found = members[0] if isinstance(members, list) and members and hasattr(members[0], "fit") else None
        model = found


def names(model: Any) -> tuple[str, ...] | None:
    """Column names that the model was fitted on."""
    for part in inner(model):
        found = getattr(part, "feature_names_in_", None)
        if found is not None:
            return tuple(str(name) for name in found)
        if type(part).__name__ == "Pipeline":
            continue
    return None


def takes_text(model: Any) -> bool:
    """Whether the model's rows are documents: a vectoriser comes first."""
    for part in inner(model):
        if type(part).__name__ in VECTORIZERS:
            return True
        if type(part).__name__ == "FeatureUnion":
            return any(takes_text(t) for _, t in part.transformer_list if not isinstance(t, str))
    return False


def levels(model: Any, columns: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Categories by raw column, in the fitted order; missing values left out."""
    found: dict[str, tuple[Any, ...]] = {}
    for part in inner(model):
        walk(part, list(columns), found)
    return found


def walk(part: Any, columns: list[str | None], found: dict[str, tuple[Any, ...]]) -> list[str | None]:
    """Collect categories, and give the raw column behind each output (None: a mixture, or not known)."""
    kind = type(part).__name__
    taken = getattr(part, "n_features_in_", len(columns))
    if len(columns) != taken:
        columns = [None] * taken
    if isinstance(part, str):
        return columns if part == "passthrough" else []
    if kind == "Pipeline":
        for _, step in part.steps:
            columns = columns if step is None else walk(step, columns, found)
        return columns
    if kind == "ColumnTransformer":
        indices = part._transformer_to_input_indices
        rows = [(t, [columns[i] for i in indices[name]]) for name, t, _ in part.transformers_ if name in indices]
        return [out for t, chosen in rows if chosen for out in walk(t, chosen, found)]
    if kind == "FeatureUnion":
        return [out for _, t in part.transformer_list for out in walk(t, columns, found)]
    if hasattr(part, "categories_"):
        for name, categories in zip(columns, part.categories_, strict=False):
            if name is not None:
                known = [v for v in categories.tolist() if v is not None and v == v]
                found[name] = tuple(dict.fromkeys((*found.get(name, ()), *known)))
    if kind == "SimpleImputer":
        gone = [not part.keep_empty_features and isinstance(v, float) and v != v for v in part.statistics_.tolist()]
        kept = [name for name, dropped in zip(columns, gone, strict=True) if not dropped]
        return kept + [None] * (len(part.indicator_.features_) if part.add_indicator else 0)
    if kind in KEEPS:
        return columns
    return [None] * count(part)


def count(part: Any) -> int:
    """How many features a fitted transformer gives; 0 where it does not say."""
    if hasattr(part, "_n_features_outs"):
        return int(sum(part._n_features_outs))
    try:
        return len(part.get_feature_names_out())
    except (AttributeError, ValueError, TypeError):
        return 0


def distributions(model: Any) -> tuple[str, ...]:
    """The installed distributions whose classes the model is made of, wherever they sit in it."""
    import importlib.metadata

    roots = {"sklearn", "numpy", "scipy"}
    if names(model) is not None:
        roots.add("pandas")
    seen: set[int] = set()
    todo = [model]
    while todo:
        value = todo.pop()
        if id(value) in seen or isinstance(value, (str, bytes, int, float, type(None))):
            continue
        seen.add(id(value))
        roots.add(type(value).__module__.partition(".")[0])
        if isinstance(value, dict):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set)):
            todo += value
        elif callable(value) and hasattr(value, "__module__"):
            roots.add(str(value.__module__).partition(".")[0])
        todo += list(getattr(value, "__dict__", {}).values())
    owners = importlib.metadata.packages_distributions()
    return tuple(sorted({owners[root][0] for root in roots if root in owners}))
