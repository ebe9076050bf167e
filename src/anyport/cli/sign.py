"""anyport sign: sign a bundle with an Ed25519 private key.

example:
  anyport keygen keys && anyport sign penguins.anyport --key keys/anyport.key
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path


def arguments(sub: ArgumentParser) -> None:
    sub.add_argument("bundle", type=Path, help="a bundle folder")
    sub.add_argument("--key", required=True, type=Path, help="private key (PEM)")


def run(args: Namespace) -> int:
    from anyport.cli.show import emit_json, next_line
    from anyport.signing import sign

    key = sign(args.bundle, args.key)
    if args.json:
        emit_json({"bundle": str(args.bundle), "key": key})
    else:
        print(f"{args.bundle}: signed by key {key}")
        print(next_line(f"anyport verify {args.bundle} --key PUBLIC.pem"))
    return 0
