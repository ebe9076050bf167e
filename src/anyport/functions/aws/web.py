"""HTTP in events: API Gateway 1.0 and 2.0, function URLs and load balancers, to the server's requests and back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from anyport.functions.aws.events import BadEvent, Caller, part, text
from anyport.functions.front import Answered, Asked, refused
from anyport.serve.reply import Problem

SYNC = 6 * 1024 * 1024
"""Bytes of an event or a response at most (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
ROOM = 4096
"""Bytes of them that are left to what stands around the body."""


def asked(event: Mapping[str, Any], sender: Caller) -> Asked:
    """The request in an event. BadEvent for one that is malformed."""
    body = decoded(event)
    if sender == "http":
        stage = part(event, "requestContext").get("stage", "$default")
        path = text(event, "rawPath")
        # only the default stage has no name in the path
        if stage != "$default" and (path == f"/{stage}" or path.startswith(f"/{stage}/")):
            path = path[len(stage) + 1 :] or "/"
        method, client = text(event, "requestContext", "http", "method"), part(event, "requestContext", "http")
        return Asked(
            method, path, str(event.get("rawQueryString") or ""), pairs(event.get("headers"), "headers"), body,
            str(client.get("sourceIp") or ""),
        )  # fmt: skip
    many = event.get("multiValueHeaders")
    headers = pairs(many if many else event.get("headers"), "headers")
    several = event.get("multiValueQueryStringParameters")
    query = pairs(several if several else event.get("queryStringParameters"), "queryStringParameters")
    if sender == "alb":  # which hands the query on as it came
        written = "&".join(f"{name}={value}" for name, value in query)
        client = next((value for name, value in headers if name.lower() == "x-forwarded-for"), "")
    else:
        written = urlencode(query)
        identity = part(event, "requestContext").get("identity")
        client = str(identity.get("sourceIp") or "") if isinstance(identity, dict) else ""
    return Asked(text(event, "httpMethod"), text(event, "path"), written, headers, body, client)


def decoded(event: Mapping[str, Any]) -> bytes:
    """The body's bytes."""
    body = event.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise BadEvent(f"the body is {type(body).__name__}; expected text")
    if not event.get("isBase64Encoded"):
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadEvent(f"the body is said to be base64 and is not: {error}") from error


def pairs(given: Any, what: str) -> list[tuple[str, str]]:
    """Names and values of headers or of a query, those with several values too."""
    if given is None:
        return []
    if not isinstance(given, dict):
        raise BadEvent(f"{what} of the event is {type(given).__name__}; expected an object")
    found: list[tuple[str, str]] = []
    for name, value in given.items():
        found += [(name, str(one)) for one in (value if isinstance(value, list) else [value]) if one is not None]
    return found


def response(answer: Answered, event: Mapping[str, Any], sender: Caller) -> dict[str, Any]:
    """What Lambda gives back to the caller. A reply that it would not carry becomes 413."""
    told = answer.text
    body = told if told is not None else base64.b64encode(answer.body).decode()
    if len(body.encode()) > SYNC - ROOM:
        what = f"the answer has {len(body):,} bytes; Lambda carries {SYNC:,}"
        problem = Problem(413, "TooLarge", what, "send fewer rows at a time, or accept gzip")
        return response(refused(problem), event, sender)
    said: dict[str, Any] = {"statusCode": answer.status, "body": body, "isBase64Encoded": told is None}
    listed = [(name, value) for name, value in answer.headers if name not in ("content-length", "connection")]
    if sender == "alb":
        said["statusDescription"] = f"{answer.status} {REASONS.get(answer.status, 'Status')}"
    # a load balancer answers in the form that it was configured to ask in; API Gateway takes this one always
    if sender == "alb" and event.get("multiValueHeaders"):
        said["multiValueHeaders"] = grouped(listed)
    else:
        said["headers"] = {name: ", ".join(values) for name, values in grouped(listed).items()}
    return said


REASONS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed",
    406: "Not Acceptable", 413: "Payload Too Large", 415: "Unsupported Media Type", 422: "Unprocessable Entity",
    429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


def grouped(listed: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Headers with all values of each name."""
    found: dict[str, list[str]] = {}
    for name, value in listed:
        found.setdefault(name, []).append(value)
    return found
