"""Where the answers to messages and objects go: a Pub/Sub topic, or objects in Storage."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from anyport.errors import Mistake
from anyport.functions.google.api import Google
from anyport.functions.messages import Sent

TOPIC = re.compile(r"projects/[^/\s]+/topics/[^/\s]+")
PLACES = "gs://BUCKET/PREFIX or pubsub:projects/PROJECT/topics/TOPIC"


class Output(NamedTuple):
    """A place for answers. `bucket` is "" where they are published."""

    bucket: str
    prefix: str
    """Of the objects' names; ends with a slash, or is empty."""
    topic: str

    def send(self, google: Google, one: Sent) -> None:
        """Send one answer. In Storage it is PREFIX/ID.json: a record that comes twice is written once."""
        if self.bucket:
            google.upload(self.bucket, f"{self.prefix}{one.key}.json", one.body.encode(), kind="application/json")
        else:
            google.publish(self.topic, one.body.encode(), {"id": one.key})

    def put(self, google: Google, name: str, file: Path) -> None:
        """Write a file beside the others, under an object's own name."""
        google.upload(self.bucket, f"{self.prefix}{name}", file)


def output(said: str, *, project: str = "") -> Output | None:
    """The place that ANYPORT_OUTPUT names; None for "". A topic without a project is one of `project`.

    Mistake for what names none.
    """
    if not said:
        return None
    kind, _, where = said.partition(":")
    if kind == "gs" and where.startswith("//"):
        bucket, _, prefix = where.removeprefix("//").partition("/")
        prefix = prefix.strip("/")
        if bucket:
            return Output(bucket, f"{prefix}/" if prefix else "", "")
    if kind == "pubsub":
        topic = where if "/" in where or not project else f"projects/{project}/topics/{where}"
        if TOPIC.fullmatch(topic):
            return Output("", "", topic)
    raise Mistake(f"{said} names no place for answers", fix=PLACES)
