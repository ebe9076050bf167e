"""up.sql and down.sql for one table: the templates beside this file with its names, quoted, in their places."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from anyport.kit.vectors.spec import OPERATORS, Filling
from anyport.sql.dialect import POSTGRES


def script(name: str, spec: Filling) -> str:
    """up.sql or down.sql, ready for psql."""
    text = template(name)
    head = text[: text.index("begin;")]
    return head + ";\n\n".join(["begin", *statements(name, spec), "commit"]) + ";\n"


def statements(name: str, spec: Filling) -> tuple[str, ...]:
    """The statements of a script, without the transaction around them. No statement of a template holds an empty
    line; what is put into it may hold anything."""
    values = names(spec)
    tag = "$anyport$"
    number = 0
    while any(tag in value for value in values.values()):  # a name could end the body that it stands in
        number += 1
        tag = f"$anyport{number}$"
    text = template(name)
    parts = [part.strip() for part in re.split(r";\n(?:\n|\Z)", text[text.index("begin;") :])]
    found = [
        re.sub(r"\{\{(\w+)\}\}", lambda at: values[at[1]], part.replace("$anyport$", tag))
        for part in parts if part not in ("", "begin", "commit")
    ]  # fmt: skip
    return (*found, *(granted(spec) if name == "up.sql" and spec.reader else ()))


def template(name: str) -> str:
    """A file beside this one."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def granted(spec: Filling) -> Sequence[str]:
    """What lets a role search."""
    role = POSTGRES.ident(spec.reader)
    return (
        f"grant usage on schema {POSTGRES.ident(spec.schema)} to {role}",
        f"grant select on {spec.vectors} to {role}",
        f"grant execute on function {spec.search} to {role}",
        f"grant execute on function {spec.own('_like')} to {role}",
    )


def names(spec: Filling) -> dict[str, str]:
    """What the templates call things."""
    ident, literal = POSTGRES.ident, POSTGRES.literal
    half = f"::halfvec({spec.width})" if spec.half else ""
    columns = ", ".join(literal(c) for c in dict.fromkeys((spec.key, *spec.columns.values())))
    return {
        "note": literal(f"anyport pgvector {spec.name}"),
        "index_note": literal(f"anyport pgvector {spec.name}: {spec.create_index}"),
        "schema": ident(spec.schema), "schema_text": literal(ident(spec.schema)), "schema_name": literal(spec.schema),
        "rows": spec.rows, "rows_text": literal(spec.rows),
        "rows_schema_text": literal(ident(spec.table_schema)), "rows_schema_name": literal(spec.table_schema),
        "key": ident(spec.key), "key_text": literal(ident(spec.key)), "key_name": literal(spec.key),
        "columns": f"array[{columns}]",
        "vectors": spec.vectors, "vectors_text": literal(spec.vectors),
        "index": spec.index, "index_text": literal(spec.index),
        "unique": ident(f"{spec.name}_vectors_key"), "create_index": spec.create_index,
        "indexed": "embedding" + half, "as_indexed": half,
        "search": spec.search, "self": ident(f"{spec.name}_search"), "search_name": literal(f"{spec.name}_search"),
        "like": spec.own("_like"), "like_name": literal(f"{spec.name}_like"),
        "model": literal(spec.model), "width": str(spec.width), "operator": OPERATORS[spec.distance],
        "iterative": spec.iterative, "ef_search": str(spec.ef_search),
    }  # fmt: skip
