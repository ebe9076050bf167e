"""Ray Serve + joblib: ray_original.py MODEL PORT."""

import os
import signal
import sys

import joblib
import pandas as pd
import ray
from ray import serve
from starlette.requests import Request

if __name__ == "__main__":
    path, port = sys.argv[1:]

    @serve.deployment(logging_config={"enable_access_log": False, "log_level": "WARNING"})
    class Original:
        def __init__(self) -> None:
            self.model = joblib.load(path)

        async def __call__(self, request: Request) -> dict:
            no, yes = self.model.predict_proba(pd.DataFrame([await request.json()]))[0].tolist()
            return {"prediction": int(yes > no), "probability": {"0": no, "1": yes}}

    # its sockets' paths may have 107 characters
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=os.environ["RAY_HOME"])
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(Original.bind(), route_prefix="/predict")
    signal.sigwait([signal.SIGTERM])
    serve.shutdown()
    ray.shutdown()
