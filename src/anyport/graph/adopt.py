"""A graph that someone else wrote, made to meet the Candidate contract: names, labels, batch axis, nothing private."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anyport.errors import Impossible, need
from anyport.signature import Field, Signature

DTYPES: Mapping[int, str] = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
"""onnx.TensorProto element types that a Field can hold."""


@dataclass(frozen=True)
class Port:
    """One input or output as the graph declares it."""

    name: str
    dtype: str
    """Of the elements; "maps" for a sequence of maps (ZipMap), "sequence" for a sequence of tensors."""
    dims: tuple[int | str | None, ...] | None
    """With the batch axis; None where the graph does not say."""


def inputs(model: Any) -> tuple[Port, ...]:
    """The graph's inputs, without the initializers that old exporters list among them."""
    known = {i.name for i in model.graph.initializer} | {i.values.name for i in model.graph.sparse_initializer}
    return tuple(port(v) for v in model.graph.input if v.name not in known)


def outputs(model: Any) -> tuple[Port, ...]:
    """The graph's outputs."""
    return tuple(port(v) for v in model.graph.output)


def port(value: Any) -> Port:
    """The Port of a ValueInfoProto. Impossible for element types that no Field can hold."""
    kind = value.type.WhichOneof("value")
    if kind == "sequence_type":
        inner = value.type.sequence_type.elem_type.WhichOneof("value")
        return Port(value.name, "maps" if inner == "map_type" else "sequence", None)
    if kind != "tensor_type":
        raise Impossible(f"the graph's {value.name!r} is a {kind}; tensors can be carried")
    tensor = value.type.tensor_type
    if tensor.elem_type not in DTYPES:
        name = need("onnx").TensorProto.DataType.Name(tensor.elem_type)
        raise Impossible(f"the graph's {value.name!r} holds {name}, which no target can carry")
    dims = None
    if tensor.HasField("shape"):
        dims = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim)
    return Port(value.name, DTYPES[tensor.elem_type], dims)


def opset(model: Any, domain: str = "") -> int:
    """The opset version the model imports for `domain`; 0 if none."""
    return max((o.version for o in model.opset_import if (o.domain or "") == domain), default=0)


def copy(model: Any) -> Any:
    """A copy without doc strings and metadata (exporters write source paths and stack traces there)."""
    made = type(model)()
    made.CopyFrom(model)
    made.ClearField("doc_string")
    made.ClearField("metadata_props")
    for graph in graphs(made.graph):
        graph.ClearField("metadata_props")
        graph.ClearField("doc_string")
        for group in (graph.node, graph.input, graph.output, graph.value_info, graph.initializer):
            for item in group:
                item.ClearField("metadata_props")
                item.ClearField("doc_string")
    for function in made.functions:
        function.ClearField("metadata_props")
        function.ClearField("doc_string")
        for node in function.node:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
    return made


