"""How large an Arrow IPC body is once it is inflated, told from its own metadata before anything is allocated.

Record batches may be compressed buffer by buffer, and each compressed buffer begins with its inflated length (int64,
-1: it is not compressed after all). Sources: https://arrow.apache.org/docs/format/Columnar.html, "Serialization and
Interprocess Communication"; format/Message.fbs, File.fbs of apache/arrow; https://flatbuffers.dev/internals.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from anyport.errors import Mistake

DICTIONARY, RECORDS = 2, 3
"""MessageHeader: what a message is."""
MAGIC = b"ARROW1"
CONTINUED = 0xFFFFFFFF


class Table:
    """A flatbuffer table: the fields by their number, absent ones as 0."""

    def __init__(self, data: memoryview, at: int) -> None:
        self.data = data
        self.at = at
        self.slots = at - number(data, "<i", at)

    def where(self, field: int) -> int:
        """Where a field lies; 0 where it is absent."""
        if 4 + 2 * field >= number(self.data, "<H", self.slots):
            return 0
        offset = number(self.data, "<H", self.slots + 4 + 2 * field)
        return self.at + offset if offset else 0

    def scalar(self, field: int, kind: str) -> int:
        """A number."""
        at = self.where(field)
        return number(self.data, kind, at) if at else 0

    def table(self, field: int) -> Table | None:
        """The table that a field refers to."""
        at = self.where(field)
        return Table(self.data, at + number(self.data, "<I", at)) if at else None

    def structs(self, field: int, size: int) -> range:
        """Where the structs of a vector lie."""
        at = self.where(field)
        if not at:
            return range(0)
        start = at + number(self.data, "<I", at)
        end = start + 4 + size * number(self.data, "<I", start)
        if end > len(self.data):
            raise Mistake("the Arrow data is damaged: a vector ends behind it")
        return range(start + 4, end, size)


def number(data: memoryview, kind: str, at: int) -> int:
    """One number. Mistake where there is none."""
    if at < 0:
        raise Mistake("the Arrow data is damaged: an offset leads out of it")
    try:
        found: int = struct.unpack_from(kind, data, at)[0]
    except struct.error as error:
        raise Mistake("the Arrow data is damaged: an offset leads out of it") from error
    return found


def root(data: memoryview) -> Table:
    """The table that a flatbuffer is."""
    return Table(data, number(data, "<I", 0))


@dataclass(frozen=True)
class Message:
    """One message, its body, and where that begins and ends."""

    said: Table
    body: memoryview
    start: int
    end: int


def stream_size(body: bytes) -> int:
    """Bytes of the batches and dictionaries of a stream, inflated. Mistake where it is damaged."""
    data = memoryview(body)
    total = at = 0
    while (found := message(data, at)) is not None:
        total += size(found)
        at = found.end
    return total


def file_size(body: bytes) -> int:
    """The same of a file, whose footer lists its batches: the same bytes may be listed many times."""
    data = memoryview(body)
    tail = len(MAGIC) + 4
    if len(data) < tail or bytes(data[-len(MAGIC) :]) != MAGIC:
        raise Mistake("the Arrow file is damaged: it does not end with ARROW1", fix="send it whole")
    length = number(data, "<i", len(data) - tail)
    if not 0 < length <= len(data) - tail:
        raise Mistake("the Arrow file is damaged: its footer is not in it")
    footer = root(data[len(data) - tail - length : len(data) - tail])
    total = 0
    for field in (2, 3):  # dictionaries, recordBatches: structs Block {offset, metaDataLength, bodyLength}
        for at in footer.structs(field, 24):
            offset = number(footer.data, "<q", at)
            found = message(data, offset)
            if found is None or found.start - offset != number(footer.data, "<i", at + 8):
                raise Mistake("the Arrow file is damaged: its footer lists a batch that is not there")
            total += size(found)
    return total


def message(data: memoryview, at: int) -> Message | None:
    """The message that begins there; None where the stream says that it ends, or just ends."""
    if at < 0 or at + 4 > len(data):
        return None
    length = number(data, "<I", at)
    at += 4
    if length == CONTINUED:
        length = number(data, "<I", at)
        at += 4
    if length == 0:
        return None
    if at + length > len(data):
        raise Mistake("the Arrow data is damaged: it ends within a message", fix="send it whole")
    said = root(data[at : at + length])
    at += length
    held = said.scalar(3, "<q")
    if not 0 <= held <= len(data) - at:
        raise Mistake("the Arrow data is damaged: it ends within a batch", fix="send it whole")
    return Message(said, data[at : at + held], at, at + held)


def size(found: Message) -> int:
    """Bytes that a message's buffers have once they are inflated."""
    batch, kind = found.said.table(2), found.said.scalar(1, "<B")
    if kind == DICTIONARY and batch is not None:
        batch = batch.table(1)
    elif kind != RECORDS:
        return len(found.body)
    if batch is None or not batch.where(3):
        return len(found.body)
    total = 0
    for at in batch.structs(2, 16):
        start, length = number(batch.data, "<q", at), number(batch.data, "<q", at + 8)
        if length:
            inflated = number(found.body, "<q", start)
            total += length if inflated == -1 else max(inflated, 0)
    return total
