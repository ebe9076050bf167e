"""MLServer's own scikit-learn runtime: mlserver_original.py MODEL PORT PORT PORT (HTTP, gRPC, metrics)."""

import json
import os
import sys
from pathlib import Path

model, http, grpc, metrics = sys.argv[1:]
home = Path("mlserver-model")
home.mkdir(exist_ok=True)
settings = {"debug": False, "host": "127.0.0.1", "http_port": int(http), "grpc_port": int(grpc),
            "metrics_port": int(metrics)}  # fmt: skip
(home / "settings.json").write_text(json.dumps(settings))
(home / "model-settings.json").write_text(json.dumps({
    "name": "model", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": model},
}))  # fmt: skip
program = os.path.join(os.path.dirname(sys.executable), "mlserver")
os.execv(program, [program, "start", str(home)])
