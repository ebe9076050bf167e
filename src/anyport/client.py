"""HttpPredictor: a Predictor over the URL of an anyport server, in the standard library alone."""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote, urlsplit

import msgspec

from anyport import codec
from anyport.batch import Batch, Column, Outcome, Refusal, concat, rows
from anyport.errors import (
    AnyportError,
    BadData,
    Busy,
    Mistake,
    NotThere,
    ServerError,
    TooSlow,
    Unauthorized,
    Unreachable,
)
from anyport.signature import Field, Signature

SENT = 4 << 20
"""Bytes of one request at most; a longer batch travels as several."""
PATIENCE = 30.0
"""Seconds that are waited at most before a request is sent again, whatever the server asks for."""


class HttpPredictor:
    """Answers rows by asking a server. One row travels as an object, several as a list of objects.

    Thread-safe; connections are kept until `close`, or the end of a `with` block. A request is sent again (at most
    `retries` times) only where that is safe and of use: no connection could be made, a kept connection turned out
    to be closed before any byte of an answer came, or the server said that it had not taken the request (429, 503).
    A request that timed out or failed is not: the server may still be at it.
    """

    def __init__(
        self,
        url: str,
        signature: Signature,
        *,
        path: str = "/predict",
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 0,
        context: Any = None,
        headers: Mapping[str, str] | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Mistake(f"{url!r} is not a URL of a server", fix="use http://HOST:PORT or https://HOST")
        self.signature = signature
        self.url = url.rstrip("/")
        self.prefix = parts.path.rstrip("/")
        self.path = self.prefix + path
        self.timeout = timeout
        self.retries = retries
        self.context = context
        self.headers = said(api_key, headers)
        self._sleep = sleep
        self._parts = parts
        # shared by all threads: a list's append and pop are atomic
        self._idle: list[http.client.HTTPConnection] = []

    def ask_for(self, name: str, version: str) -> None:
        """From now on, ask for this model of those that the server has."""
        self.path = f"{self.prefix}/models/{quote(name)}/versions/{quote(version, safe='')}/predict"

    def predict(self, inputs: Batch, /) -> Outcome:
        """One answer a row, in order. ServerError where the server fails or cannot be reached."""
        path = f"{self.path}?partial=true"
        return joined(
            [
                outcome(self.url, *self.request("POST", path, body)[:2], count, self.signature)
                for body, count in bodies(inputs, self.signature)
            ]
        )

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of another route."""
        status, reply, _ = self.request("GET", self.prefix + path, None)
        return status, parsed(self.url, status, reply)

    def request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers (lower case) of one request, sent again where that is safe.

        Raises Unreachable, TooSlow; and Busy once `retries` are used up.
        """
        attempt = 0
        while True:
            try:
                status, reply, headers = self._once(method, path, body)
            except Unsent as error:
                found: ServerError = Unreachable(f"{self.url} cannot be asked: {error.__cause__ or error}")
            else:
                # a server that is not ready says so with 503, and that is an answer to GET
                if status not in (429, 503) or method != "POST":
                    return status, reply, headers
                found = busy(status, parsed(self.url, status, reply), headers)
            if attempt >= self.retries:
                raise found
            self._sleep(wait(found, attempt))
            attempt += 1

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, Mapping[str, str]]:
        while self._idle:
            kept = self._idle.pop()
            try:
                return self._send(kept, method, path, body)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                kept.close()  # the server closed an idle connection: ask again on another
        connection = self._connect()
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise Unsent from error
        return self._send(connection, method, path, body, fresh=True)

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self.timeout, context=self.context)
        return http.client.HTTPConnection(host, port, timeout=self.timeout)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, *, fresh: bool = False
    ) -> tuple[int, bytes, Mapping[str, str]]:
        try:
            connection.request(method, path, body, self.headers)
            response = connection.getresponse()
            answer = response.status, response.read(), {k.lower(): v for k, v in response.getheaders()}
        except TimeoutError as error:
            connection.close()
            raise TooSlow(f"{self.url} gave no answer in {self.timeout:g} seconds", fix="ask for fewer rows") from error
        except (OSError, http.client.HTTPException) as error:
            if not fresh and isinstance(error, (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
                raise
            connection.close()
            raise Unreachable(f"{self.url} cannot be asked: {error or type(error).__name__}") from error
        if not response.will_close:
            self._idle.append(connection)
        return answer

    def close(self) -> None:
        """Close the kept connections; the next request opens a new one."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Unsent(Exception):
    """No connection could be made, so the server has seen nothing; its cause is the reason."""


def said(api_key: str | None, headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers of every request."""
    made = {"Content-Type": "application/json", "Accept": "application/json"}
    if api_key is not None:
        made["Authorization"] = f"Bearer {api_key}"
    return {**made, **(headers or {})}


def wait(error: ServerError, attempt: int) -> float:
    """Seconds until a request is sent again: what the server asked for, or a growing time with some chance in it, so
    that many clients do not come back at once."""
    after = error.after if isinstance(error, Busy) else None
    return min(0.1 * 2**attempt * random.uniform(1, 2) if after is None else after, PATIENCE)


def parsed(url: str, status: int, reply: bytes) -> Any:
    """The JSON of a reply. ServerError where it is none: a proxy may stand between."""
    try:
        return codec.parse(reply)
    except Mistake as error:
        raise ServerError(f"{url} answered {status} and no JSON: {reply[:80]!r}") from error


def outcome(url: str, status: int, reply: bytes, count: int, signature: Signature) -> Outcome:
    """The answers to `count` rows in one reply. Raises what `failure` makes of any status but 200."""
    value = parsed(url, status, reply)
    if status != 200:
        raise failure(status, value)
    replies = value if isinstance(value, list) else [value]
    if len(replies) != count or not all(isinstance(r, dict) for r in replies):
        raise ServerError(f"{url} answered {len(replies)} rows to {count}")
    return decode_answers(replies, signature)


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """The answers to a batch that travelled in several pieces."""
    refused: dict[int, tuple[Refusal, ...]] = {}
    before = 0
    for one in outcomes:
        refused.update({before + row: why for row, why in one.refused.items()})
        before += rows(one.outputs)
    return Outcome(concat([one.outputs for one in outcomes]), refused)


def busy(status: int, value: Any, headers: Mapping[str, str]) -> Busy:
    """429 or 503 as an exception; only seconds are understood of Retry-After (RFC 9110, 10.2.3)."""
    told = value if isinstance(value, dict) else {}
    after = headers.get("retry-after", "")
    what = f"the server answered {status}: {told.get('what', value)}"
    return Busy(what, fix=told.get("fix", ""), after=float(after) if after.isdigit() else None)


def failure(status: int, value: Any, headers: Mapping[str, str] | None = None) -> AnyportError:
    """A server's error reply as the exception that it stands for."""
    told = value if isinstance(value, dict) else {}
    fix = told.get("fix", "")
    what = f"the server answered {status}: {told.get('what', value)}"
    if told.get("id"):
        what += f" (its log has the reason under {told['id']})"
    problems = told.get("errors") or []
    if problems:
        first = problems[0]
        what += f" (row {first.get('row', 0)}, {Refusal(first['column'], first['expected'], first['got'])})"
    if status == 422:
        return BadData(what, fix=fix, problems=problems)
    if status in (429, 503):
        return busy(status, value, headers or {})
    kinds: dict[int, type[AnyportError]] = {
        401: Unauthorized, 403: Unauthorized, 404: NotThere, 408: TooSlow, 504: TooSlow,
    }  # fmt: skip
    return kinds.get(status, Mistake if 400 <= status < 500 else ServerError)(what, fix=fix)


def bodies(batch: Batch, signature: Signature) -> Iterator[tuple[bytes, int]]:
    """Request bodies and how many rows each holds; an empty batch is one empty list."""
    encoded = list(encode_rows(batch, signature))
    if len(encoded) == 1:
        yield encoded[0], 1
        return
    start = size = 0
    for stop, row in enumerate(encoded):
        if size and size + len(row) > SENT:
            yield b"[" + b",".join(encoded[start:stop]) + b"]", stop - start
            start, size = stop, 0
        size += len(row) + 1
    yield b"[" + b",".join(encoded[start:]) + b"]", len(encoded) - start


def encode_rows(batch: Batch, signature: Signature) -> Iterator[bytes]:
    """Each row as one JSON object, with the batch's own columns: the server says which do not fit. Exact: floats
    are written with all their digits."""
    fields = {field.name: field for field in signature.inputs}
    listed = {name: codec.cells(column, fields.get(name)) for name, column in batch.items()}
    for row in range(rows(batch)):
        yield msgspec.json.encode({name: values[row] for name, values in listed.items()})


def decode_answers(replies: Sequence[Mapping[str, Any]], signature: Signature) -> Outcome:
    """The Outcome that record replies (parsed JSON) hold, in the outputs' own dtypes."""
    refused: dict[int, tuple[Refusal, ...]] = {}
    for row, reply in enumerate(replies):
        if "errors" in reply:
            refused[row] = tuple(Refusal(e["column"], e["expected"], e["got"]) for e in reply["errors"])
        elif any(field.name not in reply for field in signature.outputs):
            raise ServerError(f"the server's answer to row {row} lacks an output: {codec.shown(dict(reply))}")
    outputs = {}
    for field in signature.outputs:
        named = codec.keys(field)
        values = [reply.get(field.name) for reply in replies]
        if named is not None:
            values = [v if v is None else [v[name] for name in named] for v in values]
        outputs[field.name] = output(values, field, refused)
    return Outcome(outputs, refused)


def output(values: list[Any], field: Field, refused: Mapping[int, Any]) -> Column:
    """One output column from parsed JSON; refused rows are invalid. ServerError where a value is not the field's."""
    import numpy as np

    wrong: codec.Wrong = {}
    made = codec.column(values, field, wrong)
    if wrong:
        row, said = next(iter(wrong.items()))
        raise ServerError(f"the server's answer to row {row} does not fit the signature: {said[0]}")
    valid = np.ones(len(values), bool) if made.valid is None else made.valid.copy()
    valid[list(refused)] = False
    return Column(made.values, None if valid.all() else valid, made.dictionary)
