"""Foreign ONNX graphs: what they take and give, and that our graph answers as onnxruntime answers theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deep
import numpy as np
import onnx
import pandas as pd
import pytest
import zoo_deep
from onnx import helper

from anyport.errors import Impossible, Mistake
from anyport.frameworks import onnx as framework
from anyport.graph import adopt
from anyport.trust import held


def session_answers(model: Any, feed: dict[str, Any]) -> list[Any]:
    """onnxruntime's own answers to the untouched graph."""
    from anyport.ort import session

    return list(session(model.SerializeToString()).run(None, feed))


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("labels", [["b", "a", "c"], [7, 3], [0, 1]], ids=str)
def test_a_classifier_keeps_its_labels_with_and_without_zipmap(labels: list[Any], zipmap: bool) -> None:
    model, x = zoo_deep.sklearn_classifier(labels, zipmap=zipmap)
    found = deep.original(model, x, "onnx")
    assert found.signature.labels == tuple(sorted(labels))
    assert [f.name for f in found.signature.outputs] == ["prediction", "probability"]
    graphs = deep.graphs(found)
    assert list(graphs) == ["graph"]
    assert deep.fault(found, graphs["graph"]) == ""
    label, scores = session_answers(model, {"X": x})
    asked = framework.ask(model, {"X": x})
    assert asked["prediction"].tolist() == label.tolist()
    expected = [[row[v] for v in sorted(labels)] for row in scores] if zipmap else scores
    np.testing.assert_array_equal(asked["probability"], np.array(expected, np.float32))


def test_zipmap_labels_in_their_own_order_stay_in_that_order() -> None:
    nodes = [
        helper.make_node("ArgMax", ["x"], ["top"], axis=1, keepdims=0),
        helper.make_node("ArrayFeatureExtractor", ["classes", "top"], ["picked"], domain="ai.onnx.ml"),
        helper.make_node("Reshape", ["picked", "flat"], ["label"]),
        helper.make_node("ZipMap", ["x"], ["scores"], domain="ai.onnx.ml", classlabels_strings=["z", "a", "m"]),
    ]
    constants = {"classes": np.array([["z", "a", "m"]], object), "flat": np.array([-1], np.int64)}
    model = zoo_deep.graph(nodes, {"x": ("float32", [None, 3])}, {"label": ("string", [None])}, constants)
    maps = onnx.ValueInfoProto(name="scores")
    entry = maps.type.sequence_type.elem_type.map_type
    entry.key_type = onnx.TensorProto.STRING
    entry.value_type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    model.graph.output.append(maps)
    x = np.random.default_rng(0).random((30, 3)).astype(np.float32)
    found = deep.original(model, x, "onnx")
    assert found.signature.labels == ("z", "a", "m")
    assert deep.fault(found, deep.graphs(found)["graph"]) == ""
    np.testing.assert_array_equal(framework.ask(model, {"x": x})["probability"], x)


def test_typed_columns_are_a_dataframe() -> None:
    model, frame = zoo_deep.sklearn_columns()
    found = deep.original(model, frame, "onnx")
    assert found.signature.container == "dataframe"
    assert [(f.name, f.dtype, f.shape) for f in found.signature.inputs] == [
        ("size", "float32", ()), ("age", "int64", ()), ("city", "string", ()),
    ]  # fmt: skip
    graph = deep.graphs(found)["graph"]
    assert deep.fault(found, graph) == ""
    assert deep.fault(found, graph, exact=True) == ""


@pytest.mark.parametrize(("column", "value"), [("city", None), ("age", np.nan), ("age", np.inf), ("age", 1.5)])
def test_a_value_that_no_tensor_holds_is_refused(column: str, value: Any) -> None:
    model, frame = zoo_deep.sklearn_columns()
    broken = frame.astype({column: object})
    broken.loc[3, column] = value
    with pytest.raises(ValueError, match=column):
        framework.ask(model, broken)


