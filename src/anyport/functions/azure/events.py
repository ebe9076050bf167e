"""Messages of a storage queue and new blobs: their rows are answered, and the answers go to an output binding.

What is malformed, or refused by the model, goes to the output as an error. What may pass is raised: the host gives a
message to the function again, five times, and then to the queue NAME-poison.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from anyport.errors import Mistake
from anyport.functions import messages, table
from anyport.functions.front import Asked, Front
from anyport.functions.messages import Refused

if TYPE_CHECKING:
    from azure.functions import InputStream, QueueMessage

log = logging.getLogger("anyport.functions")
LARGEST = 48 * 1024
"""Bytes of a message of a queue: 64 KiB as base64
(https://learn.microsoft.com/rest/api/storageservices/put-message, 2026-11)."""
MARGIN = 1.0
"""Seconds before the function's end at which work is given up, so that there is time to say so."""
JSON = (("content-type", "application/json"),)
NAME = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?=[a-z0-9])){2,62}")
"""Of queues and of containers (https://learn.microsoft.com/rest/api/storageservices/naming-queues-and-metadata)."""
PLACES = "queue:NAME or blob:CONTAINER/PREFIX"


class Place(NamedTuple):
    """A queue, or a container with what the names in it begin with."""

    kind: Literal["queue", "blob"]
    name: str
    prefix: str = ""

    @property
    def path(self) -> str:
        """Of a blob binding: what stands before a blob's own name."""
        return f"{self.name}/{self.prefix}" if self.prefix else f"{self.name}/"


def place(said: str, what: str) -> Place | None:
    """What a trigger or an output names; None for "". Mistake for what names none."""
    if not said:
        return None
    kind, _, where = said.partition(":")
    name, _, rest = where.partition("/")
    if NAME.fullmatch(name):
        if kind == "queue" and not rest:
            return Place("queue", name)
        if kind == "blob":
            rest = rest.strip("/")
            return Place("blob", name, f"{rest}/" if rest else "")
    raise Mistake(f"{what}: {said} names no place", fix=PLACES)


def places(trigger: str, output: str) -> tuple[Place | None, Place | None]:
    """The trigger's place and the output's. Mistake where answers would be lost, or be answered in turn."""
    watched, out = place(trigger, "the trigger"), place(output, "the output")
    if watched is None:
        return None, out
    if out is None:
        raise Mistake(f"the answers to {trigger} have no place", fix=f"name an output: {PLACES}")
    if watched.kind == "blob" and out.kind != "blob":
        raise Mistake("the predictions of a blob cannot go to a queue", fix="blob:CONTAINER/PREFIX")
    if watched.kind == out.kind and watched.name == out.name and (
        watched.kind == "queue" or out.prefix.startswith(watched.prefix)
    ):  # fmt: skip
        raise Mistake("answers in the place that is watched would be answered in turn, for ever", fix="another place")
    return watched, out


def given(environ: Mapping[str, str] = os.environ) -> tuple[Place | None, Place | None]:
    """The places that ANYPORT_TRIGGER and ANYPORT_OUTPUT name."""
    return places(environ.get("ANYPORT_TRIGGER", ""), environ.get("ANYPORT_OUTPUT", ""))


def seconds(host: Path) -> float:
    """How long a function may take, as host.json says it; -1 is for ever."""
    said = str(json.loads(host.read_text("utf-8")).get("functionTimeout", "00:30:00"))
    if said.startswith("-"):
        return float("inf")
    *days, clock = said.split(".") if "." in said else [said]
    hours, minutes, rest = (int(part) for part in clock.split(":"))
    return sum(int(day) for day in days) * 86400.0 + hours * 3600 + minutes * 60 + rest


async def message(front: Front, given: QueueMessage, out: Any) -> None:
    """Answer the rows in a message, each on its own: those that the model refuses say so in the answer.

    Raises Again for what may pass; `out` is an output binding.
    """
    key = str(given.id)
    reply = await front.answered(Asked("POST", "/predict", "partial=true", JSON, given.get_body()))
    try:
        sent = messages.replied(key, reply, front)
    except Refused as error:
        sent = refused(front, key, error.told)
    out.set(sent.body)


async def message_to_queue(front: Front, given: QueueMessage, out: Any) -> None:
    """The same, to a queue, which takes no more than LARGEST."""
    kept = Held()
    await message(front, given, kept)
    size = len(kept.value.encode())
    if size > LARGEST:
        what = f"the answer has {size:,} bytes; a message of a queue holds {LARGEST:,}"
        told = {"error": "TooLarge", "what": what, "fix": "send fewer rows in a message, or let it answer to blob:…"}
        kept.set(refused(front, str(given.id), told).body)
    out.set(kept.value)


class Held:
    """A value on its way to a binding."""

    value = ""

    def set(self, value: str) -> None:
        self.value = value


def refused(front: Front, key: str, told: Mapping[str, Any]) -> messages.Sent:
    """What the output is told of a record that gets no answer."""
    log.error("%s cannot be answered: %s", key, told["what"])
    return messages.failure(key, told, front.bundle.name, front.bundle.version)


async def blob(front: Front, given: InputStream, out: Any, rejects: Any, failed: Any, *, most: float) -> None:
    """Answer the table in a blob: its predictions, the rows that were refused, or why there are none, each to an
    output binding. Raises OutOfTime after `most` seconds, before anything was written."""
    until = time.monotonic() + most - MARGIN
    name = str(given.name)

    def work() -> tuple[bytes, bytes | None, str]:
        with table.predicted(
            front, PurePosixPath(name).name, lambda to: to.write_bytes(given.read()),
            left=lambda: until - time.monotonic(), where=name,
        ) as found:  # fmt: skip
            more = found.rejects.read_bytes() if found.rejects is not None else None
            return found.out.read_bytes(), more, f"{found.rows} rows answered, {found.rejected} refused"

    try:
        answers, more, said = await asyncio.to_thread(work)
    except Mistake as error:
        failed.set(refused(front, name, {**error.as_dict(), "blob": name}).body)
        return
    if more is not None:
        rejects.set(more)
    out.set(answers)
    log.info("%s: %s", name, said)
