"""anyport predict: answer a file of any size, streamed: CSV, Parquet, Arrow, JSON Lines or stdin.

example:
  anyport predict penguins.anyport new.csv -o answers.csv --id row
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from anyport.cli import common_trust


def arguments(sub: ArgumentParser) -> None:
    sub.add_argument("bundle")
    sub.add_argument("input", help="a file, or - for stdin")
    sub.add_argument("-o", "--out", default="-", help="a file, or - for stdout (default)")
    sub.add_argument(
        "--id", action="append", default=[], metavar="COL", help="pass this column through (may be repeated)"
    )
    sub.add_argument("--ignore-extra", action="store_true", help="drop columns that the model does not take")
    sub.add_argument(
        "--max-rejects", type=int, default=0, metavar="N", help="exit 0 with up to N rejected rows (-1: any)"
    )
    sub.add_argument("--format", help="of the input where its name does not say: csv, parquet, arrow, jsonl")
    sub.add_argument("--output-format", help="of the output where its name does not say")
    sub.add_argument("--workers", type=int, help="threads (default: all cores)")
    sub.add_argument("--resume", action="store_true", help="go on where an interrupted run stopped")
    common_trust(sub)


def run(args: Namespace) -> int:
    import sys

    from anyport.bundle import read
    from anyport.cli.show import emit_json, progress
    from anyport.predictor import of
    from anyport.stream import predict_file
    from anyport.trust import held

    bundle = read(args.bundle)
    say = progress(quiet=args.json or args.out == "-")
    summary = predict_file(
        of(bundle, trust=held(args.trust)), args.input, args.out, signature=bundle.signature, ids=tuple(args.id),
        max_rejects=args.max_rejects, resume=args.resume, workers=args.workers, input_format=args.format,
        output_format=args.output_format, extra="ignore" if args.ignore_extra else "refuse", progress=said(say),
    )  # fmt: skip
    say("")
    if args.json and args.out != "-":
        emit_json(summary)
    elif args.out != "-":
        rate = summary.rows / summary.seconds if summary.seconds else 0.0
        rejected = f", {summary.rejected:,} rejected (see {summary.rejects_path})" if summary.rejected else ""
        print(
            f"{summary.out}: {summary.rows:,} rows in {summary.seconds:.2f} s ({rate:,.0f} rows/s){rejected}",
            file=sys.stderr,
        )
    return 0


def said(say: Callable[[str], None]) -> Callable[[int, float, float | None], None]:
    """Progress in words."""

    def progress(rows: int, rate: float, fraction: float | None) -> None:
        share = f"{fraction:4.0%}  " if fraction is not None else ""
        say(f"{share}{rows:,} rows, {rate:,.0f} rows/s")

    return progress
