"""Every framework a model may come from: one file each, found by type or by file suffix, imported when used."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from anyport.errors import Mistake

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.batch import Batch
    from anyport.graph.encoder import Encoder
    from anyport.signature import Container, Signature
    from anyport.trust import Trust


@dataclass(frozen=True)
class Hints:
    """What the model itself says of its inputs and outputs; the data says the rest."""

    container: Container | None = None
    columns: tuple[str, ...] | None = None
    """Input names in the original's order."""
    levels: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Categories that the model was fitted on, by column."""
    labels: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Class labels by output name (`prediction`, or `prediction_0` … of a multi-output classifier)."""
    inputs: tuple[Any, ...] | None = None
    """Whole input Fields, of models that state their tensors (ONNX, SavedModel, TorchScript + example)."""
    data: Mapping[str, Any] | None = None
    """The data as arrays by input name, where only the framework can read it (tuples, torch tensors, nested dicts)."""


@dataclass(frozen=True)
class Original:
    """The user's own model, as anyport asks it."""

    model: Any
    framework: str
    signature: Signature
    data: Batch
    """The user's rows."""


@dataclass(frozen=True)
class Candidate:
    """One ONNX graph that may answer as the original does; prove.py decides.

    With an `encoder`, `fast` takes its tensor as input "X" [N, width]; without, it takes the raw inputs
    by name (scalar columns as [N, 1], text as string tensors, tensors as they are). `exact` always
    takes raw inputs, in double; None where ONNX cannot say what the encoder says (regex text).
    Outputs carry the signature's names; a classifier's `prediction` is an int64 index into its labels in
    both, and may be left out of `fast` where it is argmax(probability) (first of equals).
    """

    name: str
    """'float32', 'float64', 'mixed', 'exact'."""
    why: str
    """One line: what is computed in which precision."""
    fast: bytes
    encoder: Encoder | None = None
    exact: bytes | None = None
    trees: Mapping[str, NDArray[Any]] | None = None
    """Node tables (graph/trees.py) for trees.npz."""
    doubt: str = ""
    """Why it is not to be kept even if every row tried is right; "" for most."""


class Framework(Protocol):
    """What a framework's module provides."""

    NAME: str
    SUFFIXES: Sequence[str]
    EXECUTES: bool
    """Whether reading its files can run code (then `load` asks Trust first)."""

    def owns(self, model: Any) -> bool:
        """Whether a live object is this framework's; must not import the framework."""

    def load(self, path: Path, trust: Trust) -> Any:
        """The live model of a file or folder."""

    def hints(self, model: Any, data: Any) -> Hints:
        """What the model says of itself."""

    def ask(self, model: Any, native: Any) -> dict[str, NDArray[Any]]:
        """The model's own answers to rows in its own container: every output by name, n rows each.

        Labels are the model's own values. Exceptions are the model's own (the caller makes refusals of them).
        """

    def candidates(self, original: Original) -> Iterator[Candidate]:
        """Graphs to try, the likely fastest first; Impossible with the reason where there is none."""

    def boundaries(self, original: Original) -> Mapping[str, NDArray[Any]]:
        """Split points of the model in raw columns: the largest double that goes left of each; {} if none."""

    def requirements(self, model: Any) -> tuple[str, ...]:
        """Distributions that the Python form needs, as names without versions."""


TABLE: Mapping[str, str] = {
    name: f"anyport.frameworks.{name}"
    for name in (
        "catboost",
        "keras",
        "lightgbm",
        "mlflow",
        "onnx",
        "sklearn",
        "tensorflow",
        "torch",
        "xgboost",
        "python",
    )
}
"""In order of asking: the specific before the general; `python` owns everything with a `predict`."""


def get(name: str) -> Framework:
    """The framework's module; KeyError for an unknown name."""
    module: Any = importlib.import_module(TABLE[name])
    return module  # type: ignore[no-any-return]


def of_model(model: Any) -> str:
    """The name of the framework a live model belongs to."""
    for name in TABLE:
        if get(name).owns(model):
            return name
    raise Mistake(
        f"a {type(model).__module__}.{type(model).__qualname__} is not a model: "
        "it has no predict, transform or __call__",
        fix="pass a fitted estimator, or an object with a predict(X) method",
    )


def has(path: Path, suffix: str) -> bool:
    """Whether a file ends so; for a suffix like "/MLmodel", whether the folder holds that file."""
    return (path / suffix[1:]).is_file() if suffix.startswith("/") else str(path).endswith(suffix)


def of_path(path: Path) -> str:
    """The name of the framework that reads a file or folder, by suffix and first bytes."""
    for name in TABLE:
        if any(has(path, suffix) for suffix in get(name).SUFFIXES):
            return name
    known = sorted({s for name in TABLE for s in get(name).SUFFIXES})
    raise Mistake(f"{path}: no framework reads this kind of file", fix=f"use one of: {', '.join(known)}")
