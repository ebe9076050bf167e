"""JSON Lines: one object a line, its keys the columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any, Literal

import msgspec

from anyport import codec
from anyport.arrow import DISTINCT
from anyport.batch import Column, Refusal
from anyport.errors import BadData
from anyport.ingest import meant
from anyport.signature import Field
from anyport.stream.formats import Opened
from anyport.stream.source import Chunk, Decoded, Source, assemble, by_row, parts_of

BLOCK = 1 << 20


def jsonl(opened: Opened, *, extra: Literal["refuse", "ignore"]) -> Source:
    """A JSON Lines file. The first record's keys are the columns; every other is held to them."""
    head = b""
    while not head.strip():
        head = opened.file.readline()
        if not head:
            raise BadData("there is no record in this file")
    first = _record(head)
    if isinstance(first, Refusal):
        raise BadData(
            f"the first line is no record: expected {first.expected}, got {first.got}", fix="is it JSON Lines?"
        )
    columns = tuple(first)

    def read(needed: Sequence[str], rows: int) -> Iterator[Chunk]:
        lines, size = [head], len(head)
        try:
            for line in opened.file:
                if line.isspace():
                    continue
                lines.append(line)
                size += len(line)
                if size >= BLOCK or len(lines) >= rows:
                    yield Chunk(lines, opened.fraction())
                    lines, size = [], 0
        except (OSError, EOFError) as error:
            raise BadData(f"the input cannot be read: {error}") from error
        if lines:
            yield Chunk(lines, opened.fraction())

    def decode(chunk: Chunk, fields: Sequence[Field], ids: Sequence[str]) -> Decoded:
        found: dict[int, list[Refusal]] = {}
        records = _records(chunk.data, found)
        needed = [name for field in fields for name in parts_of(field, columns)]
        _check_keys(records, needed, columns, found, extra=extra)
        batch = assemble(fields, columns, lambda name, f: from_values([r.get(name) for r in records], f, found))
        return Decoded(batch, by_row(found), len(records), {name: [r.get(name) for r in records] for name in ids})

    return Source(columns, read, decode)


def _records(lines: Sequence[bytes], found: dict[int, list[Refusal]]) -> list[dict[str, Any]]:
    """Every line's object; {} where a line is none, with the reason in `found`."""
    try:
        records = msgspec.json.Decoder().decode_lines(b"".join(lines))
    except (msgspec.DecodeError, UnicodeDecodeError):
        records = [_record(line) for line in lines]
    if set(map(type, records)) <= {dict}:
        return records
    for row, record in enumerate(records):
        if type(record) is not dict:
            wrong = record if isinstance(record, Refusal) else Refusal("", "a JSON object", repr(record)[:80])
            found.setdefault(row, []).append(wrong)
            records[row] = {}
    return records


def _record(line: bytes) -> dict[str, Any] | Refusal:
    """One line's object, or why it is none."""
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Refusal("", "a JSON object", f"{line[:60]!r}: {error}")
    return record if isinstance(record, dict) else Refusal("", "a JSON object", repr(record)[:80])


def _check_keys(
    records: Sequence[dict[str, Any]], needed: Sequence[str], columns: Sequence[str],
    found: dict[int, list[Refusal]], *, extra: str,
) -> None:  # fmt: skip
    """Refuse records that lack a key the model needs, or have one that the first record had not."""
    usual = set(columns)
    for row, record in enumerate(records):
        if record.keys() == usual or row in found:
            continue
        wrong = [
            Refusal(n, "a value", f"nothing: the key is not there{meant(n, list(record))}")
            for n in needed
            if n not in record
        ]
        if extra == "refuse":
            wrong += [Refusal(n, "no such column", repr(record[n])[:80]) for n in record if n not in usual]
        if wrong:
            found.setdefault(row, []).extend(wrong)


def from_values(values: list[Any], field: Field, found: dict[int, list[Refusal]]) -> Column:
    """A column of JSON values, as HTTP reads them; text that repeats becomes codes."""
    import numpy as np

    kinds = set(map(type, values))
    if not field.is_text or field.shape or not kinds <= {str, NoneType} or not _text_levels(field):
        return codec.column(values, field, found)
    codes = {v: i for i, v in enumerate(dict.fromkeys(v for v in values if v is not None))}
    if len(codes) > DISTINCT * len(values):
        return codec.column(values, field, found)
    dictionary = np.empty(len(codes), object)
    dictionary[:] = list(codes)
    valid = np.array([v is not None for v in values], bool) if NoneType in kinds else None
    return Column(np.fromiter((codes.get(v, 0) for v in values), np.int32, len(values)), valid, dictionary)


def _text_levels(field: Field) -> bool:
    return field.dtype == "string" or not field.levels or isinstance(field.levels[0], str)
