"""engine=python: the bundle in a table, and a procedure that answers a table's rows with ONNX Runtime in Python."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from anyport.bundle import Bundle
from anyport.errors import Impossible
from anyport.kit.database import answers
from anyport.kit.inside import loader, packed
from anyport.kit.view import View, columns
from anyport.signature import Field
from anyport.sql.compile import scalars, type_of
from anyport.sql.dialects import TSQL as D
from anyport.targets import carry

MOST_MB = 2000
"""Of a bundle: a varbinary(max) has at most 2^31 - 1 bytes
(https://learn.microsoft.com/sql/t-sql/data-types/binary-and-varbinary-transact-sql)."""
CHUNK = 32_768
"""Bytes of the model in one statement."""
KEY = "nvarchar(4000)"
"""A key in the answers: a bigint or a datetime2 would not come through Python as it was."""


@dataclass(frozen=True)
class Names:
    """What the statements are about, quoted and with the schema before them."""

    procedure: str
    model: str
    source: str


def statements(bundle: Bundle, view: View, names: Names, *, language: str) -> Iterator[str]:
    """Each a batch of its own: the table of models, this one in pieces, and the procedure; each may be run again."""
    data = packed(bundle, carry, engine="SQL Server", most_mb=MOST_MB, old_runtime=True)
    digest = hashlib.sha256(data).hexdigest()
    table = "(sha256 char(64) not null primary key, bytes varbinary(max) not null)"
    yield f"if object_id({quoted(names.model)}) is null create table {names.model} {table}"
    yield f"delete from {names.model} where sha256 = '{digest}'"
    yield f"insert into {names.model} (sha256, bytes) values ('{digest}', 0x)"
    for at in range(0, len(data), CHUNK):
        piece = data[at : at + CHUNK].hex()
        yield f"update {names.model} set bytes.write(0x{piece}, null, 0) where sha256 = '{digest}'"
    yield procedure(bundle, view, names, digest=digest, language=language)


def procedure(bundle: Bundle, view: View, names: Names, *, digest: str, language: str) -> str:
    """The statement that makes the procedure."""
    fields = [field for field in bundle.signature.inputs for _ in scalars(field)]
    kinds = [kind(field) for field in fields]
    wanted = [
        *(f"cast({D.ident(key)} as {KEY}) as k{i}" for i, key in enumerate(view.keys)),
        *(
            f"{passed(field, D.ident(name))} as c{i}"
            for i, (field, name) in enumerate(zip(fields, columns(bundle.signature), strict=True))
        ),
    ]
    texts = [*(field.dtype == "string" for field in bundle.signature.outputs for _ in scalars(field)), True]
    listed = results(bundle, view, KEY)
    script = (
        f"{loader()}\n{Path(__file__).with_name('satellite.py').read_text(encoding='utf-8')}\n"
        f"OutputDataSet = answered(opened, InputDataSet, anyport_model, {digest!r}, {names.model!r}, {kinds!r}, "
        f"{len(view.keys)}, {texts!r})\n"
    )
    return (
        f"create or alter procedure {names.procedure} @rows nvarchar(max) = null as\n"
        "begin\n"
        "set nocount on;\n"
        f"declare @model varbinary(max) = (select bytes from {names.model} where sha256 = '{digest}');\n"
        f"declare @given nvarchar(max) = {quoted('select ' + ', '.join(wanted) + ' from ')}"
        f" + coalesce(N'(' + @rows + N')', {quoted(names.source)}) + N' as t';\n"
        f"execute sp_execute_external_script @language = {quoted(language)}, @script = {quoted(script)},\n"
        "  @input_data_1 = @given, @params = N'@anyport_model varbinary(max)', @anyport_model = @model\n"
        f"with result sets (({listed}));\n"
        "end"
    )


def results(bundle: Bundle, view: View, key: str) -> str:
    """The columns that the procedure gives, with their types; `key` is that of the keys."""
    outputs = [(name, type_of(D, field)) for field in bundle.signature.outputs for name in scalars(field)]
    shown = [*((k, key) for k in view.keys), *outputs, (answers(bundle.signature)[-1], D.types["text"])]
    return ", ".join(f"{D.ident(name)} {type_}" for name, type_ in shown)


def filling(bundle: Bundle, view: View, table: str, procedure_: str) -> list[str]:
    """The statements that put the procedure's answers into a table of their own, whose keys are whole numbers."""
    return [f"create table {table} ({results(bundle, view, 'bigint')})", f"insert into {table} execute {procedure_}"]


def kind(field: Field) -> str:
    """How a column comes to the script: see satellite.values."""
    if field.is_text:
        return "text"
    return "whole" if field.dtype in ("int64", "uint32", "uint64", "datetime") else "number"


def passed(field: Field, x: str) -> str:
    """A column in a type that Python takes as it is."""
    if field.is_text:
        return f"N'=' + cast({x} as {D.types['text']})"
    if field.dtype == "datetime":
        return f"cast({D.micros.format(x)} as nvarchar(30))"
    if kind(field) == "whole":
        return f"cast(cast({x} as {D.types['uint64' if field.dtype == 'uint64' else 'bigint']}) as nvarchar(30))"
    return f"cast({x} as {D.types['double']})"


def quoted(text: str) -> str:
    """A text as one literal, which a parameter has to be. Impossible where T-SQL would read it in another way."""
    if (
        "\x00" in text
        or "\\\n" in text
        or "\r" in text
        or any(line.strip().upper() == "GO" for line in text.split("\n"))
    ):
        raise Impossible("a name or text holds what cannot stand in a literal of SQL Server: NUL, a carriage return, "
                         "a backslash at the end of a line, or a line that is GO")  # fmt: skip
    return "N'" + text.replace("'", "''") + "'"


def taken_away(names: Names) -> list[str]:
    """The statements that remove it."""
    return [f"drop procedure if exists {names.procedure}", f"drop table if exists {names.model}"]
