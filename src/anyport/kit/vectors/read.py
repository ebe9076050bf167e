"""What is there before a fill: the extension, the columns, the privileges; and the rows that have to be embedded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anyport.errors import BadData, Missing, Mistake
from anyport.kit.vectors.spec import Filling
from anyport.signature import Field, Signature
from anyport.sql.dialect import POSTGRES

KINDS = {"S": "text", "E": "text", "N": "a number", "B": "a number", "D": "a time"}
"""PostgreSQL's type categories (catalog-pg-type, table 52.65), as far as models take them."""
SETTINGS = (
    "set standard_conforming_strings = on", "set datestyle = 'ISO'", "set timezone = 'UTC'",
    "set extra_float_digits = 1",
    "set intervalstyle = 'postgres'", "set bytea_output = 'hex'", "set statement_timeout = 0", "set row_security = off",
)  # fmt: skip
"""What a row's text, and so its digest, depends on; and rows that a policy hides would pass for deleted ones."""


@dataclass(frozen=True)
class Opened:
    """A table that is ready to be filled from."""

    key_type: str
    cells: Mapping[str, str]
    """Input of the model → SQL of its cell in a row `t`."""
    owner: bool
    """Whether this role may drop and make the index."""


def settle(connection: Any) -> None:
    """The session's settings. Missing where the extension is not in this database."""
    for setting in SETTINGS:
        connection.execute(setting)
    found = connection.execute(
        "select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace "
        "where e.extname = 'vector'"
    ).fetchone()
    if found is None:
        raise Missing("the extension vector is not in this database", fix="create extension vector;")
    connection.execute("select set_config('search_path', %s, false)", [f"{found[0]}, pg_temp"])


def ready(connection: Any, spec: Filling, signature: Signature) -> Opened:
    """Everything that a fill needs is there. Mistake with the exact GRANT, BadData naming every column at fault."""
    permitted(connection, spec)
    columns = {
        name: (kind, category, element)
        for name, kind, category, element in connection.execute(
            "select a.attname, format_type(a.atttypid, a.atttypmod), t.typcategory::text, e.typcategory::text "
            "from pg_attribute a join pg_type t on t.oid = a.atttypid "
            "left join pg_type e on e.oid = t.typelem and t.typcategory = 'A' "
            "where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped order by a.attnum",
            [spec.rows],
        ).fetchall()
    }
    wrong = []
    cells = {}
    for field in signature.inputs:
        name = spec.columns[field.name]
        if name not in columns:
            near = next((c for c in columns if c.lower() == name.lower()), None)
            whose = f" for input {field.name!r}" if name != field.name else ""
            wrong.append(f"there is no column {name!r}{whose}" + (f" (there is {near!r})" if near else ""))
            continue
        kind, category, element = columns[name]
        if (element or "") not in takes(field) if field.shape else category not in takes(field):
            whose = f" for input {field.name!r}" if name != field.name else ""
            wrong.append(f"column {name!r} is {kind}; the model takes {field.says()}{whose}")
        cells[field.name] = cell(field, f"t.{POSTGRES.ident(name)}")
    if spec.key not in columns:
        wrong.append(f"there is no column {spec.key!r}, which is to be the key")
    if wrong:
        raise BadData(f"{spec.rows}: {'; '.join(wrong)}", fix=f"columns there: {', '.join(columns)}")
    owner = connection.execute(
        "select pg_has_role(relowner, 'usage') from pg_class where oid = to_regclass(%s)", [spec.vectors]
    ).fetchone()[0]
    return Opened(columns[spec.key][0], cells, bool(owner))


def takes(field: Field) -> str:
    """Categories of types that hold what the field takes."""
    if field.dtype == "datetime":
        return "D"
    texts = not field.levels or isinstance(field.levels[0], str)
    return ("SE" if texts else "NB") if field.is_text else "NB"


def cell(field: Field, column: str) -> str:
    """SQL of a cell: enums and times as text, which nothing that a driver cannot hold is lost in."""
    if field.shape or not (field.dtype == "datetime" or "S" in takes(field)):
        return column
    return f"{column}::text"


def permitted(connection: Any, spec: Filling) -> None:
    """Mistake unless both tables are there and this role may read the one and write the other."""
    role = connection.execute("select quote_ident(current_user)").fetchone()[0]
    grants = []
    for schema in dict.fromkeys((spec.table_schema, spec.schema)):
        quoted = POSTGRES.ident(schema)
        there = "select has_schema_privilege(oid, 'usage') from pg_namespace where nspname = %s"
        found = connection.execute(there, [schema]).fetchone()
        if found is None:
            raise Mistake(f"there is no schema {quoted}", fix="run up.sql first")
        if not found[0]:
            grants.append(f"grant usage on schema {quoted} to {role};")
    if not grants:
        for table, needed in ((spec.rows, ("select",)), (spec.vectors, ("select", "insert", "update", "delete"))):
            if connection.execute("select to_regclass(%s)", [table]).fetchone()[0] is None:
                what = "run up.sql first" if table == spec.vectors else "create it, or build with -O table=…"
                raise Mistake(f"there is no table {table}", fix=what)
            lacking = [p for p in needed if not connection.execute(
                "select has_table_privilege(to_regclass(%s), %s)", [table, p]).fetchone()[0]]  # fmt: skip
            if lacking:
                grants.append(f"grant {', '.join(lacking)} on {table} to {role};")
    database, temporary = connection.execute(
        "select quote_ident(current_database()), has_database_privilege(current_database(), 'temporary')"
    ).fetchone()
    if not temporary:
        grants.append(f"grant temporary on database {database} to {role};")
    if grants:
        raise Mistake(f"role {role} may not fill {spec.vectors}", fix=" ".join(grants))


def batch(connection: Any, spec: Filling, opened: Opened, after: str | None, rows: int) -> list[tuple[Any, ...]]:
    """The next rows to be embedded in the order of their keys: key as text, digest, and the cells."""
    key = f"t.{POSTGRES.ident(spec.key)}"
    later = "" if after is None else f" and {key} > {POSTGRES.literal(after)}::{opened.key_type}"
    cells = ", ".join(opened.cells.values())
    found: list[tuple[Any, ...]] = connection.execute(
        f"select {key}::text, {spec.digest}, {cells} {spec.joined}{later} and {spec.waiting} "
        f"order by {key} limit {rows}"
    ).fetchall()
    return found
