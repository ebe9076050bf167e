"""CloudEvents: messages of Pub/Sub and new objects in Storage; their rows are answered, and the answers sent on.

Whoever sends an event again and again until it succeeds is told that it has once there is nothing to be hoped for: what
is malformed, or refused by the model, is logged and sent to the output as an error. What may pass (a model that is too
slow just now, an output that does not answer) is raised, so that the event comes again.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from anyport.errors import Mistake, NotThere, Unauthorized
from anyport.functions import messages, table
from anyport.functions.front import Asked, Front
from anyport.functions.google.api import Google
from anyport.functions.google.limits import FINALIZED, PUBLISHED
from anyport.functions.google.outputs import PLACES, Output, output
from anyport.functions.messages import Refused

MARGIN = 0.5
"""Seconds before the function's end at which work is given up, so that there is time to say so."""
JSON = (("content-type", "application/json"),)


class BadEvent(Mistake):
    """An event of a shape that its sender does not have, or of a kind that a model has no answer for."""


class Listener:
    """One bundle behind a function of CloudEvents.

    ANYPORT_OUTPUT    where answers go: gs://BUCKET/PREFIX, or pubsub:projects/PROJECT/topics/TOPIC
    """

    def __init__(self, front: Front, environ: Mapping[str, str] = os.environ) -> None:
        self.front = front
        self.google = Google(environ)
        self.output = output(environ.get("ANYPORT_OUTPUT", ""), project=environ.get("GOOGLE_CLOUD_PROJECT", ""))

    def __call__(self, event: Any) -> None:
        """Answer one event (a CloudEvent: attributes as items, and `data`). Raises Again, or what the output said."""
        place = self.destination()
        until = time.monotonic() + self.front.settings.timeout - MARGIN
        key = str(event["id"])
        try:
            if event["type"] == PUBLISHED:
                self.message(key, event.data, place)
            elif event["type"] == FINALIZED:
                self.object(event.data, place, lambda: until - time.monotonic())
            else:
                raise BadEvent(f"events of type {event['type']} are not taken", fix=f"send {PUBLISHED} or {FINALIZED}")
        except (BadEvent, Refused) as error:
            told = error.told if isinstance(error, Refused) else error.as_dict()
            log("ERROR", f"event {key} cannot be answered: {told['what']}", error=told)
            place.send(self.google, self.note(key, told))

    def destination(self) -> Output:
        """Where answers go. Mistake without such a place: they would be lost."""
        if self.output is None:
            raise Mistake("ANYPORT_OUTPUT is not set, so the answer would be lost", fix=f"set it to {PLACES}")
        return self.output

    def message(self, key: str, data: Any, place: Output) -> None:
        """Answer the rows in a message, each on its own: those that the model refuses say so in the answer. The event's
        id is the message's (https://cloud.google.com/eventarc/docs/cloudevents-json)."""
        reply = self.front.answer(Asked("POST", "/predict", "partial=true", JSON, body(data)))
        place.send(self.google, messages.replied(key, reply, self.front))

    def object(self, data: Any, place: Output, left: Callable[[], float]) -> None:
        """Answer the table in an object: PREFIX/NAME, and the rows that were refused in NAME.rejects.jsonl."""
        bucket, name = text(data, "bucket"), text(data, "name")
        where = f"gs://{bucket}/{name}"
        if not place.bucket:
            raise BadEvent("the predictions of an object cannot be published", fix="set ANYPORT_OUTPUT to gs://…")
        if place.bucket == bucket and not place.prefix:
            raise BadEvent("answers in the bucket that is watched would be answered in turn, for ever",
                           fix="set ANYPORT_OUTPUT to another bucket, or to a prefix")  # fmt: skip
        if name.endswith("/") or (bucket == place.bucket and name.startswith(place.prefix)):
            log("INFO", f"{where} is a folder, or one of our own answers, and is left alone")
            return
        generation = str(data.get("generation") or "")
        try:
            with table.predicted(
                self.front, name, lambda to: self.google.download(bucket, name, to, generation=generation),
                left=left, where=where,
            ) as found:  # fmt: skip
                if found.rejects is not None:  # first, so that predictions never stand without them
                    place.put(self.google, f"{name}.rejects.jsonl", found.rejects)
                place.put(self.google, name, found.out)
        except NotThere:
            log("WARNING", f"{where} is gone, or a newer one has taken its place")
        except Unauthorized:
            raise  # a right that is lacking may be given before the event comes again
        except Mistake as error:
            raise Refused({**error.as_dict(), "object": where}) from error
        else:
            log("INFO", f"{where}: {found.rows} rows answered, {found.rejected} refused")

    def note(self, key: str, told: Mapping[str, Any]) -> messages.Sent:
        """What the output is told of an event that gets no answer."""
        return messages.failure(key, dict(told), self.front.bundle.name, self.front.bundle.version)


def body(data: Any) -> bytes:
    """A message's own bytes. BadEvent where they are no base64."""
    # a message may be of attributes alone, and then has no data
    said = text(data, "message", "data")
    try:
        return base64.b64decode(said, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadEvent(f"message.data is no base64: {error}") from error


def text(data: Any, *names: str) -> str:
    """What lies at a path of names in an event's data. BadEvent with the path where it is not there, or is no text."""
    found = data
    for i, name in enumerate(names):
        if not isinstance(found, Mapping) or name not in found:
            raise BadEvent(f"the event has no {'.'.join(names[: i + 1])}")
        found = found[name]
    if not isinstance(found, str) or not found:
        raise BadEvent(f"{'.'.join(names)} of the event is {type(found).__name__}; expected text")
    return found


def log(severity: Literal["INFO", "WARNING", "ERROR"], message: str, **more: Any) -> None:
    """One line as Cloud Logging reads it (https://cloud.google.com/logging/docs/structured-logging)."""
    sys.stderr.write(json.dumps({"severity": severity, "message": message, **more}) + "\n")
    sys.stderr.flush()
