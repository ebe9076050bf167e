"""anyport verify: verify a bundle's hashes, and its signature with a public key.

example:
  anyport verify penguins.anyport --key keys/anyport.pub
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path


def arguments(sub: ArgumentParser) -> None:
    sub.add_argument("bundle", type=Path, help="a bundle folder or .tar.gz")
    sub.add_argument("--key", type=Path, help="public key (PEM); without it only the hashes are verified")


def run(args: Namespace) -> int:
    from anyport.bundle import read
    from anyport.cli.show import emit_json
    from anyport.signing import verify

    bundle = read(args.bundle)
    key = verify(args.bundle, args.key) if args.key else None
    if args.json:
        emit_json(
            {"bundle": str(args.bundle), "digest": bundle.digest, "members": len(bundle.manifest.files), "key": key}
        )
    else:
        signed = f", signed by key {key}" if key else ", signature not checked"
        print(f"{args.bundle}: {len(bundle.manifest.files)} members, every hash right{signed}")
    return 0
