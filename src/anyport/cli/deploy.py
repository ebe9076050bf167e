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
    sub.add_argument("--undo", action="store_true", help="the way back: to what was there before")
    sub.add_argument("--destroy", action="store_true", help="remove everything that deploying made, every version")
    sub.add_argument("--no-check", action="store_true", help="do not replay the golden rows there afterwards")


def run(args: Namespace) -> int:
    from anyport import deployment, plan
    from anyport.cli.build import pairs
    from anyport.cli.check import finish
    from anyport.cli.show import emit_json, next_line, progress

    found = deployment.planned(args.artifact, live=pairs(args.live, "--live"))
    again = f"anyport deploy {args.artifact}" + "".join(f" --live {pair}" for pair in args.live)
    way = "--destroy" if args.destroy else "--undo" if args.undo else ""
    steps = deployment.end(found) if args.destroy else deployment.way_back(found) if args.undo else found.steps
    if not args.yes:
        shown = found.steps if steps is None else steps
        if args.json:
            emit_json({"target": found.artifact.target, "steps": plan.as_data(shown)})
            return 0
        print(plan.shown(shown) if shown else "nothing to do: the folder is the deployment")
        if shown:
            print(next_line(" ".join(part for part in (again, way, "--yes") if part)))
        return 0
    say = progress(quiet=args.json)
    if way:
        deployment.undone(found, steps, say=say)
        say("")
        done = steps if steps is not None else found.steps
        if args.json:
            emit_json({"target": found.artifact.target, "undone": [s.why for s in done]})
        else:
            print(f"{args.artifact}: {'removed' if args.destroy else 'undone'}, {len(done)} steps")
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
