"""The encoder as ONNX nodes: raw typed inputs become its tensor, in double."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.encoder import (
    Add,
    Bins,
    Clip,
    Divide,
    Encoder,
    Float32,
    Impute,
    Indicator,
    Lookup,
    Multiply,
    Number,
    Step,
    Subtract,
    Text,
)  # fmt: skip
from anyport.predictor import MISSING
from anyport.signature import Field, Signature

OPERATORS: Mapping[type, str] = {Subtract: "Sub", Divide: "Div", Multiply: "Mul", Add: "Add"}


def raw_dtype(field: Field) -> str:
    """dtype of a raw graph input: "string" (missing: MISSING), or a numpy dtype. Nullable numbers are doubles,
    NaN when missing; datetimes are int64 microseconds (missing: the smallest int64)."""
    if field.dtype == "datetime":
        return "int64"
    if field.is_text:
        return "string"
    return "float64" if field.nullable and not field.is_float else field.dtype


def emit_encoder(b: Builder, encoder: Encoder, signature: Signature) -> str:
    """Declare every column as a graph input [N, 1] (see Signature.ports) and give the value [N, width] in
    double that the encoder makes of them (rounded once to float32 where its tensor is float32)."""
    fields, ports = signature.inputs, signature.ports
    inputs = {f.name: b.input(ports[f.name], raw_dtype(f), ["N", *(f.shape or (1,))]) for f in fields}
    kinds = {f.name: f for f in fields}
    doubles: dict[str, str] = {}

    def double(column: str) -> str:
        if column not in doubles:
            doubles[column] = _double(b, inputs[column], kinds[column])
        return doubles[column]

    pieces: dict[int, tuple[str, int]] = {}
    for entry in encoder.entries:
        emit = EMITTERS[type(entry)]
        text = raw_dtype(kinds[entry.column]) == "string"
        pieces[entry.slot] = (emit(b, entry, inputs[entry.column], double, text), getattr(entry, "width", 1))
    parts, at = [], 0
    for slot in sorted(pieces):
        parts += _zeros(b, inputs, fields, slot - at)
        value, width = pieces[slot]
        parts.append(value)
        at = slot + width
    parts += _zeros(b, inputs, fields, encoder.width - at)
    value = parts[0] if len(parts) == 1 else b.add("Concat", parts, axis=1)
    return b.cast(b.cast(value, "float32"), "float64") if encoder.tensor == "float32" else value


def _double(b: Builder, value: str, field: Field) -> str:
    if field.dtype != "datetime":
        return value if raw_dtype(field) == "float64" else b.cast(value, "float64")
    gone = b.add("Equal", [value, b.constant(-(2**63), "int64")])
    return b.add("Where", [gone, b.constant(float("nan"), "float64"), b.cast(value, "float64")])


def _zeros(b: Builder, inputs: Mapping[str, str], fields: Sequence[Field], width: int) -> list[str]:
    """[N, width] of zeros, for slots that no entry fills."""
    if width == 0:
        return []
    rows = b.add("Shape", [inputs[fields[0].name]], start=0, end=1)
    shape = b.add("Concat", [rows, b.constant([width], "int64")], axis=0)
    return [b.add("Expand", [b.constant(0.0, "float64"), shape])]


Double = Callable[[str], str]


def steps(b: Builder, value: str, chain: Sequence[Step]) -> str:
    """A double value through steps."""
    for step in chain:
        if isinstance(step, Impute):
            value = b.add("Where", [b.add("IsNaN", [value]), b.constant(step.value, "float64"), value])
        elif isinstance(step, Clip):
            low, high = b.constant(step.low, "float64"), b.constant(step.high, "float64")
            value = b.add("Min", [b.add("Max", [value, low]), high])
        elif isinstance(step, Float32):
            value = b.cast(b.cast(value, "float32"), "float64")
        else:
            value = b.add(OPERATORS[type(step)], [value, b.constant(step.value, "float64")])
    return value


def _number(b: Builder, entry: Number, value: str, double: Double, text: bool) -> str:
    if text:
        raise Impossible(f"column {entry.column!r} is text where the encoder takes a number")
    return steps(b, double(entry.column), entry.steps)


def _missing(b: Builder, column: str, value: str, double: Double, text: bool) -> str:
    """[N, 1] bool."""
    if not text:
        return b.add("IsNaN", [double(column)])
    return b.cast(_label(b, value, [MISSING], [1], 0), "bool")


def _indicator(b: Builder, entry: Indicator, value: str, double: Double, text: bool) -> str:
    gone = _missing(b, entry.column, value, double, text)
    return b.add("Where", [gone, b.constant(entry.yes, "float64"), b.constant(entry.no, "float64")])


def _label(b: Builder, value: str, keys: Sequence[str], codes: Sequence[int], default: int) -> str:
    return b.add(
        "LabelEncoder", [value], domain="ai.onnx.ml", keys_strings=list(keys), values_int64s=list(codes),
        default_int64=default,
    )  # fmt: skip


def _lookup(b: Builder, entry: Lookup, value: str, double: Double, text: bool) -> str:
    """Code of the level (K unknown, K + 1 missing), then one row of the table."""
    import numpy as np

    k, width = len(entry.levels), entry.width
    if text:
        keys = [str(v) for v in entry.levels]  # levels of a category may be numbers; as inputs they are text
        code = _label(b, value, [*keys, MISSING], [*range(k), k + 1], k)
    else:
        x = double(entry.column)
        keyed = b.constant([[float(v) for v in entry.levels]], "float64")
        hit = b.cast(b.add("Equal", [x, keyed]), "int64")
        places = b.add("Mul", [hit, b.constant([list(range(-k, 0))], "int64")])
        found = b.add("ReduceSum", [places, b.constant([1], "int64")])
        gone = b.cast(b.add("IsNaN", [x]), "int64")
        code = b.add("Add", [b.add("Add", [found, gone]), b.constant(k, "int64")])
    zeros = (0.0,) * width
    ends = {k: entry.unknown or zeros, k + 1: entry.missing or zeros}
    if entry.table is None:
        # compared, not gathered: an identity of 10,000 levels would be 800 MB
        code = b.add("Reshape", [code, b.constant([-1, 1], "int64")])
        made = b.cast(b.add("Equal", [code, b.constant([list(range(k))], "int64")]), "float64")
        for at, row in ends.items():
            if any(row):
                made = b.add(
                    "Where", [b.add("Equal", [code, b.constant(at, "int64")]), b.constant([row], "float64"), made]
                )
        return made
    table = np.array([*entry.table, *ends.values()], dtype=np.float64).reshape(k + 2, width)
    flat = b.add("Reshape", [code, b.constant([-1], "int64")])
    return b.add("Gather", [b.constant(table, "float64"), flat], axis=0)


def _bins(b: Builder, entry: Bins, value: str, double: Double, text: bool) -> str:
    import numpy as np

    x = steps(b, double(entry.column), entry.steps)
    k = len(entry.edges)
    passed = b.cast(b.add("GreaterOrEqual", [x, b.constant([list(entry.edges)], "float64")]), "int64")
    count = b.add("ReduceSum", [passed, b.constant([1], "int64")]) if k else b.cast(b.add("IsNaN", [x]), "int64")
    gone = b.add("IsNaN", [x])
    code = b.add("Where", [gone, b.constant(k + 1, "int64"), count])
    table = np.array((*entry.table, entry.missing or (0.0,) * entry.width))
    flat = b.add("Reshape", [code, b.constant([-1], "int64")])
    return b.add("Gather", [b.constant(table, "float64"), flat], axis=0)


def _text(b: Builder, entry: Text, value: str, double: Double, text: bool) -> str:
    raise Impossible(f"column {entry.column!r} is split by a regular expression, which ONNX has no operator for")


EMITTERS: Mapping[type, Any] = {
    Number: _number, Indicator: _indicator, Lookup: _lookup, Bins: _bins, Text: _text,
}  # fmt: skip
