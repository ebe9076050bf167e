"""LitServe + ONNX Runtime: litserve_graph.py GRAPH PORT (30 numbers n0 … n29)."""

import sys

import litserve
import numpy as np
import onnxruntime


class Graph(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
        self.names = [f"n{i}" for i in range(self.session.get_inputs()[0].shape[1])]

    def decode_request(self, request):
        return np.array([[request[name] for name in self.names]], np.float32)

    def predict(self, tensor):
        return self.session.run(["probabilities"], {"X": tensor})[0][0].tolist()

    def encode_response(self, output):
        no, yes = output
        return {"prediction": int(yes > no), "probability": {"0": no, "1": yes}}


if __name__ == "__main__":
    server = litserve.LitServer(Graph(), accelerator="cpu")
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False, access_log=False
    )
