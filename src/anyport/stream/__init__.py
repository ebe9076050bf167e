"""predict_file: answers for a file of any size, in order, at constant memory, on all cores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anyport.errors import BadData, Mistake
from anyport.predictor import GraphPredictor, Predictor
from anyport.signature import Signature
from anyport.stream import formats, partial, place, rejects
from anyport.stream.answer import chunk_rows
from anyport.stream.header import check
from anyport.stream.pipeline import Job, Tell, resumed, straight
from anyport.stream.source import Source
from anyport.stream.writers import writer

Told = Callable[[int, float, float | None], None]
"""What progress is told after each chunk: rows so far, rows a second, and the share of the input, where known."""


@dataclass(frozen=True)
class Summary:
    """What a run came to. `rejected` counts rows; `rejects_path` is None where there were none, or for stdout."""

    rows: int
    rejected: int
    seconds: float
    out: Path
    rejects_path: Path | None


class TooManyRejects(BadData):
    """Rows were refused, more than the caller allows. The answers are written all the same."""

    def __init__(self, summary: Summary, allowed: int) -> None:
        where = f"; the reasons are in {summary.rejects_path}" if summary.rejects_path else ""
        rows = "1 row" if summary.rows == 1 else f"{summary.rows:,} rows"
        super().__init__(
            f"{summary.rejected:,} of {rows} refused{where}",
            fix=f"--max-rejects {summary.rejected} accepts them (they are null in the answers)",
        )
        self.summary = summary
        self.allowed = allowed


def predict_file(
    predictor: Predictor,
    source: str | Path,
    out: str | Path,
    *,
    signature: Signature,
    ids: Sequence[str] = (),
    max_rejects: int = 0,
    resume: bool = False,
    workers: int | None = None,
    input_format: str | None = None,
    output_format: str | None = None,
    extra: Literal["refuse", "ignore"] = "refuse",
    progress: Told | None = None,
    batch_rows: int = 32_768,
    model: str = "",
) -> Summary:
    """One row of answers in `out` for each row of `source` ("-": standard streams), in order, nulls where refused.

    `out` appears whole or not at all. With `resume`, what a killed run had done is kept in OUT.partial and the
    next one goes on from there, to the same bytes; `model` (a digest) says by whom it was answered.
    Raises TooManyRejects after writing (`max_rejects` -1 allows any); BadData before anything is written where
    columns do not fit.
    """
    begun = time.monotonic()
    source, out = Path(source), Path(out)
    if resume and formats.STDIO in (source, out):
        raise Mistake("a standard stream cannot be resumed", fix="drop --resume, or name files")
    if source != formats.STDIO and out.exists() and out.is_file() and source.exists() and out.samefile(source):
        raise Mistake(f"{out} is the input itself", fix="write to another file with -o")
    if out != formats.STDIO and not out.parent.is_dir():
        raise Mistake(f"{out.parent} is no folder", fix=f"mkdir -p {out.parent}")
    opened = formats.open_input(source, asked=input_format)
    target = formats.of_output(out, asked=output_format, source=opened.format)
    with ExitStack() as stack:
        stack.callback(opened.close)
        read = open_source(opened, signature, ids, extra=extra)
        needed = check(read, signature, ids, extra=extra)
        made = writer(target, out, signature.outputs, ids, schema=read.schema)
        rows = chunk_rows(batch_rows, signature)
        job = Job(predictor, signature, read, made, tuple(ids), workers or cores(predictor))
        chunks = read.read(needed, rows)
        stack.enter_context(place.interruptible())
        stack.enter_context(place.writing(out))
        tell = _teller(progress, begun)
        if resume:
            identity = {
                "anyport": 1, "input": partial.fingerprint(source), "model": model, "format": target, "ids": list(ids),
                "rows": rows, "extra": extra, "arrow": formats.arrow_here(), "inputs": signature,
            }  # fmt: skip
            total, rejected = resumed(job, chunks, out, identity, tell)
        else:
            total, rejected = straight(job, chunks, out, tell)
    at = rejects.beside(out) if rejected else None
    summary = Summary(total, rejected, time.monotonic() - begun, out, at)
    if 0 <= max_rejects < rejected:
        raise TooManyRejects(summary, max_rejects)
    return summary


def open_source(
    opened: formats.Opened, signature: Signature, ids: Sequence[str], *, extra: Literal["refuse", "ignore"]
) -> Source:
    """The reader of the input's format."""
    if opened.format == "jsonl":
        from anyport.stream.lines import jsonl

        return jsonl(opened, extra=extra)
    if opened.format in formats.TEXT:
        from anyport.stream.text import csv

        return csv(opened, [*(f.name for f in signature.inputs), *ids])
    from anyport.stream import typed

    if opened.format == "parquet":
        return typed.parquet(opened, ids)
    return typed.arrow_file(opened) if opened.format == "arrow" else typed.arrow_stream(opened)


def cores(predictor: Predictor) -> int:
    """Threads to answer with: all cores for a graph, one for a Python model, which may not bear more."""
    if not isinstance(predictor, GraphPredictor):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _teller(progress: Told | None, begun: float) -> Tell:
    def tell(rows: int, fraction: float | None) -> None:
        if progress is not None:
            progress(rows, rows / max(time.monotonic() - begun, 1e-9), fraction)

    return tell
