"""The classifier in a foreign graph: which output is the label, which the probabilities, and what the classes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anyport.errors import need
from anyport.graph.adopt import Port, constant, declare, inputs, names, outputs, rename


@dataclass(frozen=True)
class Classifier:
    """What a classifier's graph answers."""

    prediction: str
    """The output that holds the label."""
    probability: str | None
    labels: tuple[Any, ...] | None
    """In the order of the probabilities; None where the graph does not say."""


def classifier(model: Any) -> Classifier | None:
    """The classifier that the outputs form, or None: a label [N] beside probabilities (a tensor or a ZipMap)."""
    ports = outputs(model)
    if len(ports) != 2:
        return None
    label, scores = ports
    if is_label(scores):
        label, scores = scores, label
    if not is_label(label) or not is_scores(scores):
        return None
    return Classifier(label.name, scores.name, zipped(model, scores.name) or classes(model, label.name))


def is_label(port: Port) -> bool:
    """Whether this can be a label: an integer or text for each row."""
    one = port.dims is None or len(port.dims) < 2 or (len(port.dims) == 2 and port.dims[1] == 1)
    return port.dtype in ("int64", "int32", "string") and one


def is_scores(port: Port) -> bool:
    """Whether this can be a classifier's probabilities."""
    return port.dtype == "maps" or (port.dtype.startswith("float") and (port.dims is None or len(port.dims) == 2))


def producer(model: Any, name: str) -> Any | None:
    """The node that makes `name`, seen through nodes that change no value."""
    for node in model.graph.node:
        if name in node.output:
            if node.op_type in ("Identity", "Cast", "Reshape", "Squeeze", "Flatten"):
                return producer(model, node.input[0]) or node
            return node
    return None


def strings_or_ints(node: Any, prefix: str) -> tuple[Any, ...] | None:
    """A node's attribute `prefix`_strings or `prefix`_int64s (or _ints) as plain values."""
    for attribute in node.attribute:
        if attribute.name == f"{prefix}_strings" and attribute.strings:
            return tuple(s.decode() for s in attribute.strings)
        if attribute.name in (f"{prefix}_int64s", f"{prefix}_ints") and attribute.ints:
            return tuple(int(i) for i in attribute.ints)
    return None


def zipped(model: Any, name: str) -> tuple[Any, ...] | None:
    """The labels of the ZipMap that makes `name`."""
    node = producer(model, name)
    return None if node is None or node.op_type != "ZipMap" else strings_or_ints(node, "classlabels")


def classes(model: Any, name: str) -> tuple[Any, ...] | None:
    """The labels that `name` is chosen from, where the node that makes it lists them."""
    node = producer(model, name)
    if node is None:
        return None
    listed = strings_or_ints(node, "classlabels")
    if listed is not None:
        return listed
    if node.op_type == "LabelEncoder":
        return strings_or_ints(node, "values")
    if node.op_type == "ArrayFeatureExtractor" or (node.op_type == "Gather" and len(node.input) == 2):
        helper = need("onnx").numpy_helper
        for tensor in model.graph.initializer:
            if tensor.name == node.input[0]:
                values = helper.to_array(tensor).ravel().tolist()
                return tuple(v.decode() if isinstance(v, bytes) else v for v in values)
    return None


def unzip(model: Any) -> None:
    """Every output that a ZipMap makes becomes the tensor [N, classes] that goes into it."""
    for port in outputs(model):
        if port.dtype != "maps":
            continue
        node = producer(model, port.name)
        listed = None if node is None else strings_or_ints(node, "classlabels")
        if node is None or node.op_type != "ZipMap" or listed is None:
            continue
        source = node.input[0]
        model.graph.node.remove(node)
        value = next(v for v in model.graph.output if v.name == port.name)
        value.CopyFrom(declare(port.name, "float32", ["N", len(listed)]))
        model.graph.node.append(need("onnx").helper.make_node("Identity", [source], [port.name]))


def index(model: Any, name: str, labels: tuple[Any, ...]) -> None:
    """The output `name`, a label for each row, becomes its position in `labels`: int64 [N]."""
    import numpy as np

    helper = need("onnx").helper
    port = next(p for p in outputs(model) if p.name == name)
    inner = name + "_label"
    while inner in names(model):
        inner += "_"
    rename(model, name, inner)
    shape = constant(model, "label_shape", np.array([-1], np.int64))
    nodes = [helper.make_node("Reshape", [inner, shape], [inner + "_flat"])]
    flat = inner + "_flat"
    positions = list(range(len(labels)))
    if port.dtype == "string":
        tables = {"keys_strings": list(labels), "values_int64s": positions, "default_int64": -1}
        nodes.append(helper.make_node("LabelEncoder", [flat], [name], domain="ai.onnx.ml", **tables))
        need_ml(model)
    else:
        if port.dtype != "int64":
            nodes.append(helper.make_node("Cast", [flat], [flat + "64"], to=7))
            flat += "64"
        column = constant(model, "column_shape", np.array([-1, 1], np.int64))
        known = constant(model, "labels_known", np.array([list(labels)], np.int64))
        nodes += [
            helper.make_node("Reshape", [flat, column], [flat + "_column"]),
            helper.make_node("Equal", [flat + "_column", known], [flat + "_equal"]),
            helper.make_node("Cast", [flat + "_equal"], [flat + "_hit"], to=6),
            helper.make_node("ArgMax", [flat + "_hit"], [name], axis=1, keepdims=0),
        ]
    model.graph.node.extend(nodes)
    value = next(v for v in model.graph.output if v.name == inner)
    value.CopyFrom(declare(name, "int64", ["N"]))


def need_ml(model: Any) -> None:
    """Import ai.onnx.ml in a version whose LabelEncoder maps text to int64 (2 or newer; 1 → 2 changed only it)."""
    for imported in model.opset_import:
        if imported.domain == "ai.onnx.ml":
            imported.version = max(imported.version, 2)
            return
    model.opset_import.append(need("onnx").helper.make_opsetid("ai.onnx.ml", 2))


def output_names(model: Any) -> dict[str, str]:
    """Graph output → our name: `prediction` and `probability` of a classifier, `prediction` of a single output,
    else the graph's own name; never the name of an input."""
    found = classifier(model)
    ports = outputs(model)
    if found is not None:
        wanted = {found.prediction: "prediction", found.probability or "": "probability"}
    elif len(ports) == 1:
        wanted = {ports[0].name: "prediction"}
    else:
        wanted = {p.name: p.name for p in ports}
    fed = {p.name for p in inputs(model)}
    return {old: new + "_answer" if new in fed else new for old, new in wanted.items() if old}
