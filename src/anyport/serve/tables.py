"""Tables over HTTP: CSV and Arrow IPC, read by the readers of files and written by their writers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyport import arrow_out, codec
from anyport.batch import Batch, Column, Outcome, concat
from anyport.codec import Body
from anyport.errors import BadData, Mistake, need
from anyport.serve import ipc
from anyport.signature import Field, Signature
from anyport.stream import header, text, typed
from anyport.stream.formats import Format, Opened
from anyport.stream.source import Chunk, Source
from anyport.stream.writers import writer

CHUNK = 1 << 30
"""Rows read at once: all of them, as the body is in memory anyway."""
ERRORS = Field(name="errors", dtype="string", nullable=True)
"""What a table of answers has beside the answers where some rows may be refused: JSON text, missing where none is."""


def csv(body: bytes, signature: Signature) -> Body:
    """CSV with a header (RFC 4180): columns by name; only an empty unquoted cell is missing."""
    return table(body, "csv", lambda opened: text.csv(opened, names(signature.inputs)), signature)


def names(fields: Sequence[Field]) -> list[str]:
    """The columns of a table with these fields: a tensor of fixed shape is `name_0`, `name_1`, …"""
    return [name for field in fields for name in arrow_out.flat_names(field)]


class Headless:
    """CSV whose first line is a header only where it equals the column names, in any order; its answer has a header
    where the question had one (SageMaker's batch transform puts the answers of parts of a file together)."""

    def __init__(self) -> None:
        self.header = False

    def read(self, body: bytes, signature: Signature) -> Body:
        """The rows; without a header, columns come in the signature's order."""
        self.header = headed(body, signature)
        if not self.header:
            first = ",".join('"' + name.replace('"', '""') + '"' for name in names(signature.inputs))
            body = f"{first}\n".encode() + body.removeprefix(b"\xef\xbb\xbf")
        return csv(body, signature)

    def write(self, outcome: Outcome, form: codec.Form, signature: Signature, *, partial: bool) -> bytes:
        """The answers, one record a row."""
        return write_csv(outcome, form, signature, partial=partial, header=self.header)


def headed(body: bytes, signature: Signature) -> bool:
    """Whether the first record of a CSV is its columns' names."""
    if not body:
        return False
    with damage():
        first = text.first_record(io.BytesIO(body))
    found = text.cells(first.rstrip("\r\n"), ",") or []
    wanted = [names(signature.inputs), [field.name for field in signature.inputs]]
    return sorted(map(str, found)) in [sorted(one) for one in wanted]


def arrow_stream(body: bytes, signature: Signature) -> Body:
    """An Arrow IPC stream."""
    most = ipc.stream_size(body)
    return table(body, "arrows", lambda opened: checked(typed.arrow_stream(opened), most), signature)


def arrow_file(body: bytes, signature: Signature) -> Body:
    """An Arrow IPC file."""
    most = ipc.file_size(body)
    return table(body, "arrow", lambda opened: checked(typed.arrow_file(opened), most), signature)


def checked(source: Source, size: int) -> Source:
    """A Source of Arrow batches from a stranger, of so many bytes inflated: offsets and indices are looked at before
    anything follows them; rows that cost nothing (a null column may claim any number of them) are not believed, nor
    is text that is more than all bytes (views may show the same bytes any number of times)."""

    def read(needed: Sequence[str], rows: int) -> Iterator[Chunk]:
        done = 0
        for chunk in source.read(needed, rows):
            done += chunk.data.num_rows
            if done > size:
                raise BadData(f"{done} rows in {size} bytes", fix="send the rows themselves")
            try:
                chunk.data.validate(full=True)
            except need("pyarrow").ArrowException as error:
                raise BadData(f"the Arrow data is damaged: {error}") from error
            if viewed(chunk.data) > size:
                raise BadData(f"more text than the {size} bytes hold", fix="send string instead of string_view")
            yield chunk

    return Source(source.columns, read, source.decode, source.schema)


def viewed(batch: Any) -> int:
    """Bytes of text that the views in a RecordBatch show."""
    import numpy as np

    types = need("pyarrow").types
    total = 0
    for column in batch.columns:
        if types.is_string_view(column.type) and len(column):
            # a view is 16 bytes, and its length the first four of them
            lengths = np.frombuffer(column.buffers()[1], np.int32)[::4][column.offset :][: len(column)]
            total += int(lengths.sum(dtype=np.int64))
    return total


@contextmanager
def damage() -> Iterator[None]:
    """Turns BadData (422) into Mistake (400): the bytes are at fault, not the rows."""
    try:
        yield
    except BadData as error:
        raise Mistake(error.what, fix=error.fix) from error
    except UnicodeDecodeError as error:  # pyarrow checks the text of columns, and not their names
        raise Mistake(f"the table is damaged: a name or a text in it is not UTF-8: {error.reason}") from error


def table(body: bytes, kind: Format, opening: Callable[[Opened], Source], signature: Signature) -> Body:
    """The rows of a table. Mistake where its bytes are damaged, BadData where its columns are not the model's."""
    file = io.BytesIO(body)
    opened = Opened(file, kind, len(body), file)
    with damage():
        source = opening(opened)
    needed = header.check(source, signature, (), extra="refuse")
    parts: list[dict[str, Column]] = []
    wrong: codec.Wrong = {}
    done = 0
    with damage():
        for chunk in source.read(needed, CHUNK):
            decoded = source.decode(chunk, signature.inputs, ())
            parts.append(decoded.batch)
            wrong |= {done + row: list(said) for row, said in decoded.refused.items()}
            done += decoded.rows
    return codec.judged("records", joined(parts, signature), wrong, signature)


def joined(parts: Sequence[dict[str, Column]], signature: Signature) -> dict[str, Column]:
    """All parts of a table as one Batch."""
    if len(parts) == 1:
        return parts[0]
    for field in signature.inputs:
        shapes = {part[field.name].values.shape[1:] for part in parts}
        if len(shapes) > 1:
            raise BadData(f"column {field.name!r}: the rows differ in shape", fix="send rows of one shape at a time")
    return concat(parts) if parts else codec.records([], signature)[0]


def write_csv(outcome: Outcome, form: codec.Form, signature: Signature, *, partial: bool, header: bool = True) -> bytes:
    """Answers as CSV: one record a row, tensors flattened, empty where there is no answer (or it is NaN)."""
    fields, outputs = flattened(outcome, signature)
    if partial:
        fields.append(ERRORS)
        outputs["errors"] = errors(outcome)
    made = writer("csv", Path("answers.csv"), fields, (), schema=None)
    # refused rows are invalid in every output already; `errors` is there for them
    encoded: bytes = made.encode({}, Outcome(outputs, {}))
    if not header:
        return encoded
    sink = io.BytesIO()
    with made.open(sink) as write:
        write(encoded)
    return sink.getvalue()


def flattened(outcome: Outcome, signature: Signature) -> tuple[list[Field], dict[str, Column]]:
    """Every output as columns of scalars, NaN missing, and their fields; an output with a free axis stays whole."""
    import numpy as np

    fields: list[Field] = []
    outputs: dict[str, Column] = {}
    for field in signature.outputs:
        column = outcome.outputs[field.name].plain()
        found = arrow_out.flat_names(field)
        whole = None in field.shape
        null = arrow_out.refused_mask(column, outcome.refused)
        for name, values in zip(found, arrow_out.split_columns(column.values, field), strict=True):
            gone = null | np.isnan(values) if values.dtype.kind == "f" and not whole else null
            fields.append(field if whole else Field(name=name, dtype=field.dtype, levels=field.levels, tz=field.tz))
            outputs[name] = Column(values, ~gone)
    return fields, outputs


def errors(outcome: Outcome) -> Column:
    """What is wrong with each row, as JSON text."""
    import msgspec
    import numpy as np

    count = len(next(iter(outcome.outputs.values())))
    texts = np.full(count, None, object)
    valid = np.zeros(count, bool)
    for row, said in outcome.refused.items():
        texts[row] = msgspec.json.encode([codec.problem(None, refusal) for refusal in said]).decode()
        valid[row] = True
    return Column(texts, valid)


def write_arrow_stream(outcome: Outcome, form: codec.Form, signature: Signature, *, partial: bool) -> bytes:
    """Answers as an Arrow IPC stream."""
    return _ipc(need("pyarrow").ipc.new_stream, outcome, signature, partial=partial)


def write_arrow_file(outcome: Outcome, form: codec.Form, signature: Signature, *, partial: bool) -> bytes:
    """Answers as an Arrow IPC file."""
    return _ipc(need("pyarrow").ipc.new_file, outcome, signature, partial=partial)


def _ipc(make: Callable[..., Any], outcome: Outcome, signature: Signature, *, partial: bool) -> bytes:
    pa = need("pyarrow")
    batch = arrow_out.to_arrow(outcome, signature.outputs)
    arrays = [_without_nan(array) for array in batch.columns]
    fields = list(batch.schema)
    if partial:
        made: Batch = {"errors": errors(outcome)}
        arrays += arrow_out.to_arrow(Outcome(made, {}), (ERRORS,)).columns
        fields.append(pa.field("errors", pa.string()))
    sink = io.BytesIO()
    schema = pa.schema(fields)
    with make(pa.PythonFile(sink, mode="w"), schema) as stream:
        stream.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return sink.getvalue()


def _without_nan(array: Any) -> Any:
    """An Array with null for NaN, which we never write."""
    pa, compute = need("pyarrow"), need("pyarrow.compute")
    if not pa.types.is_floating(array.type):
        return array
    return compute.if_else(compute.is_nan(array), pa.scalar(None, array.type), array)
