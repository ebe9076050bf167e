"""Deployment plans: shown before anything is done, run in order, undone backwards where a step fails."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from anyport.errors import AnyportError, Mistake
from anyport.kit.process import run as run_program
from anyport.target import Call, Command, File, Sql, Step, Work

Transaction = Callable[[Sql], None]
"""Runs statements in one transaction in the database that the plan is for."""
Caller = Callable[[Call], Any]
"""Calls a cloud's client; gives what it answers."""
LINES = 12
"""Of one statement that are shown; the whole text is in the artefact."""
REFERENCE = re.compile(r"\$\{(\w+)\.([\w.]+)\}")


class PlanFailed(AnyportError):
    """A step failed; what was done before it has been undone, or the message says what is left."""

    exit_code = 3


class Place(Protocol):
    """Where a plan is run: what does the work that needs a connection."""

    def __call__(self, what: Any, /) -> Any:
        """Sql: all of it or nothing. Call: what the client answers. Raises AnyportError."""


def shown(steps: Sequence[Step]) -> str:
    """A plan as people read it."""
    lines = []
    for number, step in enumerate(steps, 1):
        if step.proven and not any(s.proven for s in steps[: number - 1]):
            lines.append("-- only once the golden rows are answered there as the original did:")
        lines.append(f"{number}. {step.why}")
        lines += [f"     {line}" for line in words(step.do)]
        if step.undo is not None:
            first, *more = words(step.undo)
            lines.append(f"   undo: {first}" + (" …" if more else ""))
    return "\n".join(lines)


def words(what: Work) -> list[str]:
    """What a step does, in the lines that are shown of it."""
    if isinstance(what, Command):
        return [shlex.join(what.argv)]
    if isinstance(what, Call):
        said = [f"{name}={value(given)}" for name, given in what.params.items()]
        one = f"{what.service}.{what.method}({', '.join(said)})"
        if len(one) <= 110:
            return [one]
        return [f"{what.service}.{what.method}(", *(f"  {part}," for part in said), ")"]
    lines: list[str] = []
    for statement in what.statements:
        text = [line if len(line) <= 140 else f"{line[:140]}…" for line in statement.strip().splitlines()]
        lines += text if len(text) <= LINES else [*text[:LINES], f"… {len(text) - LINES} more lines"]
    return lines or ["(nothing)"]


def value(given: Any) -> str:
    """A parameter as it is shown."""
    return f"<{given.path.name}>" if isinstance(given, File) else msgspec.json.encode(plain(given)).decode()


def plain(given: Any) -> Any:
    """A parameter as JSON-ready data: files by name."""
    if isinstance(given, File):
        return f"file:{given.path.name}"
    if isinstance(given, Mapping):
        return {name: plain(one) for name, one in given.items()}
    return [plain(one) for one in given] if isinstance(given, list | tuple) else given


def as_data(steps: Sequence[Step]) -> list[dict[str, object]]:
    """A plan as JSON-ready data."""

    def one(what: Work | None) -> object:
        if what is None:
            return None
        if isinstance(what, Call):
            return {"service": what.service, "method": what.method, "params": plain(what.params)}
        return {"argv": list(what.argv)} if isinstance(what, Command) else {"sql": list(what.statements)}

    return [
        {"why": s.why, "do": one(s.do), "undo": one(s.undo), **({"proven": True} if s.proven else {})} for s in steps
    ]


class Run:
    """A plan that is being run: what its calls have answered, and which steps are done."""

    def __init__(self, place: Place | None, *, say: Callable[[str], None]) -> None:
        self.place = place
        self.say = say
        self.answers: dict[str, Any] = {}
        self.done: list[Step] = []

    def execute(self, what: Work) -> None:
        """One step's work."""
        if isinstance(what, Command):
            run_program(list(what.argv)).checked()
            return
        if self.place is None:
            kind = "SQL, and no database" if isinstance(what, Sql) else "calls, and no cloud"
            raise Mistake(f"this plan holds {kind} was named", fix="add --live dsn=…")
        if isinstance(what, Sql):
            self.place(what)
            return
        found = self.place(filled(what, self.answers))
        if what.name:
            self.answers[what.name] = found

    def steps(self, steps: Sequence[Step]) -> None:
        """Every step, in order. PlanFailed with the step's own error; the steps before it are then undone."""
        for step in steps:
            self.say(step.why)
            try:
                self.execute(step.do)
            except AnyportError as error:
                undone = "; what was done before is undone" if self.done else ""
                left = self.undo()
                tail = f"; not undone: {'; '.join(left)}" if left else undone
                raise PlanFailed(f"{step.why}: {error.what}{tail}", fix=error.fix) from error
            self.done.append(step)

    def undo(self) -> list[str]:
        """Undo what is done, last first; gives what could not be undone, with the reason."""
        left = []
        while self.done:
            step = self.done.pop()
            if step.undo is None:
                continue
            self.say(f"undo: {step.why}")
            try:
                self.execute(step.undo)
            except AnyportError as error:
                left.append(f"{step.why} ({error.what})")
        return left


def filled(call: Call, answers: Mapping[str, Any]) -> Call:
    """A call with what earlier ones answered in its parameters. Mistake for a name that none has."""

    def found(match: re.Match[str]) -> str:
        at: Any = answers.get(match[1])
        for part in match[2].split("."):
            at = at.get(part) if isinstance(at, Mapping) else getattr(at, part, None)
        if at is None:
            raise Mistake(f"no step before this one has answered {match[0]}")
        return str(at)

    def one(given: Any) -> Any:
        if isinstance(given, str):
            return REFERENCE.sub(found, given)
        if isinstance(given, Mapping):
            return {one(name): one(part) for name, part in given.items()}
        return [one(part) for part in given] if isinstance(given, list | tuple) else given

    return Call(call.service, call.method, one(call.params), call.name, call.wait)


def run(steps: Sequence[Step], place: Place | None, *, say: Callable[[str], None]) -> None:
    """Every step, in order. PlanFailed with the step's own error; the steps before it are then undone, last first."""
    Run(place, say=say).steps(steps)


def undo(steps: Sequence[Step], place: Place | None, *, say: Callable[[str], None]) -> list[str]:
    """Undo steps, last first; gives what could not be undone, with the reason."""
    going = Run(place, say=say)
    going.done = list(steps)
    return going.undo()