def graphs(graph: Any) -> Iterator[Any]:
    """The graph and every graph inside its nodes' attributes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)
            for inner in attribute.graphs:
                yield from graphs(inner)


def rename(model: Any, old: str, new: str) -> None:
    """Call the value `old` `new` wherever it stands, subgraphs included; whatever was called `new` steps aside."""
    if old == new:
        return
    taken = names(model)
    if new in taken:
        aside = new
        while aside in taken or aside in (old, new):
            aside += "_"
        replace(model, new, aside)
    replace(model, old, new)


def names(model: Any) -> set[str]:
    """Every value name in the model."""
    found: set[str] = set()
    for graph in graphs(model.graph):
        for group in (graph.input, graph.output, graph.initializer):
            found |= {v.name for v in group}
        for node in graph.node:
            found |= {*node.input, *node.output}
    return found


def replace(model: Any, old: str, new: str) -> None:
    """Every use of the value name `old` becomes `new`."""
    for graph in graphs(model.graph):
        for group in (graph.input, graph.output, graph.value_info, graph.initializer):
            for value in group:
                if value.name == old:
                    value.name = new
        for sparse in graph.sparse_initializer:
            if sparse.values.name == old:
                sparse.values.name = new
        for node in graph.node:
            for end in (node.input, node.output):
                for i, name in enumerate(end):
                    if name == old:
                        end[i] = new


def constant(model: Any, hint: str, array: Any) -> str:
    """A new initializer; gives its name."""
    taken = names(model)
    name = hint
    while name in taken:
        name += "_"
    model.graph.initializer.append(need("onnx").numpy_helper.from_array(array, name))
    return name


def declare(name: str, dtype: str, dims: Sequence[int | str | None] | None) -> Any:
    """A ValueInfoProto of a tensor."""
    helper = need("onnx").helper
    kind = next(k for k, v in DTYPES.items() if v == dtype)
    return helper.make_tensor_value_info(name, kind, None if dims is None else list(dims))


def feed(model: Any, fields: Mapping[str, Field]) -> None:
    """Make every scalar input a column [N, 1], whatever rank the graph wants it in."""
    import numpy as np

    onnx = need("onnx")
    for wanted in inputs(model):
        field = fields[wanted.name]
        if field.shape or wanted.dims is None or len(wanted.dims) == 2:
            continue
        rename(model, wanted.name, wanted.name + "_flat")
        shape = constant(model, wanted.name + "_shape", np.array([-1] * len(wanted.dims), np.int64))
        node = onnx.helper.make_node("Reshape", [wanted.name, shape], [wanted.name + "_flat"])
        model.graph.node.insert(0, node)
        value = next(v for v in model.graph.input if v.name == wanted.name + "_flat")
        value.CopyFrom(declare(wanted.name, wanted.dtype, ["N", 1]))


def column_inputs(model: Any, signature: Signature) -> None:
    """Replace the one input [N, k] by k inputs [N, 1], each of the dtype its column is fed in (see predictor.py),
    joined in double and cast as the original is fed."""
    onnx = need("onnx")
    (wanted,) = inputs(model)
    ports = signature.ports
    taken = names(model) | set(ports.values())

    def fresh(hint: str) -> str:
        while hint in taken:
            hint += "_"
        taken.add(hint)
        return hint

    for name in names(model) & set(ports.values()):
        replace(model, name, fresh(name))
    whole = model.graph.input[0].name
    del model.graph.input[:]
    doubles = [fresh(f"{port}_as_double") for port in ports.values()]
    joined = fresh(f"{whole}_as_double")
    nodes = []
    for field, double in zip(signature.inputs, doubles, strict=True):
        dtype = "float64" if field.nullable and not field.is_float else field.dtype
        model.graph.input.append(declare(ports[field.name], dtype, ["N", 1]))
        nodes.append(onnx.helper.make_node("Cast", [ports[field.name]], [double], to=onnx.TensorProto.DOUBLE))
    to = next(k for k, v in DTYPES.items() if v == wanted.dtype)
    nodes.append(onnx.helper.make_node("Concat", doubles, [joined], axis=1))
    nodes.append(onnx.helper.make_node("Cast", [joined], [whole], to=to))
    for node in reversed(nodes):
        model.graph.node.insert(0, node)


def single_input(model: Any, dtype: str) -> None:
    """Call the one input [N, k] "X" and take it in `dtype`, cast to what the graph wants."""
    (wanted,) = inputs(model)
    rename(model, wanted.name, "X")
    if wanted.dtype != dtype:
        rename(model, "X", "X_cast")
        to = next(k for k, v in DTYPES.items() if v == wanted.dtype)
        model.graph.node.insert(0, need("onnx").helper.make_node("Cast", ["X"], ["X_cast"], to=to))
        value = next(v for v in model.graph.input if v.name == "X_cast")
        value.CopyFrom(declare("X", dtype, wanted.dims))


def free_batch(model: Any) -> None:
    """Declare axis 0 of every input and output free ("N"). Whether it is, only running it tells."""
    fed = {p.name for p in inputs(model)}
    for value in (*(v for v in model.graph.input if v.name in fed), *model.graph.output):
        kind = value.type.WhichOneof("value")
        if kind == "tensor_type" and len(value.type.tensor_type.shape.dim):
            value.type.tensor_type.shape.dim[0].dim_param = "N"


def serialize(model: Any) -> bytes:
    """The model's bytes, the same for the same model. Impossible above protobuf's 2 GiB."""
    try:
        data = bytes(model.SerializeToString(deterministic=True))
    except (ValueError, need("google.protobuf.message").EncodeError) as error:
        raise Impossible("the graph is larger than 2 GiB, more than one ONNX file holds") from error
    return data
