"""Rows into a table and answers out of it: what every database target shares, whatever driver stands behind it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from anyport.batch import Batch, Column, Outcome, Refusal, rows
from anyport.errors import BadData, Mistake
from anyport.predictor import blank
from anyport.signature import Field, Signature
from anyport.sql.compile import REFUSAL, scalars
from anyport.sql.dialect import Dialect
from anyport.target import Sql

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEY = "anyport_row"
"""The column that says which row an answer belongs to."""
NUMBERS = (
    "bool", "int", "float", "double", "real", "numeric", "decimal", "number", "bit", "tiny", "small", "big", "huge",
    "uint", "utiny", "usmall", "ubig",
)  # fmt: skip
TEXTS = ("text", "char", "varchar", "nvarchar", "string", "bpchar", "enum", "clob", "longtext", "mediumtext")
TIMES = ("timestamp", "datetime", "date", "time")


class Session(Protocol):
    """One connection, as its driver gives it; used by one thread at a time."""

    dialect: Dialect
    errors: tuple[type[Exception], ...]
    """What the driver raises for a statement that fails."""

    def run(self, sql: str) -> None:
        """One statement that answers nothing."""

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""

    def fill(self, table: str, columns: Sequence[str], values: Iterable[tuple[Any, ...]]) -> None:
        """Insert rows; the driver's fastest way. `table` and `columns` are names, not quoted."""

    def columns(self, table: str) -> Mapping[str, str]:
        """The columns of a table or view and their types, as the engine calls them."""


def named(session: Session, table: str) -> str:
    """A table as statements call it: in the schema that the session's `schema` names, where it has one."""
    schema: str = getattr(session, "schema", "")
    ident = session.dialect.ident
    return f"{ident(schema)}.{ident(table)}" if schema else ident(table)


def transaction(run: Callable[[str], Any], errors: tuple[type[Exception], ...], sql: Sql) -> None:
    """Statements of a plan, all or none. Mistake with the engine's own words, nothing of it done."""
    run("begin")
    try:
        for statement in sql.statements:
            run(statement)
    except errors as error:
        run("rollback")
        raise Mistake(f"{first_line(error)}; nothing of this step was done") from error
    run("commit")


class TablePredictor:
    """Answers a batch by putting it into a table of the session and asking the model there."""

    def __init__(
        self,
        signature: Signature,
        opened: Callable[[], AbstractContextManager[Session]],
        query: Callable[[Session, str], str],
        *,
        temporary: str = "temporary ",
    ) -> None:
        """`opened` gives a session that no other thread has. `query` says the SELECT of every answer's columns and the
        refusal, in the order of `answers`, and then KEY, over the table of this name. `temporary` stands in CREATE
        TABLE."""
        self.signature = signature
        self.opened = opened
        self.query = query
        self.temporary = temporary
        self.numbers = count()

    def predict(self, inputs: Batch, /) -> Outcome:
        """Answers of every row. BadData where the table has not the columns that the model takes."""
        n = rows(inputs)
        with self.opened() as session:
            table = f"anyport_rows_{next(self.numbers)}"
            create(session, table, inputs, self.temporary)
            try:
                checked(session.columns(table), self.signature)
                found = session.ask(f"{self.query(session, table)} order by {session.dialect.ident(KEY)}")
            except session.errors as error:
                raise BadData(first_line(error)) from error
            finally:
                session.run(f"drop table {session.dialect.ident(table)}")
        if len(found) != n:
            raise BadData(f"the database gave {len(found)} answers to {n} rows")
        return outcome(self.signature, [row[:-1] for row in found])


def first_line(error: Exception) -> str:
    """A driver's error in one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def answers(signature: Signature) -> list[str]:
    """The columns of an answer, refusal last."""
    return [*(name for f in signature.outputs for name in scalars(f)), REFUSAL]


def create(session: Session, table: str, batch: Batch, temporary: str = "") -> None:
    """A table of the batch's own columns, each of the type that its values are of, and KEY."""
    d = session.dialect
    names: list[str] = []
    kinds: list[str] = []
    values: list[list[Any]] = []
    for name, column in batch.items():
        for label, flat, field in split(name, column):
            names.append(label)
            kinds.append(d.type_of(field))
            values.append(plain(flat, column, field))
    listed = ", ".join(f"{d.ident(n)} {k}" for n, k in zip([*names, KEY], [*kinds, d.types["bigint"]], strict=True))
    session.run(f"create {temporary}table {named(session, table)} ({listed})")
    session.fill(table, [*names, KEY], zip(*values, range(rows(batch)), strict=True))


