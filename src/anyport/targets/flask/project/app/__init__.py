"""The Flask application: the model's routes, and room for yours."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask

HERE = Path(__file__).resolve().parents[1]
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# where anyport is not installed, runtime/ holds the part of it that this needs
sys.path.append(str(HERE / "runtime"))


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The application; APP_BUNDLE, APP_PREFIX (such as /churn) and APP_THREADS in the environment, or `config`
    without APP_, say otherwise than usual."""
    from anyport.integrations.flask import Mounted, blueprint

    app = Flask(__name__)
    app.config.from_mapping(BUNDLE=HERE / "bundle", PREFIX="", THREADS=1)
    app.config.from_prefixed_env("APP")
    app.config.from_mapping(config or {})
    model = Mounted(app.config["BUNDLE"], threads=app.config["THREADS"])
    # the first question loads it, in the process that answers; model.load() here would do so before gunicorn forks
    app.register_blueprint(blueprint(model, url_prefix=app.config["PREFIX"] or None))
    app.extensions["model"] = model
    return app
