"""`python -m anyport.serve BUNDLE…`: the server alone, as artefacts start it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from anyport.errors import AnyportError
from anyport.serve import run


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; the exit code is the error's."""
    parser = argparse.ArgumentParser("anyport.serve", description="Serve bundles over HTTP.")
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--api-key-file", type=Path, help="one key a line")
    parser.add_argument("--max-body", type=int, default=16 << 20, help="bytes")
    parser.add_argument("--trust", help="who may be unpickled: see the trust chapter of the documentation")
    parser.add_argument("--json", action="store_true", help="say where it listens as JSON")
    given = parser.parse_args(argv)
    try:
        trust = None
        if given.trust is not None:
            from anyport.trust import held

            trust = held(given.trust)
        run(
            given.bundles, host=given.host, port=given.port, workers=given.workers, api_key_file=given.api_key_file,
            max_body=given.max_body, trust=trust, json=given.json,
        )  # fmt: skip
    except AnyportError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
