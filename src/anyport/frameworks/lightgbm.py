"""LightGBM: text models, Boosters and the scikit-learn classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible, Mistake, need
from anyport.frameworks import Candidate, Hints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.frameworks import Original
    from anyport.graph.encoder import Encoder, Level
    from anyport.trust import Trust

NAME = "lightgbm"
SUFFIXES: Sequence[str] = (".txt", ".lgb")
EXECUTES = False


def owns(model: Any) -> bool:
    return type(model).__module__.partition(".")[0] == "lightgbm"


def load(path: Path, trust: Trust) -> Any:
    """A Booster. The text is checked first: LightGBM ends the process over a damaged tree."""
    from anyport.graph.boosters.lightgbm import check

    lightgbm = need("lightgbm")
    try:
        text = path.read_text(encoding="utf-8")
        if not text.startswith("tree\n"):
            raise ValueError("its first line is not 'tree'")
        check(text)
        return lightgbm.Booster(model_str=text)
    except (lightgbm.basic.LightGBMError, ValueError, KeyError) as error:
        why = str(error).partition("\n")[0]
        raise Mistake(f"{path} is no LightGBM model: {why}", fix="write it with booster.save_model(path)") from error


def hints(model: Any, data: Any) -> Hints:
    from anyport.frameworks.sklearn import mixed
    from anyport.graph.boosters.lightgbm import booster

    own = booster(model)
    names = tuple(own.feature_name())
    columns = tuple(str(c) for c in data.columns) if hasattr(data, "columns") else None
    if columns is not None and {c.replace(" ", "_") for c in columns} >= set(names):
        known = {c.replace(" ", "_"): c for c in columns}
        names = tuple(known[n] for n in names)  # LightGBM writes blanks in names as underscores
    unnamed = names == tuple(f"Column_{i}" for i in range(len(names)))
    labels = {"prediction": tuple(model.classes_.tolist())} if classifies(model) else {}
    if unnamed and not mixed(data):
        return Hints(container="array", labels=labels)
    return Hints(container="dataframe", columns=columns if unnamed else names, labels=labels)


def classifies(model: Any) -> bool:
    return hasattr(model, "predict_proba") and getattr(model, "classes_", None) is not None


def ask(model: Any, native: Any) -> dict[str, NDArray[Any]]:
    """A Booster's prediction is what its objective gives: for a binary one the probability of class 1."""
    import numpy as np

    predicted = np.asarray(model.predict(native))
    if not classifies(model):
        return {"prediction": predicted}
    return {"prediction": predicted, "probability": np.asarray(model.predict_proba(native))}


def codes(original: Original) -> dict[str, dict[Level, float]]:
    """Category columns of a DataFrame become places in the training levels, in column order."""
    from anyport.graph.boosters.lightgbm import read

    columns = [f.name for f in original.signature.inputs if f.dtype == "category"]
    levels = read(original.model).pandas or []
    if len(columns) != len(levels):
        raise Impossible(f"the model was trained on {len(levels)} category columns, the data has {len(columns)}")
    return {name: {v: float(i) for i, v in enumerate(known)} for name, known in zip(columns, levels, strict=True)}


def candidates(original: Original) -> Iterator[Candidate]:
    from anyport.graph import boosters
    from anyport.graph.boosters import candidates as made

    tables, convert = codes(original), boosters.converter(original.model)

    def make(tensor: Any) -> Encoder:
        return made.encoder(original.signature.inputs, tables, tensor=tensor)

    precisions: Sequence[Any] = (("float32", "float32"), ("float64", "float64"))
    yield from made.candidates(original, lambda b, x: convert(b, original.model, x), precisions, make, ask)


def boundaries(original: Original) -> Mapping[str, NDArray[Any]]:
    from anyport.graph import boosters
    from anyport.graph.boosters import candidates as made

    try:
        convert = boosters.converter(original.model)
        encoder = made.encoder(original.signature.inputs, codes(original), tensor="float64")
        return made.boundaries(original, lambda b, x: convert(b, original.model, x), encoder)
    except Impossible:
        return {}


def requirements(model: Any) -> tuple[str, ...]:
    return ("lightgbm", "numpy", "pandas", "scikit-learn", "scipy")
