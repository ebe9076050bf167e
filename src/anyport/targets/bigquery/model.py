"""engine=onnx: the proven graph as CREATE MODEL takes it, and the query that asks ML.PREDICT."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from anyport.bundle import Bundle
from anyport.errors import Impossible, need
from anyport.kit.dated import dated
from anyport.kit.view import View
from anyport.predictor import MISSING
from anyport.signature import Field, Signature
from anyport.sql.compile import REFUSAL, label, no_graph, refused, scalars
from anyport.sql.dialects import BIGQUERY as D

MOST_MB = 450
"""https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-onnx#limitations, 2026-11;
there too: ONNX Runtime 1.12.0, tensors alone, and which element types are which type of BigQuery."""


def graph(bundle: Bundle) -> bytes:
    """The graph with an input [N, 1] for each scalar column (c0, c1 …) and, where it may be missing, one that says so
    (m0 …), as no page says what a NULL becomes; with an output for each of the signature's (a0, a1 …): [N], or [N, K]
    of an array. Impossible with the reason."""
    onnx = need("onnx")
    found = bundle.member("exact.onnx") or (
        bundle.member("fast.onnx") if bundle.member("encoder.json") is None else None
    )
    if found is None:
        raise Impossible(
            no_graph(bundle).replace("SQL is made from", "BigQuery takes").replace("SQL engines do", "engines do")
        )
    inner = onnx.compose.add_prefix(onnx.load_from_string(dated(found.read_bytes())), "g/")
    made = Outer(onnx)
    for i, field in columns(bundle.signature):
        made.input(field, i)
    for given in inner.graph.input:
        field = bundle.signature.input(given.name.removeprefix("g/"))
        made.value(field, given, [i for i, f in columns(bundle.signature) if f is field])
    made.nodes += inner.graph.node
    held = {out.name.removeprefix("g/") for out in inner.graph.output}
    for j, field in enumerate(bundle.signature.outputs):
        made.output(field, j, held)
    outer = onnx.helper.make_graph(
        made.nodes, "anyport", made.inputs, made.outputs, [*inner.graph.initializer, *made.held]
    )
    model = onnx.helper.make_model(
        outer, opset_imports=inner.opset_import, producer_name="anyport", ir_version=inner.ir_version
    )
    onnx.checker.check_model(model)
    data = bytes(model.SerializeToString(deterministic=True))
    if len(data) / 1e6 > MOST_MB:
        raise Impossible(f"the graph has {len(data) / 1e6:.0f} MB; BigQuery takes {MOST_MB} MB", fix="--to rest")
    return data


def columns(signature: Signature) -> Iterator[tuple[int, Field]]:
    """The number of each scalar column, and its field."""
    yield from enumerate(field for field in signature.inputs for _ in scalars(field))


class Outer:
    """What stands around the graph."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.held: list[Any] = []

    def constant(self, value: Any, dtype: str) -> str:
        """A value that is always the same."""
        import numpy as np

        name = f"held{len(self.held)}"
        self.held.append(self.onnx.numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def step(self, op: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        """A node; gives the name of its value."""
        result = result or f"step{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), [result], **attributes))
        return result

    def input(self, field: Field, i: int) -> None:
        """The inputs of a scalar column."""
        proto, info = self.onnx.TensorProto, self.onnx.helper.make_tensor_value_info
        kind = {"text": proto.STRING, "float": proto.DOUBLE, "whole": proto.INT64, "bool": proto.BOOL}[sort(field)]
        self.inputs.append(info(f"c{i}", kind, ["N", 1]))
        if field.nullable:
            self.inputs.append(info(f"m{i}", proto.BOOL, ["N", 1]))

    def value(self, field: Field, given: Any, places: list[int]) -> None:
        """What the graph's own input is."""
        proto, wanted = self.onnx.TensorProto, given.type.tensor_type.elem_type
        parts = []
        for i in places:
            x = f"c{i}"
            if field.nullable:
                gone: Any = {"text": (MISSING, "object")}.get(sort(field), (float("nan"), "float64"))
                if field.dtype == "datetime":
                    gone = (-(2**63), "int64")
                elif not field.is_text and not field.is_float:
                    x = self.step("Cast", x, to=proto.DOUBLE)
                x = self.step("Where", f"m{i}", self.constant(*gone), x)
            if not field.is_text:
                x = self.step("Cast", x, to=wanted)
            parts.append(x)
        x = self.step("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
        shape = [-1, *(axis or 1 for axis in field.shape)] if field.shape else [-1, 1]
        self.step("Reshape", x, self.constant(shape, "int64"), result=given.name)

    def output(self, field: Field, j: int, held: set[str]) -> None:
        """An output of the signature: indices of classes, as the graph has them."""
        proto, info = self.onnx.TensorProto, self.onnx.helper.make_tensor_value_info
        x, width = f"g/{field.name}", field.width if field.shape else 1
        text = field.dtype == "string" and not indexed(field)
        if field.name not in held:
            x = self.step("ArgMax", f"g/{field.name.replace('prediction', 'probability')}", axis=1, keepdims=0)
        if not text:
            x = self.step("Cast", x, to=proto.DOUBLE if field.is_float and not indexed(field) else proto.INT64)
        kind = proto.STRING if text else proto.DOUBLE if field.is_float and not indexed(field) else proto.INT64
        self.step("Reshape", x, self.constant([-1, width] if width > 1 else [-1], "int64"), result=f"a{j}")
        self.outputs.append(info(f"a{j}", kind, ["N", width] if width > 1 else ["N"]))


def indexed(field: Field) -> bool:
    """Whether the graph gives the number of a class in its place."""
    return field.levels is not None and field.name.startswith("prediction")


def sort(field: Field) -> str:
    """Which of BigQuery's types a column comes as."""
    if field.is_text:
        return "text"
    return "float" if field.is_float else "bool" if field.dtype == "bool" else "whole"


def place(bundle: Bundle, bucket: str, data: bytes) -> str:
    """Where the graph is kept: the same graph, the same place."""
    return f"gs://{bucket}/anyport/{bundle.name}/{hashlib.sha256(data).hexdigest()[:16]}/model.onnx"


def select(bundle: Bundle, view: View, *, model: str, source: str) -> str:
    """The query, over `source` as BigQuery calls the table."""
    signature = bundle.signature
    names = [name for field in signature.inputs for name in scalars(field)]
    whens = []
    first = [f"{D.ident(key)} as k{i}" for i, key in enumerate(view.keys)]
    asked = [f"k{i}" for i in range(len(view.keys))]
    for (i, field), name in zip(columns(signature), names, strict=True):
        x = D.ident(name)
        whens += [f"when {condition} then {D.literal(words)}" for condition, words in refused(D, field, name, x)]
        first.append(f"{taken(field, x)} as x{i}")
        asked.append(f"if(why is null and x{i} is not null, x{i}, {neutral(field)}) as c{i}")
        if field.nullable:
            asked.append(f"x{i} is null as m{i}")
    why = f"case {' '.join(whens)} end" if whens else "cast(null as STRING)"
    shown = [f"k{i} as {D.ident(key)}" for i, key in enumerate(view.keys)]
    for j, field in enumerate(signature.outputs):
        for i, name in enumerate(scalars(field)):
            x = f"a{j}[offset({i})]" if len(scalars(field)) > 1 else f"a{j}"
            shown.append(f"if(why is null, {label(D, field, x)}, null) as {D.ident(name)}")
    listed = ",\n  ".join([*shown, f"why as {D.ident(REFUSAL)}"])
    given = f"select {', '.join([*first, f'{why} as why'])}\n    from {source}"
    rows = f"select {', '.join([*asked, 'why'])}\n    from (\n    {given})"
    return f"select\n  {listed}\nfrom ml.predict(model {model}, (\n    {rows}))"


def taken(field: Field, x: str) -> str:
    """A column as the model's input takes it, NULL where it is missing."""
    if field.is_float:
        return D.missing.format(f"cast({x} as FLOAT64)")
    if field.dtype == "datetime":
        return D.micros.format(x)
    return x if field.is_text or field.dtype == "bool" else f"cast({x} as INT64)"


def neutral(field: Field) -> str:
    """What stands for a value in a row that is not answered, or that is missing and said to be."""
    if field.is_text:
        return D.literal(str(field.levels[0]) if field.closed and field.levels else "")
    if field.dtype == "bool":
        return "false"
    value = min(max(0.0, field.low if field.low is not None else 0.0), field.high if field.high is not None else 0.0)
    return D.double(value) if field.is_float else str(int(value))
