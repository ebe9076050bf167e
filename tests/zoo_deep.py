"""Small networks and foreign ONNX graphs, each there to break something: functions that give (model, data)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

Made = tuple[Any, Any]


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def graph(
    nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], constants: dict[str, Any] | None = None
) -> Any:
    """An ONNX model of opset 18; inputs and outputs as name → (dtype, dims)."""
    import onnx
    from onnx import helper

    def value(name: str, spec: Any) -> Any:
        dtype, dims = spec
        kind = onnx.TensorProto.STRING if dtype == "string" else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, kind, dims)

    made = helper.make_graph(
        nodes, "g", [value(k, v) for k, v in inputs.items()], [value(k, v) for k, v in outputs.items()],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(made, opset_imports=opsets, ir_version=10)


def sklearn_classifier(labels: list[Any], *, zipmap: bool = True, forest: bool = False) -> Made:
    """skl2onnx's classifier over one input [None, 4], its probabilities a ZipMap unless told otherwise."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    x = rng().normal(size=(60, 4)).astype(np.float32)
    y = np.array(labels)[(x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5).astype(int) * (len(labels) > 2)]
    model = RandomForestClassifier(5, random_state=0) if forest else LogisticRegression()
    model.fit(x, y)
    opsets = {"": 18, "ai.onnx.ml": 3}
    return to_onnx(model, x[:1], target_opset=opsets, options={id(model): {"zipmap": zipmap}}), x


def sklearn_columns() -> Made:
    """skl2onnx's pipeline over typed columns [None, 1]: a float, an integer and text."""
    import pandas as pd
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    random = rng()
    frame = pd.DataFrame({
        "size": random.normal(size=80).astype(np.float32), "age": random.integers(0, 90, 80),
        "city": random.choice(["rome", "bern", "oslo"], 80),
    })  # fmt: skip
    y = np.where(frame["size"] + (frame["city"] == "rome") > 0.3, "yes", "no")
    steps = [("n", StandardScaler(), ["size", "age"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["city"])]
    pipeline = make_pipeline(ColumnTransformer(steps), LogisticRegression()).fit(frame, y)
    types = [
        ("size", FloatTensorType([None, 1])),
        ("age", Int64TensorType([None, 1])),
        ("city", StringTensorType([None, 1])),
    ]
    return convert_sklearn(pipeline, initial_types=types, target_opset={"": 18, "ai.onnx.ml": 3}), frame


def fixed_batch(batch: int = 1) -> Made:
    """A graph for exactly `batch` rows, with the number baked into a Reshape as exporters do."""
    from onnx import helper

    random = rng()
    weights = random.normal(size=(6, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["m"]),
        helper.make_node("Softmax", ["m"], ["y"], axis=1),
    ]
    shape = np.array([batch, 6], np.int64)
    made = graph(
        nodes, {"x": ("float32", [batch, 2, 3])}, {"y": ("float32", [batch, 3])}, {"w": weights, "flat": shape}
    )
    return made, random.normal(size=(20, 2, 3)).astype(np.float32)


def falsely_free() -> Made:
    """A graph that declares its batch axis free while a Reshape inside fixes it to one row."""
    model, x = fixed_batch()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return model, x


def recurrent_state() -> Made:
    """One row is a whole call: audio [1, 8] beside a state [2, 1, 4] and a rate without axes."""
    from onnx import helper

    random = rng()
    nodes = [
        helper.make_node("MatMul", ["audio", "w"], ["a"]),
        helper.make_node("ReduceMean", ["state", "first"], ["s"], keepdims=0),
        helper.make_node("Add", ["a", "s"], ["b"]),
        helper.make_node("Cast", ["rate"], ["f"], to=1),
        helper.make_node("Div", ["b", "f"], ["score"]),
        helper.make_node("Mul", ["state", "f"], ["next"]),
    ]
    constants = {"w": random.normal(size=(8, 4)).astype(np.float32), "first": np.array([0], np.int64)}
    inputs = {"audio": ("float32", [1, 8]), "state": ("float32", [2, 1, 4]), "rate": ("int64", [])}
    made = graph(nodes, inputs, {"score": ("float32", [1, 4]), "next": ("float32", [2, 1, 4])}, constants)
    data = {
        "audio": random.normal(size=(9, 1, 8)).astype(np.float32),
        "state": random.normal(size=(9, 2, 1, 4)).astype(np.float32),
        "rate": np.arange(1, 10),
    }
    return made, data


def torch_mlp() -> Made:
    """forward(batch: dict), dropout and batch norm left in training mode, two named outputs."""
    import torch

    torch.manual_seed(0)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.city = torch.nn.Embedding(10, 4)
            self.body = torch.nn.Sequential(
                torch.nn.Linear(7, 16),
                torch.nn.BatchNorm1d(16),
                torch.nn.ReLU(),
                torch.nn.Dropout(0.5),
                torch.nn.Linear(16, 3),
            )

        def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
            hidden = torch.cat([batch["numbers"], self.city(batch["city"])], dim=1)
            logits = self.body(hidden)
            return {"logits": logits, "probability": logits.softmax(dim=1)}

    data = {"numbers": torch.randn(40, 3), "city": torch.randint(0, 10, (40,))}
    model = Net()
    for _ in range(3):
        model(data)  # batch norm has seen something
    return model, data


def torch_cnn() -> Made:
    """A convolution, batch norm and pooling to one cell: height and width are free as well as the batch."""
    import torch

    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 5),
    )  # fmt: skip
    return model.eval(), torch.randn(6, 1, 8, 8)


