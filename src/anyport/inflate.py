"""A file that may be compressed (zlib, gzip, bz2, xz, lzma, lz4: what joblib writes), as plain bytes to read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from anyport.errors import Mistake, need

MAX_BYTES = 16 << 30
BOMB = (1 << 30, 200)
"""Bytes, and how many times the file's own size: what decompresses past both is a decompression bomb."""


def limit(path: Path) -> int:
    """The most bytes that this file may unpack to."""
    return min(MAX_BYTES, max(BOMB[0], BOMB[1] * path.stat().st_size))


@contextmanager
def inflated(path: Path) -> Iterator[IO[bytes]]:
    """The file itself, or a temporary one that holds what it decompresses to. Mistake when it is damaged or a bomb."""
    with path.open("rb") as raw:
        source = _stream(raw, path)
        if source is None:
            yield raw
            return
        with tempfile.TemporaryFile(prefix="anyport-") as out:
            most = limit(path)
            try:
                while block := source.read(1 << 20):
                    out.write(block)
                    if out.tell() > most:
                        raise Mistake(f"{path} unpacks to more than {most >> 20} MB: a decompression bomb")
            except (OSError, EOFError, zlib.error, lzma.LZMAError, RuntimeError) as error:
                raise Mistake(f"{path} is damaged, or cut short: {error}") from error
            out.seek(0)
            yield out


def _stream(raw: IO[bytes], path: Path) -> Any:
    """What decompresses the file, told by its first bytes; None for a plain one."""
    start = raw.read(8)
    raw.seek(0)
    if start[:1] == b"\x78":
        return _Zlib(raw)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if start.startswith((b"\xfd7zXZ", b"\x5d\x00\x00")):
        return lzma.LZMAFile(raw)
    if start.startswith(b"\x04\x22\x4d\x18"):
        return need("lz4.frame").LZ4FrameFile(raw)
    if start.startswith(b"ZF"):
        raise Mistake(f"{path} was written by joblib before 0.10", fix="load it with that joblib and save it again")
    return None


class _Zlib:
    """A zlib stream as a file to read; the standard library has none."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._packed = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        while not self._packed.eof:
            data = self._packed.unconsumed_tail or self._raw.read(size)
            if not data:
                raise EOFError("the compressed stream ends too early")
            block = self._packed.decompress(data, size)
            if block:
                return block
        return b""
