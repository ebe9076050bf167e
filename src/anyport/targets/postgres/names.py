"""What everything of one model version is called in its schema, and the text of SQL that several forms share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from anyport.bundle import Bundle
from anyport.errors import Impossible
from anyport.signature import Field, Signature
from anyport.sql.compile import REFUSAL, scalars, type_of
from anyport.sql.dialect import POSTGRES as D

LIMITS = {"arguments": 100, "columns": 1600, "result_columns": 1664, "name_bytes": 63, "model_mb": 500}
"""https://www.postgresql.org/docs/18/limits.html; a model is a literal of one statement, which is at most 1 GB."""
TIMES = ("timestamp with time zone", "timestamp without time zone", "date")
"""What a column of times may be; without a zone it is UTC."""
UTC = {
    "timestamp with time zone": "{}", "timestamp without time zone": "{} at time zone 'UTC'",
    "date": "{}::timestamp at time zone 'UTC'",
}  # fmt: skip


@dataclass(frozen=True)
class Names:
    """Names in one schema, in quotes and with the schema before them where `of` gives them."""

    schema: str
    model: str
    version: str

    @property
    def base(self) -> str:
        return f"{self.model}_v{self.version}"

    def of(self, part: str = "") -> str:
        """The name of a part of this version: "" is the function itself."""
        return f"{D.ident(self.schema)}.{D.ident(self.base + (f'_{part}' if part else ''))}"

    @property
    def alias(self) -> str:
        return f"{D.ident(self.schema)}.{D.ident(self.model)}"


def of(bundle: Bundle, schema: str) -> Names:
    """The names of a bundle."""
    return Names(schema, bundle.name, bundle.version)


@dataclass(frozen=True)
class Shape:
    """How a version's functions take their columns and give their answers."""

    inputs: tuple[tuple[str, Field], ...]
    """Column and its field."""
    answers: tuple[tuple[str, str], ...]
    """Column and type, refusal last."""

    @property
    def row(self) -> bool:
        """Whether the columns come as one value of a row type, being more than a function has arguments."""
        return len(self.inputs) > LIMITS["arguments"]

    @property
    def times(self) -> bool:
        return any(f.dtype == "datetime" for _, f in self.inputs)

    def raw(self, place: int) -> str:
        """A column inside the function."""
        name = self.inputs[place][0]
        return f"($1).{D.ident(name)}" if self.row else f"${place + 1}"

    def out(self, place: int) -> str:
        """An answer inside the function."""
        return f"${(1 if self.row else len(self.inputs)) + place + 1}"

    def kinds(self, time: str = TIMES[0]) -> list[str]:
        """The types of the columns."""
        return [kind(f, time) for _, f in self.inputs]

    def arguments(self, names: Names, *, time: str = TIMES[0], array: bool = False) -> str:
        """The parameters as they are declared, named after the columns where no answer is called so."""
        if self.row:
            return f'"row" {names.of("row")}{"[]" if array else ""}'
        taken = {name for name, _ in self.answers}
        listed = []
        for (name, _), type_ in zip(self.inputs, self.kinds(time), strict=True):
            listed.append(f"{'' if name in taken else D.ident(name) + ' '}{type_}{'[]' if array else ''}")
            taken.add(name)
        return ", ".join(listed)

    def identity(self, names: Names, *, time: str = TIMES[0], array: bool = False) -> str:
        """The parameters as DROP and GRANT take them."""
        suffix = "[]" if array else ""
        return names.of("row") + suffix if self.row else ", ".join(k + suffix for k in self.kinds(time))

    def outs(self) -> str:
        return ", ".join(f"out {D.ident(name)} {type_}" for name, type_ in self.answers)

    def table(self) -> str:
        """The answers as RETURNS TABLE takes them."""
        return ", ".join(f"{D.ident(name)} {type_}" for name, type_ in self.answers)

    def passed(self, time: str = TIMES[0]) -> str:
        """The arguments passed on to the function over times with a zone."""
        if self.row:
            return "$1"
        return ", ".join(
            UTC[time].format(f"${i + 1}") if f.dtype == "datetime" else f"${i + 1}"
            for i, (_, f) in enumerate(self.inputs)
        )

    def of_table(self, names: Names, source: str) -> str:
        """The arguments taken from a relation's columns."""
        listed = ", ".join(f"{source}.{D.ident(name)}" for name, _ in self.inputs)
        return f"row({listed})::{names.of('row')}" if self.row else listed

    def variants(self) -> tuple[str, ...]:
        """The types of times that there is a function for."""
        return TIMES if self.times and not self.row else TIMES[:1]


def kind(field: Field, time: str = TIMES[0]) -> str:
    """The type of a parameter: every narrower type of number, and every type of text, becomes it by itself."""
    if field.dtype == "datetime":
        return time
    if field.dtype == "uint64":
        return D.types["uint64"]
    return D.types["text" if field.is_text else "boolean" if field.dtype == "bool" else (
        "bigint" if field.is_int else "double")]  # fmt: skip


def shape(signature: Signature) -> Shape:
    """The shape of a model's functions. Impossible where PostgreSQL has not the room."""
    inputs = tuple((name, f) for f in signature.inputs for name in scalars(f))
    answers = (*((name, type_of(D, f)) for f in signature.outputs for name in scalars(f)), (REFUSAL, "text"))
    made = Shape(inputs, answers)
    for what, count, limit in (
        ("columns", len(inputs) + 1, "columns"), ("columns of answers", len(answers), "columns"),
        ("columns of a row with its answers", len(inputs) + len(answers) + 1, "columns"),
    ):  # fmt: skip
        if count > LIMITS[limit]:
            raise Impossible(
                f"the model has {count:,} {what}; a table or view of PostgreSQL has at most {LIMITS[limit]:,} "
                "(https://www.postgresql.org/docs/current/limits.html)", fix="--to rest",
            )  # fmt: skip
    if made.row and made.times:
        raise Impossible(
            f"the model takes {len(inputs)} columns, times among them; a function of PostgreSQL has at most "
            f"{LIMITS['arguments']} arguments, and in the row type that stands for more a time would hang on the "
            "session's time zone", fix="--to rest",
        )  # fmt: skip
    return made


def tag(*texts: str) -> str:
    """A dollar quote that none of the texts can end."""
    n = 0
    while any(f"$a{n}$" in text for text in texts):
        n += 1
    return f"$a{n}$"


def scalar(names: Names, made: Shape) -> Iterator[tuple[str, str]]:
    """The name of each scalar function, and the statement that makes it; of a model with more answers than a function
    has arguments, only of what is no probability."""
    many = len(made.answers) > LIMITS["arguments"]
    for name, type_ in made.answers[:-1]:
        if many and name.startswith("probability"):
            continue
        body = f"select ({names.of()}({made.passed()})).{D.ident(name)}"
        quote = tag(body)
        yield (
            names.of(name),
            (
                f"create or replace function {names.of(name)}({made.arguments(names)}) returns {type_}\n"
                f"language sql immutable parallel safe as {quote}{body}{quote};\n"
            ),
        )


__all__ = ["LIMITS", "Names", "Shape", "of", "scalar", "shape", "tag"]