def test_a_table_of_k_columns_feeds_one_input_of_width_k() -> None:
    model, x = zoo_deep.sklearn_classifier(["b", "a", "c"], forest=True)
    frame = pd.DataFrame({"w": x[:, 0].astype(float), "X": x[:, 1].astype(float), "i": np.arange(len(x)), "z": x[:, 3]})
    found = deep.original(model, frame, "onnx")
    assert found.signature.container == "array"
    assert [f.name for f in found.signature.inputs] == ["w", "X", "i", "z"]
    graph = deep.graphs(found)["graph"]
    assert graph.encoder is not None
    assert deep.fault(found, graph) == ""
    assert deep.fault(found, graph, exact=True) == ""


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_axis_is_freed_row_by_row(batch: int) -> None:
    model, x = zoo_deep.fixed_batch(batch)
    found = deep.original(model, x, "onnx")
    graphs = deep.graphs(found)
    assert deep.fault(found, graphs["rows"]) == ""
    if batch == 1:
        # freed by declaration alone, the Reshape inside fails: which is why it is proven
        assert "Reshape" in deep.fault(found, graphs["free"])
    (first,) = session_answers(model, {"x": np.repeat(x[5:6], batch, axis=0)})
    np.testing.assert_array_equal(framework.ask(model, {"x": x})["prediction"][5], first[0])


def test_a_batch_axis_that_is_only_declared_free_is_asked_row_by_row() -> None:
    model, x = zoo_deep.falsely_free()
    found = deep.original(model, x, "onnx")
    graphs = deep.graphs(found)
    assert "Reshape" in deep.fault(found, graphs["graph"])
    assert deep.fault(found, graphs["rows"]) == ""


def test_a_row_can_be_a_whole_call() -> None:
    model, data = zoo_deep.recurrent_state()
    found = deep.original(model, data, "onnx")
    assert [(f.name, f.shape) for f in found.signature.inputs] == [
        ("audio", (1, 8)),
        ("state", (2, 1, 4)),
        ("rate", ()),
    ]
    assert deep.fault(found, deep.graphs(found)["rows"]) == ""
    score, after = session_answers(model, {k: np.asarray(v[2]) for k, v in data.items()})
    asked = framework.ask(model, data)
    np.testing.assert_array_equal(asked["score"][2], score)
    np.testing.assert_array_equal(asked["next"][2], after)


def test_several_outputs_keep_their_names_and_none_takes_an_input_s() -> None:
    nodes = [helper.make_node("Relu", ["prediction"], ["up"]), helper.make_node("Neg", ["prediction"], ["down"])]
    model = zoo_deep.graph(
        nodes, {"prediction": ("float64", ["n", 2])}, {"up": ("float64", ["n", 2]), "down": ("float64", ["n", 2])}
    )
    x = np.random.default_rng(1).normal(size=(9, 2))
    found = deep.original(model, x, "onnx")
    assert [f.name for f in found.signature.outputs] == ["up", "down"]
    assert deep.fault(found, deep.graphs(found)["graph"]) == ""
    del model.graph.output[1], model.graph.node[1]
    alone = deep.original(onnx.ModelProto.FromString(model.SerializeToString()), x, "onnx")
    assert [f.name for f in alone.signature.outputs] == ["prediction_answer"]
    assert deep.fault(alone, deep.graphs(alone)["graph"]) == ""


def test_free_axes_are_stated_and_run_at_another_size() -> None:
    nodes = [helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)]
    model = zoo_deep.graph(
        nodes, {"x": ("float32", ["n", "steps", 3])}, {"y": ("float32", ["n", 3])}, {"axes": np.array([1], np.int64)}
    )
    random = np.random.default_rng(2)
    found = deep.original(model, random.normal(size=(5, 4, 3)).astype(np.float32), "onnx")
    assert found.signature.inputs[0].shape == (None, 3)
    graph = deep.graphs(found)["graph"]
    assert deep.fault(found, graph) == ""
    longer = random.normal(size=(2, 9, 3)).astype(np.float32)
    from anyport.batch import Column
    from anyport.predictor import GraphPredictor

    got = GraphPredictor(found.signature, graph.fast, None).predict({"x": Column(longer)})
    np.testing.assert_allclose(got.outputs["prediction"].values, longer.mean(axis=1), rtol=1e-6)


def test_source_paths_and_stack_traces_do_not_travel() -> None:
    model, x = zoo_deep.fixed_batch()
    model.doc_string = "/opt/me/secret.py"
    model.graph.node[0].doc_string = "File /opt/me/secret.py, line 3"
    model.graph.node[1].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/opt/me/secret.py")
    for graph in deep.graphs(deep.original(model, x, "onnx")).values():
        assert b"secret" not in graph.fast


