"""BentoML + ONNX Runtime: bentoml serve bentoml_graph:Predict, the graph's file in MODEL (30 numbers n0 … n29)."""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Predict:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = os.environ["MODEL"]
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.names = [f"n{i}" for i in range(self.session.get_inputs()[0].shape[1])]

    @bentoml.api
    def predict(self, row: dict) -> dict:
        tensor = np.array([[row[name] for name in self.names]], np.float32)
        no, yes = self.session.run(["probabilities"], {"X": tensor})[0][0].tolist()
        return {"prediction": int(yes > no), "probability": {"0": no, "1": yes}}
