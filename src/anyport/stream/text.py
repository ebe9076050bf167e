"""CSV: through pyarrow where it is installed, else through our own reader; both read the same values."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

from anyport.batch import Refusal
from anyport.errors import BadData, need
from anyport.signature import Field
from anyport.stream.formats import Opened, arrow_here
from anyport.stream.parse import from_cells, from_text
from anyport.stream.source import Chunk, Decoded, Source, assemble, by_row

BLOCK = 1 << 20
"""Bytes parsed at a time, and the longest record; more where there are thousands of columns. Arrow's parser holds
on to about thirty times as much: 4 MB took 100 MB more and were no faster."""
CELL_BYTES = 256
PLAIN_ROWS = 8192
RECODE = "convert it: iconv -f LATIN1 -t UTF-8 INPUT > utf8.csv"
END = "\0end of input"
CELL = re.compile(r'"((?:[^"]|"")*)"(?!")')


def csv(opened: Opened, wanted: Sequence[str]) -> Source:
    """A CSV file. Its delimiter is the one that makes most of the `wanted` columns of its first line."""
    first = first_record(opened.file)
    marks = "\t" if opened.format == "tsv" else ",;\t|"
    splits = {mark: cells(first.rstrip("\r\n"), mark) or [] for mark in marks}
    mark = max(splits, key=lambda m: len({str(c) for c in splits[m]} & set(wanted)))
    columns = tuple(c or "" for c in splits[mark])
    if not arrow_here():
        return _plain(opened, columns, mark)
    return _through_arrow(opened, columns, mark)


def first_record(file: IO[bytes]) -> str:
    """The header, which may hold line ends inside quotes."""
    raw = b""
    while True:
        line = file.readline(BLOCK)
        raw += line
        if not line or len(raw) > BLOCK:
            raise BadData("the first line does not end: is this a CSV file?")
        if raw.count(b'"') % 2 == 0 or not line:
            break
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"the header is not UTF-8: {error}", fix=RECODE) from error


def cells(record: str, mark: str) -> list[str | None] | None:
    """The cells of one record without its line end, None where absent; None if it ends inside quotes."""
    if '"' not in record:
        return [c or None for c in record.split(mark)]
    found: list[str | None] = []
    at = 0
    while True:
        if record.startswith('"', at):
            match = CELL.match(record, at)
            if match is None:
                return None
            end = record.find(mark, match.end())
            end = len(record) if end < 0 else end
            # what follows the closing quote belongs to the cell: "a"b is ab
            found.append(match[1].replace('""', '"') + record[match.end() : end])
        else:
            end = record.find(mark, at)
            end = len(record) if end < 0 else end
            found.append(record[at:end] or None)
        if end == len(record):
            return found
        at = end + 1


def _plain(opened: Opened, columns: tuple[str, ...], mark: str) -> Source:
    """The same without pyarrow: about ten times slower."""

    def read(needed: Sequence[str], rows: int) -> Iterator[Chunk]:
        rows = min(rows, PLAIN_ROWS)
        text = io.TextIOWrapper(opened.file, encoding="utf-8", newline="")
        kept: list[list[str | None]] = []
        broken: dict[int, tuple[Refusal, ...]] = {}
        try:
            for record in _records(text, mark, single=len(columns) == 1):
                if len(record) != len(columns):
                    broken[len(kept)] = _ragged(len(record), len(columns))
                    record = [None] * len(columns)
                kept.append(record)
                if len(kept) == rows:
                    yield Chunk(kept, opened.fraction(), broken)
                    kept, broken = [], {}
        except UnicodeDecodeError as error:
            wrong = error.object[error.start : error.end]
            raise BadData(f"the text is not UTF-8: {error.reason} {wrong!r}", fix=RECODE) from error
        except (OSError, EOFError) as error:
            raise BadData(f"the input cannot be read: {error}") from error
        finally:
            text.detach()
        if kept:
            yield Chunk(kept, opened.fraction(), broken)

    def column(chunk: Chunk, name: str) -> list[str | None]:
        at = columns.index(name)
        return [record[at] for record in chunk.data]

    def decode(chunk: Chunk, fields: Sequence[Field], ids: Sequence[str]) -> Decoded:
        found: dict[int, list[Refusal]] = {}
        batch = assemble(fields, columns, lambda name, field: from_cells(column(chunk, name), field, found))
        refused = by_row(found) | dict(chunk.broken)
        return Decoded(batch, refused, len(chunk.data), {name: column(chunk, name) for name in ids})

    return Source(columns, read, decode)


def _records(text: IO[str], mark: str, *, single: bool) -> Iterator[list[str | None]]:
    """Records of cells. A blank line is nothing, but a missing value in a file of one column."""
    for line in text:
        record = line.rstrip("\r\n")
        if not record and not single:
            continue
        split = cells(record, mark)
        whole = line
        while split is None:
            more = text.readline()
            if not more or len(whole) > BLOCK:
                raise _unended()
            whole += more
            split = cells(whole.rstrip("\r\n"), mark)
        yield split


def _unended() -> BadData:
    return BadData("the file ends inside a quoted cell", fix="it was cut off, or a quote is not closed; write it again")


def _ragged(got: int, expected: int) -> tuple[Refusal, ...]:
    return (Refusal("", f"{expected} cells", f"{got} cells"),)


class _Ended(io.RawIOBase):
    """The input with one last line of one cell too many: the parser drops the rest of a file that ends
    inside quotes without a word, and this line with it. BadData where the input is not UTF-8: Arrow would print a
    traceback for every ragged row that is not."""

    def __init__(self, file: IO[bytes], sentinel: bytes) -> None:
        self.file, self.sentinel, self.last = file, sentinel, b"\n"
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.lines = 2  # the header is read

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self.file.read(size)
        try:
            self.decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            # `object` is what the decoder kept from the last block, and this one
            line = self.lines + error.object.count(b"\n", 0, error.start)
            wrong = error.object[error.start : error.end]
            raise BadData(f"line {line}: the text is not UTF-8: {error.reason} {wrong!r}", fix=RECODE) from error
        self.lines += block.count(b"\n")
        if block:
            self.last = block[-1:]
            return block
        end, self.sentinel = self.sentinel, b""
        return end if not end or self.last in b"\r\n" else b"\n" + end


def _through_arrow(opened: Opened, columns: tuple[str, ...], mark: str) -> Source:
    """All cells as text, null where absent and unquoted."""
    pa, csv_ = need("pyarrow"), need("pyarrow.csv")
    keys = [str(i) for i in range(len(columns))]
    block = max(BLOCK, CELL_BYTES * len(columns))

    def read(needed: Sequence[str], rows: int) -> Iterator[Chunk]:
        ragged: dict[int, tuple[Refusal, ...]] = {}
        ended = []

        def wrong(row: Any) -> str:
            if row.text.startswith(END):
                ended.append(row.number)
            else:
                ragged[row.number - 1] = _ragged(row.actual_columns, row.expected_columns)
            return "skip"

        wanted = [keys[columns.index(name)] for name in needed]
        options = {
            # rows are numbered only where one thread parses
            "read_options": csv_.ReadOptions(column_names=keys, block_size=block, use_threads=False),
            "parse_options": csv_.ParseOptions(
                delimiter=mark, newlines_in_values=True, invalid_row_handler=wrong, ignore_empty_lines=len(columns) > 1
            ),
            "convert_options": csv_.ConvertOptions(
                column_types=dict.fromkeys(keys, pa.string()), include_columns=wanted, null_values=[""],
                strings_can_be_null=True, quoted_strings_can_be_null=False,
            ),
        }  # fmt: skip
        sentinel = (END + mark + mark.join(["x"] * len(columns)) + "\n").encode()
        done = 0
        try:
            for batch in csv_.open_csv(pa.PythonFile(_Ended(opened.file, sentinel), mode="r"), **options):
                named = pa.RecordBatch.from_arrays(batch.columns, names=list(needed))
                whole, broken = _with_gaps(named, ragged, done, last=bool(ended))
                for start in range(0, whole.num_rows, rows):
                    part = whole.slice(start, rows)
                    here = {r - start: b for r, b in broken.items() if start <= r < start + rows}
                    yield Chunk(part, opened.fraction(), here)
                done += whole.num_rows
        except pa.ArrowInvalid as error:
            raise _explained(error, done, block) from error
        except (OSError, EOFError) as error:
            raise BadData(f"the input cannot be read after row {done}: {error}") from error
        if not ended:
            raise _unended()

    def decode(chunk: Chunk, fields: Sequence[Field], ids: Sequence[str]) -> Decoded:
        found: dict[int, list[Refusal]] = {}
        names = chunk.data.schema.names
        batch = assemble(fields, names, lambda name, field: from_text(chunk.data.column(name), field, found))
        refused = by_row(found) | dict(chunk.broken)
        return Decoded(batch, refused, chunk.data.num_rows, {name: chunk.data.column(name) for name in ids})

    return Source(columns, read, decode)


def _with_gaps(
    batch: Any, ragged: dict[int, tuple[Refusal, ...]], done: int, *, last: bool
) -> tuple[Any, dict[int, Any]]:
    """The batch with an empty row wherever the parser left a ragged one out; file rows from `done` on.

    Ragged rows after the last good one of the batch belong to the next, unless this is the last.
    """
    broken: dict[int, Any] = {}
    index: list[int | None] = []
    at = 0
    if not ragged:
        return batch, broken
    while at < batch.num_rows or (last and ragged):
        row = len(index)
        if done + row in ragged:
            broken[row] = ragged.pop(done + row)
            index.append(None)
        else:
            index.append(at)
            at += 1
    return (batch.take(need("pyarrow").array(index, "int64")), broken) if broken else (batch, broken)


def _explained(error: Exception, done: int, block: int) -> BadData:
    """Arrow's own message in the file's terms."""
    said = str(error)
    if "straddl" in said:
        return BadData(f"after row {done}: a record is longer than {block >> 20} MB, or a quote is not closed")
    return BadData(f"after row {done}: {said}")
