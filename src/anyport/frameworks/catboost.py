"""CatBoost: .cbm models and the Python classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible, Mistake, need
from anyport.frameworks import Candidate, Hints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.frameworks import Original
    from anyport.graph.boosters.candidates import Convert
    from anyport.graph.encoder import Encoder
    from anyport.trust import Trust

NAME = "catboost"
SUFFIXES: Sequence[str] = (".cbm",)
EXECUTES = False


def owns(model: Any) -> bool:
    return type(model).__module__.partition(".")[0] == "catboost"


def load(path: Path, trust: Trust) -> Any:
    """The class that fits the model's loss."""
    catboost = need("catboost")
    try:
        plain = catboost.CatBoost().load_model(str(path))
    except catboost.CatBoostError as error:
        why = str(error).partition("\n")[0]
        raise Mistake(f"{path} is no CatBoost model: {why}", fix="write it with model.save_model(path)") from error
    loss = str(plain.get_all_params().get("loss_function", ""))
    for name, fits in (
        ("CatBoostClassifier", plain._is_classification_objective),
        ("CatBoostRegressor", plain._is_regression_objective),
        ("CatBoostRegressor", plain._is_multiregression_objective),
        ("CatBoostRanker", plain._is_ranking_objective),
    ):
        if fits(loss):
            return getattr(catboost, name)().load_model(str(path))
    return plain


def hints(model: Any, data: Any) -> Hints:
    from anyport.frameworks.sklearn import mixed

    names = tuple(model.feature_names_)
    labels: dict[str, tuple[Any, ...]] = {}
    if classifies(model):
        known = [c.item() if hasattr(c, "item") else c for c in model.classes_]
        labels = {"prediction": tuple(known)}
        if many(model):
            labels = {f"prediction_{i}": (0, 1) for i in range(len(known))}
    if names == tuple(str(i) for i in range(len(names))) and not mixed(data):
        return Hints(container="array", labels=labels)
    if hasattr(data, "columns") and not set(names) <= {str(c) for c in data.columns}:
        names = tuple(str(c) for c in data.columns)  # the model was trained on a bare array
    return Hints(container="dataframe", columns=names, labels=labels)


def classifies(model: Any) -> bool:
    return hasattr(model, "predict_proba")


def many(model: Any) -> bool:
    """Several yes-no targets at once."""
    return str(model.get_all_params().get("loss_function", "")).startswith(("MultiLogloss", "MultiCrossEntropy"))


def ask(model: Any, native: Any) -> dict[str, NDArray[Any]]:
    import numpy as np

    predicted = np.asarray(model.predict(native))
    if not classifies(model):
        return {"prediction": predicted}
    chance = np.asarray(model.predict_proba(native))
    if many(model):
        from anyport.frameworks.sklearn import targets

        return targets(predicted, chance)
    return {"prediction": predicted.ravel(), "probability": chance}


def levels(original: Original) -> dict[int, tuple[Any, ...]]:
    """By column: every category that the field names or the data shows."""
    import numpy as np

    found = {}
    for i in original.model.get_cat_feature_indices():
        field = original.signature.inputs[i]
        if field.is_float or field.dtype == "bool":
            raise Impossible(f"column {field.name!r} is {field.dtype}, which CatBoost writes as text in its own way")
        column = original.data[field.name].plain()
        seen = column.values[~column.missing()]
        shown = np.unique(seen) if field.is_int else sorted(set(seen.tolist()), key=str)
        names = [v.item() if isinstance(v, np.generic) else v for v in shown]
        found[int(i)] = tuple(dict.fromkeys([*(field.levels or ()), *names]))
    return found


def parts(original: Original) -> tuple[Convert, Any]:
    """The converter, and the maker of its encoder."""
    from anyport.graph import boosters
    from anyport.graph.boosters import candidates as made

    known, convert = levels(original), boosters.converter(original.model)
    fields = original.signature.inputs
    tables = {fields[i].name: {v: float(code) for code, v in enumerate(names)} for i, names in known.items()}

    def make(tensor: Any) -> Encoder:
        return made.encoder(fields, tables, tensor=tensor, unknown=-1.0)

    return lambda b, x: convert(b, original.model, x, known), make


def candidates(original: Original) -> Iterator[Candidate]:
    from anyport.graph.boosters import candidates as made

    convert, make = parts(original)
    precisions: Sequence[Any] = (("float32", "float32"), ("float32", "float64"))
    yield from made.candidates(original, convert, precisions, make, ask)


def boundaries(original: Original) -> Mapping[str, NDArray[Any]]:
    from anyport.graph.boosters import candidates as made

    try:
        convert, make = parts(original)
        return made.boundaries(original, convert, make("float32"))
    except Impossible:
        return {}


def requirements(model: Any) -> tuple[str, ...]:
    return ("catboost", "numpy", "pandas")
