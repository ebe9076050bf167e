"""Graphs in older operators: the same answers, from what ONNX Runtime 1.12 takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import packed
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from test_sql import golden_inputs

from anyport.batch import take
from anyport.bundle import read
from anyport.errors import Impossible
from anyport.kit.dated import IR, OPSETS, dated, nodes
from anyport.ort import session
from anyport.predictor import raw_input
from anyport.signature import refusals

UNLIKE = ("penguin_species", "lightgbm_categories", "xgboost_numbers", "float32_forest", "support_vectors", "binned")
"""Trees in double and in single precision, of one answer and of many, with categories; Split; Floor of a double."""


@pytest.mark.parametrize("name", UNLIKE)
def test_a_graph_in_older_operators_answers_the_same(shelf: packed.Shelf, name: str) -> None:
    bundle = read(shelf.bundle(name))
    file = bundle.member("exact.onnx")
    assert file is not None
    made = dated(file.read_bytes())
    model = onnx.load_from_string(made)
    assert all(o.version <= OPSETS[o.domain] for o in model.opset_import)
    assert model.ir_version <= IR
    assert "TreeEnsemble" not in {n.op_type for n in nodes(model.graph)}
    inputs = golden_inputs(bundle)
    rows = take(
        inputs, np.setdiff1d(np.arange(len(next(iter(inputs.values())))), list(refusals(inputs, bundle.signature)))
    )
    feed = {f.name: raw_input(rows[f.name], f) for f in bundle.signature.inputs}
    for before, after in zip(session(file).run(None, feed), session(made).run(None, feed), strict=True):
        close = 1e-6 if name == "xgboost_numbers" else 1e-13  # which ONNX Runtime adds in single precision, in parts
        np.testing.assert_allclose(after, before, rtol=close, atol=close)
    assert dated(file.read_bytes()) == made


def graph(*made: Any, kind: int = TensorProto.DOUBLE, opset: int = 18, domain: str = "", held: Any = ()) -> bytes:
    """A graph from x [N, 3] to y."""
    x = helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", 3])
    y = helper.make_tensor_value_info("y", kind, ["N", "M"])
    inner = helper.make_graph(list(made), "g", [x], [y], list(held))
    imports = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return bytes(helper.make_model(inner, opset_imports=imports, ir_version=10).SerializeToString())


DOUBLES = st.lists(st.floats(width=64), min_size=3, max_size=3)


@pytest.mark.parametrize("op", ["Floor", "IsNaN", "Relu"])
@settings(max_examples=40, deadline=None)
@given(st.lists(DOUBLES, min_size=1, max_size=3))
def test_a_double_is_said_in_other_operators_exactly(op: str, rows: list[list[float]]) -> None:
    before = graph(helper.make_node(op, ["x"], ["y"]), kind=TensorProto.BOOL if op == "IsNaN" else TensorProto.DOUBLE)
    after = dated(before)
    assert op not in {n.op_type for n in onnx.load_from_string(after).graph.node}
    x = np.array(rows)
    [expected], [got] = (session(g).run(None, {"x": x}) for g in (before, after))
    np.testing.assert_array_equal(got, expected)


def test_reductions_and_parts_keep_their_axes() -> None:
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    before = graph(helper.make_node("ReduceMax", ["x", "axes"], ["y"], keepdims=1), held=[axes])
    x = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, -2.0]])
    assert session(dated(before)).run(None, {"x": x})[0].tolist() == [[3.0], [0.0]]
    sizes = onnx.numpy_helper.from_array(np.array([2, 1]), "sizes")
    split = helper.make_node("Split", ["x", "sizes"], ["z", "y"], axis=1)
    assert session(dated(graph(split, held=[sizes]))).run(None, {"x": x})[0].tolist() == [[2.0], [-2.0]]


FOREIGN = graph(helper.make_node("Inverse", ["x"], ["y"], domain="com.microsoft"), domain="com.microsoft")


@pytest.mark.parametrize(("made", "says"), [
    (graph(helper.make_node("Gelu", ["x"], ["y"]), opset=20), "holds Gelu, which opset 17 has not"),
    (FOREIGN, "no operator of ONNX"), (graph(helper.make_node("Pad", ["x", "x"], ["y"])), "holds Pad of opset 18"),
])  # fmt: skip
def test_what_older_operators_cannot_say_is_refused(made: bytes, says: str) -> None:
    with pytest.raises(Impossible, match=says):
        dated(made)
