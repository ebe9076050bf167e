"""python -m anyport.kit.tsql FOLDER: fetch Microsoft's parser and binder of T-SQL."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from anyport.errors import AnyportError
from anyport.kit import tsql


def main() -> int:
    what = "fetch Microsoft's own parser and binder of T-SQL"
    parser = ArgumentParser(prog="python -m anyport.kit.tsql", description=what)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    try:
        tsql.fetch(given.folder)
    except AnyportError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"export {tsql.VARIABLE}={given.folder.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
