"""Keras and TensorFlow: files, live models and SavedModels, and graphs that answer as the model's own call does."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="runs in .envs/tensorflow: make test-slow")

import deep  # noqa: E402
import zoo_deep  # noqa: E402

from anyport.batch import Column  # noqa: E402
from anyport.errors import BadData, Impossible, Mistake, Untrusted  # noqa: E402
from anyport.frameworks import keras as framework  # noqa: E402
from anyport.frameworks import tensorflow as saved  # noqa: E402
from anyport.predictor import GraphPredictor  # noqa: E402
from anyport.trust import held  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    ),  # keras 3.15's own
]


def only(found: Any) -> Any:
    """The one candidate."""
    (candidate,) = deep.graphs(found).values()
    return candidate


def called(model: Any, x: Any) -> Any:
    """The model's own answer."""
    given = model(x, training=False)
    return [np.asarray(v) for v in given] if isinstance(given, list) else np.asarray(given)


def test_named_inputs_and_outputs() -> None:
    model, data = zoo_deep.keras_mlp()
    found = deep.original(model, data, "keras")
    assert [(f.name, f.dtype, f.shape) for f in found.signature.inputs] == [
        ("numbers", "float32", (3,)), ("city", "int32", (1,)),
    ]  # fmt: skip
    assert [f.name for f in found.signature.outputs] == ["price", "kind"]
    assert deep.fault(found, only(found)) == ""
    price, kind = called(model, [data["numbers"], data["city"]])
    asked = framework.ask(model, data)
    np.testing.assert_array_equal(asked["price"], price)
    np.testing.assert_array_equal(asked["kind"], kind)


def test_a_list_of_arrays_is_the_inputs_in_order() -> None:
    model, data = zoo_deep.keras_mlp()
    found = deep.original(model, [data["numbers"], data["city"]], "keras")
    assert [f.name for f in found.signature.inputs] == ["numbers", "city"]


def test_a_convolution() -> None:
    model, x = zoo_deep.keras_cnn()
    found = deep.original(model, x, "keras")
    assert [f.shape for f in found.signature.inputs] == [(10, 10, 2)]
    assert [f.name for f in found.signature.outputs] == ["prediction"]
    assert deep.fault(found, only(found)) == ""
    np.testing.assert_array_equal(
        framework.ask(model, {found.signature.inputs[0].name: x})["prediction"], called(model, x)
    )


def test_a_free_sequence_axis_runs_at_lengths_never_seen() -> None:
    model, x = zoo_deep.keras_sequence()
    found = deep.original(model, x, "keras")
    assert found.signature.inputs[0].shape == (None, 3)
    candidate = only(found)
    assert deep.fault(found, candidate) == ""
    longer = np.random.default_rng(0).normal(size=(3, 17, 3)).astype(np.float32)
    got = GraphPredictor(found.signature, candidate.fast, None).predict({"steps": Column(longer)})
    np.testing.assert_allclose(got.outputs["prediction"].values, called(model, longer), rtol=1e-4, atol=1e-6)


def test_a_fixed_batch_is_asked_and_run_row_by_row() -> None:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input(batch_shape=(4, 3)), keras.layers.Dense(2), keras.layers.Softmax()])
    x = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    found = deep.original(model, x, "keras")
    assert deep.fault(found, only(found)) == ""
    np.testing.assert_allclose(
        framework.ask(model, x)["prediction"][5], called(model, np.repeat(x[5:6], 4, axis=0))[0], rtol=1e-6
    )


def test_a_subclass_that_states_no_inputs() -> None:
    class Net(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = keras.layers.Dense(2)

        def call(self, inputs: Any) -> Any:
            return self.layer(inputs["a"]) * inputs["b"]

    keras.utils.set_random_seed(4)
    random = np.random.default_rng(0)
    data = {"a": random.normal(size=(8, 3)), "b": random.normal(size=(8, 1))}
    found = deep.original(Net(), data, "keras")
    assert [(f.name, f.dtype, f.shape) for f in found.signature.inputs] == [
        ("a", "float32", (3,)),
        ("b", "float32", (1,)),
    ]
    assert deep.fault(found, only(found)) == ""


def test_tables_by_column_and_as_one_tensor() -> None:
    import pandas as pd

    keras.utils.set_random_seed(5)
    age, city = keras.Input((1,), name="age"), keras.Input((1,), dtype="int64", name="city")
    hidden = keras.layers.Concatenate()([age, keras.layers.Flatten()(keras.layers.Embedding(4, 2)(city))])
    by_column = keras.Model({"age": age, "city": city}, keras.layers.Dense(1)(hidden))
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"city": random.integers(0, 4, 15), "age": random.normal(40, 9, 15)})
    found = deep.original(by_column, frame, "keras")
    assert found.signature.container == "dataframe"
    assert sorted((f.name, f.dtype, f.shape) for f in found.signature.inputs) == [
        ("age", "float32", ()), ("city", "int64", ()),
    ]  # fmt: skip
    assert deep.fault(found, only(found)) == ""
    assert deep.fault(found, only(found), exact=True) == ""

    whole = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    found = deep.original(whole, frame, "keras")
    assert found.signature.container == "array"
    assert deep.fault(found, only(found)) == ""
    with pytest.raises(BadData, match="the table has 3 columns"):
        deep.original(whole, frame.assign(extra=1.0), "keras")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files(tmp_path: Path, suffix: str) -> None:
    model, x = zoo_deep.keras_cnn()
    model.save(tmp_path / f"m{suffix}")
    loaded = framework.load(tmp_path / f"m{suffix}", held(None))
    np.testing.assert_array_equal(called(loaded, x), called(model, x))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_is_code_and_needs_its_own_consent(tmp_path: Path, suffix: str) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2.0)])
    model.save(tmp_path / f"m{suffix}")
    for trust in (None, "keras", "all"):
        with pytest.raises(Untrusted, match=r"keras\.layers\.Lambda"):
            framework.load(tmp_path / f"m{suffix}", held(trust))
    loaded = framework.load(tmp_path / f"m{suffix}", held("keras.layers.Lambda"))
    np.testing.assert_array_equal(called(loaded, np.ones((1, 2), np.float32)), [[2.0, 2.0]])


