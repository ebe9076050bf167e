"""python -m anyport.kit.zetasql FOLDER: fetch the jars."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from anyport.errors import AnyportError
from anyport.kit import zetasql


def main() -> int:
    parser = ArgumentParser(prog="python -m anyport.kit.zetasql", description="fetch the jars of Google's ZetaSQL")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repository", default=zetasql.CENTRAL, help="a Maven repository (%(default)s)")
    given = parser.parse_args()
    try:
        zetasql.fetch(given.folder, repository=given.repository)
    except AnyportError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"export {zetasql.VARIABLE}={given.folder.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
