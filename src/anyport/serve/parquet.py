"""Parquet files of answered rows: what columns they have, and how a file comes to be: whole, or not at all.

A file is NAME.parquet.partial until its last byte is on the disk, so that whoever reads *.parquet never sees half of
one. NAME is model, version, start (UTC), process and number: homes-3-20260801T101500Z-17-0.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anyport import arrow_out
from anyport.batch import Batch, Column, Outcome
from anyport.bundle import Bundle
from anyport.errors import need
from anyport.signature import Field

PARTIAL = ".parquet.partial"
OWN = ("time", "request_id", "model", "version")
"""The columns before inputs and outputs."""
GROUP = 16_384
"""Rows of one row group; they are in memory until it is written."""
GROUP_BYTES = 32 << 20
"""The same in bytes, for rows that are large."""
LONGEST = 60
"""Characters of a model's or version's name in a file's."""


class Layout:
    """The columns of one bundle's files: OWN, the inputs that are wanted, the outputs flattened as in files of answers.

    A name that is taken already is written `input.NAME` or `output.NAME`.
    """

    def __init__(self, bundle: Bundle, name: str, wanted: Collection[str] = ()) -> None:
        pa = need("pyarrow")
        signature = bundle.signature
        self.name, self.version = name, bundle.version
        self.inputs = tuple(field for field in signature.inputs if not wanted or field.name in wanted)
        self.outputs = signature.outputs
        fields = [
            pa.field("time", pa.timestamp("us", "UTC")),
            *(pa.field(one, pa.string()) for one in OWN[1:]),
        ]
        taken = set(OWN)
        for side, some in (("input", self.inputs), ("output", self.outputs)):
            for field in arrow_out.schema(some):
                called = field.name
                while called in taken:
                    called = f"{side}.{called}"
                taken.add(called)
                meta = {**(field.metadata or {}), "side": side}
                fields.append(field.with_name(called).with_metadata(meta))
        said = {"anyport.digest": bundle.digest, "anyport.model": name, "anyport.version": bundle.version}
        self.schema = pa.schema(fields, metadata=said)

    def batch(self, inputs: Batch, outcome: Outcome, times: Sequence[float], ids: Sequence[str]) -> Any:
        """Rows as a RecordBatch. `times` (Unix seconds) and `ids` have one element a row; no row is refused."""
        import numpy as np

        pa = need("pyarrow")
        count = len(times)
        instants = np.array([round(one * 1e6) for one in times], np.int64)
        # every row of every file names both, so that many files can be read as one table
        own = [
            pa.Array.from_buffers(self.schema.field("time").type, count, [None, pa.py_buffer(instants)]),
            arrow_out.strings(ids),
            *(pa.repeat(pa.scalar(text, pa.string()), count) for text in (self.name, self.version)),
        ]
        asked = Outcome({field.name: nullable(inputs[field.name], field) for field in self.inputs}, {})
        columns = [*own]
        for some, fields in ((asked, self.inputs), (outcome, self.outputs)):
            columns += arrow_out.to_arrow(some, fields).columns
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def nullable(column: Column, field: Field) -> Column:
    """An input with every missing scalar marked, as NaN and NaT are not; in a tensor NaN is a value."""
    plain = column.plain()
    return plain if field.shape else Column(plain.values, ~plain.missing())


class File:
    """One file that is being written. Raises OSError where the disk does not take it."""

    def __init__(self, folder: Path, layout: Layout, now: float, number: int) -> None:
        pq = need("pyarrow.parquet")
        folder.mkdir(parents=True, exist_ok=True)
        self.layout = layout
        self.began = now
        self.rows = 0
        self._held: list[Any] = []
        self._rows = self._bytes = 0
        names = "-".join(quote(one, safe="")[:LONGEST] for one in (layout.name, layout.version))
        start = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        while True:
            stem = f"{names}-{start}-{os.getpid()}-{number}"
            self.path = folder / f"{stem}.parquet"
            self.partial = folder / f"{stem}{PARTIAL}"
            # containers all call themselves process 1: another one may write here, or have written
            try:
                self._sink = self.partial.open("xb")
            except FileExistsError:
                number += 1
                continue
            if not self.path.exists():
                break
            self._sink.close()
            self.partial.unlink()
            number += 1
        self.number = number
        self._writer = pq.ParquetWriter(self._sink, layout.schema, compression="zstd")

    def add(self, batch: Any) -> None:
        """Some more rows."""
        self._held.append(batch)
        self.rows += batch.num_rows
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= GROUP or self._bytes >= GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        pa = need("pyarrow")
        held, self._held, self._rows, self._bytes = self._held, [], 0, 0
        if held:
            self._writer.write_table(pa.Table.from_batches(held, self.layout.schema))

    def finish(self) -> None:
        """Write what is left, and give the file its name."""
        self._write()
        self._writer.close()
        self._sink.flush()
        os.fsync(self._sink.fileno())
        self._sink.close()
        self.partial.rename(self.path)

    def abandon(self) -> None:
        """Give up a file that could not be written: nothing of it stays, if the disk allows that much."""
        self._held = []
        for step in (self._writer.close, self._sink.close, self.partial.unlink):
            try:
                step()
            except OSError:
                continue  # it is this disk that we give up on, and the caller has said so


def leftovers(folder: Path) -> list[Path]:
    """Unfinished files of processes that are not on this machine any more."""
    found = []
    for path in sorted(folder.glob(f"*{PARTIAL}")):
        match = re.search(r"-(\d+)-\d+$", path.name.removesuffix(PARTIAL))
        if match is not None and not alive(int(match[1])):
            found.append(path)
    return found


def alive(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
