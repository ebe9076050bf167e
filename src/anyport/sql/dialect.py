"""What each engine calls things: a dialect is data. Sources beside each; measured where no page says it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from anyport.errors import Impossible
from anyport.signature import Field

BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
"""A name that needs no quotes."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One engine's SQL."""

    name: str
    types: Mapping[str, str]
    """Of columns: dtype → type; "double", "bigint", "text", "boolean" are always there."""
    casts: Mapping[str, str] = field(default_factory=dict)
    """What CAST calls a type where that is not what a column of it is called."""
    quote: str = '"'
    """What stands around a name; doubled inside it."""
    within: Mapping[str, str] = field(default_factory=dict)
    """What else is escaped in a name between quotes."""
    name_bytes: int = 63
    """Longest name."""
    capitals: bool = False
    """Names are meant as they are without quotes, where the engine makes capitals of them."""
    number: str = "{}e0"
    """A double written so that the engine takes it for one, from its shortest decimal text without exponent."""
    exponent: str = "{}"
    """The same, of a text with one."""
    typed: str = "{}"
    """A double that stands alone in a CASE, which would else be of another type."""
    infinity: str | None = "'Infinity'::double precision"
    """None: the engine has no infinity, and what would be one is NULL."""
    most: str = ""
    """Of an engine without infinity: the number that stands for one in a column."""
    missing: str = "nullif({}, 'NaN')"
    """A double column in which NaN is NULL; "{}" where the engine has no NaN."""
    choice: str = "case when {} then {} else {} end"
    """One of two values, as a tree's split writes it."""
    chained: bool = False
    """`choice` has two places: for conditions, each with its value, and for the value where none of them holds."""
    cut: str = "trunc({})"
    """A double without its fraction: casts round."""
    functions: Mapping[str, str] = field(default_factory=dict)
    """Operations that it writes in another way; `{0}`, `{1}` are the arguments. "add32" adds in single precision."""
    greatest: tuple[str, str] | None = ("least", "greatest")
    """Two functions that ignore NULL or pass it on; asked only where nothing is NULL."""
    raises: bool = False
    """Arithmetic that overflows, or gives nothing from something, raises an error instead of infinity or 0."""
    subnormal: bool = True
    """Numbers below 2.2e-308 are held."""
    vanishing: float = -708.0
    """Below it exp counts as 0, where it is guarded."""
    single: str | None = "cast({} as real)"
    """A double rounded to single precision, still in single; None: the engine has none."""
    escape: Mapping[str, str] = field(default_factory=lambda: {"'": "''"})
    """In texts between single quotes."""
    text: str = "'{}'"
    codes: bool = False
    """Trees compare a text's number, found once a row, rather than the text."""
    nan: bool = False
    """Any value in between may be missing, even where every column is there: infinity less infinity."""
    nan_above: bool = False
    """NaN, which infinity less infinity is, compares as greater than every number, and not as none."""
    truths: bool = True
    """A comparison is a value."""
    binary: str = "{}"
    """A text column compared byte by byte."""
    mark: str = ""
    """What `binary` puts behind a text, where trailing spaces would not count."""
    micros: str = ""
    """A timestamp column as microseconds since 1970, UTC."""
    depth: int = 0
    """Most nested CASE of a tree; 0 for no limit that matters."""
    cases: int = 0
    """Most nested CASE of any kind."""
    terms: int = 200
    """Most terms of a sum in one expression: parsers and planners recurse."""
    longest: int = 0
    """Characters of one statement; 0 for no limit."""
    columns: int = 0
    """Most columns of a table or select list."""
    once: str = ""
    """What holds of all values in between (`{}`), whatever they are: asked before any answer, so that each is found
    once a row, where the engine would else find it anew in every branch of a CASE that uses it."""
    points: bool = True
    """A number may begin with its point."""
    fenced: str = ""
    """What ends a layer of values so that it is not merged into the next; `{}` is a NULL for each column."""

    code: str = ""
    """Of a walk along a table of nodes (see sql/joins.py): the value that node `{at}` asks about, of `{codes}`."""
    leaf: str = ""
    """What gathers the column `{leaf}` of the last node `{last}` of every tree, or of the `{tree}`th."""
    picked: str = ""
    """The `{tree}`th of what `leaf` gathered of every tree, `{{0}}`; "": it gathers one tree's."""
    carried: str = "{}"
    """A value that a row had before the walk, as it stands beside what is gathered of the row."""
    gathered: str = ""
    """The layer that walks: `{before}` it, `{carried}` values, and `{values}` from `{source}`."""

    def ident(self, name: str) -> str:
        """A name in quotes. Impossible where the engine would cut it."""
        if len(name.encode()) > self.name_bytes:
            raise Impossible(f"the name {name!r} has more than the {self.name_bytes} bytes that {self.name} keeps")
        if "\x00" in name:
            raise Impossible(f"the name {name!r} holds a NUL character")
        if self.capitals and BARE.fullmatch(name):
            name = name.upper()
        close = {"[": "]"}.get(self.quote, self.quote)
        inside = {**self.within, close: close * 2}
        return f"{self.quote}{''.join(inside.get(c, c) for c in name)}{close}"

    def literal(self, text: str) -> str:
        """A text between quotes, whatever it holds. Impossible for NUL, which SQL cannot carry."""
        if "\x00" in text:
            raise Impossible(f"the model knows a text that holds a NUL character, which SQL cannot carry: {text!r}")
        return self.text.format("".join(self.escape.get(c, c) for c in text))

    def double(self, value: float) -> str:
        """A double, exactly, where anything may stand beside it."""
        text = self.alone(value)
        return f"({text})" if text.startswith("-") else text

    def alone(self, value: float) -> str:
        """A double, exactly, between words, commas or comparisons; a sign may come first."""
        if value != value:
            return "null"
        if value in (float("inf"), float("-inf")):
            if self.infinity is None:
                return "null"
            return self.infinity if value > 0 else f"-{self.infinity}"
        text = digits(float(value))
        if "e" in text:
            text = self.exponent.format(text)
        else:
            text = self.number.format(text.removesuffix(".0") if self.number.endswith("e0") else text)
        return text.replace("0.", ".", 1) if self.points and text.startswith(("0.", "-0.")) and len(text) > 5 else text

    def level(self, text: str) -> str:
        """A text to compare a `binary` column with."""
        return self.literal(text + self.mark)

    def holds(self, text: str) -> str:
        """A column of truths as a condition."""
        return text if self.truths else f"({text} = 1)"

    def bound(self, value: float) -> str:
        """A double to compare with: an infinity is the number that stands for one."""
        if self.most and value in (float("inf"), float("-inf")):
            return self.most if value > 0 else f"-{self.most}"
        return self.alone(value)

    def branch(self, value: float) -> str:
        """A double as what a CASE gives: the others of its branches take its type."""
        return self.typed.format(self.alone(value)) if value == value else self.cast("null", "double")

    def cast(self, text: str, kind: str) -> str:
        """An expression as "double", "bigint", "text" or "boolean"."""
        return f"cast({text} as {self.casts.get(kind, self.types[kind])})"

    def type_of(self, column: Field) -> str:
        """The type of an input column."""
        kind = "text" if column.is_text else "timestamp" if column.dtype == "datetime" else column.dtype
        if kind in self.types:
            return self.types[kind]
        if column.is_int:
            return self.types["bigint"]
        return self.types["boolean" if kind == "bool" else "double"]


