"""LitServe + joblib: litserve_original.py MODEL PORT [BATCH], with BATCH joining that many rows in 2 ms."""

import sys

import joblib
import litserve
import pandas as pd


class Original(litserve.LitAPI):
    def setup(self, device):
        self.model = joblib.load(sys.argv[1])

    def predict(self, request):
        # one row, or with batches a list of rows
        rows = request if isinstance(request, list) else [request]
        found = self.model.predict_proba(pd.DataFrame(rows)).tolist()
        return found if isinstance(request, list) else found[0]

    def batch(self, inputs):
        return list(inputs)

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        no, yes = output
        return {"prediction": int(yes > no), "probability": {"0": no, "1": yes}}


if __name__ == "__main__":
    joined = {"max_batch_size": int(sys.argv[3]), "batch_timeout": 0.002} if len(sys.argv) > 3 else {}
    server = litserve.LitServer(Original(**joined), accelerator="cpu")
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False, access_log=False
    )
