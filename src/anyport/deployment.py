"""deploy: an artefact's plan, run in the user's own place, checked there with the golden rows, undone if it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyport import plan, targets
from anyport.conformance import Report, check_artifact
from anyport.errors import AnyportError, Mistake, ParityFailed
from anyport.target import Artifact, Call, Sql, Step, Target


@dataclass(frozen=True)
class Planned:
    """An artefact and the steps of its deployment."""

    artifact: Artifact
    target: Target
    live: Any
    given: Mapping[str, str]
    steps: tuple[Step, ...]


def planned(path: str | Path, *, live: Mapping[str, str]) -> Planned:
    """What deploying the artefact at `path` means. Mistake where `live` does not fit the target."""
    artifact = targets.artifact(Path(path))
    target = targets.get(artifact.target)
    options = targets.options(target, artifact.options)
    place = targets.options(target, live, live=True) if live else None
    return Planned(artifact, target, place, live, tuple(target.plan(artifact, options, place)))


def deploy(path: str | Path, *, live: Mapping[str, str], check: bool = True) -> Report | None:
    """Deploy the artefact at `path` where `live` says, and replay the golden rows there. Raises PlanFailed or
    ParityFailed, with everything undone."""
    return done(planned(path, live=live), say=lambda _: None, check=check)


def done(found: Planned, *, say: Callable[[str], None], check: bool = True) -> Report | None:
    """Run the plan, then replay the golden rows in that place; steps that want proof come after that. ParityFailed,
    with everything undone, where they are answered differently there; None where nothing was checked."""
    if not found.given:
        raise Mistake(f"deploying to {found.target.SPEC.title} needs a place", fix="add --live KEY=VALUE")
    going = plan.Run(None, say=say)
    ran(found, going, [step for step in found.steps if not step.proven])
    report = None
    if check and found.steps:
        say("replaying the golden rows there")
        candidate = getattr(found.target, "candidate", None)
        unproven = any(step.proven for step in found.steps)
        live = candidate(found.given, going.answers) if candidate is not None and unproven else found.given
        try:
            report = check_artifact(found.artifact.path, live=live)
        except AnyportError as error:
            left = taken_back(found, going)
            raise plan.PlanFailed(f"it cannot be asked there: {error.what}; {left}", fix=error.fix) from error
        if not report.ok:
            failed = next(c for c in report.cases if c.verdict == "failed")
            raise ParityFailed(
                f"{failed.name}: {failed.says}; {taken_back(found, going)}",
                fix=f"see {found.artifact.path / 'report.json'}",
            )
    ran(found, going, [step for step in found.steps if step.proven])
    return report


def ran(found: Planned, going: plan.Run, steps: Sequence[Step]) -> None:
    """Some of the steps, in the user's place."""
    with place(found, steps) as going.place:
        going.steps(steps)


def taken_back(found: Planned, going: plan.Run) -> str:
    """Undo what is done; says so, and what could not be."""
    with place(found, going.done) as going.place:
        left = going.undo()
    return "everything was undone" + (f" but {'; '.join(left)}" if left else "")


def way_back(found: Planned) -> tuple[Step, ...] | None:
    """The steps that take the deployment back, where the target knows better than to undo each step of the plan."""
    back = getattr(found.target, "back", None)
    return tuple(back(found.artifact, found.live)) if back is not None and found.live is not None else None


def undone(found: Planned, steps: Sequence[Step] | None, *, say: Callable[[str], None]) -> None:
    """Take the deployment back by `steps`, or by undoing each step of its plan, last first. PlanFailed with what could
    not be undone."""
    if steps is not None:
        ran(found, plan.Run(None, say=say), steps)
        return
    with place(found, found.steps) as here:
        left = plan.undo(found.steps, here, say=say)
    if left:
        raise plan.PlanFailed(f"not undone: {'; '.join(left)}")


def end(found: Planned) -> tuple[Step, ...]:
    """The steps that remove everything which deploying made, every version too. Mistake where the target has none."""
    destroy = getattr(found.target, "destroy", None)
    if destroy is None:
        raise Mistake(f"{found.target.SPEC.name} is taken down by undoing its plan", fix="anyport deploy … --undo")
    if found.live is None:
        raise Mistake(f"what is to be removed from {found.target.SPEC.title}?", fix="add --live KEY=VALUE")
    return tuple(destroy(found.artifact, found.live))


@contextmanager
def place(found: Planned, steps: Sequence[Step]) -> Iterator[plan.Place | None]:
    """What does a plan's work in the user's place: the target's `transactions` for SQL, its `calls` for a cloud; None
    where neither is asked for."""
    kinds = {type(step.do) for step in steps}
    name = "transactions" if Sql in kinds else "calls" if Call in kinds else ""
    opened: Callable[[Any], Any] | None = getattr(found.target, name, None) if name else None
    if opened is None or found.live is None:
        yield None
        return
    with opened(found.live) as here:
        yield here
