"""What the parent and its workers say to each other: one JSON object a line, over a socket pair each."""

from __future__ import annotations

import logging
import socket
from typing import Literal

import msgspec

from anyport.errors import AnyportError
from anyport.serve.plan import Plan
from anyport.serve.reply import Problem

log = logging.getLogger("anyport.serve")


class Message(msgspec.Struct, frozen=True, tag=True):
    """Any of them; `type` says which."""


class Change(Message, frozen=True):
    """What somebody wants: another plan, the bundles that lie at the plan's paths by now, or the plan before."""

    kind: Literal["put", "reload", "rollback"]
    plan: Plan | None = None
    generation: int | None = None
    """Of a put: the generation it was made from; with another it is refused (409)."""


class Up(Message, frozen=True):
    """A worker answers."""


class Ask(Message, frozen=True):
    """A worker was asked for a change; `number` is its own."""

    number: int
    change: Change


class Prepare(Message, frozen=True):
    """Load this plan, complete with digests, and show nothing of it. `places` is the metrics' table; `number` is the
    change's own, so that what is said of one that was given up is not taken for the next."""

    number: int
    plan: Plan
    places: list[tuple[str, str]]
    keys: bool
    """Whether the files of keys are read again too."""


class Prepared(Message, frozen=True):
    """It is loaded, or why it is not."""

    number: int
    error: Said | None = None


class Commit(Message, frozen=True):
    """Serve it, from now on."""

    number: int


class Committed(Message, frozen=True):
    """It is served."""

    number: int


class Abort(Message, frozen=True):
    """Forget it."""

    number: int


class Answer(Message, frozen=True):
    """What became of a change."""

    number: int
    plan: Plan | None = None
    error: Said | None = None


class Said(msgspec.Struct, frozen=True):
    """A Problem on its way between processes."""

    status: int
    error: str
    what: str
    fix: str = ""

    def problem(self) -> Problem:
        """The exception."""
        return Problem(self.status, self.error, self.what, self.fix)


def said(error: Exception) -> Said:
    """What went wrong with a change: our own words, or a library's that could not load a model."""
    if isinstance(error, Problem):
        return Said(error.status, error.error, error.what, error.fix)
    if isinstance(error, AnyportError):
        return Said(422, type(error).__name__, error.what, error.fix)
    log.error("a model cannot be loaded", exc_info=error)
    return Said(422, "CannotLoad", f"{type(error).__name__}: {error}", "anyport check BUNDLE says more")


Any = Up | Ask | Prepare | Prepared | Commit | Committed | Abort | Answer
_decode = msgspec.json.Decoder(Any).decode


class Line:
    """One end of a socket pair."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._rest = b""

    def send(self, message: Message) -> None:
        """Say something; what the other end does not hear any more is lost with it."""
        try:
            self.socket.sendall(msgspec.json.encode(message) + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            log.debug("the other end of a worker's line is gone")

    def read(self) -> list[Any] | None:
        """What has arrived; None when the other end is gone."""
        try:
            data = self.socket.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [_decode(line) for line in lines]

    def close(self) -> None:
        """Close this end."""
        self.socket.close()


def line() -> tuple[Line, Line]:
    """Both ends: the parent's and the worker's."""
    ours, theirs = socket.socketpair()
    return Line(ours), Line(theirs)


def wanted(change: Change, plan: Plan, before: Plan | None) -> Plan:
    """The plan that a change leads to. Problem 409 where it does not fit what is served."""
    if change.kind == "rollback":
        if before is None:
            raise Problem(409, "NoPlanBefore", "there is no plan to go back to", "nothing has been changed yet")
        found = before
    elif change.kind == "reload":
        found = plan.fresh()
    else:
        assert change.plan is not None, "a put without a plan"
        found = change.plan
        if change.generation not in (None, plan.generation):
            raise Problem(
                409, "Changed", f"the plan has changed: expected generation {change.generation}, got {plan.generation}",
                "GET /admin/plan and change that",
            )  # fmt: skip
    return msgspec.structs.replace(found, generation=plan.generation + 1)
