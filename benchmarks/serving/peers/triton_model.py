"""The model that Triton's Python backend loads: the graph beside it, run for all the requests of a batch at once."""

import os
import sys
from pathlib import Path

# the backend's interpreter heeds no PYTHONPATH
sys.path.insert(0, os.environ["TRITON_PACKAGES"])

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        graph = str(Path(args["model_repository"]) / args["model_version"] / "model.onnx")
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        inputs = [triton.get_input_tensor_by_name(request, "X").as_numpy() for request in requests]
        found = self.session.run(["probabilities"], {"X": np.concatenate(inputs)})[0]
        parts = np.split(found, np.cumsum([len(one) for one in inputs])[:-1])
        return [triton.InferenceResponse([triton.Tensor("probability", np.ascontiguousarray(part))]) for part in parts]
