"""up.sql and down.sql: everything of one model version made, put to use under its stable name, and removed again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anyport.errors import Mistake
from anyport.sql.dialect import POSTGRES as D
from anyport.targets.postgres.names import Names, Shape, scalar, tag

SCHEMA = "made by anyport"
"""The comment of a schema that we made, and may drop once it is empty."""


@dataclass(frozen=True)
class Objects:
    """What an engine needs of its own beside the functions that every engine has."""

    statements: tuple[str, ...]
    functions: tuple[str, ...] = ()
    """Every function with its parameters' types, those that need others first."""
    tables: tuple[str, ...] = ()
    view: str = ""
    """The SELECT of a table's rows with their answers; {0} is the table."""
    needs: str = field(default="")
    """What has to be there: statements at the beginning."""


def roles(grant: str) -> list[str]:
    """The roles that are to use the model."""
    return [role.strip() for role in grant.split(",") if role.strip()]


def table(name: str) -> str:
    """A table's name as given, `table` or `schema.table`, in quotes."""
    parts = name.split(".")
    if len(parts) > 2 or not all(parts):
        raise Mistake(f"-O table={name}: expected a table, or a schema and a table", fix="-O table=public.customers")
    return ".".join(map(D.ident, parts))


def up(names: Names, shape: Shape, made: Objects, *, digest: str, over: str, grant: str) -> str:
    """The statements that make this version and put it to use; to be run in one transaction, as often as one likes."""
    note = {"anyport": names.model, "version": names.version, "bundle": digest}
    about = D.literal(json.dumps(note))
    quote = tag(names.schema, about)
    parts = [
        f"""do {quote}
begin
  if to_regnamespace({D.literal(D.ident(names.schema))}) is null then
    create schema {D.ident(names.schema)};
    comment on schema {D.ident(names.schema)} is '{SCHEMA}';
  end if;
end {quote};
"""
    ]
    parts.append(made.needs)
    if shape.row:
        parts.append(row_type(names, shape))
    parts += made.statements
    parts += [text for _, text in scalar(names, shape)]
    for time in shape.variants():
        parts.append(f"comment on function {names.of()}({shape.identity(names, time=time)}) is {about};\n")
    parts.append(use(names, shape, made, over=over, grant=roles(grant)))
    parts.append(f"call {names.of('use')}();\n")
    return "\n".join(p for p in parts if p)


def row_type(names: Names, shape: Shape) -> str:
    """The type that stands for more columns than a function has arguments."""
    listed = ", ".join(f"{D.ident(n)} {k}" for (n, _), k in zip(shape.inputs, shape.kinds(), strict=True))
    name = names.of("row")
    quote = tag(listed, name)
    return f"""do {quote}
begin
  if to_regtype({D.literal(name)}) is null then
    create type {name} as ({listed});
  end if;
end {quote};
"""


def signatures(names: Names, shape: Shape, made: Objects) -> list[str]:
    """Every function of this version with its parameters' types, those that need others first."""
    found = [f"{name}({shape.identity(names)})" for name, _ in scalar(names, shape)]
    found += [f"{names.of()}({shape.identity(names, time=time)})" for time in reversed(shape.variants())]
    return [*found, *made.functions]


def use(names: Names, shape: Shape, made: Objects, *, over: str, grant: Sequence[str]) -> str:
    """The procedure that points the stable name, and every view of the model, at this version: an upgrade and a way
    back in one statement."""
    text = Path(__file__).with_name("use.sql").read_text(encoding="utf-8")
    aliases = []
    for time in shape.variants():
        body = f"select b.* from {names.of()}({passed(shape)}) b"
        quote = tag(body)
        aliases.append(
            f"create or replace function {names.alias}({shape.arguments(names, time=time)})"
            f" returns table({shape.table()}) language sql stable parallel safe rows 1 as {quote}{body}{quote}"
        )  # fmt: skip
    public = [f"revoke execute on function {s} from public" for s in signatures(names, shape, made)] if grant else []
    granted = [f"grant usage on schema {D.ident(names.schema)} to {D.ident(role)}" for role in grant]
    for role in map(D.ident, grant):
        granted += [f"grant execute on function {s} to {role}" for s in signatures(names, shape, made)]
        granted += [f"grant execute on function {names.alias}({shape.identity(names, time=t)}) to {role}"
                    for t in shape.variants()]  # fmt: skip
        granted += [f"grant select on table {t} to {role}" for t in made.tables]
        granted += [f"grant usage on type {names.of('row')} to {role}"] if shape.row else []
    revoked = [f"revoke execute on function {names.alias}({shape.identity(names, time=t)}) from public"
               for t in shape.variants()] if grant else []  # fmt: skip
    given = json.dumps([shape.arguments(names), shape.table()])
    values = {
        "name": names.of("use"), "schema": D.literal(names.schema), "model": D.literal(names.model),
        "version": D.literal(names.version), "alias": D.literal(names.alias),
        "shape": D.literal(hashlib.sha256(given.encode()).hexdigest()[:16]),
        "aliases": listed(aliases), "grants": listed([*public, *revoked, *granted]),
        "roles": listed([D.ident(r) for r in grant]), "over": D.literal(table(over)) if over else "''",
        "view": D.literal(made.view),
    }  # fmt: skip
    return text.format(**values, tag=tag(text, *values.values()))


def passed(shape: Shape) -> str:
    """The arguments as they came: the function over this type of times takes them."""
    return ", ".join(f"${i + 1}" for i in range(1 if shape.row else len(shape.inputs)))


def listed(texts: Sequence[str]) -> str:
    """Texts as an array."""
    return f"array[{', '.join(map(D.literal, texts))}]::text[]"


def down(names: Names, shape: Shape, made: Objects) -> str:
    """The statements that remove exactly this version; the stable name goes back to the version it had before."""
    text = Path(__file__).with_name("down.sql").read_text(encoding="utf-8")
    drops = [f"drop function if exists {s}" for s in signatures(names, shape, made)]
    drops += [f"drop procedure if exists {names.of('use')}()"]
    drops += [f"drop table if exists {t}" for t in made.tables]
    drops += [f"drop type if exists {names.of('row')}"] if shape.row else []
    values = {
        "schema": D.literal(names.schema), "quoted": D.literal(D.ident(names.schema)), "model": D.literal(names.model),
        "version": D.literal(names.version), "drops": listed(drops), "comment": D.literal(SCHEMA),
    }  # fmt: skip
    return text.format(**values, tag=tag(text, *values.values()))
