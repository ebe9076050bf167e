"""How a function app is asked: over HTTP, and with messages of a queue and blobs, as its host hands them over."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from anyport.batch import rows, take
from anyport.client import HttpPredictor, decode_answers, encode_rows
from anyport.conformance import Case, Setting
from anyport.errors import ServerError
from anyport.golden.compare import Comparison
from anyport.signature import Signature

SOME = 200
"""Rows of one message or blob."""
NOTHING = Signature(inputs=(), outputs=(), container="list")


class FunctionPredictor(HttpPredictor):
    """An HttpPredictor of an app that can be begun with other triggers too."""

    def __init__(self, url: str, signature: Signature, begin: Callable[[str, str], str]) -> None:
        super().__init__(url, signature, timeout=300)
        self._begin = begin
        self._begun: dict[str, str] = {}

    def told(self, trigger: str, output: str, function: str, data: bytes, **metadata: Any) -> dict[str, bytes]:
        """Hand data to the function of a trigger; what its output bindings were given. ServerError where it raised."""
        url = self._begun.get(f"{trigger} {output}") or self._begin(trigger, output)
        self._begun[f"{trigger} {output}"] = url
        body = json.dumps({"data": base64.b64encode(data).decode(), "metadata": metadata}).encode()
        with HttpPredictor(url, NOTHING, timeout=300) as wire:
            status, reply, _ = wire.request("POST", f"/admin/functions/{function}", body)
        if status != 200:
            raise ServerError(f"the function {function} failed: {reply[:300].decode('utf-8', 'replace')}")
        return {name: base64.b64decode(value) for name, value in json.loads(reply).items()}

    def message(self, key: str, data: bytes) -> Any:
        """What a message is answered with, as JSON."""
        out = self.told("queue:rows", "blob:answers/out", "message", data, **queued(key))
        return json.loads(out["answers"])


def queued(key: str) -> dict[str, Any]:
    """What the host says of a message beside its body."""
    when = "2026-11-01T00:00:00+00:00"
    return {"Id": key, "DequeueCount": 1, "PopReceipt": "x", "InsertionTime": when, "ExpirationTime": when,
            "NextVisibleTime": when}  # fmt: skip


def rows_in_a_message(s: Setting) -> Comparison | None:
    """Golden rows in one message; a refused row says so in the message's answer."""
    if not isinstance(s.predictor, FunctionPredictor):
        return None  # a URL, behind which no queue is
    index = range(min(SOME, rows(s.golden.inputs)))
    lines = list(encode_rows(take(s.golden.inputs, index), s.signature))
    said = s.predictor.message("golden", b"[" + b",".join(lines) + b"]")
    return s.judge(index, decode_answers(said["answer"], s.signature))


def rows_in_a_blob(s: Setting) -> Comparison | None:
    """Golden rows as a new blob; those that the original refuses are another matter's."""
    if not isinstance(s.predictor, FunctionPredictor):
        return None
    refused: Mapping[int, Any] = s.golden.outcome.refused
    index = [i for i in range(rows(s.golden.inputs)) if i not in refused][:SOME]
    lines = encode_rows(take(s.golden.inputs, index), s.signature)
    body = b"".join(line + b"\n" for line in lines)
    uri = "https://local.blob.core.windows.net/rows/golden.jsonl"
    said = {"BlobTrigger": "rows/golden.jsonl", "Uri": uri, "Properties": {"Length": len(body)}, "Metadata": {}}
    out = s.predictor.told("blob:rows", "blob:answers/out", "blob", body, **said)
    if "answers" not in out:
        raise ServerError(f"the blob was not answered: {out}")
    found = [json.loads(line) for line in out["answers"].splitlines()]
    return s.judge(index, decode_answers(found, s.signature))


def no_message(s: Setting) -> str | None:
    """A message that is no rows is taken, so that it does not come for ever, and its error goes to the output."""
    if not isinstance(s.predictor, FunctionPredictor):
        return None
    for key, body in (("no-json", b"{"), ("no-row", b'{"no such column": 1}')):
        said = s.predictor.message(key, body)
        # a row that does not fit is refused in its message's answer, which other rows have a part in
        if not said.get("error", {}).get("what") and not said.get("answer", {}).get("errors"):
            return f"a message with {key.replace('-', ' ')} was answered {said}"
    return ""


CASES: tuple[Case, ...] = (
    Case("queue", "rows in a message of a queue", rows_in_a_message),
    Case("blob", "a table that is a new blob", rows_in_a_blob),
    Case("no-message", "messages that are no rows", no_message),
)
