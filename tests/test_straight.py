"""The straight way into the tensor says the same as the encoder, or is not taken."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from anyport.graph.encode import encode
from anyport.graph.encoder import Divide, Encoder, Entry, Impute, Number, Subtract
from anyport.graph.straight import straight
from anyport.ingest import to_batch
from anyport.serve.hot import packer
from anyport.signature import Field, Signature

FIELDS = (
    Field(name="a", dtype="float64"),
    Field(name="b", dtype="int64"),
    Field(name="c", dtype="bool"),
)
SIGNATURE = Signature(inputs=FIELDS, outputs=())
STEPS = (
    (Subtract(value=0.1), Divide(value=3.0)),
    (Subtract(value=1e9), Divide(value=7.0)),
    (Subtract(value=0.5), Divide(value=1e-3)),
)
ENTRIES = tuple(Number(f.name, i, steps) for i, (f, steps) in enumerate(zip(FIELDS, STEPS, strict=True)))


def made(entries: tuple[Entry, ...] = ENTRIES, tensor: Any = "float64") -> Encoder:
    return Encoder(tensor=tensor, width=len(entries), entries=entries)


def test_it_makes_the_encoders_tensor_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"a": float(a), "b": int(b), "c": bool(c)}
        for a, b, c in zip(
            rng.normal(size=500) * 1e9, rng.integers(-(2**62), 2**62, 500), rng.integers(0, 2, 500), strict=True
        )
    ]
    batch, refused = to_batch(rows, FIELDS)
    assert not refused
    direct = straight(SIGNATURE, made())
    assert direct is not None
    fill, kind = packer(direct), msgspec.defstruct("Row", [("c0", float), ("c1", int), ("c2", bool)])
    found = np.full((len(rows), 3), 77.0)
    for row, out in zip(rows, found, strict=True):
        fill(kind(*row.values()), out)
    for step, value in direct.steps:
        found = step(found, value)
    assert found.tobytes() == encode(made(), batch).tobytes()


@pytest.mark.parametrize(
    ("fields", "encoder"),
    [
        ((FIELDS[0], FIELDS[1], Field(name="c", dtype="bool", nullable=True)), made()),
        ((Field(name="a", dtype="float32"), *FIELDS[1:]), made()),
        (FIELDS, made(tensor="float32")),
        (FIELDS, made(ENTRIES[:2])),
        (FIELDS, made((Number("b", 0), Number("a", 1), Number("c", 2)))),
        (FIELDS, made((*ENTRIES[:2], Number("c", 2, (Divide(value=2.0), Subtract(value=1.0)))))),
        (FIELDS, made(tuple(Number(f.name, i, (Impute(value=0.0),)) for i, f in enumerate(FIELDS)))),
    ],
)
def test_what_it_cannot_say_exactly_it_does_not_take(fields: tuple[Field, ...], encoder: Encoder) -> None:
    assert straight(Signature(inputs=fields, outputs=()), encoder) is None