def torch_flat_cnn() -> Made:
    """A convolution flattened into a linear layer: only the batch is free; float64 arrays from numpy."""
    import torch

    torch.manual_seed(2)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3), torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(27, 2), torch.nn.Tanh()
    )
    return model.eval(), rng().normal(size=(5, 2, 8, 8))


def torch_attention() -> Made:
    """A transformer block over token ids and their mask: the sequence axis is free in both at once."""
    import torch

    torch.manual_seed(3)

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = torch.nn.Embedding(50, 16)
            self.attend = torch.nn.MultiheadAttention(16, 4, batch_first=True)
            self.norm = torch.nn.LayerNorm(16)
            self.out = torch.nn.Linear(16, 2)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            x = self.tokens(input_ids)
            y, _ = self.attend(x, x, x, key_padding_mask=attention_mask == 0, need_weights=False)
            x = self.norm(x + y)
            mask = attention_mask.unsqueeze(-1).to(x.dtype)
            return self.out((x * mask).sum(1) / mask.sum(1))

    mask = torch.ones(8, 11, dtype=torch.int64)
    mask[::2, 7:] = 0
    return Block().eval(), (torch.randint(0, 50, (8, 11)), mask)


def torch_script(folder: Path) -> Made:
    """A TorchScript file with a branch on the data's shape; gives its path."""
    import torch

    torch.manual_seed(4)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)
            self.register_buffer("shift", torch.arange(3.0))

        def forward(self, x, scale):  # type: ignore[no-untyped-def]
            y = self.layer(x) * scale + self.shift
            if y.size(1) > 2:
                y = torch.relu(y)
            return y, y.argmax(1)

    path = folder / "net.pt"
    data = (torch.randn(12, 4), torch.rand(12, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, and in use everywhere
        torch.jit.script(Net().eval()).save(str(path))
    return path, data


def torch_program(folder: Path, *, free: bool = True) -> Made:
    """An exported program (.pt2) with a free batch axis, or exported for two rows; gives its path."""
    import torch

    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.GELU(), torch.nn.Linear(8, 1)).eval()
    dims = ({0: torch.export.Dim("batch")},) if free else None
    path = folder / ("free.pt2" if free else "two.pt2")
    torch.export.save(torch.export.export(model, (torch.randn(2, 5),), dynamic_shapes=dims), path)
    return path, torch.randn(9, 5)


def keras_mlp() -> Made:
    """Two named inputs (numbers, an embedded category) and two named outputs, with normalisation, gelu and dropout."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    numbers, city = keras.Input((3,), name="numbers"), keras.Input((1,), dtype="int32", name="city")
    scaled = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(numbers)
    hidden = layers.Concatenate()([scaled, layers.Flatten()(layers.Embedding(6, 2)(city))])
    hidden = layers.Dropout(0.4)(layers.BatchNormalization()(layers.Dense(8, activation="gelu")(hidden)))
    outputs = [layers.Dense(1, name="price")(hidden), layers.Dense(3, activation="softmax", name="kind")(hidden)]
    random = rng()
    data = {
        "numbers": random.normal(size=(20, 3)).astype(np.float32),
        "city": random.integers(0, 6, (20, 1)).astype(np.int32),
    }
    return keras.Model([numbers, city], outputs), data


def keras_cnn() -> Made:
    """A convolutional Sequential over images, channels last."""
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((10, 10, 2)), layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization(),
        layers.MaxPooling2D(), layers.DepthwiseConv2D(2), layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    return model, rng().normal(size=(12, 10, 10, 2)).astype(np.float32)


def keras_sequence() -> Made:
    """An LSTM and attention over a sequence whose length is free."""
    import keras

    keras.utils.set_random_seed(2)
    layers = keras.layers
    steps = keras.Input((None, 3), name="steps")
    hidden = layers.LSTM(6, return_sequences=True)(steps)
    hidden = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(hidden, hidden) + hidden)
    model = keras.Model(steps, layers.Dense(2)(layers.GlobalMaxPooling1D()(hidden)))
    return model, rng().normal(size=(7, 5, 3)).astype(np.float32)


def saved_model(folder: Path) -> Made:
    """A TensorFlow SavedModel with a signature of two inputs, not written by Keras; gives its folder."""
    import tensorflow as tf

    class Score(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(rng().normal(size=(4, 2)).astype(np.float32))

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, 4), tf.float32, "features"),
                tf.TensorSpec((None,), tf.int64, "years"),
            ]
        )
        def serve(self, features: Any, years: Any) -> dict[str, Any]:
            score = tf.matmul(features, self.weights) * tf.cast(tf.expand_dims(years, 1), tf.float32)
            return {"score": tf.nn.sigmoid(score), "best": tf.argmax(score, axis=1)}

    module = Score()
    tf.saved_model.save(module, str(folder / "saved"), signatures={"serving_default": module.serve})
    random = rng()
    return folder / "saved", {
        "features": random.normal(size=(15, 4)).astype(np.float32),
        "years": random.integers(1, 5, 15),
    }
