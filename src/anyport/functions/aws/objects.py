"""Objects in S3: a table that arrives is answered, and its predictions are written beside it or elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from anyport.functions import table
from anyport.functions.aws.events import BadEvent, text

if TYPE_CHECKING:
    from anyport.functions.aws.handler import Handler

log = logging.getLogger("anyport.functions")


class Object(NamedTuple):
    """An object in a bucket."""

    bucket: str
    key: str
    version: str = ""


def announced(event: Any) -> bool:
    """Whether EventBridge tells of a new object
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html)."""
    return isinstance(event, dict) and event.get("source") == "aws.s3" and event.get("detail-type") == "Object Created"


def listed(event: Mapping[str, Any]) -> Iterator[Object]:
    """The objects that an event tells of. BadEvent where it does not say which."""
    if announced(event):
        detail = event["detail"]
        version = detail.get("object", {}).get("version-id", "") if isinstance(detail, dict) else ""
        yield Object(text(event, "detail", "bucket", "name"), text(event, "detail", "object", "key"), str(version))
        return
    for record in event["Records"]:
        if not str(record.get("eventName", "")).startswith("ObjectCreated:"):
            continue  # an object that went has no rows
        # keys are URL-encoded:
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
        key = unquote_plus(text(record, "s3", "object", "key"))
        version = record["s3"]["object"].get("versionId", "")
        yield Object(text(record, "s3", "bucket", "name"), key, str(version))


def answered(handler: Handler, found: Iterator[Object], left: Callable[[], float]) -> dict[str, Any]:
    """Answer every object; gives what was written. The first that fails ends it: Lambda then sends the event again."""
    place = handler.destination()
    if place.kind != "s3":
        raise BadEvent(f"the predictions of an object cannot go to {place.kind}", fix="set ANYPORT_OUTPUT to s3://…")
    written = []
    for one in found:
        if one.bucket == place.bucket and place.prefix and one.key.startswith(place.prefix):
            log.warning("s3://%s/%s is one of our own answers, and is left alone", one.bucket, one.key)
            continue
        if one.bucket == place.bucket and not place.prefix:
            raise BadEvent(
                "answers in the bucket that is watched would be answered in turn, for ever",
                fix="set ANYPORT_OUTPUT to another bucket, or to a prefix",
            )
        written.append(predicted(handler, one, left))
    return {"written": written}


def predicted(handler: Handler, one: Object, left: Callable[[], float]) -> dict[str, Any]:
    """The predictions of one object: PREFIX/KEY, and the rows that were refused in KEY.rejects.jsonl."""
    place = handler.destination()
    more = {"ExtraArgs": {"VersionId": one.version}} if one.version else {}

    def fetch(to: Path) -> None:
        place.client.download_file(one.bucket, one.key, str(to), **more)

    where, key = f"s3://{one.bucket}/{one.key}", f"{place.prefix}{one.key}"
    with table.predicted(handler.front, one.key, fetch, left=left, where=where) as found:
        if found.rejects is not None:  # first, so that predictions never stand without them
            place.client.upload_file(str(found.rejects), place.bucket, f"{key}.rejects.jsonl")
        place.client.upload_file(str(found.out), place.bucket, key)
    return {"bucket": place.bucket, "key": key, "rows": found.rows, "rejected": found.rejected}
