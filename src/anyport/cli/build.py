"""anyport build: build the artefact of one target and check it in that target's own engine.

example:
  anyport build penguins.anyport --to rest -o penguins-rest
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from anyport.errors import Mistake


def arguments(sub: ArgumentParser) -> None:
    sub.add_argument("bundle", help="a bundle folder or .tar.gz")
    sub.add_argument("--to", required=True, metavar="TARGET", help="see: anyport targets")
    sub.add_argument("-o", "--out", help="folder to write (default: NAME-TARGET)")
    sub.add_argument("-O", action="append", default=[], metavar="KEY=VALUE", help="an option of the target")
    sub.add_argument("--no-check", action="store_true", help="do not replay the golden rows")


def pairs(items: list[str], flag: str) -> dict[str, str]:
    """key=value texts as a dict."""
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise Mistake(f"{flag} {item}: expected KEY=VALUE")
        found[key] = value
    return found


def run(args: Namespace) -> int:
    from pathlib import Path

    from anyport import targets
    from anyport.bundle import read
    from anyport.cli.check import finish
    from anyport.cli.show import emit_json, progress
    from anyport.conformance import check_artifact

    bundle = read(args.bundle)
    say = progress(quiet=args.json)
    say(f"building {args.to}")
    made = targets.build(bundle, args.to, Path(args.out or f"{bundle.name}-{args.to}"), **pairs(args.O, "-O"))
    if args.no_check:
        say("")
        if args.json:
            said = {"target": made.target, "path": str(made.path), "bundle": made.digest}
            emit_json({**said, **({"says": list(made.says)} if made.says else {})})
        else:
            print("\n".join([f"{made.path}: built, not checked", *(f"  {line}" for line in made.says)]))
        return 0
    say(f"checking it in {args.to}'s own engine")
    report = check_artifact(made.path)
    say("")
    if made.says and not args.json:
        print("\n".join([f"{made.path}: built", *(f"  {line}" for line in made.says), ""]))
    return finish([report], as_json=args.json, then=f"anyport check {made.path}")
