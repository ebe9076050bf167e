"""The Candidate of a graph that a framework's own exporter (or the user) wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from anyport.frameworks import Candidate
from anyport.graph import adopt
from anyport.graph.encoder import Encoder, Number
from anyport.graph.labels import Classifier, index, unzip
from anyport.signature import Signature


def candidate(
    model: Any, signature: Signature, *, name: str, why: str, names: Mapping[str, str], found: Classifier | None = None
) -> Candidate:
    """`model` with our output names (`names`: graph's → ours), a classifier's labels as indices, scalars as
    columns, and a table of numbers (container "array") through an encoder that only joins the columns.

    `exact` is the same graph, in the precision that the original computes in: a network's own float32
    is its truth. Tensors need no second copy, so theirs is None.
    """
    made = adopt.copy(model)
    unzip(made)
    if found is not None and found.labels is not None:
        index(made, found.prediction, found.labels)
    for old, new in names.items():
        adopt.rename(made, old, new)
    if signature.container != "array":
        adopt.feed(made, {f.name: f for f in signature.inputs})
        read = {p.name for p in adopt.inputs(made)}
        for field in signature.inputs:
            if field.name not in read:  # exporters drop inputs that nothing reads
                made.graph.input.append(adopt.declare(field.name, field.dtype, ["N", *(field.shape or (1,))]))
        data = adopt.serialize(made)
        return Candidate(name=name, why=why, fast=data, exact=data if signature.container == "dataframe" else None)
    (port,) = adopt.inputs(made)
    columns = [f.name for f in signature.inputs]
    tensor: Literal["float32", "float64"] = "float32" if port.dtype == "float32" else "float64"
    numbers = tuple(Number(column=c, slot=i) for i, c in enumerate(columns))
    fast, exact = adopt.copy(made), made
    adopt.single_input(fast, tensor)
    adopt.column_inputs(exact, signature)
    return Candidate(
        name=name,
        why=why,
        fast=adopt.serialize(fast),
        encoder=Encoder(tensor=tensor, width=len(columns), entries=numbers),
        exact=adopt.serialize(exact),
    )
