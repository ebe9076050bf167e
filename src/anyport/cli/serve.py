"""anyport serve: serve bundles over HTTP.

example:
  anyport serve penguins.anyport --port 8080
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from anyport.cli import common_trust


def arguments(sub: ArgumentParser) -> None:
    sub.add_argument("bundles", nargs="+", metavar="BUNDLE")
    sub.add_argument("--host", default="127.0.0.1")
    sub.add_argument("--port", type=int, default=8080, help="0 takes a free one and says which")
    sub.add_argument("--workers", type=int, default=1)
    sub.add_argument("--api-key-file", help="one key a line; requests then need X-API-Key or Authorization: Bearer")
    sub.add_argument("--max-body", type=int, default=16 << 20, metavar="BYTES", help="larger bodies are answered 413")
    common_trust(sub)


def run(args: Namespace) -> int:
    from pathlib import Path

    from anyport.serve import run as serve
    from anyport.trust import held

    serve(
        [Path(b) for b in args.bundles], host=args.host, port=args.port, workers=args.workers,
        api_key_file=Path(args.api_key_file) if args.api_key_file else None, max_body=args.max_body,
        trust=held(args.trust), json=args.json,
    )  # fmt: skip
    return 0
