"""`python -m anyport.serve BUNDLE…`: the server alone, as artefacts start it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from anyport.errors import AnyportError
from anyport.serve import arguments, run


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; the exit code is the error's."""
    parser = argparse.ArgumentParser("anyport.serve", description="Serve bundles over HTTP.")
    parser.add_argument("bundles", nargs="*", type=Path)
    arguments.add(parser)
    parser.add_argument("--trust", help="who may be unpickled: see the trust chapter of the documentation")
    parser.add_argument("--json", action="store_true", help="say where it listens as JSON")
    given = parser.parse_args(argv)
    try:
        trust = None
        if given.trust is not None:
            from anyport.trust import held

            trust = held(given.trust)
        run(given.bundles, arguments.settings(given), trust=trust, json=given.json)
    except AnyportError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