@pytest.mark.parametrize("where", ["../weights.bin", "/weights.bin", "absent.bin"])
def test_external_data_stays_in_the_model_s_folder(tmp_path: Path, where: str) -> None:
    model, _ = zoo_deep.fixed_batch()
    (tmp_path / "m").mkdir()
    (tmp_path / "weights.bin").write_bytes(b"\0" * 4096)
    onnx.save_model(model, tmp_path / "m" / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    broken = onnx.load(tmp_path / "m" / "m.onnx", load_external_data=False)
    for entry in broken.graph.initializer[0].external_data:
        entry.value = where if entry.key == "location" else entry.value
    onnx.save_model(broken, tmp_path / "m" / "m.onnx")
    with pytest.raises(Mistake, match="not there" if where == "absent.bin" else "outside the model's folder"):
        framework.load(tmp_path / "m" / "m.onnx", held(None))


def test_external_data_is_read_in(tmp_path: Path) -> None:
    model, x = zoo_deep.fixed_batch()
    onnx.save_model(
        onnx.ModelProto.FromString(model.SerializeToString()), tmp_path / "m.onnx",
        save_as_external_data=True, location="w.bin", size_threshold=0,
    )  # fmt: skip
    read = framework.load(tmp_path / "m.onnx", held(None))
    np.testing.assert_array_equal(
        framework.ask(read, {"x": x})["prediction"], framework.ask(model, {"x": x})["prediction"]
    )


def test_the_python_form_is_the_file(tmp_path: Path) -> None:
    model, x = zoo_deep.fixed_batch()
    read = framework.load(tmp_path / framework.save(model, tmp_path), held(None))
    np.testing.assert_array_equal(
        framework.ask(read, {"x": x})["prediction"], framework.ask(model, {"x": x})["prediction"]
    )


@pytest.mark.parametrize(("content", "says"), [(b"\x00garbage", "not an ONNX file"), (b"", "holds no ONNX graph")])
def test_a_file_that_is_no_graph_is_a_mistake(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(Mistake, match=says):
        framework.load(tmp_path / "m.onnx", held(None))


def test_versions_that_onnxruntime_cannot_run_name_both(tmp_path: Path) -> None:
    model, x = zoo_deep.fixed_batch()
    model.ir_version = 99
    with pytest.raises(Mistake, match=r"IR version 99; onnxruntime .* reads up to \d+"):
        framework.hints(model, x)
    later, _ = zoo_deep.fixed_batch()
    later.opset_import[0].version = 99
    with pytest.raises(Mistake, match=r"opset 99 of ai\.onnx; onnxruntime .* runs up to \d+"):
        framework.hints(later, x)


def test_a_custom_operator_is_named() -> None:
    model = zoo_deep.graph(
        [helper.make_node("Foo", ["x"], ["y"], domain="com.acme")],
        {"x": ("float32", ["n", 2])},
        {"y": ("float32", ["n", 2])},
    )
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    with pytest.raises(Impossible, match=r"operator Foo of domain com\.acme"):
        framework.hints(model, np.zeros((1, 2), np.float32))


def test_inputs_and_outputs_that_nothing_can_carry_are_named() -> None:
    model = zoo_deep.graph(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        {"x": ("float32", ["n", 2])},
        {"y": ("float32", ["n", 2])},
    )
    sequence = helper.make_tensor_sequence_value_info("y", onnx.TensorProto.FLOAT, None)
    model.graph.output[0].CopyFrom(sequence)
    found = deep.original(model, np.zeros((1, 2), np.float32), "onnx")
    with pytest.raises(Impossible, match="sequence"):
        deep.graphs(found)


def test_renaming_reaches_subgraphs_and_steps_aside() -> None:
    body = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["r"])], "b", [], [helper.make_tensor_value_info("r", 1, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["r2"])], "c", [], [helper.make_tensor_value_info("r2", 1, None)]
    )
    nodes = [
        helper.make_node("Identity", ["x"], ["prediction"]),
        helper.make_node("If", ["yes"], ["out"], then_branch=body, else_branch=other),
        helper.make_node("Mul", ["out", "prediction"], ["y"]),
    ]
    constants = {"one": np.array([1], np.float32), "yes": np.array(True)}
    model = zoo_deep.graph(nodes, {"x": ("float32", ["n", 2])}, {"y": ("float32", ["n", 2])}, constants)
    x = np.random.default_rng(3).normal(size=(6, 2)).astype(np.float32)
    (before,) = session_answers(model, {"x": x})
    adopt.rename(model, "x", "X")
    adopt.rename(model, "y", "prediction")
    (after,) = session_answers(model, {"X": x})
    np.testing.assert_array_equal(before, after)
    assert adopt.outputs(model)[0].name == "prediction"
