"""The rejects file: one JSON line for every refused cell, with its row's number in the input (from 0)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import msgspec

from anyport.batch import Refusal
from anyport.codec import problem
from anyport.stream.formats import STDIO
from anyport.stream.place import replacing


def beside(out: Path) -> Path | None:
    """Where the rejects of an output go; None: to standard error."""
    return None if out == STDIO else out.with_name(out.name + ".rejects.jsonl")


def listed(refused: Mapping[int, Sequence[Refusal]], start: int) -> bytes:
    """The refused cells of a chunk whose first row is row `start` of the file."""
    encoder = msgspec.json.Encoder()
    return encoder.encode_lines([problem(start + row, why) for row in sorted(refused) for why in refused[row]])


class Rejects:
    """The file, made with the first line that it gets; an earlier run's goes when there is none."""

    def __init__(self, out: Path) -> None:
        self.path = beside(out)
        self.file: IO[bytes] | None = None
        self.stack = ExitStack()

    def __enter__(self) -> Rejects:
        return self

    def write(self, made: bytes) -> None:
        """Add lines."""
        if made and self.file is None:
            self.file = sys.stderr.buffer if self.path is None else self.stack.enter_context(replacing(self.path))
        if self.file is not None:
            self.file.write(made)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.stack.__exit__(kind, *rest)  # type: ignore[arg-type]
        if kind is None and self.file is None and self.path is not None:
            self.path.unlink(missing_ok=True)
