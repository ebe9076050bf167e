"""Which format a file is in: by option, by suffix, or by its first bytes."""

from __future__ import annotations

import gzip
import io
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Literal, get_args

from anyport.errors import BadData, Mistake

Format = Literal["csv", "tsv", "jsonl", "parquet", "arrow", "arrows"]
"""`arrow` is the Arrow IPC file (Feather 2), `arrows` the Arrow IPC stream."""

SUFFIXES: dict[str, Format] = {
    ".csv": "csv", ".txt": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
    ".arrows": "arrows",
}  # fmt: skip
TEXT: tuple[Format, ...] = ("csv", "tsv", "jsonl")
STDIO = Path("-")


@dataclass(frozen=True)
class Opened:
    """Bytes being read: decompressed already; `position` counts the compressed ones."""

    file: IO[bytes]
    format: Format
    size: int | None
    raw: IO[bytes]

    def close(self) -> None:
        """Close what was opened; standard input stays."""
        if self.size is not None:
            self.file.close()
            self.raw.close()

    def fraction(self) -> float | None:
        """How much of the input has been read, where its size is known."""
        return min(1.0, self.raw.tell() / self.size) if self.size else None


@cache
def arrow_here() -> bool:
    """Whether pyarrow is installed; without it CSV and JSON Lines still work, slower. Looked for once: that takes as
    long as an answer."""
    return find_spec("pyarrow") is not None


def of_name(path: Path) -> tuple[Format | None, bool]:
    """The format that a file's name says, and whether it says gzip."""
    zipped = path.suffix.lower() == ".gz"
    inner = path.with_suffix("") if zipped else path
    return SUFFIXES.get(inner.suffix.lower()), zipped


def known(name: str) -> Format:
    """The format called `name`, or Mistake."""
    for one in get_args(Format):
        if name == one:
            return one  # type: ignore[no-any-return]
    raise Mistake(f"there is no format {name!r}", fix=f"use one of: {', '.join(get_args(Format))}")


def of_output(out: Path, *, asked: str | None, source: Format) -> Format:
    """The format to write. Standard output gets JSON Lines for JSON Lines, else CSV."""
    if asked is not None:
        return known(asked)
    if out == STDIO:
        return "jsonl" if source == "jsonl" else "csv"
    found, _ = of_name(out)
    if found is None:
        raise Mistake(f"{out}: what format is that?", fix=f"use a suffix: {', '.join(SUFFIXES)} (text also .gz)")
    return found


def open_input(source: Path, *, asked: str | None) -> Opened:
    """The input, opened and recognised. Mistake where there is none; BadData where it is empty."""
    size = None
    if source == STDIO:
        raw: Any = sys.stdin.buffer
    else:
        if source.is_dir():
            raise Mistake(f"{source} is a folder", fix="name one file; loop over a folder's files in the shell")
        try:
            raw = source.open("rb")
        except OSError as error:
            raise Mistake(f"cannot read {source}: {error.strerror}") from error
        size = source.stat().st_size
    try:
        return _recognised(raw, size, source, asked)
    except BaseException:
        if size is not None:
            raw.close()
        raise


def _recognised(raw: Any, size: int | None, source: Path, asked: str | None) -> Opened:
    """The bytes without their gzip layer, and what they are."""
    file = _peekable(raw)
    head = _peek(file)
    if head[:2] == b"\x1f\x8b":
        file = _peekable(gzip.GzipFile(fileobj=file, mode="rb"))
        head = _peek(file, source)
    if not head:
        raise BadData(f"{source} is empty", fix="a file with no rows still needs its column names")
    named = of_name(source)[0] if asked is None else known(asked)
    return Opened(file, _sniff(head, named), size, raw)


def _peekable(file: Any) -> Any:
    return file if hasattr(file, "peek") else io.BufferedReader(file)


def _peek(file: Any, source: Path = STDIO) -> bytes:
    """The first bytes, without consuming them."""
    try:
        return bytes(file.peek(4096)[:4096])
    except (OSError, EOFError) as error:
        raise BadData(f"{source}: the gzip stream is damaged: {error}") from error


def _sniff(head: bytes, named: Format | None) -> Format:
    """What the bytes are. Magic numbers win over names; names win over guesses."""
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"ARROW1":
        return "arrow"
    if head[:4] == b"\xff\xff\xff\xff":
        return "arrows"
    if named in ("parquet", "arrow", "arrows"):
        raise BadData(f"this is not {named}: it begins with {head[:8]!r}", fix="check the file, or give its --format")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BadData("the text is UTF-16", fix="convert it: iconv -f UTF-16 -t UTF-8 INPUT > utf8.csv")
    if named is not None:
        return named
    return "jsonl" if head.lstrip()[:1] == b"{" else "csv"
