"""load and Model: a bundle in this process, answering in the container it was asked in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyport.batch import Column, Outcome, Refusal, rows
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
            raise refuse(refused, rows(batch))
        return shaped(outcome, data)


def refuse(refused: Mapping[int, Sequence[Refusal]], count: int) -> BadData:
    """The error that lists these of `count` rows; its `problems` has them all."""
    from anyport import codec  # brings ingest.py, which good rows do without

    lines = [f"row {row}: {why}" for row, whys in sorted(refused.items()) for why in whys]
    more = f"\n  … {len(lines) - 20} more" if len(lines) > 20 else ""
    what = f"{len(refused)} of {count} rows are refused\n  " + "\n  ".join(lines[:20]) + more
    return BadData(what, problems=codec.problems(refused))


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
    """An outcome in the container that the data came in. Where rows were refused, their answers are missing and an
    output `errors` says why (missing in all other rows)."""
    columns = {name: column.plain() for name, column in outcome.outputs.items()}
    if outcome.refused:
        columns["errors"] = reasons(outcome, len(next(iter(columns.values()))))
    if isinstance(data, Mapping) and all(not hasattr(v, "__len__") or isinstance(v, str) for v in data.values()):
        return {name: listed(c)[0] for name, c in columns.items()}
    if isinstance(data, list) and data and isinstance(data[0], Mapping):
        lists = {name: listed(c) for name, c in columns.items()}
        return [{name: values[i] for name, values in lists.items()} for i in range(len(data))]
    root = type(data).__module__.partition(".")[0]
    if root == "pandas":
        import pandas

        return pandas.DataFrame(flattened(columns), index=data.index)
    if root == "polars":
        import polars

        return polars.DataFrame({k: v.tolist() if v.dtype == object else v for k, v in flattened(columns).items()})
    if root == "pyarrow":
        import pyarrow

        return pyarrow.table(
            {k: pyarrow.array(v.tolist() if v.dtype == object else v) for k, v in flattened(columns).items()}
        )
    return {name: blanked(c) for name, c in columns.items()}


def reasons(outcome: Outcome, count: int) -> Column:
    """Why each of `count` rows was refused, in words; missing where it was not."""
    import numpy as np

    words = np.full(count, None, object)
    for row, why in outcome.refused.items():
        words[row] = "; ".join(map(str, why))
    return Column(words, np.array([word is not None for word in words], bool))


def listed(column: Column) -> list[Any]:
    """A column's values, None where a row has none."""
    values: list[Any] = column.values.tolist()
    if column.valid is None:
        return values
    return [value if valid else None for value, valid in zip(values, column.valid.tolist(), strict=True)]


def blanked(column: Column) -> Any:
    """A column's values as one array: where rows have none, numbers become floats with NaN there, all else objects
    with None."""
    import numpy as np

    values, valid = column.values, column.valid
    if valid is None or valid.all():
        return values
    if values.dtype.kind in "iuf":
        made: Any = values.astype(np.result_type(values.dtype, np.float32) if values.dtype.kind == "f" else np.float64)
        made[~valid] = np.nan
        return made
    made = values.astype(object)
    made[~valid] = None
    return made


def flattened(columns: Mapping[str, Column]) -> dict[str, Any]:
    """Outputs as one-dimensional columns: `probability` becomes `probability_0`, `probability_1`, …"""
    made: dict[str, Any] = {}
    for name, column in columns.items():
        made.update(flat(name, blanked(column)))
    return made


def flat(name: str, values: Any) -> dict[str, Any]:
    """One output as one or more one-dimensional columns."""
    if values.ndim == 1:
        return {name: values}
    wide = values.reshape(len(values), -1) if len(values) else values.reshape(0, int(values[:0].size or 1))
    return {f"{name}_{i}": wide[:, i] for i in range(wide.shape[1])}
