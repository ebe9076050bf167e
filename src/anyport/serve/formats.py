"""Formats of a body: our JSON, CSV, JSON Lines, Arrow; which one came, and which one goes back."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import msgspec

from anyport import codec
from anyport.batch import Outcome, Refusal
from anyport.codec import Body
from anyport.errors import Mistake
from anyport.serve import accept, ipc, tables
from anyport.serve.loops import elsewhere
from anyport.serve.reply import Problem, Reply
from anyport.serve.request import Request
from anyport.signature import Signature
from anyport.stream.formats import arrow_here


class Write(Protocol):
    """Answers → bytes. `partial`: refused rows may be among them, and a table gets a column `errors`."""

    def __call__(self, outcome: Outcome, form: codec.Form, signature: Signature, *, partial: bool) -> bytes: ...


@dataclass(frozen=True)
class Format:
    """How bodies of some media types are read and written."""

    types: tuple[bytes, ...]
    read: Callable[[bytes, Signature], Body]
    """Raises as Wire.decode does."""
    write: Write
    text: bool = True
    """Whether it is text, and so may name a charset."""
    arrow: bool = False
    """Whether it needs pyarrow."""
    size: Callable[[bytes], int] = len
    """How many bytes a body has that was compressed within. Raises Mistake."""


def json(outcome: Outcome, form: codec.Form, signature: Signature, *, partial: bool) -> bytes:
    """Our JSON, in the form of the question."""
    return codec.answer(outcome, form, signature)


def lines(body: bytes, signature: Signature) -> Body:
    """JSON Lines: one object a line, as in a list of records. A line that is no JSON is a row that is refused."""
    values: list[object] = []
    broken: dict[int, Refusal] = {}
    for line in body.split(b"\n"):
        if not line.strip():
            continue
        try:
            values.append(codec.parse(line))
        except Mistake as error:
            broken[len(values)] = Refusal("", "a JSON object", f"{line[:60]!r}: {error.what}")
            values.append(None)
    batch, wrong = codec.records(values, signature)
    wrong |= {row: [refusal] for row, refusal in broken.items()}
    return codec.judged("records", batch, wrong, signature)


def jsonl(outcome: Outcome, form: codec.Form, signature: Signature, *, partial: bool) -> bytes:
    """One answer a line; refused rows are null and carry `errors`."""
    return msgspec.json.Encoder().encode_lines(codec.objects(outcome, signature))


JSON = Format((b"application/json",), codec.decode, json)
CSV = Format((b"text/csv",), tables.csv, tables.write_csv)
JSONL = Format(
    (
        b"application/jsonlines",
        b"application/x-ndjson",
        b"application/jsonl",
        b"application/x-jsonlines",
        b"application/ndjson",
    ),
    lines,
    jsonl,
)
STREAM = Format(
    (b"application/vnd.apache.arrow.stream",), tables.arrow_stream, tables.write_arrow_stream,
    text=False, arrow=True, size=ipc.stream_size,
)  # fmt: skip
FILE = Format(
    (b"application/vnd.apache.arrow.file",), tables.arrow_file, tables.write_arrow_file,
    text=False, arrow=True, size=ipc.file_size,
)  # fmt: skip
ALL = (JSON, CSV, JSONL, STREAM, FILE)


PYARROW = frozenset({"pyarrow", "pyarrow.compute", "pyarrow.csv", "pyarrow.ipc"})
"""What tables are read and written with."""


def bring() -> None:
    """Import it."""
    for name in sorted(PYARROW):
        importlib.import_module(name)


def contents(body: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """Media type → schema, for OpenAPI: `body` for JSON, no schema for the rest."""
    return {kind.decode(): body if one is JSON else {} for one in ALL for kind in one.types}


class Negotiated:
    """One request that is read in one format and answered in another, or the same."""

    def __init__(self, reads: Format, writes: Format, kind: bytes, *, most: int, partial: bool) -> None:
        self.reads = reads
        self.writes = writes
        self.kind = kind
        self.most = most
        """Bytes that a body may have, inflated."""
        self.partial = partial
        self.form: codec.Form = "records"

    async def imported(self) -> Self:
        """Itself, when what it imports is there: pyarrow alone takes longer than most requests, and the loop waits for
        nothing."""
        if self.reads is not JSON and not sys.modules.keys() >= PYARROW and arrow_here():
            await elsewhere(bring)
        return self

    def decode(self, body: bytes, signature: Signature, /) -> Body:
        """The rows. Problem 413 where the body would be too large once its parts are inflated."""
        inflated = self.reads.size(body)
        if inflated > self.most:
            what = f"the body has {inflated} bytes inflated, which is more than {self.most}"
            raise Problem(413, "TooLarge", what, "send fewer rows at a time")
        read = self.reads.read(body, signature)
        self.form = read.form
        return read

    def encode(self, outcome: Outcome, signature: Signature, /) -> Reply:
        """The answers."""
        return Reply(200, self.writes.write(outcome, self.form, signature, partial=self.partial), self.kind)


def negotiated(request: Request, formats: Sequence[Format] = ALL, *, most: int | None = None) -> Negotiated:
    """The wire that Content-Type and Accept ask for. No content type is JSON; the answer has the format of the body
    unless Accept prefers another. A table may have `most` bytes once it is inflated; without it, what the site allows a
    body. Problem 415, 406 or 400."""
    known = {kind: one for one in formats for kind in one.types}
    came = media(request, known)
    offered = [kind for kind, one in known.items() if not one.arrow or kind == came or arrow_here()]
    given = b",".join(value for name, value in request.scope["headers"] if name == b"accept")
    kind = accept.chosen(given, offered, came)
    writes = known[kind]
    said = kind + b"; charset=utf-8" if kind.startswith(b"text/") else kind
    if most is None:
        most = request.site.settings.max_body
    return Negotiated(known[came], writes, said, most=most, partial=request.flag("partial"))


def media(request: Request, known: Mapping[bytes, Format]) -> bytes:
    """The media type of a request's body. Problem 415 for one that we do not read, or not here."""
    kind = request.kind or b"application/json"
    if kind.startswith(b"application/") and kind.endswith(b"+json"):
        kind = b"application/json"
    said = request.headers.get(b"content-type", b"")
    if kind not in known:
        listed = ", ".join(one.decode() for one in known)
        raise Problem(415, "NotTaken", f"{said.decode('latin-1')} is not taken here", f"send one of: {listed}")
    if known[kind].text and charset(said) not in (b"", b"utf-8"):
        raise Problem(415, "NotTaken", f"{said.decode('latin-1')} is not taken here", "send it in UTF-8")
    if known[kind].arrow and not arrow_here():
        what = f"{kind.decode()} is not taken here: the server lacks pyarrow"
        raise Problem(415, "NotTaken", what, "pip install 'anyport[arrow]' there, or send JSON or CSV")
    return kind


def charset(content_type: bytes) -> bytes:
    """The charset that a content type names, lower case; b"" for none."""
    for part in content_type.split(b";")[1:]:
        name, _, value = part.partition(b"=")
        if name.strip().lower() == b"charset":
            return value.strip().strip(b'"').lower()
    return b""
