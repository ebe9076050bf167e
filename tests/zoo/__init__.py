"""Small real models, each there to break something; built when asked for, and the same every time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

PENGUINS = Path(__file__).parents[2] / "examples" / "penguins" / "penguins.csv"
NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


@dataclass(frozen=True)
class Made:
    """A fitted model, the rows it is packed with, and rows that packing never sees."""

    model: Any
    data: Any
    fresh: Any


@dataclass(frozen=True)
class Exhibit:
    """One model of the zoo."""

    name: str
    breaks: str
    """What goes wrong with it elsewhere."""
    framework: str
    form: Literal["graph", "python"]
    make: Callable[[], Made]
    traits: tuple[str, ...] = ()
    """What a target may state as a gap: 'text', 'category', 'tensor', 'python'."""


ZOO: dict[str, Exhibit] = {}


def exhibit(
    framework: str, *, form: Literal["graph", "python"] = "graph", traits: tuple[str, ...] = ()
) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    """Put a function into the ZOO under its own name; its docstring says what it is there to break."""

    def put(make: Callable[[], Made]) -> Callable[[], Made]:
        once = functools.cache(make)
        every = traits if form == "graph" else (*traits, "python")
        ZOO[make.__name__] = Exhibit(
            make.__name__, " ".join((make.__doc__ or "").split()), framework, form, once, every
        )
        return once

    return put


def answers(made: Made, rows: Any) -> dict[str, Any]:
    """What the model's own library answers, output by output; nothing of anyport is in the way."""
    model = made.model
    if type(model).__module__.startswith("onnx"):
        return {"prediction": np.concatenate([onnx_answer(model, row[None]) for row in rows])}
    if not hasattr(model, "predict"):
        found = model.transform(rows)
        return {"transform": found.toarray() if hasattr(found, "toarray") else np.asarray(found)}
    predicted = np.asarray(model.predict(rows))
    if predicted.ndim == 2 and predicted.shape[1] == 1 and type(model).__module__.startswith("catboost"):
        predicted = predicted[:, 0]
    if type(model).__name__ == "IsolationForest":
        return {"prediction": predicted, "score": model.decision_function(rows)}
    if not hasattr(model, "predict_proba"):
        return {"prediction": predicted}
    chance = model.predict_proba(rows)
    if isinstance(chance, list):
        found = {f"prediction_{i}": predicted[:, i] for i in range(predicted.shape[1])}
        return found | {f"probability_{i}": c for i, c in enumerate(chance)}
    return {"prediction": predicted, "probability": chance}


def onnx_answer(model: Any, row: Any) -> Any:
    """onnxruntime's own answer to one row, with the graph as it came."""
    from anyport.ort import session

    return session(model.SerializeToString()).run(None, {model.graph.input[0].name: row})[0]


def rng(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


def penguins(columns: list[str], target: str, *, split: int = 250) -> tuple[Any, Any, Any]:
    """The real data: rows to train on, their targets, and further rows. Missing values stay missing."""
    data = pd.read_csv(PENGUINS).sample(frac=1, random_state=1).reset_index(drop=True)
    return (
        data.loc[: split - 1, columns],
        data.loc[: split - 1, target],
        data.loc[split:, columns].reset_index(drop=True),
    )


def numbers(n: int, width: int, *, seed: int = 7) -> Any:
    """Doubles that are not floats: every one falls between two float32."""
    return rng(seed).normal(size=(n, width)) * np.logspace(-2, 3, width) + np.arange(width)


def classes(x: Any, count: int) -> Any:
    """Labels 0 … count-1 that depend on the first columns, with noise."""
    score = (x - x.mean(axis=0)) / x.std(axis=0)
    total = score[:, 0] + 0.5 * score[:, 1] * score[:, -1] + rng(3).normal(size=len(x)) * 0.2
    return np.digitize(total, np.quantile(total, np.linspace(0, 1, count + 1)[1:-1]))


def load() -> dict[str, Exhibit]:
    """Every exhibit by name."""
    from zoo import columns, estimators, libraries

    assert {columns, estimators, libraries}, "importing them has filled the ZOO"
    return ZOO
