"""Graph candidates of a booster: raw columns into one tensor, categories as the codes the library gives them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from anyport.errors import Impossible
from anyport.frameworks import Candidate, Original
from anyport.graph.build import Builder, names
from anyport.graph.encoder import Encoder, Entry, Level, Lookup, Number
from anyport.graph.sklearn import Tensor
from anyport.signature import Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

Precision = Literal["float32", "float64"]
Convert = Callable[[Builder, "Encoded"], Any]
"""The answers of the model to the encoder's tensor."""
WHY = {
    ("float32", "float32"): "columns rounded once to float32; compared and added in float32",
    ("float32", "float64"): "columns rounded once to float32; leaf values added in double",
    ("float64", "float64"): "columns, comparisons and sums in double",
}


class Encoded(Tensor):
    """The encoder's tensor, whose slots are its own."""

    def slots(self) -> list[int]:
        return list(range(self.width))


def encoder(
    fields: Sequence[Field],
    codes: Mapping[str, Mapping[Level, float]],
    *,
    tensor: Precision,
    unknown: float | None = math.nan,
) -> Encoder:
    """Numbers as they are, NaN where missing; a column of `codes` by its table, `unknown` outside it."""
    entries: list[Entry] = []
    for slot, field in enumerate(fields):
        if field.name in codes:
            table = codes[field.name]
            rows = tuple((float(code),) for code in table.values())
            other = None if unknown is None else (unknown,)
            entries.append(Lookup(field.name, slot, 1, tuple(table), rows, other, (math.nan,)))
        elif not field.is_number or field.shape:
            raise Impossible(f"the model takes numbers; column {field.name!r} is {field.says()}")
        else:
            entries.append(Number(field.name, slot))
    return Encoder(tensor=tensor, width=len(fields), entries=tuple(entries))


def candidates(
    original: Original,
    convert: Convert,
    precisions: Sequence[tuple[Precision, Precision]],
    make: Callable[[Precision], Encoder],
    ask: Callable[[Any, Any], Mapping[str, NDArray[Any]]],
) -> Iterator[Candidate]:
    """One candidate for each (tensor, arithmetic) precision, likely fastest first."""
    from anyport.graph.emit import emit_encoder
    from anyport.graph.trees import to_npz_arrays

    fields = original.signature.inputs
    taken = names(original.signature)
    b = Builder("float64", taken)
    value = emit_encoder(b, make("float64"), original.signature)
    declare(b, convert(b, Encoded(b, value, len(fields))), original)
    exact = b.serialize()
    trees = to_npz_arrays(b.trees) if b.trees else None
    short = most_probable(original, ask)
    for tensor, float_ in precisions:
        b = Builder(float_, taken)
        value = b.input("X", tensor, ["N", len(fields)])
        value = value if tensor == float_ else b.cast(value, float_)
        declare(b, convert(b, Encoded(b, value, len(fields))), original, without_prediction=short)
        name = "mixed" if tensor != float_ else float_
        yield Candidate(name, WHY[tensor, float_], b.serialize(), make(tensor), exact, trees)


def declare(b: Builder, answers: Any, original: Original, *, without_prediction: bool = False) -> None:
    from anyport.frameworks import sklearn

    sklearn.declare(b, answers, original, without_prediction=without_prediction)


def most_probable(original: Original, ask: Callable[[Any, Any], Mapping[str, NDArray[Any]]]) -> bool:
    """Whether the label is the most probable class on the user's first rows (the proof asks all rows again)."""
    import numpy as np

    from anyport.batch import take
    from anyport.native import native

    label = original.signature.output("prediction")
    if label is None or label.levels is None or original.signature.output("probability") is None:
        return False
    answers = ask(original.model, native(take(original.data, slice(0, 512)), original.signature))
    chance, classes = answers["probability"], np.asarray(label.levels)
    if chance.ndim != 2 or chance.shape[1] != len(classes):
        return False
    return bool(np.array_equal(classes[chance.argmax(axis=1)], answers["prediction"]))


def boundaries(original: Original, convert: Convert, made: Encoder) -> dict[str, NDArray[Any]]:
    """Split points in raw columns."""
    from anyport.graph.boundaries import raw_boundaries

    b = Builder("float64")
    width = len(original.signature.inputs)
    convert(b, Encoded(b, b.input("X", "float64", ["N", width]), width))
    return dict(raw_boundaries(made, b.trees, original.signature))
