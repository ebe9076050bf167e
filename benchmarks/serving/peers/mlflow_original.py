"""MLflow's own server for an sklearn model: mlflow_original.py MODEL PORT; the folder it makes is below the current."""

import os
import sys

import joblib
import mlflow

model = joblib.load(sys.argv[1])
mlflow.sklearn.save_model(model, "mlflow-model", pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle",
                          pip_requirements=["scikit-learn"])  # fmt: skip
# `mlflow` of this environment
program = os.path.join(os.path.dirname(sys.executable), "mlflow")
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
os.execv(program, [program, "models", "serve", "-m", "mlflow-model", "-p", sys.argv[2], "--env-manager", "local"])
