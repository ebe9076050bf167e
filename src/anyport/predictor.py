"""The Predictor protocol (anything that answers a Batch), and the predictor of a proven graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from anyport.batch import Batch, Column, Outcome, Refusal, rows, take
from anyport.errors import BadBundle
from anyport.ort import session
from anyport.signature import Field, Signature, refusals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from anyport.bundle import Bundle
    from anyport.graph.encoder import Encoder
    from anyport.trust import Trust

MISSING = "\x00missing"
"""What a missing string is to a graph that takes raw inputs."""


class Predictor(Protocol):
    """Answers rows. What the original refuses is refused here too."""

    def predict(self, inputs: Batch, /) -> Outcome:
        """One answer per row, in order; refused rows are invalid in every output and listed."""


class GraphPredictor:
    """A proven graph on ONNX Runtime. Thread-safe; `run` takes the encoder's tensor straight."""

    def __init__(self, signature: Signature, graph: bytes | Path, encoder: Encoder | None, *, threads: int = 1) -> None:
        self.signature = signature
        self.encoder = encoder
        self.ports = signature.ports
        self.session = session(graph, threads=threads)
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.labels = {f.name: labels_array(f) for f in signature.outputs if f.levels is not None}

    def predict(self, inputs: Batch, /) -> Outcome:
        """Answers of every row that the signature's rules let through; the others are refused."""
        refused = refusals(inputs, self.signature)
        n = rows(inputs)
        good = None
        if refused:
            import numpy as np

            good = np.setdiff1d(np.arange(n), list(refused))
            inputs = take(inputs, good)
        if rows(inputs) == 0:
            return Outcome(blank(self.signature, n), refused)
        answers = self.answers(inputs)
        if good is not None:
            answers = {name: scatter(column, good, n) for name, column in answers.items()}
        return Outcome(answers, refused)

    def answers(self, inputs: Batch) -> dict[str, Column]:
        """Answers to rows that are all answerable."""
        if self.encoder is None:
            feed = {self.ports[f.name]: raw_input(inputs[f.name], f) for f in self.signature.inputs}
        else:
            from anyport.graph.encode import encode

            feed = {"X": encode(self.encoder, inputs)}
        return self.named(dict(zip(self.outputs, self.session.run(None, feed), strict=True)))

    def run(self, tensor: NDArray[Any]) -> dict[str, Column]:
        """Answers to rows that are encoded already."""
        return self.named(dict(zip(self.outputs, self.session.run(None, {"X": tensor}), strict=True)))

    def named(self, raw: Mapping[str, NDArray[Any]]) -> dict[str, Column]:
        """The graph's outputs as the signature's: labels for indices, dtypes restored, argmax where left out."""
        import numpy as np

        columns = {}
        for field in self.signature.outputs:
            array = raw.get(field.name)
            labels = self.labels.get(field.name)
            if array is None:
                array = raw[field.name.replace("prediction", "probability")].argmax(axis=1)
            if labels is not None and field.name.startswith("prediction"):
                columns[field.name] = Column(labels[array.reshape(len(array), *field.shape)])
            elif field.dtype == "string":
                columns[field.name] = Column(array.reshape(len(array), *field.shape).astype(object))
            else:
                fixed = [a for a in field.shape if a is not None]
                if len(fixed) == len(field.shape):
                    array = array.reshape(len(array), *fixed)
                columns[field.name] = Column(np.ascontiguousarray(array, dtype=field.dtype))
        return columns


def labels_array(field: Field) -> NDArray[Any]:
    """Class labels as an array of the output's own dtype."""
    import numpy as np

    if field.dtype == "string":
        out = np.empty(len(field.levels or ()), object)
        out[:] = list(field.levels or ())
        return out
    return np.array(field.levels, dtype=field.dtype if field.name.startswith("prediction") else None)


def raw_input(column: Column, field: Field) -> NDArray[Any]:
    """A column as an input of a graph without encoder: scalars [N, 1], missing text the marker, missing
    numbers NaN in float64, datetimes int64 microseconds."""
    import numpy as np

    plain = column.plain()
    values = plain.values
    if field.is_text:
        gone = plain.missing().repeat(field.width)
        texts = [MISSING if m else str(v) for v, m in zip(values.ravel().tolist(), gone, strict=True)]
        values = np.array(texts, dtype=object).reshape(values.shape)
    elif field.dtype == "datetime":
        values = values.astype("datetime64[us]").astype(np.int64)
    elif field.nullable and not field.is_float:
        values = values.astype(np.float64)
        if plain.valid is not None:
            values[~plain.valid] = np.nan
    return values if field.shape else values.reshape(-1, 1)


def blank(signature: Signature, n: int) -> dict[str, Column]:
    """Outputs of n rows none of which is answered."""
    import numpy as np

    valid = np.zeros(n, bool)
    out = {}
    for field in signature.outputs:
        shape = (n, *(a or 0 for a in field.shape))
        dtype: Any = object if field.dtype == "string" else field.dtype
        values = np.full(shape, None if dtype is object else 0, dtype=dtype)
        out[field.name] = Column(values, valid if n else None)
    return out


def scatter(column: Column, good: NDArray[np.intp], n: int) -> Column:
    """Answers of the rows at `good`, spread over n rows; the others are invalid."""
    import numpy as np

    values = np.full((n, *column.values.shape[1:]), None if column.values.dtype == object else 0, column.values.dtype)
    values[good] = column.values
    valid = np.zeros(n, bool)
    valid[good] = True if column.valid is None else column.valid
    return Column(values, valid)


def of(bundle: Bundle, *, trust: Trust | None = None, threads: int = 1) -> Predictor:
    """The predictor of a bundle: its graph, or the original object in form python (which needs consent)."""
    if bundle.form == "python":
        from anyport.pyform import predictor

        return predictor(bundle, trust=trust)
    fast = bundle.member("fast.onnx")
    assert fast is not None, "a bundle in form graph holds fast.onnx"
    return GraphPredictor(bundle.signature, fast, encoder_of(bundle), threads=threads)


def encoder_of(bundle: Bundle) -> Encoder | None:
    """The bundle's encoder, or None where its graph takes raw inputs."""
    from anyport.graph.encoder import read

    file = bundle.member("encoder.json")
    try:
        return None if file is None else read(file.read_bytes())
    except msgspec.DecodeError as error:
        raise BadBundle(f"{file} holds no encoder: {error}") from error


__all__ = ["GraphPredictor", "Predictor", "Refusal", "blank", "encoder_of", "of"]