def test_a_file_that_imports_from_outside_keras_asks_first(tmp_path: Path) -> None:
    model, _ = zoo_deep.keras_cnn()
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        parts = {n: archive.read(n) for n in archive.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["layers"][1]["config"]["activation"] = {
        "module": "os", "class_name": "function", "config": "system", "registered_name": "system",
    }  # fmt: skip
    with zipfile.ZipFile(tmp_path / "bad.keras", "w") as archive:
        for name, content in {**parts, "config.json": json.dumps(config).encode()}.items():
            archive.writestr(name, content)
    with pytest.raises(Untrusted, match=r"os\.system"):
        framework.load(tmp_path / "bad.keras", held("all"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.keras", b"junk", "not a Keras file"),
        ("m.keras", b"", "not a Keras file"),
        ("m.h5", b"junk", "not an HDF5 file"),
    ],
)
def test_a_damaged_file_is_a_mistake(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Mistake, match=says):
        framework.load(tmp_path / name, held("all"))


def test_weights_alone_say_what_to_do(tmp_path: Path) -> None:
    model, _ = zoo_deep.keras_cnn()
    model.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(Mistake, match="weights without their model"):
        framework.load(tmp_path / "m.weights.h5", held("all"))


def test_a_saved_model(tmp_path: Path) -> None:
    folder, data = zoo_deep.saved_model(tmp_path)
    model = saved.load(folder, held(None))
    found = deep.original(model, data, "tensorflow")
    assert [(f.name, f.dtype, f.shape) for f in found.signature.inputs] == [
        ("features", "float32", (4,)), ("years", "int64", ()),
    ]  # fmt: skip
    assert [f.name for f in found.signature.outputs] == ["best", "score"]
    assert deep.fault(found, only(found)) == ""


def test_a_model_that_keras_exported(tmp_path: Path) -> None:
    model, x = zoo_deep.keras_cnn()
    model.export(tmp_path / "exported", verbose=False)
    found = deep.original(saved.load(tmp_path / "exported", held(None)), x, "tensorflow")
    assert deep.fault(found, only(found)) == ""
    np.testing.assert_allclose(
        framework.ask(model, x)["prediction"], saved.ask(found.model, x)["prediction"], rtol=1e-5, atol=1e-6
    )


def test_the_python_form_keeps_their_own_formats(tmp_path: Path) -> None:
    model, x = zoo_deep.keras_cnn()
    name = framework.save(model, tmp_path)
    assert name == "model.keras"
    np.testing.assert_array_equal(called(framework.load(tmp_path / name, held(None)), x), called(model, x))
    coded = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2.0)])
    assert framework.save(coded, tmp_path) is None
    folder, data = zoo_deep.saved_model(tmp_path)
    before = saved.load(folder, held(None))
    after = saved.load(tmp_path / saved.save(before, tmp_path), held(None))
    np.testing.assert_array_equal(saved.ask(after, data)["score"], saved.ask(before, data)["score"])


def test_a_saved_model_that_reads_files_asks_first(tmp_path: Path) -> None:
    import tensorflow as tf

    class Reads(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "path")])
        def serve(self, path: Any) -> Any:
            return {"content": tf.map_fn(tf.io.read_file, path)}

    module = Reads()
    tf.saved_model.save(module, str(tmp_path / "s"), signatures={"serving_default": module.serve})
    for trust in (None, "all"):
        with pytest.raises(Untrusted, match="ReadFile"):
            saved.load(tmp_path / "s", held(trust))
    assert saved.load(tmp_path / "s", held("tensorflow.raw_ops.ReadFile")).serve is not None


def test_a_damaged_saved_model_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"junk")
    with pytest.raises(Mistake, match=r"saved_model\.pb"):
        saved.load(tmp_path, held(None))


def test_text_inputs_take_the_python_form() -> None:
    lookup = keras.layers.StringLookup(vocabulary=["a", "b"])
    text = keras.Input((1,), dtype="string", name="text")
    model = keras.Model(text, keras.layers.Embedding(3, 2)(lookup(text)))
    data = {"text": np.array([["a"], ["b"], ["zzz"]], object)}
    found = deep.original(model, data, "keras")
    assert found.signature.inputs[0].dtype == "string"
    with pytest.raises(Impossible, match="text inputs"):
        deep.graphs(found)
    with pytest.raises(ValueError, match="missing or not text"):
        framework.ask(model, {"text": np.array([[None]], object)})
