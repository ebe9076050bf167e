"""anyport predict: answer a file of any size, streamed: CSV, Parquet, Arrow, JSON Lines or stdin.

example:
  anyport predict penguins.anyport new.csv -o answers.csv --id row
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING

from anyport.cli import common_trust

if TYPE_CHECKING:
    from anyport.bundle import Bundle
    from anyport.predictor import Predictor


def arguments(sub: ArgumentParser) -> None:
    sub.add_argument("bundle", help="a bundle folder or .tar.gz")
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
    sub.add_argument("--apart", action="store_true", help="run a Python-form model in its own locked environment")
    sub.add_argument("--resume", action="store_true", help="go on where an interrupted run stopped")
    common_trust(sub)


def run(args: Namespace) -> int:
    from anyport.bundle import read
    from anyport.cli.show import emit_json, progress
    from anyport.stream import predict_file

    bundle = read(args.bundle)
    say = progress(quiet=args.json or args.out == "-")
    with predictor(bundle, apart=args.apart, trust=args.trust) as chosen:
        summary = predict_file(
            chosen, args.input, args.out, signature=bundle.signature, ids=tuple(args.id),
            max_rejects=sys.maxsize if args.max_rejects < 0 else args.max_rejects, resume=args.resume,
            workers=args.workers, input_format=args.format, output_format=args.output_format,
            extra="ignore" if args.ignore_extra else "refuse", progress=said(say), model=bundle.digest,
        )  # fmt: skip
    say("")
    if args.json and args.out != "-":
        emit_json({**asdict(summary), "out": str(summary.out), "rejects_path": str(summary.rejects_path or "")})
    elif args.out != "-":
        rate = summary.rows / summary.seconds if summary.seconds else 0.0
        rejected = f", {summary.rejected:,} rejected (see {summary.rejects_path})" if summary.rejected else ""
        told = f"{summary.out}: {summary.rows:,} rows in {summary.seconds:.2f} s ({rate:,.0f} rows/s){rejected}"
        print(told, file=sys.stderr)
    return 0


def predictor(bundle: Bundle, *, apart: bool, trust: str | None) -> AbstractContextManager[Predictor]:
    """The bundle's predictor, in this process or in its locked environment."""
    from anyport.predictor import of
    from anyport.trust import held

    if apart and bundle.form == "python":
        from anyport.pyform import apart as in_its_own

        return in_its_own(bundle, trust=held(trust))
    return nullcontext(of(bundle, trust=held(trust)))


def said(say: Callable[[str], None]) -> Callable[[int, float, float | None], None]:
    """Progress in words, every two seconds where it cannot overwrite itself."""
    last = [time.monotonic()]

    def progress(rows: int, rate: float, fraction: float | None) -> None:
        if not sys.stderr.isatty():
            if time.monotonic() - last[0] < 2:
                return
            last[0] = time.monotonic()
        share = f"{fraction:4.0%}  " if fraction is not None else ""
        say(f"{share}{rows:,} rows, {rate:,.0f} rows/s")

    return progress
