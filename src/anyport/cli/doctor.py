"""anyport doctor: what this machine has and lacks for anyport, and the line that fixes it.

example:
  anyport doctor
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def arguments(sub: ArgumentParser) -> None:
    sub.add_argument("bundle", nargs="?", help="also look at this bundle")


def run(args: Namespace) -> int:
    from anyport.cli.show import emit_json, table
    from anyport.doctor import examine

    found = examine(args.bundle)
    if args.json:
        emit_json(found)
    else:
        body = [(f.state, f.name, f.says, f.fix) for f in found]
        colours = [{"ok": "green", "absent": "yellow", "wrong": "red"}[f.state] for f in found]
        print(table(("", "part", "found", "fix"), body, colours=colours))
    return 3 if any(f.state == "wrong" for f in found) else 0
