"""Content codings: compressed request bodies are inflated within a limit, long answers compressed."""

from __future__ import annotations

import zlib

from anyport.serve.loops import elsewhere
from anyport.serve.reply import Problem

TAKEN = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
"""Coding → zlib's wbits (https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1)."""
WORTH = frozenset((b"application/json", b"application/x-ndjson", b"text/plain", b"text/csv", b"text/html", b"text/css",
                   b"text/javascript", b"image/svg+xml", b"application/jsonlines"))  # fmt: skip
"""Content types that shrink; what floats in binary hold hardly does."""
HERE = 32 << 10
"""Bytes of an answer that is compressed on the event loop: half a millisecond."""
OFFER = (b"accept-encoding", b"gzip, deflate")


def coding(value: bytes) -> bytes:
    """The one coding of a Content-Encoding header, b"" for none. Problem 415 for one that is not taken."""
    named = value.strip().lower()
    if named in (b"", b"identity"):
        return b""
    if named not in TAKEN:
        said = value.decode("latin-1")
        raise Problem(
            415, "Encoded", f"bodies in {said} are not taken here", "send it with gzip or deflate, or uncompressed",
            headers=(OFFER,),
        )  # fmt: skip
    return named


def inflate(body: bytes, named: bytes, most: int) -> bytes:
    """The body without its coding. Problem 413 beyond `most` bytes, of which no more than one is ever made; 400 where
    it is damaged or ends too early."""
    bits = TAKEN[named]
    if named == b"deflate" and (len(body) < 2 or body[0] & 15 != 8 or int.from_bytes(body[:2], "big") % 31):
        bits = -15  # what the standard calls deflate is zlib's format; many clients send the bare stream
    parts: list[bytes] = []
    size = 0
    while True:
        stream = zlib.decompressobj(bits)
        try:
            parts.append(stream.decompress(body, most + 1 - size))
        except zlib.error as error:
            raise damaged(named, str(error)) from error
        size += len(parts[-1])
        if size > most:
            raise Problem(
                413, "TooLarge", f"the body has more than {most} bytes once inflated", "send fewer rows at a time"
            )
        if not stream.eof:
            raise damaged(named, f"it ends too early, after {len(body)} bytes")
        body = stream.unused_data
        if not body:
            return b"".join(parts)
        if bits != 31 or not parts[-1]:  # gzip may have several members; empty ones would never end
            raise damaged(named, f"{len(body)} bytes follow its end")


def damaged(named: bytes, how: str) -> Problem:
    """A body that is not what its header says."""
    return Problem(400, "BadBody", f"the body is no {named.decode()}: {how}", "compress it again, or send it as it is")


def accepts(header: bytes) -> bool:
    """Whether an Accept-Encoding header takes gzip."""
    for part in header.lower().split(b","):
        name, _, quality = part.partition(b";")
        if name.strip() in (b"gzip", b"x-gzip"):
            return quality.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


async def squeezed(body: bytes) -> bytes:
    """The body as gzip; a long one off the event loop."""
    if len(body) <= HERE:
        return deflate(body)
    return await elsewhere(deflate, body)


def deflate(body: bytes) -> bytes:
    """The body as gzip, at the quickest level; the same bytes for the same body."""
    stream = zlib.compressobj(1, zlib.DEFLATED, 31)
    return stream.compress(body) + stream.flush()
