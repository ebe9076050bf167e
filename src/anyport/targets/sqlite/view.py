"""A model as one SQLite view: what is asked of each column, and how the parts of the query hang together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anyport.errors import Impossible
from anyport.kit.naming import once
from anyport.signature import Field
from anyport.sql.compile import REFUSAL, Compiled, Value, scalars, script
from anyport.sql.dialect import SQLITE as D

NUMBERS = "'integer', 'real', 'null'"
LARGEST_SINGLE = "3.4028235677973366e38"
"""From here on a double rounds to an infinity in single precision."""


def selected(model: Compiled, table: str, keys: Sequence[str]) -> str:
    """The SELECT over `table`: keys as they are, every answer, the refusal. Impossible where SQLite's limits forbid it.

    Each layer is MATERIALIZED: SQLite would else copy an expression into every place that uses it.
    """
    columns = [(name, field) for field in model.signature.inputs for name in scalars(field)]
    places = {name: i for i, (name, _) in enumerate(columns)}
    made = script(model, D, lambda name: f"c{places[name]}")
    once([name for name, _ in columns], D.name, "columns")
    once([*keys, *(v.name for v in made.answers), REFUSAL], D.name, "columns of the view")
    first = [
        *(f"t.{D.ident(k)} as k{i}" for i, k in enumerate(keys)),
        *(f"{taken(field, f't.{D.ident(name)}')} as c{i}" for i, (name, field) in enumerate(columns)),
        f"{mistyped(columns)} as bad",
    ]
    held = [f"k{i}" for i in range(len(keys))]
    parts = [f"columns_ as materialized (\n  select {shown(first)}\n  from {D.ident(table)} as t\n)"]
    second = [*held, *(f"{v.text} as {v.name}" for v in made.columns), f"coalesce(bad, {made.why}) as why"]
    parts.append(f"layer0 as materialized (\n  select {shown(second)}\n  from columns_\n)")
    for depth, layer in enumerate(made.layers):
        values = shown([f"{v.text} as {v.name}" for v in layer])
        parts.append(f"layer{depth + 1} as materialized (\n  select *,\n    {values}\n  from layer{depth}\n)")
    wide(len(held) + len(made.columns) + 1, made.layers, len(columns) + len(keys) + 1)
    last = [
        *(f"k{i} as {D.ident(k)}" for i, k in enumerate(keys)),
        *(f"case when why is null then {v.text} end as {D.ident(v.name)}" for v in made.answers),
        f"why as {D.ident(REFUSAL)}",
    ]
    chain = ",\n".join(parts)
    return f"with {chain}\nselect\n  " + ",\n  ".join(last) + f"\nfrom layer{len(made.layers)}"


def shown(items: Sequence[str]) -> str:
    """A select list."""
    return ",\n    ".join(items)


def wide(start: int, layers: Sequence[Sequence[Value]], first: int) -> None:
    """Impossible where a row of values in between would have more columns than SQLite takes.

    https://sqlite.org/limits.html#max_column
    """
    most = max(first, start + sum(map(len, layers)))
    if most > D.columns:
        raise Impossible(f"a row would need {most:,} values in between; SQLite takes {D.columns:,} columns")


def taken(field: Field, x: str) -> str:
    """A column's value as the model takes it; what is of another type is refused elsewhere.

    `|| ''` takes away a collation (NOCASE would make 'Rome' of 'rome'), which a cast would keep.
    """
    if field.is_text:
        return f"({x} || '')"
    if field.is_float:
        real = f"cast({x} as real)"
        return single(real) if field.dtype == "float32" else real
    return f"cast({x} as integer)"


def single(x: str) -> str:
    """A double rounded to single precision by Veltkamp's splitting (Dekker 1971, doi:10.1007/BF01397083)."""
    rounded = f"536870913.0 * {x} - (536870913.0 * {x} - {x})"
    return f"case when abs({x}) < {LARGEST_SINGLE} then {rounded} else {x} end"


def mistyped(columns: Sequence[tuple[str, Field]]) -> str:
    """Why a row is refused for the type of a value, which in SQLite is the value's own; NULL where it is not."""
    whens = [f"when {condition} then {words}" for name, field in columns for condition, words in wrong(name, field)]
    return f"case {' '.join(whens)} end"


def wrong(name: str, field: Field) -> Iterator[tuple[str, str]]:
    """The conditions under which a value is of another type than its column's, and the words for it."""
    x = f"t.{D.ident(name)}"
    start = D.literal(f"column {name!r}: expected {field.says()}, got ")
    kind = f"{start} || case typeof({x}) when 'blob' then 'a blob' when 'text' then 'a text' else 'a number' end"
    if field.is_text:
        numbers = field.dtype == "category" and bool(field.levels) and not isinstance((field.levels or ("",))[0], str)
        kinds = NUMBERS if numbers else "'null'"
        yield f"typeof({x}) not in ('text', {kinds})", kind
        return
    yield f"typeof({x}) not in ({NUMBERS})", kind
    got = f"{start} || {x}"
    if field.dtype == "bool":
        yield f"{x} not in (0, 1)", got
    elif field.is_int or field.dtype == "datetime":
        yield f"{x} <> cast({x} as integer)", got
        low, high = limits(field)
        if field.dtype != "datetime" and high < 2**63 - 1:
            yield f"{x} not between {low} and {high}", got
        elif low == 0:
            yield f"{x} < 0", got
    elif field.dtype == "float32":
        yield f"abs(cast({x} as real)) >= {LARGEST_SINGLE} and abs(cast({x} as real)) < 9e999", got


def limits(field: Field) -> tuple[int, int]:
    """The least and the largest number of an integer type."""
    import numpy as np

    if field.dtype == "datetime":
        return -(2**63), 2**63 - 1
    info = np.iinfo(field.dtype)
    return int(info.min), int(info.max)
