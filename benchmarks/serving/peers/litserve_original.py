"""LitServe + joblib: litserve_original.py MODEL PORT [BATCH], with BATCH joining that many rows in 2 ms."""

import sys

import joblib
import litserve
import pandas as pd


class Original(litserve.LitAPI):
    def setup(self, device):
        self.model = joblib.load(sys.argv[1])

    def predict(self, request):
        return self.model.predict_proba(pd.DataFrame([request]))[0].tolist()

    def encode_response(self, output):
        no, yes = output
        return {"prediction": int(yes > no), "probability": {"0": no, "1": yes}}


class Joined(Original):
    def batch(self, inputs):
        return inputs

    def predict(self, request):
        return self.model.predict_proba(pd.DataFrame(request)).tolist()

    def unbatch(self, output):
        return output


if __name__ == "__main__":
    api = Joined(max_batch_size=int(sys.argv[3]), batch_timeout=0.002) if len(sys.argv) > 3 else Original()
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False, access_log=False
    )
