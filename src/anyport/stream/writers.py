"""Answers → bytes of every format; encoding runs in the workers, writing in order."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from anyport import arrow_out, codec
from anyport.batch import Outcome
from anyport.errors import need
from anyport.signature import Field
from anyport.stream.formats import TEXT, Format, arrow_here, of_name
from anyport.stream.source import Carried

ROW_GROUP = 1 << 17
"""Rows of a Parquet row group; several chunks are gathered into one."""


@dataclass(frozen=True)
class Writer:
    """How answers become a file. A payload is what one chunk becomes: bytes, or a RecordBatch."""

    encode: Callable[[Carried, Outcome], Any]
    open: Callable[[IO[bytes]], Any]
    """A context manager that gives the function that writes one payload."""
    join: Callable[[Sequence[Any]], Any]
    """Several payloads as one."""
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]


def writer(format: Format, out: Path, fields: Sequence[Field], ids: Sequence[str], *, schema: Any) -> Writer:
    """The writer of a format. `schema` is the input's Arrow schema, where it has types to pass on."""
    if format == "jsonl":
        return _text(lambda carried, outcome: _lines(carried, outcome, fields), b"", out)
    if format in TEXT:
        return _csv(format, out, fields, ids)
    return _columns(format, fields, ids, schema)


def _text(encode: Callable[[Carried, Outcome], bytes], header: bytes, out: Path) -> Writer:
    @contextmanager
    def opened(file: IO[bytes]) -> Iterator[Callable[[bytes], Any]]:
        if not of_name(out)[1]:
            file.write(header)
            yield file.write
            return
        # no name and no time in the gzip header: the same answers are the same bytes
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=4, mtime=0) as zipped:
            zipped.write(header)
            yield zipped.write

    return Writer(encode, opened, b"".join, bytes, bytes)


def _lines(carried: Carried, outcome: Outcome, fields: Sequence[Field]) -> bytes:
    """JSON Lines: as HTTP answers, the carried columns first."""
    listed: dict[str, list[Any]] = {name: _values(values) for name, values in carried.items()}
    for field in fields:
        values = codec.cells(outcome.outputs[field.name], field)
        named = codec.keys(field)
        if named is not None:
            values = [None if v is None else dict(zip(named, v, strict=True)) for v in values]
        for row in outcome.refused:
            values[row] = None
        listed[field.name] = values
    names = list(listed)
    return msgspec.json.Encoder().encode_lines(
        [dict(zip(names, row, strict=True)) for row in zip(*listed.values(), strict=True)]
    )


def _values(values: Any) -> list[Any]:
    return values if isinstance(values, list) else values.to_pylist()


def _csv(format: Format, out: Path, fields: Sequence[Field], ids: Sequence[str]) -> Writer:
    mark = "\t" if format == "tsv" else ","
    names = [*ids, *(n for f in fields for n in arrow_out.flat_names(f))]
    header = (mark.join(_cell(n) if any(c in n for c in '",;\t\r\n') else n for n in names) + "\n").encode()
    through = _through_arrow if arrow_here() else _plain
    return _text(lambda carried, outcome: through(carried, outcome, fields, mark), header, out)


def _through_arrow(carried: Carried, outcome: Outcome, fields: Sequence[Field], mark: str) -> bytes:
    pa, csv = need("pyarrow"), need("pyarrow.csv")
    arrays = [_as_text(values) for values in [*carried.values(), *arrow_out.to_arrow(outcome, fields).columns]]
    names = [str(i) for i in range(len(arrays))]
    sink = io.BytesIO()
    csv.write_csv(
        pa.RecordBatch.from_arrays(arrays, names=names), sink, csv.WriteOptions(include_header=False, delimiter=mark)
    )
    return sink.getvalue()


def _as_text(values: Any) -> Any:
    """A column as CSV can hold it: nested values and bytes as JSON text."""
    pa = need("pyarrow")
    if isinstance(values, list):
        return arrow_out.strings([_word(v) for v in values])
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_nested(values.type) or pa.types.is_binary(values.type) or pa.types.is_string_view(values.type):
        return arrow_out.strings([_word(v) for v in values.to_pylist()])
    return values


def _word(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def _plain(carried: Carried, outcome: Outcome, fields: Sequence[Field], mark: str) -> bytes:
    """The same without pyarrow; numbers may be spelt otherwise (1e-07 for 1e-7), never with another value."""
    columns = [[None if v is None else _cell(_word(v) or "") for v in _values(values)] for values in carried.values()]
    for field in fields:
        made = outcome.outputs[field.name].plain()
        null = arrow_out.refused_mask(made, outcome.refused).tolist()
        for part in arrow_out.split_columns(made.values, field):
            columns.append([None if n else _number(v) for v, n in zip(part, null, strict=True)])
    return "".join(mark.join(c or "" for c in row) + "\n" for row in zip(*columns, strict=True)).encode()


def _number(value: Any) -> str:
    if isinstance(value, str):
        return _cell(value)
    text = str(value)
    return {"True": "true", "False": "false"}.get(text, text)


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _columns(format: Format, fields: Sequence[Field], ids: Sequence[str], schema: Any) -> Writer:
    """Parquet and Arrow: typed, the input's own types for what is passed through."""
    pa = need("pyarrow")
    kept = [schema.field(n) if schema is not None else pa.field(n, pa.string()) for n in ids]
    kept = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in kept]
    whole = pa.schema([*kept, *arrow_out.schema(fields)])

    def encode(carried: Carried, outcome: Outcome) -> Any:
        arrays = [_typed(values, field) for values, field in zip(carried.values(), kept, strict=True)]
        return pa.RecordBatch.from_arrays([*arrays, *arrow_out.to_arrow(outcome, fields).columns], schema=whole)

    @contextmanager
    def opened(file: IO[bytes]) -> Iterator[Callable[[Any], Any]]:
        if format == "parquet":
            with _parquet(file, whole) as write:
                yield write
            return
        make = pa.ipc.new_file if format == "arrow" else pa.ipc.new_stream
        with make(pa.PythonFile(file, mode="w"), whole) as made:
            yield made.write_batch

    return Writer(
        encode, opened, pa.concat_batches, lambda batch: batch.serialize().to_pybytes(),
        lambda raw: pa.ipc.read_record_batch(pa.py_buffer(raw), whole),
    )  # fmt: skip


def _typed(values: Any, field: Any) -> Any:
    if isinstance(values, list):
        return arrow_out.strings([_word(v) for v in values])
    return values.cast(field.type) if values.type != field.type else values


@contextmanager
def _parquet(file: IO[bytes], schema: Any) -> Iterator[Callable[[Any], Any]]:
    pa, pq = need("pyarrow"), need("pyarrow.parquet")
    waiting: list[Any] = []

    def flush() -> None:
        if waiting:
            made.write_table(pa.Table.from_batches(waiting, schema), row_group_size=ROW_GROUP)
            waiting.clear()

    def write(batch: Any) -> None:
        waiting.append(batch)
        if sum(b.num_rows for b in waiting) >= ROW_GROUP or sum(b.nbytes for b in waiting) > 16 << 20:
            flush()

    with pq.ParquetWriter(file, schema) as made:
        yield write
        flush()