def split(name: str, column: Column) -> Iterator[tuple[str, NDArray[Any], Field]]:
    """A column as scalar columns, with a Field of the values' own type."""
    whole = column.plain().values
    kind = {"O": "string", "M": "datetime"}.get(whole.dtype.kind, whole.dtype.name)
    if whole.ndim == 1:
        yield name, whole, Field(name=name, dtype=kind)  # type: ignore[arg-type]
        return
    flat = whole.reshape(len(whole), -1) if len(whole) else whole.reshape(0, int(whole[:0].size or _width(whole)))
    for i in range(flat.shape[1]):
        yield f"{name}_{i}", flat[:, i], Field(name=f"{name}_{i}", dtype=kind)  # type: ignore[arg-type]


def _width(array: NDArray[Any]) -> int:
    size = 1
    for axis in array.shape[1:]:
        size *= axis
    return size


def plain(values: NDArray[Any], column: Column, field: Field) -> list[Any]:
    """Values as Python's own, None where missing; times as aware datetimes."""
    import datetime as dt

    gone = column.missing().tolist() if column.values.ndim == 1 else [False] * len(values)
    listed = values.astype("datetime64[us]").tolist() if field.dtype == "datetime" else values.tolist()
    if field.dtype == "datetime":
        listed = [v if v is None else v.replace(tzinfo=dt.UTC) for v in listed]
    elif field.is_text:
        listed = [v if v is None else str(v) for v in listed]
    return [None if g else v for v, g in zip(listed, gone, strict=True)]


def checked(found: Mapping[str, str], signature: Signature) -> None:
    """BadData naming every column that the table lacks, or has of a kind that the model does not take."""
    wrong = []
    for field in signature.inputs:
        for name in scalars(field):
            if name not in found:
                near = next((c for c in found if c.lower() == name.lower()), None)
                wrong.append(f"there is no column {name!r}" + (f" (there is {near!r})" if near else ""))
            elif not takes(field, found[name]):
                wrong.append(f"column {name!r} is {found[name]}; the model takes {field.says()}")
    if wrong:
        raise BadData("; ".join(wrong), fix=f"columns there: {', '.join(found)}")


def takes(field: Field, kind: str) -> bool:
    """Whether a column of this engine's type holds what the field takes."""
    kind = kind.lower()
    if field.is_text:
        return kind.startswith(TEXTS)
    if field.dtype == "datetime":
        return kind.startswith(TIMES) or kind.startswith(("bigint", "integer"))
    return kind.startswith(NUMBERS)


def outcome(signature: Signature, found: Sequence[Sequence[Any]], *, d: Dialect | None = None) -> Outcome:
    """Rows of `answers` as an Outcome. In a dialect without infinity the largest double is one."""
    import numpy as np

    n = len(found)
    refused = {i: (reason(str(row[-1])),) for i, row in enumerate(found) if row[-1] is not None}
    if n == 0:
        return Outcome(blank(signature, 0), {})
    columns = list(zip(*found, strict=True))
    outputs: dict[str, Column] = {}
    valid = np.array([i not in refused for i in range(n)])
    at = 0
    for field in signature.outputs:
        width = len(scalars(field))
        flat = [cell for row in zip(*columns[at : at + width], strict=True) for cell in row]
        at += width
        if d is not None and d.infinity is None and field.is_float:
            most = float(d.most)
            flat = [c if c is None or abs(c) < most else math.copysign(math.inf, c) for c in flat]
        outputs[field.name] = Column(typed(flat, field).reshape(n, *(a or 1 for a in field.shape)), valid)
    return Outcome(outputs, refused)


def typed(cells: Sequence[Any], field: Field) -> NDArray[Any]:
    """Cells as the output's own dtype; NULL is NaN, and whatever in a row that was refused."""
    import numpy as np

    if field.dtype == "string":
        out = np.empty(len(cells), object)
        out[:] = list(cells)
        return out
    if field.is_float:
        return np.array([np.nan if c is None else float(c) for c in cells], field.dtype)
    return np.array([0 if c is None else whole(c) for c in cells]).astype(field.dtype)


def whole(cell: Any) -> int:
    """A cell as a whole number; a double, which some engines give as text, too."""
    text = isinstance(cell, str) and not cell.lstrip("-").isdigit()
    return int(float(cell)) if text else int(cell)


def reason(text: str) -> Refusal:
    """A refusal's words as a Refusal."""
    found = re.fullmatch(r"column (.+): expected (.+), got (.+)", text, re.S)
    if found is None:
        return Refusal("", "an answer", text)
    import ast

    return Refusal(str(ast.literal_eval(found[1])), found[2], found[3])
