"""The tests here share tests/deep.py and tests/zoo_deep.py, and run in environments that hold one heavy framework."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")
