"""A model as DuckDB's macros: one over a table, one of a single row, and the row of lists that both look into."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from anyport.errors import Impossible
from anyport.kit.database import answers
from anyport.kit.naming import once
from anyport.signature import Field, Signature
from anyport.sql.compile import REFUSAL, scalars, script
from anyport.sql.dialect import DUCKDB as D
from anyport.targets.duckdb.forest import Grown

ROW = '"anyport row"'
"""The user's row as a struct; a column of this name would be taken for it."""
NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
           "UHUGEINT", "FLOAT", "DOUBLE")  # fmt: skip


@dataclass(frozen=True)
class Names:
    """What a model's objects are called, quoted."""

    name: str

    @property
    def predict(self) -> str:
        """The macro over a table."""
        return D.ident(f"{self.name}_predict")

    @property
    def row(self) -> str:
        """The macro of one row."""
        return D.ident(f"{self.name}_row")

    @property
    def model(self) -> str:
        """The table of lists."""
        return D.ident(f"{self.name}_model")

    @property
    def function(self) -> str:
        """The function that connect.py registers."""
        return D.ident(f"{self.name}_answer")


@dataclass(frozen=True)
class Body:
    """The layers of a query, the name of the last, and over it the answers in their order, refusal last."""

    layers: tuple[tuple[str, str], ...]
    end: str
    answers: tuple[str, ...]


def statements(grown: Grown, names: Names) -> tuple[str, ...]:
    """The statements that make the macros of a model that is SQL; each may run again."""
    made = []
    if grown.tables:
        shown = listed([f"{t.text} as {t.name}" for t in grown.tables])
        made.append(f"create or replace table {names.model} as select\n  {shown}")
    return (*made, *macros(grown.model.signature, names, lambda row: in_sql(grown, names, row)))


def macros(signature: Signature, names: Names, body: Callable[[str], Body]) -> tuple[str, ...]:
    """The macro over a table and that of one row; `body` of the row's struct, or of "" for the second."""
    inputs = [name for field in signature.inputs for name in scalars(field)]
    shown = answers(signature)
    once(inputs, D.name, "columns")
    once(shown, D.name, "answers")
    return over_table(names, inputs, shown, body(ROW)), over_row(names, shown, body(""))


def over_table(names: Names, inputs: Sequence[str], shown: Sequence[str], body: Body) -> str:
    """FROM NAME_predict('table'): the table's own columns, then the answers."""
    inner = ", ".join(f'{text} as "anyport {i}"' for i, text in enumerate(body.answers))
    outer = listed([f'"anyport {i}" as {D.ident(name)}' for i, name in enumerate(shown)])
    return (
        f"create or replace macro {names.predict}(table_name) as table\nwith {chained(body)}\n"
        f"select {others(shown, inputs)},\n  {outer}\nfrom (select r.*, {inner} from {body.end})"
    )


def others(shown: Sequence[str], inputs: Sequence[str]) -> str:
    """The user's columns, but for those that are called as an answer is: the answer takes their place."""
    hidden = [name.lower() for name in shown]
    if all(name.lower() in hidden for name in inputs):
        raise Impossible("every column that the model takes is called as one of its answers")
    ours = [*hidden, *(f"anyport {i}" for i in range(len(shown)))]
    return f"columns(lambda c: lower(c) not in ({', '.join(map(D.literal, ours))}))"


def over_row(names: Names, shown: Sequence[str], body: Body) -> str:
    """NAME_row({column: value, …}): the answers as a struct."""
    struct = ", ".join(f"{D.literal(name)}: {text}" for name, text in zip(shown, body.answers, strict=True))
    return (
        f"create or replace macro {names.row}(one_row) as (\nwith {chained(body)}\nselect {{{struct}}} from {body.end})"
    )


def chained(body: Body) -> str:
    """The layers as common table expressions. NOT MATERIALIZED: the lists of a layer would else be copied."""
    return ",\n".join(f"{name} as not materialized ({text})" for name, text in body.layers)


def given(signature: Signature, row: str, others: Sequence[str] = (), source: str = "") -> str:
    """The first layer: the row itself, `others`, the model's columns as c0 …, and what is wrong with their types."""

    def raw(name: str) -> str:
        return f"{row}.{D.ident(name)}" if row else f"struct_extract(one_row, {D.literal(name)})"

    columns = [(name, field, raw(name)) for field in signature.inputs for name in scalars(field)]
    first = [
        *([f"{row} as r"] if row else []), *others,
        *(f"{taken(field, x)} as c{i}" for i, (_, field, x) in enumerate(columns)), f"{mistyped(columns)} as bad",
    ]  # fmt: skip
    sources = [*([f"query_table(table_name) as {row}"] if row else []), *([source] if source else [])]
    return f"select {listed(first)}" + (f" from {', '.join(sources)}" if sources else "")


