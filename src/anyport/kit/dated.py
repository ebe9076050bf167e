"""The same graph for an ONNX Runtime of some years ago: opset 17, ai.onnx.ml 3, and nothing that 1.12 has not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible, need
from anyport.kit.dated_doubles import ABSENT, Said
from anyport.kit.dated_trees import lowered

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPSETS = {"": 17, "ai.onnx.ml": 3}
IR = 8
"""What ONNX Runtime 1.12 takes (https://onnxruntime.ai/docs/reference/compatibility.html)."""
WIDENED = (
    "Cast", "Constant", "ConstantOfShape", "Equal", "Flatten", "Identity", "If", "Loop", "Reshape", "Scan", "Shape",
    "Size", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators whose newer versions take more types, and with the older ones do the same
(https://github.com/onnx/onnx/blob/main/docs/Changelog.md)."""
LOST = {"saturate", "num_outputs", "noop_with_empty_axes"}
"""Attributes of newer versions that say what the older ones do anyway."""


def dated(graph: bytes) -> bytes:
    """The graph in older operators. Impossible naming one that has none, or that only ONNX Runtime itself knows."""
    onnx = need("onnx")
    model = onnx.load_from_string(graph)
    if model.functions:
        raise Impossible("the graph holds functions of its own, which ONNX Runtime 1.12 takes in part only")
    known = onnx.shape_inference.infer_shapes(model)
    del model.graph.value_info[:]
    lower(model.graph, known.graph, {o.domain: o.version for o in model.opset_import}, {})
    wanted = {name for node in nodes(model.graph) for name in node.input}
    for unused in [i for i in model.graph.initializer if i.name not in wanted]:
        model.graph.initializer.remove(unused)
    used = {""} | {node.domain for node in nodes(model.graph)}
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(d, v) for d, v in OPSETS.items() if d in used)
    model.ir_version = min(model.ir_version, IR)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def nodes(graph: Any) -> Iterator[Any]:
    """Every node, those of graphs inside others too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes(attribute.g)


def lower(graph: Any, known: Any, versions: dict[str, int], outer: dict[str, Any]) -> None:
    """Say a graph's nodes in older operators, in place. `known` is the same graph with its values' types, `outer` the
    types of those around it."""
    onnx = need("onnx")
    held = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    types = outer | {v.name: v.type.tensor_type for v in (*known.input, *known.value_info, *known.output)}
    made: list[Any] = []
    for node, typed in zip(graph.node, known.node, strict=True):
        for attribute, other in zip(node.attribute, typed.attribute, strict=True):
            if attribute.HasField("g"):
                lower(attribute.g, other.g, versions, types)
        kind = types[node.input[0]].elem_type if node.input and node.input[0] in types else 0
        if (node.domain, node.op_type) == ("ai.onnx.ml", "TreeEnsemble"):
            made += lowered(node, graph)
        elif (node.domain, node.op_type) in ABSENT and kind == onnx.TensorProto.DOUBLE:
            made += ABSENT[node.domain, node.op_type](Said(node, graph, types[node.input[0]], held))
        else:
            made.append(older(node, versions, held))
    del graph.node[:]
    graph.node.extend(made)


def older(node: Any, versions: dict[str, int], held: dict[str, NDArray[Any]]) -> Any:
    """A node as the older opset has it."""
    onnx = need("onnx")
    domain, op = node.domain, node.op_type
    if domain not in OPSETS:
        raise Impossible(f"the graph holds {op} of {domain}, which is no operator of ONNX")
    now = onnx.defs.get_schema(op, versions.get(domain, 1), domain).since_version
    try:
        then = onnx.defs.get_schema(op, min(OPSETS[domain], versions.get(domain, 1)), domain)
    except onnx.defs.SchemaError as error:
        raise Impossible(f"the graph holds {op}, which opset {OPSETS[domain]} has not") from error
    if now == then.since_version:
        return node
    if op.startswith("Reduce") and "axes" in then.attributes:
        if len(node.input) > 1 and node.input[1]:
            if node.input[1] not in held:
                raise Impossible(f"the graph holds {op} over axes that it calculates, which opset 17 has not")
            node.attribute.append(onnx.helper.make_attribute("axes", held[node.input[1]].tolist()))
            del node.input[1:]
    elif op not in (*WIDENED, "Split", "LabelEncoder"):
        raise Impossible(f"the graph holds {op} of opset {now}, and opset {OPSETS[domain]} has another")
    kept = [a for a in node.attribute if a.name in then.attributes]
    lost = {a.name for a in node.attribute} - {a.name for a in kept} - LOST
    if lost:
        raise Impossible(f"the graph holds {op} with {', '.join(sorted(lost))}, which opset {OPSETS[domain]} has not")
    del node.attribute[:]
    node.attribute.extend(kept)
    return node


__all__ = ["dated", "nodes"]
