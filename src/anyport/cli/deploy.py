"""anyport deploy: print what deploying an artefact means; with --yes do it, check the answers there, undo what fails.

example:
  anyport build penguins.anyport --to sqlite -o penguins-sqlite
  anyport deploy penguins-sqlite --live path=zoo.db --yes
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def arguments(sub: ArgumentParser) -> None:
    sub.add_argument("artifact", help="an artefact folder, as anyport build wrote it")
    sub.add_argument("--live", action="append", default=[], metavar="KEY=VALUE", help="where to: dsn=…, path=…, url=…")
    sub.add_argument("--yes", action="store_true", help="do it; without this the plan is only printed")
    sub.add_argument("--undo", action="store_true", help="the way back: undo every step, last first")
    sub.add_argument("--no-check", action="store_true", help="do not replay the golden rows there afterwards")


def run(args: Namespace) -> int:
    from anyport import deployment, plan
    from anyport.cli.build import pairs
    from anyport.cli.check import finish
    from anyport.cli.show import emit_json, next_line, progress

    found = deployment.planned(args.artifact, live=pairs(args.live, "--live"))
    again = f"anyport deploy {args.artifact}" + "".join(f" --live {pair}" for pair in args.live)
    if not args.yes:
        if args.json:
            emit_json({"target": found.artifact.target, "steps": plan.as_data(found.steps)})
            return 0
        print(plan.shown(found.steps) if found.steps else "nothing to do: the folder is the deployment")
        if found.steps:
            print(next_line(f"{again}{' --undo' if args.undo else ''} --yes"))
        return 0
    say = progress(quiet=args.json)
    if args.undo:
        deployment.undone(found, say=say)
        say("")
        if args.json:
            emit_json({"target": found.artifact.target, "undone": [s.why for s in found.steps]})
        else:
            print(f"{args.artifact}: undone, {len(found.steps)} steps")
        return 0
    report = deployment.done(found, say=say, check=not args.no_check)
    say("")
    if report is None:
        if args.json:
            emit_json({"target": found.artifact.target, "done": [s.why for s in found.steps]})
        else:
            print(f"{args.artifact}: deployed, {len(found.steps)} steps; not checked")
        return 0
    return finish([report], as_json=args.json, then=f"{again} --undo --yes")
