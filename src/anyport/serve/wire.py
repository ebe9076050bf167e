"""Wire: how one request's bytes become rows and its answers become bytes; and the steps between, without any loop.

Whoever answers a request body goes through here: the server, and applications of the user's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from anyport import codec, predictor
from anyport.batch import Batch, Outcome, rows, take
from anyport.codec import Body
from anyport.errors import BadData, Mistake
from anyport.serve.reply import Problem, Reply, fault
from anyport.signature import Signature


class Wire(Protocol):
    """One request in one wire contract. Made for each request, so it may keep what `decode` found for `encode`."""

    def decode(self, body: bytes, signature: Signature, /) -> Body:
        """The rows. Raises Mistake (400: not this format at all) or BadData (422: no rows of this model); a Problem
        where the contract wants another status. Cells that do not fit go into `refused`."""

    def encode(self, outcome: Outcome, signature: Signature, /) -> Reply:
        """The answers. `outcome.refused` is empty unless the caller takes part of it; such rows are invalid."""


class Json:
    """anyport's own JSON: a row, a list of rows, or columns; the answer has the form of the question."""

    def decode(self, body: bytes, signature: Signature, /) -> Body:
        read = codec.decode(body, signature)
        self.form = read.form
        return read

    def encode(self, outcome: Outcome, signature: Signature, /) -> Reply:
        return Reply(200, codec.answer(outcome, self.form, signature))


def answer(
    run: Callable[[Batch], Outcome], body: bytes, wire: Wire, signature: Signature, *, partial: bool = False
) -> Reply:
    """The reply to a body, all of it in this thread. `run` answers rows that have passed the signature's rules.

    Raises Problem: 400 or 422 for the caller's fault, 500 for whatever `run` or `encode` raise.
    """
    read = decode(wire, body, signature)
    wanted = wants(read, partial)
    try:
        found = run(wanted) if wanted is not None else None
    except Exception as error:
        raise fault(error) from error
    return encode(wire, read, found, signature, partial=partial)


def decode(wire: Wire, body: bytes, signature: Signature) -> Body:
    """The decoded body, or the Problem (400 or 422) it deserves."""
    try:
        return wire.decode(body, signature)
    except BadData as error:
        raise Problem(422, "BadData", error.what, error.fix, errors=[]) from error
    except Mistake as error:
        raise Problem(400, "BadBody", error.what, error.fix) from error


def wants(read: Body, partial: bool) -> Batch | None:
    """The rows of a body that the model must be asked; None for none, as no answer will leave anyway."""
    import numpy as np

    if not read.refused:
        return read.batch
    good = np.setdiff1d(np.arange(rows(read.batch)), list(read.refused))
    return take(read.batch, good) if partial and len(good) else None


def encode(wire: Wire, read: Body, found: Outcome | None, signature: Signature, *, partial: bool) -> Reply:
    """The reply to rows and their answers; Problem 422 with every bad row unless the caller takes part of it."""
    outcome = whole(read, found, signature)
    if outcome.refused and not partial:
        bad, count = len(outcome.refused), rows(read.batch)
        what = f"{bad} of {count} rows cannot be answered" if count > 1 else "the row cannot be answered"
        fix = "mend them, or ask with ?partial=true for the answers to the others"
        raise Problem(422, "BadData", what, fix, errors=codec.problems(outcome.refused))
    try:
        return wire.encode(outcome, signature)
    except Problem:
        raise
    except Exception as error:
        raise fault(error) from error


def whole(read: Body, found: Outcome | None, signature: Signature) -> Outcome:
    """Answers of all rows of the body; `found` holds those that were asked for."""
    import numpy as np

    count = rows(read.batch)
    if found is None:
        return Outcome(predictor.blank(signature, count), read.refused)
    if not read.refused:
        return found
    good = np.setdiff1d(np.arange(count), list(read.refused))
    refused = {int(good[row]): said for row, said in found.refused.items()} | dict(read.refused)
    spread = {name: predictor.scatter(column.plain(), good, count) for name, column in found.outputs.items()}
    return Outcome(spread, refused)
