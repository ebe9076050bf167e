"""Logs: one line a request, and everything else that is logged, as text or as JSON objects, on stderr."""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Literal, TextIO

import msgspec

from anyport.serve.note import Note

HELD = 256
"""Lines that are held back at most before they are written together."""


def begin(form: Literal["text", "json"]) -> None:
    """Log to stderr in this form, from here on."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(Objects() if form == "json" else text)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


class Objects(logging.Formatter):
    """One JSON object a line: time, level, logger, message; of a failed request its id, trace and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": stamp(record.created), "level": record.levelname.lower(), "logger": record.name,
            "message": record.getMessage(),
        }  # fmt: skip
        if hasattr(record, "id"):
            said["id"] = record.id
        note = getattr(record, "note", None)
        if note is not None:
            said |= {"method": note.method, "path": note.path, "model": note.model, "version": note.version}
            said |= ids(note)
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(said).decode()


def stamp(seconds: float) -> str:
    """A time as ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ids(note: Note) -> dict[str, str]:
    """The trace that a request belongs to: `span` is our own where it is traced, else the caller's."""
    if note.trace:
        return {"trace": note.trace, "span": note.span}
    return {"trace": note.parent.trace, "span": note.parent.span} if note.parent is not None else {}


class Access:
    """Writes one line a request; a few at a time, as a write costs more than a line."""

    def __init__(self, form: Literal["text", "json"], out: TextIO | None = None) -> None:
        self.json = form == "json"
        self.out = out or sys.stderr
        self.held: list[str] = []
        self.apart = time.time() - perf_counter()
        """What makes a time of perf_counter's, which no line should pay twice for, one of the clock."""

    def write(self, note: Note, now: float) -> None:
        """One request, answered `now` (perf_counter's)."""
        at, ms = stamp(self.apart + now), round((now - note.started) * 1e3, 3)
        if self.json:
            said = {
                "time": at, "level": "info", "logger": "anyport.access", "id": note.id, "method": note.method,
                "path": note.path, "status": note.status, "ms": ms, "rows": note.rows, "model": note.model,
                "version": note.version, "client": note.client, "bytes": note.bytes, **ids(note),
            }  # fmt: skip
            line = msgspec.json.encode(said).decode()
        else:
            more = "".join(f" {key}={value}" for key, value in ids(note).items())
            model = f" model={note.model}/{note.version} rows={note.rows}" if note.model else ""
            line = (
                f"{at} {note.client or '-'} {note.method} {note.path} {note.status} {ms}ms {note.bytes}B"
                f"{model} id={note.id}{more}"
            )
        self.held.append(line)
        if len(self.held) >= HELD:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self.held:
            held, self.held = self.held, []
            self.out.write("\n".join(held) + "\n")
            self.out.flush()

    def again(self) -> None:
        """The clock may have been set: once a second is often enough to ask it."""
        self.apart = time.time() - perf_counter()
