"""Any Python object that answers: a predict, predict_proba or transform method, or a function of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyport.errors import BadData, Impossible
from anyport.frameworks import Candidate, Hints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anyport.frameworks import Original
    from anyport.trust import Trust

NAME = "python"
SUFFIXES: Sequence[str] = (".cloudpickle",)
"""No `.py`: a script is no trained model. Call anyport.pack(object, X) in it instead."""
EXECUTES = True


def owns(model: Any) -> bool:
    return not isinstance(model, type) and (
        callable(model) or any(callable(getattr(model, m, None)) for m in ("predict", "predict_proba", "transform"))
    )


def load(path: Path, trust: Trust) -> Any:
    from anyport import trust as door

    return door.load(path, trust)


def hints(model: Any, data: Any) -> Hints:
    names = getattr(model, "feature_names_in_", None)
    classes = getattr(model, "classes_", None)
    labels = {} if classes is None else {"prediction": tuple(getattr(classes, "tolist", lambda: classes)())}
    return Hints(columns=None if names is None else tuple(map(str, names)), labels=labels)


def ask(model: Any, native: Any) -> dict[str, NDArray[Any]]:
    """`predict` (else the object called) as `prediction`, `predict_proba` as `probability`, else `transform`.

    A table or a dict that it gives has an output per column.
    """
    predict, chance = getattr(model, "predict", None), getattr(model, "predict_proba", None)
    if callable(predict) or callable(chance):
        answers = named(predict(native), "prediction") if callable(predict) else {}
        return answers | (named(chance(native), "probability") if callable(chance) else {})
    if callable(getattr(model, "transform", None)):
        return named(model.transform(native), "transform")
    return named(model(native), "prediction")


def named(answer: Any, name: str) -> dict[str, NDArray[Any]]:
    """What the object gave as arrays by output name."""
    if hasattr(answer, "columns") and hasattr(answer, "iloc"):
        return {str(column): array(answer[column]) for column in answer.columns}
    if isinstance(answer, Mapping):
        return {str(key): array(value) for key, value in answer.items()}
    return {name: array(answer)}


def array(values: Any) -> NDArray[Any]:
    """One output as an array of n rows."""
    import numpy as np

    if hasattr(values, "toarray"):
        values = values.toarray()
    if isinstance(values, Iterator):
        values = list(values)
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise BadData(f"the answers of the rows differ in shape: {error}") from error
    if found.ndim == 0:
        raise BadData(f"one answer a row is needed; the object gave a single {type(values).__name__}")
    return found.astype(object) if found.dtype.kind == "U" else found


def candidates(original: Original) -> Iterator[Candidate]:
    kind = type(original.model)
    name = getattr(original.model, "__qualname__", f"{kind.__module__}.{kind.__qualname__}")
    raise Impossible(f"{name} is Python code; no graph can be made of it")


def boundaries(original: Original) -> Mapping[str, NDArray[Any]]:
    return {}


def requirements(model: Any) -> tuple[str, ...]:
    from anyport.byvalue import distributions, dumps

    return distributions(dumps(model))
