"""Formats that know their types: Parquet, and Arrow IPC as file and as stream."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

from anyport.arrow import to_column
from anyport.batch import Refusal
from anyport.errors import BadData, need
from anyport.signature import Field
from anyport.stream.formats import Opened
from anyport.stream.source import Chunk, Decoded, Source, assemble, by_row

PAGE = 1 << 20
"""Bytes of a column chunk read ahead: a row group is never in memory whole."""


def parquet(opened: Opened, ids: Sequence[str]) -> Source:
    """A Parquet file. Text arrives as dictionary codes, as Parquet holds it, but for `ids`, which seldom repeat."""
    pa, pq = need("pyarrow"), need("pyarrow.parquet")
    try:
        seekable = _seekable(opened.file)
        schema = pq.read_schema(seekable)
        text = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
        text = [name for name in text if name not in ids]
        seekable.seek(0)
        file = pq.ParquetFile(seekable, read_dictionary=text, buffer_size=PAGE, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise BadData(
            f"the Parquet file is damaged: {error}", fix="write it again, or check that it was copied whole"
        ) from error
    total = file.metadata.num_rows

    def read(needed: Sequence[str], rows: int) -> Iterator[Chunk]:
        done = 0
        try:
            for batch in file.iter_batches(batch_size=rows, columns=list(needed), use_threads=False):
                done += batch.num_rows
                yield Chunk(batch, done / total)
        except (pa.ArrowException, OSError) as error:
            raise BadData(f"the Parquet file is damaged after row {done}: {error}") from error

    return Source(tuple(file.schema_arrow.names), read, decode, file.schema_arrow)


def arrow_file(opened: Opened) -> Source:
    """An Arrow IPC file (Feather 2)."""
    pa = need("pyarrow")
    try:
        reader = pa.ipc.open_file(_seekable(opened.file))
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"the Arrow file is damaged: {error}") from error

    def read(needed: Sequence[str], rows: int) -> Iterator[Chunk]:
        count = reader.num_record_batches
        try:
            for i in range(count):
                yield from _slices(reader.get_batch(i).select(list(needed)), rows, (i + 1) / count)
        except (pa.ArrowException, OSError) as error:
            raise BadData(f"the Arrow file is damaged: {error}") from error

    return Source(tuple(reader.schema.names), read, decode, reader.schema)


def arrow_stream(opened: Opened) -> Source:
    """An Arrow IPC stream."""
    pa = need("pyarrow")
    try:
        reader = pa.ipc.open_stream(opened.file)
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"the Arrow stream is damaged: {error}") from error

    def read(needed: Sequence[str], rows: int) -> Iterator[Chunk]:
        try:
            for batch in reader:
                yield from _slices(batch.select(list(needed)), rows, opened.fraction())
        except (pa.ArrowException, OSError) as error:
            raise BadData(f"the Arrow stream is damaged: {error}") from error

    return Source(tuple(reader.schema.names), read, decode, reader.schema)


def _seekable(file: IO[bytes]) -> IO[bytes]:
    """The file itself, or its bytes on disk where it is a pipe: these formats are read from their end."""
    if file.seekable():
        return file
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the reader that gets it
    while block := file.read(PAGE):
        copy.write(block)
    copy.seek(0)
    return copy


def _slices(batch: Any, rows: int, fraction: float | None) -> Iterator[Chunk]:
    for start in range(0, batch.num_rows, rows):
        yield Chunk(batch.slice(start, rows), fraction)


def decode(chunk: Chunk, fields: Sequence[Field], ids: Sequence[str]) -> Decoded:
    """The Batch of a typed RecordBatch."""
    found: dict[int, list[Refusal]] = {}
    names = chunk.data.schema.names
    batch = assemble(fields, names, lambda name, field: to_column(chunk.data.column(name), field, found))
    return Decoded(batch, by_row(found), chunk.data.num_rows, {name: chunk.data.column(name) for name in ids})
