"""A graph that takes one row (or a fixed number of rows) a call, made to take any number: a Scan over rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from anyport.errors import Impossible, need
from anyport.graph.adopt import copy, declare, inputs, names, opset, outputs, rename


def rowwise(model: Any, *, batch: int | None) -> Any:
    """A model whose axis 0 is free: `model` becomes the body of a Scan and is run once a row.

    `batch` is the fixed number of rows the graph takes: each row is repeated that often and the first answer
    kept. None: a row is one whole call, so that inputs and outputs gain an axis in front.
    Raises Impossible below opset 9, where Scan means something else.
    """
    import numpy as np

    onnx = need("onnx")
    if opset(model) < 9:
        raise Impossible(
            f"the graph takes a fixed number of rows and is of opset {opset(model)}; Scan needs opset 9",
            fix="export it again with a free batch axis, or onnx.version_converter.convert_version(model, 18)",
        )
    wanted, given = inputs(model), outputs(model)
    if any(p.dtype in ("maps", "sequence") for p in given):
        raise Impossible("the graph takes a fixed number of rows and answers with a sequence; neither can be freed")
    body = copy(model)
    taken = names(body)

    def fresh(hint: str) -> str:
        while hint in taken:
            hint += "_"
        taken.add(hint)
        return hint

    # names of a body must differ from those outside it
    inner = {p.name: fresh(p.name + "_one") for p in (*wanted, *given)}
    for old, new in inner.items():
        rename(body, old, new)
    before: list[Any] = []
    after: list[Any] = []
    constants: list[Any] = []

    def const(hint: str, values: Any) -> str:
        name = fresh(hint)
        constants.append(onnx.numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name

    def add(nodes: list[Any], op: str, ends: list[str], out: str, **attributes: Any) -> str:
        nodes.append(onnx.helper.make_node(op, ends, [out], **attributes))
        return out

    body_inputs, scanned_inputs = [], []
    for p in wanted:
        if p.dims is None:
            raise Impossible(f"the graph does not state the shape of {p.name!r}, so its rows cannot be told apart")
        row, value = fresh(p.name + "_row"), inner[p.name]
        dims: list[int | str | None] = list(p.dims if batch is None else p.dims[1:])
        if not p.dims:
            # a rank-0 input is fed as a column [N, 1], like every scalar
            add(before, "Reshape", [row, const("scalar_shape", np.zeros(0))], value)
            dims = [1]
        elif batch is None:
            add(before, "Identity", [row], value)
        elif len(p.dims) == 1:
            # a vector's rows are scalars, which are fed as a column [N, 1]
            add(before, "Concat", [row] * batch, value, axis=0)
            dims = [1]
        else:
            axes = {"axes": [0]} if opset(model) < 13 else {}
            ends = [row] if axes else [row, const("axis0", [0])]
            single = add(before, "Unsqueeze", ends, fresh(p.name + "_single"), **axes)
            add(before, "Concat", [single] * batch, value, axis=0)
        body_inputs.append(declare(row, p.dtype, dims))
        scanned_inputs.append(declare(p.name, p.dtype, ["N", *dims]))
    body_outputs, scanned_outputs = [], []
    for p in given:
        row, value = fresh(p.name + "_row"), inner[p.name]
        whole = batch is None or p.dims == ()
        add(after, "Identity", [value], row) if whole else add(after, "Gather", [value, const("row0", 0)], row, axis=0)
        left = None if p.dims is None else list(p.dims if whole else p.dims[1:])
        body_outputs.append(declare(row, p.dtype, left))
        scanned_outputs.append(declare(p.name, p.dtype, None if left is None else ["N", *left]))
    graph = onnx.helper.make_graph(
        [*before, *body.graph.node, *after], "row", body_inputs, body_outputs, [*body.graph.initializer, *constants]
    )
    graph.sparse_initializer.extend(body.graph.sparse_initializer)
    scan = onnx.helper.make_node(
        "Scan", [v.name for v in scanned_inputs], [v.name for v in scanned_outputs],
        body=graph, num_scan_inputs=len(scanned_inputs),
    )  # fmt: skip
    outer = onnx.helper.make_graph([scan], "rows", scanned_inputs, scanned_outputs)
    made = onnx.helper.make_model(outer, opset_imports=body.opset_import, ir_version=body.ir_version)
    made.functions.extend(body.functions)
    return made


def asked_by_row(
    answer: Callable[[dict[str, Any]], Mapping[str, Any]], named: Mapping[str, Any], size: int
) -> dict[str, Any]:
    """Answers of an original that takes exactly `size` rows: each row is repeated and the first answer kept."""
    import numpy as np

    n = len(next(iter(named.values())))
    rows = [answer({k: np.repeat(v[i : i + 1], size, axis=0) for k, v in named.items()}) for i in range(n)]
    return {k: np.concatenate([r[k][:1] for r in rows]) for k in rows[0]}
