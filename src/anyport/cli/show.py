"""What people read: aligned tables, progress, colour only on a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}


def style(text: str, colour: str, *, stream: TextIO | None = None) -> str:
    """`text` in colour, if the stream is a terminal and NO_COLOR is not set (no-color.org)."""
    stream = stream or sys.stdout
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def table(head: Sequence[str], body: Sequence[Sequence[str]], *, colours: Sequence[str] = ()) -> str:
    """Aligned columns; `colours` names one colour per row of the body, for its first column."""
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()

    lines = [style(line(head), "dim")]
    for i, row in enumerate(body):
        text = line(row)
        if i < len(colours) and colours[i]:
            text = style(row[0], colours[i]) + text[len(row[0]) :]
        lines.append(text)
    return "\n".join(lines)


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and values, aligned."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{style(name.ljust(width), 'dim')}  {value}" for name, value in pairs)


def emit_json(value: Any) -> None:
    """One JSON document on stdout."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def next_line(command: str) -> str:
    """The line to type next."""
    return f"\n{style('next', 'blue')}: {command}"


def progress(*, quiet: bool) -> Callable[[str], None]:
    """A function that says on stderr what is being done; on a terminal each replaces the one before."""
    start = time.monotonic()

    def say(text: str) -> None:
        if quiet:
            return
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{style(f'{time.monotonic() - start:5.1f} s', 'dim', stream=sys.stderr)}  {text}")
            if text == "":
                sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        elif text:
            print(f"{time.monotonic() - start:5.1f} s  {text}", file=sys.stderr)

    return say


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
