"""load and Model: a bundle in this process, answering in the container it was asked in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyport.batch import Column, Outcome, rows
from anyport.bundle import Bundle, read
from anyport.errors import BadData
from anyport.predictor import GraphPredictor, Predictor, of
from anyport.signature import Signature

if TYPE_CHECKING:
    from anyport.trust import Trust


class Model:
    """A packed model, ready to answer. Rows that break the signature raise BadData listing every one of them."""

    def __init__(self, bundle: Bundle, predictor: Predictor) -> None:
        self.bundle = bundle
        self.signature: Signature = bundle.signature
        self.predictor = predictor
        self._one = one_row(bundle, predictor)

    def predict(self, data: Any) -> Any:
        """Answers, as the data came: a dict of scalars → a dict; a DataFrame → a DataFrame; records → records;
        anything else → a dict of arrays by output name. Every output is in the answer."""
        if type(data) is dict and self._one is not None:
            answered = self._one(data)
            if answered is not None:
                return answered
        from anyport.ingest import to_batch  # the quick way above does without, and so does its memory

        batch, wrong = to_batch(data, self.signature.inputs)
        outcome = self.predictor.predict(batch)
        refused = {**outcome.refused, **wrong}
        if refused:
            lines = [f"row {row}: {why}" for row, whys in sorted(refused.items()) for why in whys]
            more = f"\n  … {len(lines) - 20} more" if len(lines) > 20 else ""
            raise BadData(f"{len(refused)} of {rows(batch)} rows are refused\n  " + "\n  ".join(lines[:20]) + more)
        return shaped(outcome, data)


def load(path: str | Path, *, trust: Trust | str | None = None, threads: int = 1) -> Model:
    """The model of a bundle. Form python runs the original's code and needs `trust` (see docs/trust.md)."""
    bundle = read(path)
    if isinstance(trust, str):
        from anyport.trust import held

        trust = held(trust)
    return Model(bundle, of(bundle, trust=trust, threads=threads))


def one_row(bundle: Bundle, predictor: Predictor) -> Any:
    """A function from one record (dict of scalars) to its answers, without a Batch in between; None where the
    graph has no encoder. It gives None for anything that is not one good record: the long way explains."""
    if not isinstance(predictor, GraphPredictor) or predictor.encoder is None:
        return None
    import numpy as np

    from anyport.graph.rows import compile_row

    signature = bundle.signature
    if any(f.shape and not f.name.startswith("probability") for f in signature.outputs):
        return None
    fill = compile_row(signature, predictor.encoder)
    width, dtype = predictor.encoder.width, predictor.encoder.tensor
    count = len(signature.inputs)
    order = [(f.name, predictor.labels.get(f.name), f) for f in signature.outputs]
    labels = {name: found.tolist() for name, found, _ in order if found is not None}
    run = predictor.session._sess.run  # skips the wrapper's own checks: 0.7 µs a call
    outputs = predictor.outputs
    positions = {name: i for i, name in enumerate(predictor.outputs)}

    def answer(record: Mapping[str, Any]) -> dict[str, Any] | None:
        if len(record) != count:
            return None
        row = np.empty((1, width), dtype)
        try:
            if fill(record, row[0]) is not None:
                return None
        except (KeyError, TypeError):
            return None
        raw = run(outputs, {"X": row}, None)
        result: dict[str, Any] = {}
        for name, _, field in order:
            at = positions.get(name)
            if at is None:
                scores = raw[positions[name.replace("prediction", "probability")]]
                result[name] = labels[name][int(scores.argmax())]
            elif name in labels and name.startswith("prediction"):
                result[name] = labels[name][int(raw[at].item())]
            elif field.shape:
                result[name] = raw[at][0].tolist()
            else:
                result[name] = raw[at].item()
        return result

    return answer


def shaped(outcome: Outcome, data: Any) -> Any:
    """An outcome in the container that the data came in."""
    if isinstance(data, Mapping) and all(not hasattr(v, "__len__") or isinstance(v, str) for v in data.values()):
        return {name: c.plain().values.tolist()[0] for name, c in outcome.outputs.items()}
    if isinstance(data, list) and data and isinstance(data[0], Mapping):
        listed = {name: c.plain().values.tolist() for name, c in outcome.outputs.items()}
        return [{name: values[i] for name, values in listed.items()} for i in range(len(data))]
    root = type(data).__module__.partition(".")[0]
    if root == "pandas":
        import pandas

        return pandas.DataFrame(flattened(outcome), index=data.index)
    if root == "polars":
        import polars

        return polars.DataFrame({k: v.tolist() if v.dtype == object else v for k, v in flattened(outcome).items()})
    if root == "pyarrow":
        import pyarrow

        return pyarrow.table(
            {k: pyarrow.array(v.tolist() if v.dtype == object else v) for k, v in flattened(outcome).items()}
        )
    return {name: c.plain().values for name, c in outcome.outputs.items()}


def flattened(outcome: Outcome) -> dict[str, Any]:
    """Outputs as one-dimensional columns: `probability` becomes `probability_0`, `probability_1`, …"""
    columns: dict[str, Any] = {}
    for name, column in outcome.outputs.items():
        columns.update(flat(name, column))
    return columns


def flat(name: str, column: Column) -> dict[str, Any]:
    """One output as one or more one-dimensional columns."""
    values = column.plain().values
    if values.ndim == 1:
        return {name: values}
    wide = values.reshape(len(values), -1) if len(values) else values.reshape(0, int(values[:0].size or 1))
    return {f"{name}_{i}": wide[:, i] for i in range(wide.shape[1])}
