"""Coordinator: the parent's half of a change: all workers prepare it, and then all show it, or none does."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from time import monotonic

from anyport.serve import messages
from anyport.serve.deployment import Deployment
from anyport.serve.messages import Abort, Answer, Ask, Change, Commit, Committed, Message, Prepare, Prepared, Said
from anyport.serve.plan import Plan

log = logging.getLogger("anyport.serve")

LIMIT = 600.0
"""Seconds in which every worker must have loaded a plan."""
Send = Callable[[int, Message], None]


@dataclass
class Changing:
    """A change under way."""

    asker: tuple[int, int] | None
    """Worker and its number for it; None for SIGHUP."""
    number: int
    plan: Plan
    deadline: float
    waiting: set[int] = field(default_factory=set)
    """Workers that have not said yet that they have prepared it, or shown it."""
    shown: bool = False


class Coordinator:
    """One change at a time, in the order in which they were asked for.

    The parent prepares first, so that most mistakes are found before any worker spends anything, and so that a worker
    that dies later comes up with what is served then, whatever lies on the disk.
    """

    def __init__(self, deployment: Deployment, send: Send) -> None:
        self.deployment = deployment
        self.send = send
        self.up: set[int] = set()
        self.starting: set[int] = set()
        self.asked: deque[tuple[tuple[int, int] | None, Change]] = deque()
        self.changing: Changing | None = None
        self._numbers = count()

    def started(self, worker: int) -> None:
        """A worker was forked: it has the plan of now, and will say when it answers."""
        self.starting.add(worker)

    def ready(self, worker: int) -> None:
        """It answers."""
        self.starting.discard(worker)
        self.up.add(worker)
        self.go_on()

    def gone(self, worker: int, how: str) -> None:
        """It has ended."""
        self.up.discard(worker)
        self.starting.discard(worker)
        self.asked = deque(one for one in self.asked if one[0] is None or one[0][0] != worker)
        changing = self.changing
        if changing is not None:
            if changing.asker is not None and changing.asker[0] == worker:
                changing.asker = None
            if worker in changing.waiting:
                if changing.shown:  # its successor is forked from here, where the plan is shown
                    self.heard(worker, Committed(changing.number))
                else:
                    what = f"worker {worker} {how} while it loaded the plan; nothing has changed"
                    self.fail(Said(503, "WorkerDied", what, "look at its log and memory, then ask again"))
        self.go_on()

    def ask(self, change: Change, asker: tuple[int, int] | None = None) -> None:
        """Somebody wants a change."""
        self.asked.append((asker, change))
        self.go_on()

    def heard(self, worker: int, message: Message) -> None:
        """A worker says something."""
        changing = self.changing
        if isinstance(message, Ask):
            self.ask(message.change, (worker, message.number))
        elif isinstance(message, Prepared | Committed):
            if changing is None or message.number != changing.number or worker not in changing.waiting:
                return  # of a change that was given up
            if isinstance(message, Prepared) and message.error is not None:
                said = message.error
                self.fail(Said(said.status, said.error, f"worker {worker}: {said.what}", said.fix))
                return
            if isinstance(message, Prepared) == changing.shown:
                return
            changing.waiting.discard(worker)
            if not changing.waiting:
                self.next(changing)

    def go_on(self) -> None:
        """Begin the next change, where none is under way and every worker that lives can take part."""
        while self.asked and self.changing is None and not self.starting and self.up:
            asker, change = self.asked.popleft()
            deployment = self.deployment
            try:
                before = deployment.before[0] if deployment.before else None
                plan = messages.wanted(change, deployment.site.plan, before)
                plan, places = deployment.prepare(plan, reload=change.kind == "reload")
            except Exception as error:
                self.answer(asker, error=messages.said(error))
                continue
            number = next(self._numbers)
            self.changing = Changing(asker, number, plan, monotonic() + LIMIT, set(self.up))
            for worker in self.up:
                self.send(worker, Prepare(number, plan, list(places), keys=change.kind == "reload"))

    def next(self, changing: Changing) -> None:
        """All workers have done the step that they were asked for."""
        if not changing.shown:
            for model in self.deployment.commit():
                model.close()
            changing.shown = True
            changing.waiting = set(self.up)
            for worker in self.up:
                self.send(worker, Commit(changing.number))
            return
        self.changing = None
        self.answer(changing.asker, plan=changing.plan)
        self.go_on()

    def fail(self, error: Said) -> None:
        """Nobody shows it."""
        changing, self.changing = self.changing, None
        assert changing is not None
        self.deployment.abort()
        for worker in self.up:
            self.send(worker, Abort(changing.number))
        self.answer(changing.asker, error=error)
        self.go_on()

    def late(self) -> float | None:
        """Seconds until the change under way must be prepared; None for none. Ends it where that is now."""
        changing = self.changing
        if changing is None or changing.shown:
            return None
        left = changing.deadline - monotonic()
        if left <= 0:
            who = ", ".join(map(str, sorted(changing.waiting)))
            self.fail(Said(503, "TooSlow", f"worker {who} did not load the plan in {LIMIT:.0f} s; nothing has changed"))
            return self.late()
        return left

    def answer(self, asker: tuple[int, int] | None, *, plan: Plan | None = None, error: Said | None = None) -> None:
        """Say what became of a change to whoever wanted it."""
        if asker is not None:
            self.send(asker[0], Answer(asker[1], plan=plan, error=error))
        elif error is not None:
            log.error("a change of the plan failed and changed nothing: %s; %s", error.what, error.fix)
