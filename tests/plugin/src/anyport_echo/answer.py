"""Answer batches on standard input with the bundle beside this file."""

import sys
from pathlib import Path

if __name__ == "__main__":
    from anyport.bundle import read
    from anyport.frames import answering
    from anyport.predictor import of

    bundle = read(Path(__file__).parent / "bundle")
    answering(of(bundle), bundle.signature, sys.stdin.buffer, sys.stdout.buffer)
