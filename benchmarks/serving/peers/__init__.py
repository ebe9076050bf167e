"""The servers that anyport is compared with: each at its documented production defaults, in an environment of its own.

Access logs are off, telemetry is off by the variable that its makers document, and one process serves. The files
beside this one run in their environments and import nothing of ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENVS = HERE.parents[2] / ".envs"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Wire:
    """How one row is asked, and where the answer's probability of class 1 is."""

    path: str
    body: Callable[[Row], Any]
    probability: Callable[[Any], float]


def columns(row: Row) -> Any:
    """The Open Inference Protocol with a tensor a column, as MLServer's pandas codec reads it."""
    inputs = []
    for name, value in row.items():
        text = isinstance(value, str)
        inputs.append({"name": name, "shape": [1], "datatype": "BYTES" if text else "FP64", "data": [value],
                       **({"parameters": {"content_type": "str"}} if text else {})})  # fmt: skip
    return {"parameters": {"content_type": "pd"}, "inputs": inputs, "outputs": [{"name": "predict_proba"}]}


def tensor(row: Row) -> Any:
    """The Open Inference Protocol with one tensor."""
    return {"inputs": [{"name": "X", "shape": [1, len(row)], "datatype": "FP32", "data": list(row.values())}]}


PLAIN = Wire("/predict", dict, lambda answer: float(answer["probability"]["1"]))
NAMED = Wire("/predict", lambda row: {"row": dict(row)}, PLAIN.probability)
LISTED = Wire("/predict", lambda row: {"row": [dict(row)]}, lambda answer: float(answer[0]["probability"]["1"]))
MLFLOW = Wire("/invocations", lambda row: {"dataframe_records": [dict(row)]},
              lambda answer: float(answer["predictions"][0][1]))  # fmt: skip
COLUMNS = Wire("/v2/models/model/infer", columns, lambda answer: float(answer["outputs"][0]["data"][1]))
TENSOR = Wire("/v2/models/model/infer", tensor, lambda answer: float(answer["outputs"][0]["data"][1]))


@dataclass(frozen=True)
class Peer:
    """One server: {model}, {port}, {port2}, {port3}, {here} and {home} (a folder of its own) stand in its words."""

    title: str
    environment: str
    argv: Sequence[str]
    """The first word is a program of its environment."""
    wire: Wire = PLAIN
    env: Mapping[str, str] = field(default_factory=dict)

    def program(self) -> Path:
        return ENVS / self.environment / "bin" / self.argv[0]


def script(name: str, *more: str) -> tuple[str, ...]:
    """A file beside this one, given the model's file and a port."""
    return ("python", f"{{here}}/{name}.py", "{model}", "{port}", *more)


def bento(service: str) -> tuple[str, ...]:
    return ("bentoml", "serve", service, "--working-dir", "{here}", "--host", "127.0.0.1", "--port", "{port}")


# https://docs.bentoml.com/en/latest/build-with-bentoml/observability: usage tracking
BENTO = {"MODEL": "{model}", "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "{home}"}

GRAPH: Mapping[str, Peer] = {
    "fastapi_graph": Peer("FastAPI + ONNX Runtime", "peers-web", script("fastapi_graph")),
    "triton": Peer("Triton, Python backend + ONNX Runtime", "peers-triton", script("triton_graph"), TENSOR),
    "litserve_graph": Peer("LitServe + ONNX Runtime", "peers-litserve", script("litserve_graph")),
    "bentoml_graph": Peer("BentoML + ONNX Runtime", "peers-bentoml", bento("bentoml_graph:Predict"), NAMED, BENTO),
}
"""They run the graph of the linear model as skl2onnx makes it: scaler and regression, one tensor of 30 numbers."""

ORIGINAL: Mapping[str, Peer] = {
    "fastapi": Peer("FastAPI + joblib", "peers-web", script("fastapi_original")),
    "flask": Peer(
        "Flask + gunicorn + joblib", "peers-web",
        ("gunicorn", "flask_original:app", "--chdir", "{here}", "--bind", "127.0.0.1:{port}"), env={"MODEL": "{model}"},
    ),
    "mlflow": Peer("MLflow", "peers-mlflow", script("mlflow_original"), MLFLOW, {
        # https://mlflow.org/docs/latest/community/usage-tracking; uvicorn's options can be given as variables
        "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "UVICORN_ACCESS_LOG": "false",
    }),
    "mlserver": Peer("MLServer", "peers-mlserver", script("mlserver_original", "{port2}", "{port3}"), COLUMNS),
    "litserve": Peer("LitServe + joblib", "peers-litserve", script("litserve_original")),
    "bentoml": Peer("BentoML + joblib", "peers-bentoml", bento("bentoml_original:Predict"), NAMED, BENTO),
    "litserve_batch": Peer("LitServe + joblib, batches of 32", "peers-litserve", script("litserve_original", "32")),
    "bentoml_batch": Peer(
        "BentoML + joblib, batches of 32", "peers-bentoml", bento("bentoml_original:Joined"), LISTED, BENTO
    ),
}  # fmt: skip
"""They run the original pipeline on mixed columns. The two with batches are not what their makers ship as default:
they are measured for the reader, and no floor is judged by them."""

RAY: Mapping[str, Peer] = {
    # https://docs.ray.io/en/latest/cluster/usage-stats.html
    "ray": Peer("Ray Serve + joblib", "peers-ray", script("ray_original"), env={
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_HOME": "{home}", "RAY_AUTH_MODE": "disabled",
        # it starts on one core here, beside others
        "RAY_raylet_start_wait_time_s": "120",
    }),
}  # fmt: skip
"""By itself beside anyport: its processes are never idle."""

EVERY: Mapping[str, Peer] = {**GRAPH, **ORIGINAL, **RAY}


def encoded(wire: Wire, row: Row) -> str:
    """A request's body."""
    return json.dumps(wire.body(row))
