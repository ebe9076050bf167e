"""The project. Where anyport is not installed, runtime/ holds the part of it that this needs."""

import os
import sys
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))
