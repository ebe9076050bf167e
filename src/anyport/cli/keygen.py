"""anyport keygen: make an Ed25519 key pair for signing bundles.

example:
  anyport keygen keys
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path


def arguments(sub: ArgumentParser) -> None:
    sub.add_argument("folder", type=Path, help="where to write anyport.key and anyport.pub")


def run(args: Namespace) -> int:
    from anyport.cli.show import emit_json, next_line
    from anyport.signing import keygen

    private, public = keygen(args.folder)
    if args.json:
        emit_json({"private": str(private), "public": str(public)})
    else:
        print(f"{private}: keep it secret\n{public}: give it to whoever verifies")
        print(next_line(f"anyport sign BUNDLE --key {private}"))
    return 0
