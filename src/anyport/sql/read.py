"""The proven graph, run on symbols: every value of one row becomes an expression of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible, need
from anyport.signature import Field, Signature
from anyport.sql import operators, symbols
from anyport.sql.expr import Node, Pool

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Program:
    """What a row's answers are: expressions over its columns, by output name."""

    signature: Signature
    outputs: Mapping[str, tuple[Node, ...]]
    """One expression a scalar of the output, in row-major order. Labels of classes are indices here."""
    pool: Pool


def read(graph: bytes | Path, signature: Signature) -> Program:
    """The graph over raw inputs as expressions. Impossible naming the operator that SQL has no words for."""
    onnx = need("onnx")
    model = onnx.load_from_string(graph) if isinstance(graph, bytes) else onnx.load(graph)
    pool = Pool()
    values: dict[str, NDArray[Any]] = {
        i.name: symbols.held(pool, onnx.numpy_helper.to_array(i)) for i in model.graph.initializer
    }
    fields = {signature.ports[f.name]: f for f in signature.inputs}
    for given in model.graph.input:
        if given.name not in values:
            values[given.name] = column(pool, fields[given.name])
    for node in model.graph.node:
        run = operators.TABLE.get((node.domain or "", node.op_type))
        if run is None:
            raise Impossible(f"the graph holds {node.op_type}, which SQL has no words for")
        attributes = {a.name: plain(onnx, a) for a in node.attribute}
        got = run(pool, [values[name] if name else None for name in node.input], attributes)
        values.update(zip(node.output, got if isinstance(got, tuple) else (got,), strict=False))
    outputs = {}
    for out in model.graph.output:
        outputs[out.name] = tuple(symbols.nodes(pool, values[out.name]).ravel().tolist())
    return Program(signature, outputs, pool)


def plain(onnx: Any, attribute: Any) -> Any:
    """An attribute as plain Python or numpy data."""
    import numpy as np

    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [v.decode() for v in value]
    if isinstance(value, list) and len(value) > 64:
        return np.array(value)
    return np.array(value) if attribute.name.startswith(("nodes_", "leaf_", "tree_")) else value


def column(pool: Pool, field: Field) -> NDArray[Any]:
    """One row of an input column, [1, 1] (or [1, *shape]), as the graph takes it."""
    import numpy as np

    if any(axis is None for axis in field.shape):
        raise Impossible(f"column {field.name!r} is a tensor of no fixed size")
    shape = (1, *(axis or 1 for axis in field.shape or (1,)))
    kind = "s" if field.is_text else "i" if field.is_int or field.dtype == "datetime" else (
        "b" if field.dtype == "bool" else "f")  # fmt: skip
    if field.nullable and kind in "ib" and field.dtype != "datetime":
        kind = "f"  # the graph takes a double, NaN where missing
    made: list[Any] = []
    for i in range(field.width):
        name = field.name if not field.shape else f"{field.name}_{i}"
        made.append(pool.node("column", (), (name, field.nullable), kind))
    out = np.empty(len(made), object)
    out[:] = made
    return out.reshape(shape)
