"""HttpPredictor: a Predictor over the URL of an anyport server, in the standard library alone."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote, urlsplit

import msgspec

from anyport import codec
from anyport.batch import Batch, Column, Outcome, Refusal, concat, rows
from anyport.errors import AnyportError, BadData, Mistake
from anyport.signature import Field, Signature

SENT = 4 << 20
"""Bytes of one request at most; a longer batch travels as several."""


class ServerError(AnyportError):
    """The server could not be reached, or answered with something that is no answer."""


class HttpPredictor:
    """Answers rows by asking a server. One row travels as an object, several as a list of objects.

    Thread-safe; connections are kept until `close`, or the end of a `with` block. A request is sent again only
    where a kept connection turned out to be closed before any byte of an answer came (predictions change nothing).
    """

    def __init__(
        self,
        url: str,
        signature: Signature,
        *,
        path: str = "/predict",
        api_key: str | None = None,
        timeout: float = 60.0,
        context: Any = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Mistake(f"{url!r} is not a URL of a server", fix="use http://HOST:PORT or https://HOST")
        self.signature = signature
        self.url = url.rstrip("/")
        self.prefix = parts.path.rstrip("/")
        self.path = self.prefix + path
        self.timeout = timeout
        self.context = context
        self.headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if api_key is not None:
            self.headers["Authorization"] = f"Bearer {api_key}"
        self._parts = parts
        # shared by all threads: a list's append and pop are atomic
        self._idle: list[http.client.HTTPConnection] = []

    def ask_for(self, name: str, version: str) -> None:
        """From now on, ask for this model of those that the server has."""
        self.path = f"{self.prefix}/models/{quote(name)}/versions/{quote(version, safe='')}/predict"

    def predict(self, inputs: Batch, /) -> Outcome:
        """One answer a row, in order. ServerError where the server fails or cannot be reached."""
        outcomes = [self._ask(body, count) for body, count in bodies(inputs, self.signature)]
        outputs = concat([outcome.outputs for outcome in outcomes])
        refused: dict[int, tuple[Refusal, ...]] = {}
        before = 0
        for outcome in outcomes:
            refused.update({before + row: said for row, said in outcome.refused.items()})
            before += rows(outcome.outputs)
        return Outcome(outputs, refused)

    def _ask(self, body: bytes, count: int) -> Outcome:
        status, reply = self.request("POST", f"{self.path}?partial=true", body)
        value = self._json(status, reply)
        if status != 200:
            raise failure(status, value)
        replies = value if isinstance(value, list) else [value]
        if len(replies) != count or not all(isinstance(r, dict) for r in replies):
            raise ServerError(f"{self.url} answered {len(replies)} rows to {count}")
        return decode_answers(replies, self.signature)

    def _json(self, status: int, reply: bytes) -> Any:
        try:
            return codec.parse(reply)
        except Mistake as error:
            raise ServerError(f"{self.url} answered {status} and no JSON: {reply[:80]!r}") from error

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of another route."""
        status, reply = self.request("GET", self.prefix + path, None)
        return status, self._json(status, reply)

    def request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Status and body of one request."""
        while self._idle:
            kept = self._idle.pop()
            try:
                return self._send(kept, method, path, body)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                kept.close()  # the server closed an idle connection: ask again on another
        connection = self._connect()
        try:
            return self._send(connection, method, path, body)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ServerError(f"{self.url} cannot be asked: {error or type(error).__name__}") from error

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self.timeout, context=self.context)
        return http.client.HTTPConnection(host, port, timeout=self.timeout)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
    ) -> tuple[int, bytes]:
        connection.request(method, path, body, self.headers)
        response = connection.getresponse()
        answer = response.status, response.read()
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


def failure(status: int, value: Any) -> AnyportError:
    """A server's error reply as the exception that it stands for."""
    said = value if isinstance(value, dict) else {}
    what = f"the server answered {status}: {said.get('what', value)}"
    if said.get("errors"):
        first = said["errors"][0]
        refusal = Refusal(first["column"], first["expected"], first["got"])
        what += f" (row {first.get('row', 0)}, {refusal})"
    if status == 422:
        return BadData(what, fix=said.get("fix", ""))
    return Mistake(what, fix=said.get("fix", "")) if 400 <= status < 500 else ServerError(what)


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
