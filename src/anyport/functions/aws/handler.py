"""Handler: one bundle behind every caller of a Lambda function; `handler = Handler("bundle")` is a handler module."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from anyport.functions.aws import events, objects, records, web
from anyport.functions.aws.outputs import Output, output
from anyport.functions.front import Answered, Asked, Front, refused
from anyport.serve.reply import Problem

if TYPE_CHECKING:
    from anyport.trust import Trust

MARGIN = 0.4
"""Seconds before the function's end at which work is given up, so that there is time to say so."""
JSON = (("content-type", "application/json"),)


class Handler:
    """Answers events. The model is loaded when it is made, in Lambda's init phase, which a snapshot keeps.

    Settings are those of `anyport serve`, from ANYPORT_… variables, and
    ANYPORT_OUTPUT    where answers to SQS, Kinesis and S3 go: s3://BUCKET/PREFIX, sqs:QUEUE_URL, kinesis:STREAM
    ANYPORT_METRICS   "off": no line of metrics (EMF) a request
    """

    def __init__(
        self, bundle: Path | str, *, trust: Trust | None = None, environ: Mapping[str, str] = os.environ,
        clients: Callable[[str], Any] | None = None,
    ) -> None:  # fmt: skip
        """`clients` makes a client of a service of AWS: boto3.client, unless a test says otherwise."""
        self.front = Front(bundle, trust=trust)
        self.front.load()
        self.clients = clients or client
        self.output = output(environ.get("ANYPORT_OUTPUT", ""), self.clients)
        self.metrics = environ.get("ANYPORT_METRICS", "") != "off"
        # https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html; only where Lambda has it
        if importlib.util.find_spec("snapshot_restore_py") is not None:
            from snapshot_restore_py import register_after_restore

            register_after_restore(self.restored)

    def __call__(self, event: Any, context: Any) -> Any:
        """One event's answer. Over HTTP every mistake is a status; to a direct call it is an exception, named as the
        server names it, whose message is the server's JSON; in a batch it is the record's."""
        began, before, more = time.perf_counter(), self.front.rows, 0
        status = 0
        try:
            sender = events.caller(event)
            left = remaining(context)
            if sender in ("http", "rest", "alb"):
                answer = self.over_http(event, sender, left())
                status = answer.status
                return web.response(answer, event, sender)
            if sender in ("sqs", "kinesis"):
                said = records.answered(self, event["Records"], sender, left)
                status = 207 if said["batchItemFailures"] else 200
                return said
            if sender == "s3" or objects.announced(event):
                said = objects.answered(self, objects.listed(event), left)
                status, more = 200, sum(one["rows"] for one in said["written"])
                return said
            rows = event["detail"] if sender == "eventbridge" else event
            answer = self.predict(written(rows), left())
            status = answer.status
            return parsed(answer)
        except (events.BadEvent, Refused):
            status = status or 400
            raise
        finally:
            self.tell(status or 500, time.perf_counter() - began, self.front.rows - before + more, context)

    def over_http(self, event: Mapping[str, Any], sender: events.Caller, seconds: float) -> Answered:
        """The server's reply to the request in an event."""
        try:
            asked = web.asked(event, sender)
        except events.BadEvent as error:
            return refused(Problem(400, "BadEvent", error.what, error.fix))
        return self.front.here(asked, seconds=seconds)

    def predict(self, body: bytes, seconds: float) -> Answered:
        """The server's reply to rows as JSON."""
        return self.front.here(Asked("POST", "/predict", headers=JSON, body=body), seconds=seconds)

    def destination(self) -> Output:
        """Where the answers to a batch go. Refused without one: they would be lost."""
        if self.output is None:
            refuse("NoOutput", "ANYPORT_OUTPUT is not set, so the answers to this batch would be lost",
                   "set it to s3://BUCKET/PREFIX, sqs:QUEUE_URL or kinesis:STREAM")  # fmt: skip
        return self.output

    def restored(self) -> None:
        """After a snapshot was restored: what must not be the same in every copy is made anew."""
        self.front.restored()
        if self.output is not None:
            self.output.forget()

    def tell(self, status: int, seconds: float, rows: int, context: Any) -> None:
        """One line for CloudWatch: a log of this event, and metrics by the embedded metric format
        (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html)."""
        if not self.metrics:
            return
        names = [("Rows", "Count"), ("Errors", "Count"), ("Duration", "Milliseconds")]
        said = {
            "_aws": {
                "Timestamp": int(time.time() * 1000),
                "CloudWatchMetrics": [
                    {"Namespace": "anyport", "Dimensions": [["Model"], ["Model", "Version"]],
                     "Metrics": [{"Name": name, "Unit": unit} for name, unit in names]},
                ],
            },
            "Model": self.front.bundle.name, "Version": self.front.bundle.version,
            "Rows": rows, "Errors": int(status >= 500),
            "Duration": round(seconds * 1e3, 3), "status": status,
            "id": getattr(context, "aws_request_id", ""),
        }  # fmt: skip
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")


def client(service: str) -> Any:
    """A client of a service. The runtime of Lambda brings boto3; an image has to hold it."""
    from anyport.errors import need

    return need("boto3").client(service)


def remaining(context: Any) -> Callable[[], float]:
    """Seconds until work has to be given up, as the context says; a minute where nothing says it."""
    tell = getattr(context, "get_remaining_time_in_millis", None)
    if tell is None:
        return lambda: 60.0
    return lambda: tell() / 1e3 - MARGIN


def written(rows: Any) -> bytes:
    """Rows as JSON. Lambda has parsed them, and takes NaN for a number, which JSON does not know."""
    try:
        return json.dumps(rows, allow_nan=False, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except ValueError:
        refuse("BadBody", "the event holds NaN or an infinity as a bare word, which is no JSON",
               'write null for a missing value, "Infinity" or "-Infinity" for an infinite one')  # fmt: skip


def parsed(answer: Answered) -> Any:
    """The answers of a reply; an exception named as its error where it is none."""
    said = json.loads(answer.body)
    if answer.status != 200:
        raise failure(said["error"])(answer.body.decode())
    if len(answer.body) > web.SYNC - web.ROOM:
        refuse("TooLarge", f"the answer has {len(answer.body):,} bytes; Lambda carries {web.SYNC:,}",
               "send fewer rows at a time")  # fmt: skip
    return said


def refuse(error: str, what: str, fix: str) -> NoReturn:
    """Raise a problem in the server's words."""
    raise failure(error)(json.dumps({"error": error, "what": what, "fix": fix}))


class Refused(Exception):
    """An event that gets no answer; its subclass is named as the error is, and its message is JSON."""


def failure(name: str) -> type[Refused]:
    """An exception of this name, which is what Lambda tells the caller as errorType."""
    return type(name, (Refused,), {})
