"""anyport check: replay the golden rows through targets, an artefact, or a live endpoint; exit 5 on a mismatch.

example:
  anyport check penguins.anyport --to rest
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyport.conformance import Report


def arguments(sub: ArgumentParser) -> None:
    sub.add_argument("what", help="a bundle or an artefact")
    sub.add_argument(
        "--to",
        action="append",
        default=[],
        metavar="TARGET",
        help="only this target (may be repeated); default: every quick one it fits",
    )
    sub.add_argument("--live", action="append", default=[], metavar="KEY=VALUE", help="your own endpoint: url=…")
    sub.add_argument("-O", action="append", default=[], metavar="KEY=VALUE", help="an option of the target")
    sub.add_argument("--report", help="write the reports here as JSON")


def run(args: Namespace) -> int:
    from anyport.cli.build import pairs
    from anyport.cli.show import progress
    from anyport.conformance import check

    say = progress(quiet=args.json)
    say("replaying the golden rows")
    reports = check(args.what, to=args.to, live=pairs(args.live, "--live"), **pairs(args.O, "-O"))
    say("")
    if not args.to and not (Path(args.what) / "anyport.json").is_file() and (left := slow()):
        print(f"left out, being slow: {', '.join(left)} (name one to check it: --to {left[0]})", file=sys.stderr)
    if args.report:
        import msgspec

        Path(args.report).write_bytes(msgspec.json.format(msgspec.json.encode(reports)) + b"\n")
    return finish(reports, as_json=args.json, then=f"anyport serve {args.what}")


def slow() -> list[str]:
    """The targets that are checked only when they are named."""
    from anyport import targets

    return [name for name in targets.names() if targets.get(name).SPEC.tier == "slow"]


def finish(reports: Sequence[Report], *, as_json: bool, then: str) -> int:
    """Print reports; exit code 5 if any case failed."""
    from anyport.cli.show import emit_json, next_line

    good = all(r.ok for r in reports)
    if as_json:
        emit_json(reports)
        return 0 if good else 5
    for report in reports:
        print(text(report))
        print()
    if good:
        print(next_line(then).lstrip("\n"))
    return 0 if good else 5


MARKS = {"ok": ("ok", "green"), "failed": ("FAILED", "red"), "gap": ("gap", "yellow"), "none": ("–", "dim")}


def text(report: Report) -> str:
    """One report as people read it."""
    from anyport.cli.show import style, table

    verdict = style("the same answers", "green") if report.ok else style("NOT the same answers", "red")
    engine = f"{report.engine['name']} {report.engine['version']}"
    head = f"{style(report.target, 'bold')}: {verdict}  ({report.proof}: {engine}, {report.engine['process']})"
    body = [
        (MARKS[c.verdict][0], c.name, str(c.rows or ""), f"{c.worst:.1g}" if c.rows else "", f"{c.seconds:.2f} s",
         c.says)
        for c in report.cases
    ]  # fmt: skip
    lines = [
        head,
        table(
            ("", "case", "rows", "worst", "took", "found"), body, colours=[MARKS[c.verdict][1] for c in report.cases]
        ),
    ]
    for case in report.cases:
        if case.verdict == "failed" and case.differences:
            lines.append("")
            rows = [
                (str(d["row"]), d["output"], str(d["expected"])[:50], str(d["got"])[:50]) for d in case.differences[:10]
            ]
            lines.append(table((f"{case.name}: row", "output", "expected", "got"), rows))
    return "\n".join(lines)
