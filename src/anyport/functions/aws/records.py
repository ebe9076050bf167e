"""Batches of SQS and Kinesis: each record is rows, each is answered on its own, and those that fail are named."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anyport.functions.aws.events import BadEvent, Caller, text
from anyport.functions.messages import Sent, message

if TYPE_CHECKING:
    from anyport.functions.aws.handler import Handler

log = logging.getLogger("anyport.functions")


def answered(
    handler: Handler, records: Sequence[Mapping[str, Any]], sender: Caller, left: Callable[[], float]
) -> dict[str, Any]:
    """Answer a batch and send the answers on; gives Lambda's report of the records that failed, which come again.

    Of a queue every failed record is named (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html);
    of a stream the first one, as Lambda goes on from there
    (https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html). A record whose rows the
    model refuses is a failed record. When the time is nearly over, the rest is left for the next delivery.
    """
    place = handler.destination()
    in_order = sender == "kinesis"
    good: list[tuple[str, Sent]] = []
    failed: list[str] = []
    for at, record in enumerate(records):
        key = identifier(record, sender)
        if left() <= 0:
            log.warning("out of time: %d of %d records are left for the next delivery", len(records) - at, len(records))
            failed += [identifier(one, sender) for one in records[at:]]
            break
        try:
            reply = handler.predict(body(record, sender), left())
            why = "" if reply.status == 200 else reply.body.decode("utf-8", "replace")
        except BadEvent as error:
            why = error.what
        if why:
            log.error("record %s failed: %s", key, why)
            failed.append(key)
            if in_order:
                break
            continue
        said = json.loads(reply.body)
        good.append((key, message(key, said, handler.front.bundle.name, handler.front.bundle.version)))
    for index, reason in sorted(place.send([sent for _, sent in good]).items()):
        log.error("the answer to record %s was not taken: %s", good[index][0], reason)
        failed.append(good[index][0])
    if in_order and failed:
        first = set(failed)
        failed = [next(key for record in records if (key := identifier(record, sender)) in first)]
    return {"batchItemFailures": [{"itemIdentifier": key} for key in failed]}


def identifier(record: Mapping[str, Any], sender: Caller) -> str:
    """What Lambda calls a record by."""
    return text(record, "messageId") if sender == "sqs" else text(record, "kinesis", "sequenceNumber")


def body(record: Mapping[str, Any], sender: Caller) -> bytes:
    """A record's own bytes. BadEvent where Kinesis's are no base64."""
    if sender == "sqs":
        return text(record, "body").encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text(record, "kinesis", "data"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadEvent(f"kinesis.data is no base64: {error}") from error