NEARLY_HALF = Fraction(45, 100)


def digits(value: float) -> str:
    """A finite double as a decimal: its shortest one; or, where that is almost as near to the next double, 19 digits.

    SQLite before 3.47 reads one in ten thousand of the shortest ones a step off (its AtoF is not correctly rounded),
    and the longer ones right: measured on 3.40, 100,000 doubles between 1e-280 and 1e300.
    """
    text = repr(value)
    if value and abs(Fraction(text) - Fraction(value)) > NEARLY_HALF * Fraction(math.ulp(value)):
        return f"{value:.18e}"
    return text


POSTGRES = Dialect(
    name="PostgreSQL",
    types={"double": "double precision", "float32": "real", "bigint": "bigint", "int32": "integer", "int16": "smallint",
           "int8": "smallint", "uint8": "smallint", "uint16": "integer", "uint64": "numeric(20)", "boolean": "boolean",
           "text": "text", "timestamp": "timestamp with time zone", "index": "integer"},
    number="{}",
    functions={
        "log": "ln({0})",
        "pow": "case when {0} > 0 then case when {1} * ln({0}) > 709.78e0 then 'Infinity'::float8 "
               "when {1} * ln({0}) < -745e0 then 0e0::float8 else power({0}, {1}) end "
               "when {0} = 0 then case when {1} > 0 then 0e0::float8 when {1} = 0 then 1e0 else 'Infinity' end "
               "when {1} = floor({1}) then case when {1} * ln(-{0}) > 709.78e0 "
               "then case when mod({1}::numeric, 2) = 0 then 'Infinity'::float8 else '-Infinity' end "
               "when {1} * ln(-{0}) < -745e0 then 0e0::float8 else power({0}, {1}) end end",
        "f32": "case when abs({0}) <= 7.006492321624085e-46 then 0e0::float8 "
               "when {0} >= 3.4028235677973366e38 then 'Infinity'::float8 "
               "when {0} <= -3.4028235677973366e38 then '-Infinity'::float8 else cast(cast({0} as real) as float8) end",
    },
    text="E'{}'",
    escape={"'": "''", "\\": "\\\\"},
    binary='({} collate "C")',
    codes=True,
    typed="{}::float8",
    raises=True,
    vanishing=-650.0,  # what is left may be multiplied and is still no underflow: 5e-283
    micros="(extract(epoch from {}) * 1000000)::bigint",
    columns=1600,
)  # fmt: skip
"""https://www.postgresql.org/docs/18/functions-math.html, /limits.html. Texts are E'…', which mean the same whatever
standard_conforming_strings says; they are compared by their bytes, whatever collation the column has."""
DUCKDB = Dialect(
    name="DuckDB",
    types={"double": "DOUBLE", "float32": "FLOAT", "bigint": "BIGINT", "int32": "INTEGER", "int16": "SMALLINT",
           "int8": "TINYINT", "uint8": "UTINYINT", "uint16": "USMALLINT", "uint32": "UINTEGER", "uint64": "UBIGINT",
           "boolean": "BOOLEAN", "text": "VARCHAR", "timestamp": "TIMESTAMPTZ", "index": "INTEGER"},
    name_bytes=10_000,
    infinity="'Infinity'::DOUBLE",
    missing="case when isnan({0}) then null else {0} end",
    choice="if({},{},{})",
    functions={"log": "ln({0})"},
    single="try_cast({} as FLOAT)",
    nan_above=True,
    micros="epoch_us({})",
)  # fmt: skip
"""CAST to FLOAT raises an error beyond single precision, in rows that are refused too; TRY_CAST gives NULL."""
SQLITE = Dialect(
    name="SQLite",
    types={"double": "REAL", "bigint": "INTEGER", "boolean": "INTEGER", "text": "TEXT", "timestamp": "INTEGER",
           "index": "INTEGER"},
    name_bytes=10_000,
    number="{}",
    infinity="9e999",
    missing="{}",
    choice="iif({},{},{})",
    cut="{}",
    functions={"log": "ln({0})"},
    greatest=("min", "max"),
    single=None,
    micros="{}",
    depth=12,
    terms=100,
    columns=2000,
)  # fmt: skip
"""NaN becomes NULL when it is stored (https://sqlite.org/floatingpoint.html); expressions are at most 1,000 deep
(https://sqlite.org/limits.html)."""


def kind_of(kind: str, dialect: Dialect) -> str:
    """The type of a value in between."""
    return dialect.types[{"f": "double", "i": "bigint", "b": "boolean", "s": "text"}[kind]]
