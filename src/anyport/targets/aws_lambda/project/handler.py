"""The function's entry point: what lies beside this file answers every event; see anyport/functions/aws/handler.py."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# who deploys a model of form python wants just this one opened: config/anyport/packed names it
os.environ["XDG_CONFIG_HOME"] = os.path.join(HERE, "config")
sys.path[:0] = [os.path.join(HERE, "runtime"), os.path.join(HERE, "lib")]

from pathlib import Path  # noqa: E402

from anyport.functions.aws.handler import Handler  # noqa: E402
from anyport.functions.fetch import place  # noqa: E402

handler = Handler(place(Path(HERE) / "bundle"))
