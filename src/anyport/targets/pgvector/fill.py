"""Embed the rows of a table with the model beside this file: DATABASE_URL=postgresql://… python fill.py

Needs what requirements.txt pins, and nothing else. `python fill.py --help` shows the options.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.path.insert(0, str(HERE / "runtime"))

if __name__ == "__main__":
    from anyport.kit.vectors.command import main

    sys.exit(main(HERE))
