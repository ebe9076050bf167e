"""A Source: a file as columns' names and a stream of Chunks, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyport.arrow_out import flat_names
from anyport.batch import Column, Refusal
from anyport.signature import Field

Refused = Mapping[int, tuple[Refusal, ...]]
Carried = Mapping[str, Any]
"""Columns passed through: a pyarrow Array, or a list of Python values."""


@dataclass(frozen=True)
class Chunk:
    """Some rows in the form in which they were read; decoding them is left to a worker."""

    data: Any
    """A RecordBatch or a list: one element a row."""
    fraction: float | None = None
    broken: Refused = field(default_factory=dict)
    """Rows (within the chunk) that could not even be split into cells."""


def cut(chunk: Chunk, start: int, stop: int | None = None) -> Chunk:
    """Some of a chunk's rows."""
    if start == 0 and stop is None:
        return chunk
    stop = len(chunk.data) if stop is None else stop
    data = chunk.data.slice(start, stop - start) if hasattr(chunk.data, "slice") else chunk.data[start:stop]
    return Chunk(data, chunk.fraction, {row - start: said for row, said in chunk.broken.items() if start <= row < stop})


@dataclass(frozen=True)
class Decoded:
    """A chunk as the model takes it."""

    batch: dict[str, Column]
    refused: Refused
    """Rows with a cell that is not of its field's type; the batch holds a placeholder there."""
    rows: int
    carried: Carried
    """The columns passed through."""


@dataclass(frozen=True)
class Source:
    """What is being read. The same file gives the same chunks every time."""

    columns: tuple[str, ...]
    read: Callable[[Sequence[str], int], Iterator[Chunk]]
    """The chunks with (at least) the columns needed, of at most so many rows."""
    decode: Callable[[Chunk, Sequence[Field], Sequence[str]], Decoded]
    """The fields and the ids of a chunk; runs in a worker."""
    schema: Any = None
    """The Arrow schema, of formats that have types."""


def assemble(fields: Sequence[Field], names: Sequence[str], one: Callable[[str, Field], Column]) -> dict[str, Column]:
    """The Batch, column by column; a tensor may come as `name_0`, `name_1`, … where it has no column of its own."""
    import numpy as np

    batch = {}
    for wanted in fields:
        parts = parts_of(wanted, names)
        if parts == (wanted.name,):
            batch[wanted.name] = one(wanted.name, wanted)
            continue
        columns = [one(name, scalar(wanted, name)) for name in parts]
        values = np.stack([c.plain().values for c in columns], axis=1).reshape(-1, *(a or 0 for a in wanted.shape))
        valid = None
        if any(c.valid is not None for c in columns):
            valid = ~np.any([c.missing() for c in columns], axis=0)
        batch[wanted.name] = Column(values, valid)
    return batch


def parts_of(wanted: Field, names: Sequence[str]) -> tuple[str, ...]:
    """The columns that hold a field: its own, or the flattened ones of a tensor."""
    if wanted.name in names or not wanted.shape:
        return (wanted.name,)
    return flat_names(wanted)


def scalar(wanted: Field, name: str) -> Field:
    """One element of a tensor as a field of its own."""
    return Field(name=name, dtype=wanted.dtype, nullable=wanted.nullable, levels=wanted.levels, tz=wanted.tz)


def by_row(found: Mapping[int, Sequence[Refusal]]) -> dict[int, tuple[Refusal, ...]]:
    """Refusals in row order."""
    return {row: tuple(found[row]) for row in sorted(found)}
