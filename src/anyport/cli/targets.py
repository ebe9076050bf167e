"""anyport targets: list every target; with a bundle, whether it can go there and why not.

example:
  anyport targets penguins.anyport
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any


def arguments(sub: ArgumentParser) -> None:
    sub.add_argument("bundle", nargs="?", help="say whether this bundle fits each")


def run(args: Namespace) -> int:
    from anyport.bundle import read
    from anyport.cli.show import emit_json, next_line, table

    found = listed(read(args.bundle) if args.bundle else None)
    if args.json:
        emit_json(found)
        return 0
    body = [(t["name"], t["title"], t["kind"], "+".join(t["takes"]), t["engine"], t["why"] or t["fits"]) for t in found]
    print(table(("target", "what it is", "kind", "forms", "engine here", "this bundle" if args.bundle else ""), body))
    example = args.bundle or "BUNDLE"
    print(next_line(f"anyport build {example} --to rest"))
    return 0


def listed(bundle: Any) -> list[dict[str, Any]]:
    """Every target with its facts; `engine`: present or what is missing here; `why` it cannot take the bundle."""
    from anyport import targets
    from anyport.doctor import engine_of

    found = []
    for name in targets.names():
        target = targets.get(name)
        spec = target.SPEC
        reason = None if bundle is None else targets.fits(target, bundle, targets.options(target, {}))
        found.append({
            "name": name, "title": spec.title, "kind": spec.kind, "takes": list(spec.takes), "engine": engine_of(spec),
            "fits": "" if bundle is None else ("no" if reason else "yes"), "why": reason.why if reason else "",
        })  # fmt: skip
    return found
