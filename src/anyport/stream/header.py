"""Whether a file's columns are the model's, asked once, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

from anyport.arrow import mistyped
from anyport.arrow_out import flat_names
from anyport.errors import BadData, Mistake
from anyport.ingest import match, meant
from anyport.signature import Field, Signature
from anyport.stream.source import Source, parts_of, scalar


def check(source: Source, signature: Signature, ids: Sequence[str], *, extra: str) -> list[str]:
    """The columns to read. BadData for those missing, extra, doubled or of a type that cannot be meant."""
    names = list(source.columns)
    answers = {n for f in signature.outputs for n in (f.name, *flat_names(f))}
    for name in ids:
        if name not in names:
            raise BadData(
                f"--id {name}: the input has no such column{meant(name, names)}",
                fix=f"columns: {', '.join(names[:20])}",
            )
        if name in answers:
            raise Mistake(f"--id {name}: the answers have a column of that name", fix="rename it in the input")
    if len(set(ids)) < len(ids):
        raise Mistake("a column is named twice with --id")
    fields = [
        part
        for field in signature.inputs
        for part in ([field] if parts_of(field, names) == (field.name,) else _flattened(field, names))
    ]
    wanted = {f.name for f in fields}
    match([n for n in names if n in wanted or n not in ids], fields, extra=extra)
    twice = next((n for n in ids if names.count(n) > 1), None)
    if twice:
        raise BadData(f"column {twice!r} appears {names.count(twice)} times", fix="rename one of them")
    if source.schema is not None:
        wrong = [f"{f.name!r} is {kind}, not {f.says()}" for f, kind in mistyped(source.schema, fields)]
        if wrong:
            more = f"; … {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise BadData(
                f"columns of another type: {'; '.join(wrong[:5])}{more}", fix="cast them before they are written"
            )
    return list(dict.fromkeys([*(f.name for f in fields), *ids]))


def _flattened(field: Field, names: Sequence[str]) -> list[Field]:
    """The fields of `x_0`, `x_1`, … where a tensor comes in pieces; the tensor itself where none is there."""
    parts = flat_names(field)
    return [scalar(field, name) for name in parts] if any(name in names for name in parts) else [field]
