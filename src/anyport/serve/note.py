"""Note: what is known of one request beside its rows: ids, the trace it belongs to, and when each step was done."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

ID = re.compile(rb"[\x21-\x7e]{1,128}")
PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
NONE = (b"0" * 32, b"0" * 16)


class Parent(NamedTuple):
    """A W3C trace parent: https://www.w3.org/TR/trace-context/#traceparent-header."""

    trace: str
    """32 hex digits."""
    span: str
    """16 hex digits."""
    sampled: bool


def parent(value: bytes) -> Parent | None:
    """A `traceparent` header's value; None where it is malformed, which the standard wants ignored."""
    match = PARENT.fullmatch(value.strip())
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    # version ff is invalid; version 00 ends here, later ones may go on; all zeros are no ids
    if version == b"ff" or (version == b"00" and more) or trace == NONE[0] or span == NONE[1]:
        return None
    return Parent(trace.decode(), span.decode(), bool(int(flags, 16) & 1))


class Note:
    """One request's. Times are perf_counter's."""

    __slots__ = (
        "batch", "bytes", "client", "decoded", "encoded", "encoding", "given", "id", "method", "model", "parent",
        "path", "ran", "route", "rows", "running", "scheme", "span", "started", "status", "trace", "version",
    )  # fmt: skip

    def __init__(
        self, headers: Iterable[tuple[bytes, bytes]], method: str, path: str, client: object, at: float
    ) -> None:
        self.given = b""
        """The caller's X-Request-ID, to be echoed; b"" without one, or where it is not 1 … 128 visible ASCII."""
        self.parent: Parent | None = None
        for name, value in headers:
            if name == b"x-request-id":
                self.given = value if ID.fullmatch(value) else b""
            elif name == b"traceparent":
                self.parent = parent(value)
        self.id = self.given.decode() or os.urandom(8).hex()
        self.method = method
        self.path = path
        self.client = str(client[0]) if isinstance(client, tuple) and client else ""
        self.started = at
        self.status = 0
        self.bytes = 0
        """Of the answer's body."""
        self.model = self.version = ""
        self.rows = 0
        self.batch = 0
        """Rows of the run that it was joined into."""
        self.route = ""
        """The pattern of its path."""
        self.scheme = "http"
        self.trace = self.span = ""
        """Our own span's ids, where it is traced."""
        self.decoded = self.running = self.ran = self.encoding = self.encoded = 0.0