def in_sql(grown: Grown, names: Names, row: str) -> Body:
    """The model's own expressions."""
    signature = grown.model.signature
    places = {name: i for i, name in enumerate(n for field in signature.inputs for n in scalars(field))}
    made = script(grown.model, D, lambda name: f"c{places[name]}")
    lists = [t.name for t in grown.tables]
    source = f"{names.model} as model" if lists else ""
    second = [*(["r"] if row else []), *lists, *(f"{v.text} as {v.name}" for v in made.columns)]
    second.append(f"coalesce(bad, {made.why}) as why")
    parts = [("given", given(signature, row, [f"model.{name}" for name in lists], source))]
    parts.append(("layer0", f"select {listed(second)} from given"))
    for depth, layer in enumerate(made.layers):
        values = listed([f"{v.text} as {v.name}" for v in layer])
        parts.append((f"layer{depth + 1}", f"select *, {values} from layer{depth}"))
    found = [f"case when why is null then {v.text} end" for v in made.answers]
    return Body(tuple(parts), parts[-1][0], (*found, "why"))


def by_function(signature: Signature, names: Names, row: str) -> Body:
    """The answers of the function that connect.py registers; it takes times as microseconds."""
    fields = [field for field in signature.inputs for _ in scalars(field)]
    taken_ = [f"epoch_us(c{i})" if f.dtype == "datetime" else f"c{i}" for i, f in enumerate(fields)]
    kept = ["r"] if row else []
    second = [*kept, "bad", f"{names.function}({', '.join(taken_)}) as answer"]
    parts = (("given", given(signature, row)), ("layer0", f"select {listed(second)} from given"))
    found = [f"case when bad is null then answer.{D.ident(name)} end" for name in answers(signature)[:-1]]
    return Body(parts, "layer0", (*found, f"coalesce(bad, answer.{D.ident(REFUSAL)})"))


def listed(items: Sequence[str]) -> str:
    """A select list."""
    return ",\n  ".join(items)


def taken(field: Field, x: str) -> str:
    """A column's value as the model takes it; what is of another type is refused elsewhere."""
    if field.dtype == "datetime":
        return x
    if field.dtype == "float32":
        return f"cast(try_cast({x} as FLOAT) as DOUBLE)"
    if field.is_float:
        return f"try_cast({x} as DOUBLE)"
    if field.is_int:
        return f"try_cast({x} as {D.types['uint64' if field.dtype == 'uint64' else 'bigint']})"
    # a column's own collation may take 'rome' for 'Rome'
    return f"(try_cast({x} as VARCHAR) collate C)" if field.is_text else f"try_cast({x} as BOOLEAN)"


def mistyped(columns: Sequence[tuple[str, Field, str]]) -> str:
    """Why a row is refused for the type of a column or of a value; NULL where it is not."""
    whens = [f"when {condition} then {words}" for c in columns for condition, words in wrong(*c)]
    return f"case {' '.join(whens)} end"


def wrong(name: str, field: Field, x: str) -> Iterator[tuple[str, str]]:
    """The conditions under which a value is of another type than its column's, and the words for it."""
    start = D.literal(f"column {name!r}: expected {field.says()}, got ")
    kinds = types_of(field)
    exact = ", ".join(D.literal(k) for k in (*kinds, '"NULL"') if not k.endswith("%"))
    like = "".join(f" and typeof({x}) not like {D.literal(k)}" for k in kinds if k.endswith("%"))
    yield f"typeof({x}) not in ({exact}){like}", f"{start} || typeof({x})"
    if field.is_int or field.dtype == "float32":
        own = "FLOAT" if field.dtype == "float32" else D.type_of(field)
        lost = f"try_cast({x} as {own}) is null" + ("" if own == "FLOAT" else f" or try_cast({x} as {own}) <> {x}")
        # NaN is a missing value
        yield f"{x} is not null and not isnan(try_cast({x} as DOUBLE)) and ({lost})", f"{start} || cast({x} as VARCHAR)"


def types_of(field: Field) -> tuple[str, ...]:
    """What DuckDB calls the types that a column of the model may have; % stands for the rest of the name."""
    if field.is_text:
        other = field.dtype == "category" and bool(field.levels) and not isinstance((field.levels or ("",))[0], str)
        return ("VARCHAR", "ENUM%", *((*NUMBERS, "BOOLEAN") if other else ()))
    if field.dtype == "datetime":
        return ("TIMESTAMP%", "DATE")
    return ("BOOLEAN",) if field.dtype == "bool" else (*NUMBERS, "DECIMAL%")


__all__ = ["Names", "by_function", "macros", "statements"]
