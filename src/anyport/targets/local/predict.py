"""Answer rows with the model beside this file: python predict.py rows.csv -o answers.csv

Needs what requirements.txt pins, and nothing else. Options are those of `anyport predict`; with --frames it
answers batches on stdin and stdout instead, which is how `anyport check` asks it.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.path.insert(0, str(HERE / "runtime"))


def frames() -> int:
    """Answer framed batches until stdin closes."""
    from anyport.bundle import read
    from anyport.frames import answering
    from anyport.predictor import of

    bundle = read(HERE / "bundle")
    answering(of(bundle), bundle.signature, sys.stdin.buffer, sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--frames"]:
        sys.exit(frames())
    from anyport.cli import main

    sys.exit(main(["predict", str(HERE / "bundle"), *sys.argv[1:]]))
