"""Endurance: fuzzing, generated requests against the OpenAPI document, and soaks; long here, two minutes each in CI."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the models served there are served here
