"""XGBoost: JSON and UBJSON models, Boosters and the scikit-learn classes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from anyport.errors import Impossible, Mistake, need
from anyport.frameworks import Candidate, Hints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.frameworks import Original
    from anyport.graph.encoder import Encoder, Level
    from anyport.trust import Trust

NAME = "xgboost"
SUFFIXES: Sequence[str] = (".json", ".ubj")
EXECUTES = False
ENCODINGS: WeakKeyDictionary[Any, list[dict[str, Any]]] = WeakKeyDictionary()
"""Of each Booster asked: the categories it was trained on, by column."""
CLASSES = {"classifier": "XGBClassifier", "regressor": "XGBRegressor", "ranker": "XGBRanker"}


def owns(model: Any) -> bool:
    return type(model).__module__.partition(".")[0] == "xgboost"


def load(path: Path, trust: Trust) -> Any:
    """A Booster, or the scikit-learn class that saved it."""
    xgboost = need("xgboost")
    try:
        with xgboost.config_context(verbosity=0):
            booster = xgboost.Booster(model_file=path)
    except xgboost.core.XGBoostError as error:
        why = str(error).partition("\n")[0]
        raise Mistake(f"{path} is no XGBoost model: {why}", fix="write it with model.save_model(path)") from error
    saved = booster.attr("scikit_learn")
    name = CLASSES.get(json.loads(saved).get("_estimator_type", "")) if saved else None
    if name is None:
        return booster
    model = getattr(xgboost, name)()
    model.load_model(path)
    return model


def hints(model: Any, data: Any) -> Hints:
    from anyport.frameworks.sklearn import mixed
    from anyport.graph.boosters.xgboost import booster

    names = booster(model).feature_names
    labels: dict[str, tuple[Any, ...]] = {}
    if classifies(model):
        import numpy as np

        labels = {"prediction": tuple(np.asarray(model.classes_).tolist())}
        targets = booster(model).num_target() if hasattr(booster(model), "num_target") else outputs(model)
        if targets > 1 and model.n_classes_ == 2:
            labels = {f"prediction_{i}": (0, 1) for i in range(targets)}
    if names is None:
        return Hints(container="dataframe" if mixed(data) else "array", labels=labels)
    return Hints(container="dataframe", columns=tuple(names), labels=labels)


def outputs(model: Any) -> int:
    from anyport.graph.boosters.xgboost import read

    return read(model).outputs


def classifies(model: Any) -> bool:
    return hasattr(model, "predict_proba")


def ask(model: Any, native: Any) -> dict[str, NDArray[Any]]:
    """A Booster's prediction is what its objective gives: for a binary one the probability of class 1."""
    import numpy as np

    known(model, native)
    if type(model).__name__ == "Booster":
        rows = need("xgboost").DMatrix(native, enable_categorical=True, **bare(model, native))
        return {"prediction": np.asarray(model.predict(rows))}
    predicted = np.asarray(model.predict(native))
    if not classifies(model):
        return {"prediction": predicted}
    chance = np.asarray(model.predict_proba(native))
    if predicted.ndim == 2:
        from anyport.frameworks.sklearn import targets

        return targets(predicted.astype(np.int64), chance)
    return {"prediction": predicted, "probability": chance}


def known(model: Any, native: Any) -> None:
    """ValueError for a category that training never saw. XGBoost 3.2 says it refuses those, but refuses only what
    sorts behind every known category, and answers as if the rest were the next category in order (its lower bound)."""
    own = {n: native[n] for n in getattr(native, "columns", ()) if str(native[n].dtype) == "category"}
    if not own:
        return
    from anyport.graph.boosters.xgboost import booster, read

    learner = booster(model)
    if learner not in ENCODINGS:  # rows are asked one by one, and the JSON of a large model takes a second
        ENCODINGS[learner] = read(model).body.get("cats", {}).get("enc", [])
    encodings = ENCODINGS[learner]
    for i, name in enumerate(native.columns):
        if name in own and i < len(encodings) and (saved := set(levels(encodings[i]))):
            keys = pieces(own[name].cat.categories.tolist())
            for code in set(own[name].cat.codes.tolist()) - {-1}:
                if keys[code] not in saved:
                    raise ValueError(f"column {name!r}: training never saw {own[name].cat.categories[code]!r}")


def bare(model: Any, native: Any) -> dict[str, Any]:
    """What a bare array lacks and the Booster asks for."""
    if hasattr(native, "columns"):
        return {}
    return {"feature_names": model.feature_names, "feature_types": model.feature_types}


def codes(original: Original) -> dict[str, dict[Level, float]]:
    """Category columns become their places among the categories saved in the model, or (before 3.1, which saved
    none) in the column's own levels."""
    from anyport.graph.boosters.xgboost import read

    encodings = read(original.model).body.get("cats", {}).get("enc", [])
    tables: dict[str, dict[Level, float]] = {}
    for i, field in enumerate(original.signature.inputs):
        if field.dtype == "category":
            own = tuple(field.levels or ())
            keys = pieces(own)
            saved = levels(encodings[i]) if i < len(encodings) else ()
            place = {key: float(code) for code, key in enumerate(saved or keys)}
            tables[field.name] = {v: place[key] for v, key in zip(own, keys, strict=True) if key in place}
    return tables


def pieces(values: Sequence[Any]) -> tuple[Any, ...]:
    """Categories as XGBoost reads them from a DataFrame: numbers as they are, text in bytes."""
    if not any(isinstance(v, str) for v in values):
        return tuple(values)
    return cuts([len(v) for v in values], "".join(values).encode())


def levels(encoding: Mapping[str, Any]) -> tuple[Any, ...]:
    """Categories as the model's JSON holds them: numbers, or pieces of one run of signed bytes."""
    if "offsets" not in encoding:
        return tuple(encoding["values"])
    ends = encoding["offsets"]
    return cuts([z - a for a, z in pairwise(ends)], bytes(v & 0xFF for v in encoding["values"]))


def cuts(lengths: Sequence[int], run: bytes) -> tuple[bytes, ...]:
    """A run of bytes in pieces. XGBoost 3.2 counts a category's length in characters and cuts UTF-8 bytes by it,
    in training and at prediction (npstr_to_arrow_strarr in python-package/xgboost/_data_utils.py), so that 'å b'
    is known by its first three bytes; we must know it by the same ones."""
    ends = [0, *accumulate(lengths)]
    return tuple(run[a:z] for a, z in pairwise(ends))


def candidates(original: Original) -> Iterator[Candidate]:
    """XGBoost is a float32 library: one precision is its own."""
    from anyport.graph import boosters
    from anyport.graph.boosters import candidates as made

    tables, convert = codes(original), boosters.converter(original.model)

    def make(tensor: Any) -> Encoder:
        return made.encoder(original.signature.inputs, tables, tensor=tensor)

    precisions: Sequence[Any] = (("float32", "float32"),)
    yield from made.candidates(original, lambda b, x: convert(b, original.model, x), precisions, make, ask)


def boundaries(original: Original) -> Mapping[str, NDArray[Any]]:
    from anyport.graph import boosters
    from anyport.graph.boosters import candidates as made

    try:
        convert = boosters.converter(original.model)
        encoder = made.encoder(original.signature.inputs, codes(original), tensor="float32")
        return made.boundaries(original, lambda b, x: convert(b, original.model, x), encoder)
    except Impossible:
        return {}


def requirements(model: Any) -> tuple[str, ...]:
    wrapped = type(model).__name__ != "Booster"
    return ("xgboost", "numpy", "pandas", "scipy") + (("scikit-learn",) if wrapped else ())
