"""Flask + gunicorn + joblib: gunicorn flask_original:app, the model's file in MODEL."""

import os

import joblib
import pandas as pd
from flask import Flask, request

model = joblib.load(os.environ["MODEL"])
app = Flask(__name__)


@app.post("/predict")
def predict():
    no, yes = model.predict_proba(pd.DataFrame([request.get_json()]))[0].tolist()
    return {"prediction": int(yes > no), "probability": {"0": no, "1": yes}}
