"""How a function is asked: over HTTP, and with the events of Pub/Sub and Storage as CloudEvents, which are HTTP too."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from anyport.batch import Outcome, rows, take
from anyport.client import HttpPredictor, decode_answers, encode_rows
from anyport.conformance import SINGLE, Case, Setting
from anyport.errors import ServerError
from anyport.functions.google.limits import FINALIZED, PUBLISHED
from anyport.golden.compare import Comparison
from anyport.signature import Signature

if TYPE_CHECKING:
    from anyport.targets.gcf.standin import Place

SOME = 200
"""Rows of one event."""


class Events(NamedTuple):
    """Where the function of events listens, and the place that its answers go to."""

    url: str
    place: Place


class FunctionPredictor(HttpPredictor):
    """An HttpPredictor of a function that has another one beside it, for events."""

    def __init__(self, url: str, signature: Signature, begin: Callable[[], Events], *, timeout: float) -> None:
        super().__init__(url, signature, timeout=timeout)
        self._begin = begin
        self._begun: Events | None = None

    @property
    def events(self) -> Events:
        """The other one, started now if it is not there."""
        if self._begun is None:
            self._begun = self._begin()
        return self._begun


def attributes(key: str, kind: str) -> dict[str, str]:
    """What a CloudEvent says beside its data."""
    return {"specversion": "1.0", "id": key, "type": kind, "source": "//anyport/check",
            "time": "2026-11-01T00:00:00Z", "datacontenttype": "application/json"}  # fmt: skip


def binary(key: str, kind: str, data: Any) -> tuple[dict[str, str], bytes]:
    """Headers and body of a CloudEvent whose attributes are headers, as Eventarc sends it
    (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md)."""
    said = attributes(key, kind)
    headers = {f"ce-{name}": value for name, value in said.items() if name != "datacontenttype"}
    return {**headers, "Content-Type": said["datacontenttype"]}, json.dumps(data).encode()


def structured(key: str, kind: str, data: Any) -> tuple[dict[str, str], bytes]:
    """Headers and body of one that is JSON as a whole."""
    body = json.dumps({**attributes(key, kind), "data": data}).encode()
    return {"Content-Type": "application/cloudevents+json"}, body


def message(key: str, body: bytes) -> dict[str, Any]:
    """Data of a message of Pub/Sub."""
    return {"subscription": "projects/local/subscriptions/rows",
            "message": {"data": base64.b64encode(body).decode(), "messageId": key, "attributes": {}}}  # fmt: skip


def tell(events: Events, sent: tuple[Mapping[str, str], bytes]) -> None:
    """Send an event. ServerError where the function does not take it."""
    headers, body = sent
    with HttpPredictor(events.url, NOTHING, headers=headers, timeout=300) as wire:
        status, reply, _ = wire.request("POST", "/", body)
    if status != 200:
        raise ServerError(f"the function answered {status} to an event: {reply[:300].decode('utf-8', 'replace')}")


NOTHING = Signature(inputs=(), outputs=(), container="list")


def rows_in_messages(wrap: Callable[[str, str, Any], tuple[dict[str, str], bytes]], each: int, most: int) -> Any:
    """Golden rows in messages of `each` rows; a refused row says so in its message's answer."""

    def ask(s: Setting) -> Comparison | None:
        if not isinstance(s.predictor, FunctionPredictor):
            return None  # a URL, behind which no function of events is
        events = s.predictor.events
        index = range(min(most, rows(s.golden.inputs)))
        lines = list(encode_rows(take(s.golden.inputs, index), s.signature))
        replies: list[Any] = []
        for start in range(0, len(lines), each):
            key = f"{wrap.__name__}-{start}"
            some = lines[start : start + each]
            body = some[0] if each == 1 else b"[" + b",".join(some) + b"]"
            tell(events, wrap(key, PUBLISHED, message(key, body)))
            answer = json.loads(events.place.objects[f"gs://answers/out/{key}.json"])["answer"]
            replies += answer if isinstance(answer, list) else [answer]
        return s.judge(index, decode_answers(replies, s.signature))

    return ask


def rows_in_an_object(s: Setting) -> Comparison | None:
    """Golden rows as an object that is new in Storage; those that the original refuses are another matter's."""
    if not isinstance(s.predictor, FunctionPredictor):
        return None
    events = s.predictor.events
    refused = s.golden.outcome.refused
    index = [i for i in range(rows(s.golden.inputs)) if i not in refused][:SOME]
    lines = encode_rows(take(s.golden.inputs, index), s.signature)
    events.place.objects["gs://rows/in/golden.jsonl"] = b"".join(line + b"\n" for line in lines)
    tell(events, binary("object", FINALIZED, {"bucket": "rows", "name": "in/golden.jsonl", "generation": "1"}))
    found = events.place.objects["gs://answers/out/in/golden.jsonl"].splitlines()
    got: Outcome = decode_answers([json.loads(line) for line in found], s.signature)
    return s.judge(index, got)


def no_event(s: Setting) -> str | None:
    """A message that is no rows is taken, so that it does not come for ever, and its error goes to the output."""
    if not isinstance(s.predictor, FunctionPredictor):
        return None
    events = s.predictor.events
    for key, sent in (("no-base64", {**message("x", b""), "message": {"data": "?", "messageId": "x"}}),
                      ("no-json", message("y", b"{")), ("no-row", message("z", b'{"no such column": 1}'))):  # fmt: skip
        tell(events, binary(key, PUBLISHED, sent))
        said = json.loads(events.place.objects.get(f"gs://answers/out/{key}.json", b"{}"))
        # a row that does not fit is refused in its message's answer, which other rows have a part in
        if not said.get("error", {}).get("what") and not said.get("answer", {}).get("errors"):
            return f"a message with {key.replace('-', ' ')} left {said or 'nothing'} at the output"
    return ""


CASES: tuple[Case, ...] = (
    Case("pubsub", "rows in a message, as a binary CloudEvent", rows_in_messages(binary, SOME, SOME)),
    Case("structured", "a row in each message, as structured CloudEvents", rows_in_messages(structured, 1, SINGLE)),
    Case("storage", "a table that is new in a bucket", rows_in_an_object),
    Case("no-event", "messages that are no rows", no_event),
)  # fmt: skip
