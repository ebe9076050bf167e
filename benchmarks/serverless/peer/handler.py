"""What a tutorial writes: scikit-learn's own model behind API Gateway, with pandas and joblib."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

import joblib
import pandas as pd

MODEL = joblib.load(os.path.join(os.path.dirname(os.path.abspath(__file__)), "model.joblib"))


def handler(event, context):
    rows = pd.DataFrame([json.loads(event["body"])])
    said = {"prediction": MODEL.predict(rows).tolist(), "probability": MODEL.predict_proba(rows).tolist()}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(said)}
