"""Cells as PostgreSQL gives them, through the model, to vectors that pgvector can search, or why it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from anyport.batch import Refusal
from anyport.ingest import to_batch
from anyport.kit.vectors.spec import HALF, LENGTH, TINY, Filling
from anyport.predictor import Predictor
from anyport.signature import Field, Signature
from anyport.stream.answer import answer

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Embedded:
    """One row's vector. `why`: it is not to be searched, because the model refused the row (no `values`) or because
    its numbers are beyond what pgvector computes with."""

    values: NDArray[Any] | None
    why: str = ""


def embed(cells: Mapping[str, Sequence[Any]], n: int, spec: Filling, predictor: Predictor,
          signature: Signature) -> list[Embedded]:  # fmt: skip
    """The vectors of n rows, whose cells come by the model's inputs."""
    found: list[Embedded] = [Embedded(None)] * n
    plain = {f.name: [number(v) for v in cells[f.name]] for f in signature.inputs}
    for rows in alike(plain, n, signature, found):
        part = {name: [column[row] for row in rows] for name, column in plain.items()}
        batch, refused = to_batch(part, signature.inputs)
        outcome = answer(predictor, batch, refused, len(rows), signature)
        values = outcome.outputs[signature.outputs[0].name].values
        for at, row in enumerate(rows):
            said = outcome.refused.get(at)
            found[row] = Embedded(None, words(said)) if said is not None else judged(values[at], spec)
    return found


def words(said: Sequence[Refusal]) -> str:
    """Why the model refused a row."""
    return "; ".join(str(refusal) if refusal.column else f"{refusal.expected} expected, got {refusal.got}"
                     for refusal in said).replace("\x00", "\\0") or "the model refused the row"  # fmt: skip


def number(value: Any) -> Any:
    """A numeric as an int where it is whole, else as a float."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)


def alike(cells: Mapping[str, Sequence[Any]], n: int, signature: Signature, found: list[Embedded]) -> list[list[int]]:
    """Rows whose tensors have the same shapes, together; a row without one of the right shape is refused in `found`."""
    tensors = [f for f in signature.inputs if f.shape]
    if not tensors:
        return [list(range(n))] if n else []
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for row in range(n):
        shapes = []
        for field in tensors:
            shape = shape_of(cells[field.name][row])
            if shape is None or not fits(shape, field):
                got = "a missing value" if shape is None else f"an array of shape {shape}"
                found[row] = Embedded(None, words([Refusal(field.name, field.says(), got)]))
                break
            shapes.append(shape)
        else:
            groups.setdefault(tuple(shapes), []).append(row)
    return list(groups.values())


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of nested lists; None where a cell, or all of it, is missing."""
    import numpy as np

    if value is None:
        return None
    array = np.asarray(value, dtype=object)
    return None if any(v is None for v in array.ravel().tolist()) else array.shape


def fits(shape: tuple[int, ...], field: Field) -> bool:
    return len(shape) == len(field.shape) and all(a is None or a == n for a, n in zip(field.shape, shape, strict=True))


def judged(values: NDArray[Any], spec: Filling) -> Embedded:
    """A vector, and why it cannot be searched if it cannot."""
    import numpy as np

    wide = np.asarray(values, np.float64)
    if not np.isfinite(wide).all():
        return Embedded(wide, f"element {int(np.argmin(np.isfinite(wide)))} is not a finite number")
    largest = float(np.abs(wide).max(initial=0.0))
    length = largest and largest * float(np.sqrt(((wide / largest) ** 2).sum()))
    if length > LENGTH:
        return Embedded(wide, f"its length is {length:.3g}; pgvector computes in single precision, up to {LENGTH:g}")
    if spec.half and largest > HALF:
        return Embedded(wide, f"it holds {largest:.6g}; above 2,000 dimensions the index holds up to {HALF:g}")
    if spec.distance == "cosine" and (largest if spec.half else length) < TINY[spec.half]:
        return Embedded(wide, f"its length is {length:.3g}: it has no direction, which is what cosine compares")
    return Embedded(wide)
