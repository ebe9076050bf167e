"""What goes back over HTTP: Reply, and Problem, the exception that becomes one in the words of the wire contract."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import msgspec

from anyport.serve.note import Note

Headers = tuple[tuple[bytes, bytes], ...]
TEXT = b"text/plain; charset=utf-8"
log = logging.getLogger("anyport.serve")


class Reply(NamedTuple):
    """Status, body and its content type. Header names are lower case."""

    status: int
    body: bytes
    kind: bytes = b"application/json"
    headers: Headers = ()


class Problem(Exception):
    """A request that gets no answer: raised anywhere while it is handled, worded by its route's `refuse`.

    `more` is what else there is to say: `errors` (every refused cell), `id` (of a 500).
    """

    def __init__(
        self, status: int, error: str, what: str, fix: str = "", *, headers: Headers = (), **more: Any
    ) -> None:
        super().__init__(what)
        self.status = status
        self.error = error
        self.what = what
        self.fix = fix
        self.headers = headers
        self.more = more


Refuse = Callable[[Problem], Reply]


def plain(problem: Problem) -> Reply:
    """A problem in our own words: {"error", "what", "fix", …}."""
    said = {"error": problem.error, "what": problem.what, "fix": problem.fix, **problem.more}
    return Reply(problem.status, msgspec.json.encode(said), headers=problem.headers)


current: ContextVar[Note | None] = ContextVar("note", default=None)
"""The request that is being answered here."""


def fault(error: BaseException, note: Note | None = None) -> Problem:
    """A 500 for what went wrong after the request was found good; the log has the reason under the same id."""
    note = note or current.get()
    number = note.id if note is not None else os.urandom(8).hex()
    log.error("request %s failed", number, exc_info=error, extra={"note": note, "id": number})
    return Problem(500, "Failed", "the model failed on this request; nothing is wrong with its form", id=number)
