"""Serve the model beside this file over HTTP: python serve.py --port 8080

Needs what requirements.txt pins, and nothing else. `python serve.py --help` shows the options.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.path.insert(0, str(HERE / "runtime"))

if __name__ == "__main__":
    from anyport.serve.__main__ import main

    sys.exit(main([str(HERE), *sys.argv[1:]]))
