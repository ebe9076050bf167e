"""How a function is asked: FunctionPredictor, and the conformance cases of callers beside the HTTP one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from anyport.batch import Batch, Outcome, Refusal, rows, take
from anyport.client import bodies, encode_rows, joined, outcome, parsed
from anyport.conformance import SINGLE, Case, Setting
from anyport.errors import BadData, ServerError
from anyport.golden.compare import Comparison
from anyport.predictor import blank
from anyport.signature import Signature

Invoke = Callable[[Any], Any]
"""Asks the function with an event; gives its answer. FunctionFailed where it raised."""
Wrap = Callable[[str, str, bytes], dict[str, Any]]
"""Method, path with its query, body → the event of a caller."""


class FunctionFailed(ServerError):
    """The function raised; `kind` is the exception's name, and what it said is the error's text."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(f"the function raised {kind}: {said}")
        self.kind = kind
        self.said = said


def http(method: str, path: str, body: bytes) -> dict[str, Any]:
    """An event of payload 2.0, as API Gateway's HTTP APIs and function URLs send it."""
    raw, _, query = path.partition("?")
    return {
        "version": "2.0", "routeKey": "$default", "rawPath": raw, "rawQueryString": query,
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": method, "path": raw, "sourceIp": "127.0.0.1"}, "stage": "$default"},
        "body": base64.b64encode(body).decode(), "isBase64Encoded": True,
    }  # fmt: skip


def rest(method: str, path: str, body: bytes) -> dict[str, Any]:
    """An event of payload 1.0, as API Gateway's REST APIs send it."""
    raw, _, query = path.partition("?")
    asked = dict(pair.split("=", 1) for pair in query.split("&") if pair)
    many = {name: [value] for name, value in asked.items()}
    return {
        "version": "1.0", "resource": "/{proxy+}", "path": raw, "httpMethod": method,
        "headers": {"Content-Type": "application/json"}, "multiValueHeaders": {"Content-Type": ["application/json"]},
        "queryStringParameters": asked or None, "multiValueQueryStringParameters": many or None,
        "requestContext": {"stage": "prod", "identity": {"sourceIp": "127.0.0.1"}, "httpMethod": method},
        "body": body.decode(), "isBase64Encoded": False,
    }  # fmt: skip


def alb(method: str, path: str, body: bytes) -> dict[str, Any]:
    """An event of an Application Load Balancer."""
    raw, _, query = path.partition("?")
    group = "arn:aws:elasticloadbalancing:eu-west-1:000000000000:targetgroup/local/0"
    return {
        "requestContext": {"elb": {"targetGroupArn": group}}, "httpMethod": method, "path": raw,
        "queryStringParameters": dict(pair.split("=", 1) for pair in query.split("&") if pair),
        "headers": {"content-type": "application/json", "x-forwarded-for": "127.0.0.1"},
        "body": body.decode(), "isBase64Encoded": False,
    }  # fmt: skip


class FunctionPredictor:
    """A Predictor that asks a function with one event a request, as `wrap` makes it."""

    def __init__(self, signature: Signature, invoke: Invoke, wrap: Wrap = http, *, url: str = "the function") -> None:
        self.signature = signature
        self.invoke = invoke
        self.wrap = wrap
        self.url = url

    def request(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of one request."""
        said = self.invoke(self.wrap(method, path, body))
        if not isinstance(said, Mapping) or not isinstance(said.get("statusCode"), int):
            raise ServerError(f"{self.url} answered no HTTP response: {str(said)[:200]}")
        text = str(said.get("body", ""))
        return said["statusCode"], base64.b64decode(text) if said.get("isBase64Encoded") else text.encode()

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of another route."""
        status, body = self.request("GET", path, b"")
        return status, parsed(self.url, status, body)

    def predict(self, inputs: Batch, /) -> Outcome:
        """One answer a row, in order."""
        found = []
        for body, count in bodies(inputs, self.signature):
            status, reply = self.request("POST", "/predict?partial=true", body)
            found.append(outcome(self.url, status, reply, count, self.signature))
        return joined(found)


def as_sent(wrap: Wrap) -> Callable[[Setting], Comparison | None]:
    """The first golden rows, sent as another caller sends them."""

    def ask(s: Setting) -> Comparison | None:
        if not isinstance(s.predictor, FunctionPredictor):
            return None  # a URL, at which only one caller is
        index = range(min(200, rows(s.golden.inputs)))
        other = FunctionPredictor(s.signature, s.predictor.invoke, wrap)
        return s.judge(index, other.predict(take(s.golden.inputs, index)))

    return ask


def rows_alone(wrap: Callable[[Any], Any]) -> Callable[[Setting], Comparison | None]:
    """Golden rows one by one, as the whole event or as its part; a refused row is an error of that name."""

    def ask(s: Setting) -> Comparison | None:
        if not isinstance(s.predictor, FunctionPredictor):
            return None
        n = min(SINGLE, rows(s.golden.inputs))
        refused: dict[int, tuple[Refusal, ...]] = {}
        answers: list[Outcome] = []
        for row, text in enumerate(encode_rows(take(s.golden.inputs, range(n)), s.signature)):
            try:
                said = s.predictor.invoke(wrap(json.loads(text)))
            except FunctionFailed as error:
                if error.kind != "BadData":
                    raise
                told = json.loads(error.said)["errors"]
                refused[row] = tuple(Refusal(e["column"], e["expected"], e["got"]) for e in told)
                answers.append(Outcome(blank(s.signature, 1), {0: refused[row]}))
            else:
                answers.append(outcome("the function", 200, json.dumps(said).encode(), 1, s.signature))
        return s.judge(range(n), joined(answers))

    return ask


def no_row(s: Setting) -> str | None:
    """An event that is no row of the model's is an error of the caller's, by name, and never an answer."""
    if not isinstance(s.predictor, FunctionPredictor):
        return None
    try:
        said = s.predictor.invoke({"no such column": 1})
    except FunctionFailed as error:
        return "" if error.kind == BadData.__name__ else f"an event that is no row raised {error.kind}"
    return f"an event that is no row was answered {said}"


CASES: tuple[Case, ...] = (
    Case("direct", "rows as the event itself", rows_alone(lambda row: row)),
    Case("eventbridge", "rows as an event's detail",
         rows_alone(lambda row: {"version": "0", "detail-type": "row", "source": "anyport", "detail": row})),
    Case("rest-api", "payload 1.0 of API Gateway", as_sent(rest)),
    Case("load-balancer", "an Application Load Balancer", as_sent(alb)),
    Case("no-row", "an event of another shape", no_row),
)  # fmt: skip
