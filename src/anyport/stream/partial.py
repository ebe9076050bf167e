"""OUT.partial: the answers of an unfinished run, chunk by chunk, from which `--resume` goes on.

A line of JSON says what was being answered by what; then one frame a chunk: its sizes and checksum, the payload,
the reject lines. A run that was killed in the middle of a frame goes on from the last whole one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from anyport.bundle import sha256_of
from anyport.errors import Mistake

HEAD = struct.Struct("<QQQQI")
"""rows, rejected rows, bytes of payload, bytes of reject lines, crc32 of all of these and the bytes."""
SAMPLE = 1 << 20


@dataclass(frozen=True)
class Frame:
    """What one chunk came to."""

    rows: int
    rejected: int
    payload: bytes
    rejects: bytes


def beside(out: Path) -> Path:
    """Where the partial of an output lies."""
    return out.with_name(out.name + ".partial")


def fingerprint(source: Path) -> dict[str, Any]:
    """What tells one input from another: size, time, and a hash of its first and last megabyte."""
    found = source.stat()
    digest = sha256_of(b"")
    with source.open("rb") as file:
        digest.update(file.read(SAMPLE))
        file.seek(max(0, found.st_size - SAMPLE))
        digest.update(file.read(SAMPLE))
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": digest.hexdigest()}


def begin(path: Path, identity: Mapping[str, Any]) -> tuple[IO[bytes], list[tuple[int, int]]]:
    """The partial file, open to be added to, and (rows, rejected) of every chunk it holds already.

    Mistake where it is of another input, model or option.
    """
    fresh = msgspec.json.encode(identity, order="sorted") + b"\n"
    file = path.open("r+b" if path.exists() else "w+b")
    held = file.readline()
    if not held.endswith(b"\n"):  # new, or killed before its first line was whole
        file.seek(0)
        file.truncate()
        file.write(fresh)
        file.flush()
        return file, []
    if held != fresh:
        file.close()
        raise Mistake(
            f"{path} is of another run: {_unlike(held, identity)} differs", fix=f"delete {path} to begin again"
        )
    done = []
    end = file.tell()
    for frame in frames(file):
        done.append((frame.rows, frame.rejected))
        end = file.tell()
    file.seek(end)
    file.truncate()
    return file, done


def _unlike(held: bytes, identity: Mapping[str, Any]) -> str:
    try:
        before = msgspec.json.decode(held, type=dict[str, Any])
    except msgspec.DecodeError:
        return "its first line"
    now = msgspec.json.decode(msgspec.json.encode(identity))
    return ", ".join(sorted(k for k in now.keys() | before.keys() if now.get(k) != before.get(k)))


def add(file: IO[bytes], frame: Frame) -> None:
    """Append one chunk."""
    sizes = (frame.rows, frame.rejected, len(frame.payload), len(frame.rejects))
    file.write(HEAD.pack(*sizes, _check(sizes, frame.payload, frame.rejects)))
    file.write(frame.payload)
    file.write(frame.rejects)
    file.flush()


def frames(file: IO[bytes]) -> Iterator[Frame]:
    """The whole frames from here on; stops before one that was cut short."""
    while len(head := file.read(HEAD.size)) == HEAD.size:
        *sizes, crc = HEAD.unpack(head)
        payload, rejects = file.read(sizes[2]), file.read(sizes[3])
        if len(rejects) != sizes[3] or _check(sizes, payload, rejects) != crc:
            return
        yield Frame(sizes[0], sizes[1], payload, rejects)


def _check(sizes: Any, payload: bytes, rejects: bytes) -> int:
    return zlib.crc32(rejects, zlib.crc32(payload, zlib.crc32(repr(list(sizes)).encode())))
