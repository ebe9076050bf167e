"""deploy: an artefact's plan, run in the user's own place, checked there with the golden rows, undone if it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyport import plan, targets
from anyport.conformance import Report, check_artifact
from anyport.errors import Mistake, ParityFailed
from anyport.target import Artifact, Sql, Step, Target


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
    """Run the plan, then replay the golden rows in that place. ParityFailed, with everything undone, where they are
    answered differently there; None where nothing was checked."""
    if not found.given:
        raise Mistake(f"deploying to {found.target.SPEC.title} needs a place", fix="add --live KEY=VALUE")
    with transactions(found) as transaction:
        plan.run(found.steps, transaction, say=say)
    if not (check and found.steps):
        return None
    say("replaying the golden rows there")
    report = check_artifact(found.artifact.path, live=found.given)
    if not report.ok:
        with transactions(found) as transaction:
            left = plan.undo(found.steps, transaction, say=say)
        failed = next(c for c in report.cases if c.verdict == "failed")
        raise ParityFailed(
            f"{failed.name}: {failed.says}; everything was undone" + (f" but {'; '.join(left)}" if left else ""),
            fix=f"see {found.artifact.path / 'report.json'}",
        )
    return report


def undone(found: Planned, *, say: Callable[[str], None]) -> None:
    """Undo every step, last first. PlanFailed with what could not be undone."""
    with transactions(found) as transaction:
        left = plan.undo(found.steps, transaction, say=say)
    if left:
        raise plan.PlanFailed(f"not undone: {'; '.join(left)}")


@contextmanager
def transactions(found: Planned) -> Iterator[plan.Transaction | None]:
    """What runs the plan's SQL in the user's database; None for a target without one."""
    opened: Callable[[Any], Any] | None = getattr(found.target, "transactions", None)
    if opened is None or not any(isinstance(s.do, Sql) for s in found.steps):
        yield None
        return
    with opened(found.live) as transaction:
        yield transaction
