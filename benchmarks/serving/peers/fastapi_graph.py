"""FastAPI + ONNX Runtime as a careful author writes it: fastapi_graph.py GRAPH PORT (30 numbers n0 … n29)."""

import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import create_model

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
NAMES = [f"n{i}" for i in range(session.get_inputs()[0].shape[1])]
Row = create_model("Row", **dict.fromkeys(NAMES, (float, ...)))
app = FastAPI()


# async: one run is far shorter than a turn through FastAPI's thread pool
@app.post("/predict")
async def predict(row: Row) -> JSONResponse:
    tensor = np.array([[getattr(row, name) for name in NAMES]], np.float32)
    prediction, probability = session.run(["label", "probabilities"], {"X": tensor})
    no, yes = probability[0].tolist()
    return JSONResponse({"prediction": int(prediction[0]), "probability": {"0": no, "1": yes}})


uvicorn.run(app, port=int(sys.argv[2]), access_log=False, log_level="warning")
