"""Events: which of Lambda's callers one comes from, by the shape that the vendor documents for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from anyport.errors import Mistake

Caller = Literal["direct", "http", "rest", "alb", "sqs", "kinesis", "s3", "eventbridge"]
"""direct: anyone who invokes the function with rows. http: API Gateway's payload 2.0 and function URLs. rest: its
payload 1.0."""
RECORDS: Mapping[str, Caller] = {"aws:sqs": "sqs", "aws:kinesis": "kinesis", "aws:s3": "s3"}
"""`eventSource` of a record → who sends it
(https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html, with-kinesis.html, with-s3.html)."""


class BadEvent(Mistake):
    """An event of a shape that its caller does not send, or of a caller that a model has no answer for."""


def caller(event: Any) -> Caller:
    """Who sent an event. BadEvent where it is from a caller that is not taken.

    Shapes: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    (1.0, 2.0), https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html (alb),
    https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html. A row cannot be taken for one of
    them: its cells are no objects.
    """
    if not isinstance(event, dict):
        return "direct"
    context = event.get("requestContext")
    if isinstance(context, dict):
        if isinstance(context.get("http"), dict):
            return "http"
        if "elb" in context:
            return "alb"
        if "httpMethod" in event:
            return "rest"
        raise BadEvent(
            f"requestContext holds {', '.join(sorted(context)) or 'nothing'}, which is no HTTP request",
            fix="send payload 1.0 or 2.0 of API Gateway; WebSocket APIs are not taken",
        )
    records = event.get("Records")
    if isinstance(records, list) and all(isinstance(record, dict) for record in records):
        sources = {str(r.get("eventSource", r.get("EventSource", "nobody"))) for r in records}
        if len(sources) == 1 and sources <= set(RECORDS):
            return RECORDS[sources.pop()]
        if records:
            raise BadEvent(
                f"records of {', '.join(sorted(sources))} are not taken",
                fix=f"send those of {', '.join(RECORDS)}, or rows",
            )
    if "detail-type" in event and isinstance(event.get("detail"), dict | list):
        return "eventbridge"
    return "direct"


def part(record: Mapping[str, Any], *names: str) -> Any:
    """What lies at a path of names in an event. BadEvent with the path where it is not there."""
    found: Any = record
    for i, name in enumerate(names):
        if not isinstance(found, dict) or name not in found:
            raise BadEvent(f"the event has no {'.'.join(names[: i + 1])}", fix="see the caller's documentation")
        found = found[name]
    return found


def text(record: Mapping[str, Any], *names: str) -> str:
    """The same, and it must be text."""
    found = part(record, *names)
    if not isinstance(found, str):
        raise BadEvent(f"{'.'.join(names)} of the event is {type(found).__name__}; expected text")
    return found
