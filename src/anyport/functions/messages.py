"""Answers on their way: one JSON message for each record that was asked, and how many of them go in one call."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from anyport.functions.front import Answered, Front


class Again(Exception):
    """A record that may be answered when it comes again."""


class Refused(Exception):
    """A record that will never be answered, however often it comes; `told` is the reason in the server's words."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(told["what"])
        self.told = dict(told)


class Sent(NamedTuple):
    """One answer on its way: its key (of the record that it answers) and its JSON."""

    key: str
    body: str


def replied(key: str, reply: Answered, front: Front) -> Sent:
    """The message of a reply to one record. Refused where it says that the rows are no rows, Again where it says that
    the model is too busy or too slow just now."""
    told = json.loads(reply.body)
    if reply.status == 200:
        return message(key, told, front.bundle.name, front.bundle.version)
    if reply.status >= 500 or reply.status in (408, 429):
        raise Again(f"message {key}: {told['what']}")
    raise Refused(told)


def message(key: str, answer: Any, model: str, version: str) -> Sent:
    """An answer with the record that it belongs to and the model that gave it."""
    return said(key, model, version, answer=answer)


def failure(key: str, error: Any, model: str, version: str) -> Sent:
    """Why a record gets no answer, in the server's words, where nobody else can be told."""
    return said(key, model, version, error=error)


def said(key: str, model: str, version: str, **what: Any) -> Sent:
    """A message about one record."""
    return Sent(key, json.dumps({"id": key, "model": model, "version": version, **what}, ensure_ascii=False))


def cut(answers: Sequence[Sent], *, most: int, size: int) -> Iterator[tuple[int, Sequence[Sent]]]:
    """Pieces of at most so many answers and bytes, as one call of a service takes them."""
    start = held = 0
    for i, one in enumerate(answers):
        length = len(one.body.encode())
        if i > start and (i - start == most or held + length > size):
            yield start, answers[start:i]
            start, held = i, 0
        held += length
    yield start, answers[start:]
