"""Deployment plans: shown before anything is done, run in order, undone backwards where a step fails."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from anyport.errors import AnyportError, Mistake
from anyport.kit.process import run as run_program
from anyport.target import Command, Sql, Step

Transaction = Callable[[Sql], None]
"""Runs statements in one transaction in the database that the plan is for."""
LINES = 12
"""Of one statement that are shown; the whole text is in the artefact."""


class PlanFailed(AnyportError):
    """A step failed; what was done before it has been undone, or the message says what is left."""

    exit_code = 3


def shown(steps: Sequence[Step]) -> str:
    """A plan as people read it."""
    lines = []
    for number, step in enumerate(steps, 1):
        lines.append(f"{number}. {step.why}")
        lines += [f"     {line}" for line in words(step.do)]
        if step.undo is not None:
            first, *more = words(step.undo)
            lines.append(f"   undo: {first}" + (" …" if more else ""))
    return "\n".join(lines)


def words(what: Command | Sql) -> list[str]:
    """What a step does, in the lines that are shown of it."""
    if isinstance(what, Command):
        return [shlex.join(what.argv)]
    lines: list[str] = []
    for statement in what.statements:
        text = [line if len(line) <= 140 else f"{line[:140]}…" for line in statement.strip().splitlines()]
        lines += text if len(text) <= LINES else [*text[:LINES], f"… {len(text) - LINES} more lines"]
    return lines or ["(nothing)"]


def as_data(steps: Sequence[Step]) -> list[dict[str, object]]:
    """A plan as JSON-ready data."""

    def one(what: Command | Sql | None) -> object:
        if what is None:
            return None
        return {"argv": list(what.argv)} if isinstance(what, Command) else {"sql": list(what.statements)}

    return [{"why": s.why, "do": one(s.do), "undo": one(s.undo)} for s in steps]


def execute(what: Command | Sql, transaction: Transaction | None) -> None:
    """One step's work."""
    if isinstance(what, Command):
        run_program(list(what.argv)).checked()
        return
    if transaction is None:
        raise Mistake("this plan holds SQL, and no database was named", fix="add --live dsn=…")
    transaction(what)


def run(steps: Sequence[Step], transaction: Transaction | None, *, say: Callable[[str], None]) -> None:
    """Every step, in order. PlanFailed with the step's own error; the steps before it are then undone, last first."""
    done: list[Step] = []
    for step in steps:
        say(step.why)
        try:
            execute(step.do, transaction)
        except AnyportError as error:
            left = undo(done, transaction, say=say)
            tail = f"; not undone: {'; '.join(left)}" if left else ("; what was done before is undone" if done else "")
            raise PlanFailed(f"{step.why}: {error.what}{tail}", fix=error.fix) from error
        done.append(step)


def undo(steps: Sequence[Step], transaction: Transaction | None, *, say: Callable[[str], None]) -> list[str]:
    """Undo steps, last first; gives what could not be undone, with the reason."""
    left = []
    for step in reversed(steps):
        if step.undo is None:
            continue
        say(f"undo: {step.why}")
        try:
            execute(step.undo, transaction)
        except AnyportError as error:
            left.append(f"{step.why} ({error.what})")
    return left
