"""A table that arrives as an object in a bucket: its predictions and its refused rows, as files to send on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from anyport.functions.front import Front


class OutOfTime(Exception):
    """The function is about to end, and the object is not answered; nothing of it has been written."""


class Predicted(NamedTuple):
    """What a table was answered with. The files are gone when the block ends that has it."""

    out: Path
    rejects: Path | None
    rows: int
    rejected: int


@contextmanager
def predicted(
    front: Front, key: str, fetch: Callable[[Path], object], *, left: Callable[[], float], where: str
) -> Iterator[Predicted]:
    """The predictions of the table named `key`, which `fetch` writes into a file. Raises OutOfTime when no seconds are
    `left`; BadData, Mistake where it is no table of the model's."""
    from anyport.stream import predict_file

    name = PurePosixPath(key).name or "object"
    front.load()
    assert front.model.predictor is not None, "it was loaded just now"

    def progress(rows: int, rate: float, fraction: float | None) -> None:
        if left() <= 0:
            raise OutOfTime(
                f"{where}: only {rows:,} rows in time; raise the timeout or the memory of the function, or cut the "
                "object"
            )

    with tempfile.TemporaryDirectory(prefix="anyport-") as folder:
        source, out = Path(folder) / "in" / name, Path(folder) / "out" / name
        source.parent.mkdir()
        out.parent.mkdir()
        fetch(source)
        summary = predict_file(
            front.model.predictor, source, out, signature=front.bundle.signature, max_rejects=-1, progress=progress,
            extra="ignore", model=front.bundle.digest, workers=1,
        )  # fmt: skip
        yield Predicted(out, summary.rejects_path, summary.rows, summary.rejected)
