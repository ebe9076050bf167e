"""BentoML + joblib: bentoml serve bentoml_original:Predict (or :Joined, with adaptive batches), the model in MODEL."""

import os

import bentoml
import joblib
import pandas as pd

QUIET = {"access": {"enabled": False}}


@bentoml.service(workers=1, logging=QUIET)
class Predict:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, row: dict) -> dict:
        no, yes = self.model.predict_proba(pd.DataFrame([row]))[0].tolist()
        return {"prediction": int(yes > no), "probability": {"0": no, "1": yes}}


@bentoml.service(workers=1, logging=QUIET)
class Joined:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    # a caller sends a list of one row: {"row": [{…}]}
    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=60000)
    def predict(self, row: list[dict]) -> list[dict]:
        found = self.model.predict_proba(pd.DataFrame(row)).tolist()
        return [{"prediction": int(yes > no), "probability": {"0": no, "1": yes}} for no, yes in found]
