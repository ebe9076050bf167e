"""HTTP: a request of Flask's, as functions-framework hands it over, to the server's routes and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from anyport.functions.front import Asked, Front, refused
from anyport.functions.google.limits import MOST
from anyport.serve.reply import Problem

if TYPE_CHECKING:
    from flask import Request

HOP = ("content-length", "connection", "transfer-encoding", "keep-alive")
"""Headers that gunicorn writes itself."""

Response = tuple[bytes, int, list[tuple[str, str]]]
"""What Flask makes a response of."""


def loaded(front: Front) -> Front:
    """Load the model before there are requests: now, or, in form python, in the process that gunicorn forks for them,
    as OpenMP does not live on in a fork."""
    if front.bundle.form == "graph":
        front.load()
    else:
        os.register_at_fork(after_in_child=front.load)
    return front


def answer(front: Front, request: Request) -> Response:
    """The server's reply to a request. One that Cloud Run would not carry becomes 413."""
    # what is too large is refused by its header, and not read
    length = request.content_length or 0
    body = b"" if length > front.settings.max_body else request.get_data()
    found = front.answer(Asked(
        request.method, path(request), request.query_string.decode("latin-1"), list(request.headers.items()), body,
        request.remote_addr or "",
    ))  # fmt: skip
    if len(found.body) > MOST:
        what = f"the answer has {len(found.body):,} bytes; Cloud Run carries {MOST:,}"
        found = refused(Problem(413, "TooLarge", what, "send fewer rows at a time, or accept gzip"))
    return found.body, found.status, [(name, value) for name, value in found.headers if name not in HOP]


def path(request: Any) -> str:
    """The path as it was asked for, percent-encoded; gunicorn has kept it."""
    raw = str(request.environ.get("RAW_URI") or "").partition("?")[0]
    return raw if raw.startswith("/") else quote(request.path)
