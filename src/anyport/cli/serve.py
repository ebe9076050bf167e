"""anyport serve: serve bundles over HTTP.

example:
  anyport serve penguins.anyport --port 8080
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from anyport.cli import common_trust


def arguments(sub: ArgumentParser) -> None:
    from anyport.serve.arguments import add

    sub.add_argument("bundles", nargs="*", metavar="BUNDLE")
    add(sub)
    common_trust(sub)


def run(args: Namespace) -> int:
    from pathlib import Path

    from anyport.serve import run as serve
    from anyport.serve.arguments import settings
    from anyport.trust import held

    serve([Path(b) for b in args.bundles], settings(args), trust=held(args.trust), json=args.json)
    return 0
