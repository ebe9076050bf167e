"""engine=plpython: the bundle in a table, and a PL/Python function that answers arrays of rows with ONNX Runtime."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

from anyport.bundle import Bundle
from anyport.kit.inside import loader, packed
from anyport.sql.dialect import POSTGRES as D
from anyport.targets import carry
from anyport.targets.postgres.names import LIMITS, TIMES, Names, Shape, tag

BATCH = 1000
"""Rows of one call, in the view; measured best between 100 and 10,000."""
NEEDS = """create extension if not exists plpython3u;
"""


def statements(bundle: Bundle, names: Names, shape: Shape, *, python_path: str) -> Iterator[str]:
    """The table with the bundle, the function over arrays, the function over one row."""
    data = packed(bundle, carry, engine="PostgreSQL, in one statement,", most_mb=LIMITS["model_mb"])
    digest = hashlib.sha256(data).hexdigest()
    yield (
        f"create table if not exists {names.of('model')} (sha256 text primary key, bytes bytea not null);\n"
        f"insert into {names.of('model')} values ('{digest}', decode('{base64.b64encode(data).decode()}', 'base64'))\n"
        f"on conflict (sha256) do nothing;\n"
    )
    called = Path(__file__).with_name("call.py").read_text(encoding="utf-8")
    body = (
        f"{loader()}\n{called}\nreturn asked(opened, plpy, GD, {names.of('model')!r}, {digest!r}, {python_path!r})"
        f"(args, {[name for name, _ in shape.inputs] if shape.row else None!r})\n"
    )
    quote = tag(body)
    yield (
        f"create or replace function {names.of('batch')}({batch_arguments(names, shape)})\n"
        f"returns table({shape.table()})\n"
        f"language plpython3u immutable parallel safe cost 10000 rows {BATCH} as {quote}\n{body}{quote};\n"
    )
    given = [(f"${i + 1}", f) for i, (_, f) in enumerate(shape.inputs)]
    each = ", ".join(f"array[{micros(x) if f.dtype == 'datetime' else x}]" for x, f in given)
    arrays = "array[$1]" if shape.row else each
    for time in shape.variants():
        inner = f"select b.* from {names.of('batch')}({arrays}) b"
        if time != TIMES[0]:
            inner = f"select b.* from {names.of()}({shape.passed(time)}) b"
        quote = tag(inner)
        yield (
            f"create or replace function {names.of()}({shape.arguments(names, time=time)}, {shape.outs()})\n"
            f"language sql immutable parallel safe as {quote}{inner}{quote};\n"
        )


def micros(x: str) -> str:
    """A time as the function over arrays takes it."""
    return f"({D.micros.format(x)})"


def batch_kinds(shape: Shape) -> list[str]:
    """The types of the arrays' elements: PL/Python would be given times as texts in the session's own style."""
    return ["bigint" if f.dtype == "datetime" else k for (_, f), k in zip(shape.inputs, shape.kinds(), strict=True)]


def batch_arguments(names: Names, shape: Shape) -> str:
    """The arrays that the function takes; times as microseconds since 1970, UTC."""
    if shape.row:
        return f"{names.of('row')}[]"
    return ", ".join(f"{k}[]" for k in batch_kinds(shape))


def over(names: Names, shape: Shape, source: str, row: str) -> str:
    """A FROM clause that answers a relation's rows in batches: `row` says what else of a batch comes with the answers,
    as an array, over `s.r`, the row."""
    if shape.row:
        arrays = [f"array_agg(row({', '.join(f'(s.r).{D.ident(n)}' for n, _ in shape.inputs)})::{names.of('row')})"]
    else:
        arrays = [
            f"array_agg({micros(f'(s.r).{D.ident(n)}') if f.dtype == 'datetime' else f'(s.r).{D.ident(n)}'})"
            for n, f in shape.inputs
        ]
    kinds = [""] if shape.row else [f"::{k}[]" for k in batch_kinds(shape)]
    aggregated = ", ".join(f"{a}{k} as a{i}" for i, (a, k) in enumerate(zip(arrays, kinds, strict=True)))
    passed = ", ".join(f"b.a{i}" for i in range(len(arrays)))
    numbered = f"select t as r, (row_number() over () - 1) / {BATCH} as g from {source} t"
    return (
        f"(select {row} as rows, {aggregated} from ({numbered}) s group by s.g) b "
        f"cross join lateral rows from (unnest(b.rows), {names.of('batch')}({passed}))"
    )
