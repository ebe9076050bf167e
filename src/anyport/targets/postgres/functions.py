"""engine=sql: the model as a plpgsql function, and a second one for rows whose arithmetic PostgreSQL would refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from anyport.bundle import Bundle
from anyport.sql.compile import Compiled, Script, compiled, script
from anyport.sql.dialect import POSTGRES, Dialect
from anyport.sql.faint import FAINTEST, LAST, LEAST
from anyport.targets.postgres.names import Names, Shape, tag

COST = 2000
"""Characters of a function per unit of its COST, by which the planner knows what a row is worth a parallel worker."""


def statements(bundle: Bundle, names: Names, made: Shape) -> Iterator[str]:
    """What makes the function of this version, its helpers first. Impossible where SQL cannot hold the model."""
    yield from of_model(compiled(bundle, POSTGRES), names, made)


def of_model(model: Compiled, names: Names, made: Shape) -> Iterator[str]:
    """What makes the function of a compiled model."""
    places = {name: i for i, (name, _) in enumerate(made.inputs)}

    def raw(name: str) -> str:
        field = made.inputs[places[name]][1]
        x = made.raw(places[name])
        return f"({POSTGRES.functions['f32'].format(x)})" if field.dtype == "float32" else x

    fast = script(model, POSTGRES, raw, clamped=False)
    if fast.beyond:
        yield arithmetic(names)
        yield function(names.of("careful"), script(model, careful(names), raw), names, made, careful="")
    yield function(names.of(), fast, names, made, careful=names.of("careful") if fast.beyond else "")
    for time in made.variants()[1:]:
        body = f"select b.* from {names.of()}({made.passed(time)}) b"
        quote = tag(body)
        yield (
            f"create or replace function {names.of()}({made.arguments(names, time=time)}, {made.outs()})\n"
            f"language sql immutable parallel safe as {quote}{body}{quote};\n"
        )


def careful(names: Names) -> Dialect:
    """PostgreSQL whose arithmetic is that of IEEE 754."""
    add, mul, div = (names.of(part) for part in ("add", "mul", "div"))
    own = {
        "add": f"{add}({{0}}, {{1}})", "sub": f"{add}({{0}}, -({{1}}))", "mul": f"{mul}({{0}}, {{1}})",
        "div": f"{div}({{0}}, {{1}})",
        "exp": f"case when {{0}} < {FAINTEST!r}e0 then 0e0::float8 when {{0}} < {LAST!r}e0 then {LEAST!r}::float8 "
               "when {0} > 709.78e0 then 'Infinity'::float8 else exp({0}) end",
        "sin": "case when abs({0}) < 'Infinity' then sin({0}) end",
        "cos": "case when abs({0}) < 'Infinity' then cos({0}) end",
    }  # fmt: skip
    return replace(POSTGRES, functions={**POSTGRES.functions, **own}, raises=False, greatest=None, nan=True)


def function(name: str, made: Script, names: Names, shape: Shape, *, careful: str) -> str:
    """A plpgsql function: the row's refusal, or its columns, the values in between, its answers."""
    values = [*made.columns, *(v for layer in made.layers for v in layer)]
    refusal = shape.out(len(shape.answers) - 1)
    lines = [f"{v.name} {v.type};" for v in values]
    steps = [f"{refusal} := {made.why};", f"if {refusal} is not null then return; end if;"]
    steps += [f"{v.name} := {v.text};" for v in made.columns]
    if careful:
        outs = ", ".join(shape.out(i) for i in range(len(shape.answers)))
        passed = f"select c.* into {outs} from {careful}({shape.passed()}) c"
        steps += [f"if {made.beyond} then", f"  {passed};", "  return;", "end if;"]
    steps += [f"{v.name} := {v.text};" for layer in made.layers for v in layer]
    steps += [f"{shape.out(i)} := {a.text};" for i, a in enumerate(made.answers)]
    body = "\n".join(["", *(["declare", *(f"  {line}" for line in lines)] if lines else []), "begin",
                      *(f"  {step}" for step in steps), "end "])  # fmt: skip
    quote = tag(body)
    return (
        f"create or replace function {name}({shape.arguments(names)}, {shape.outs()})\n"
        f"language plpgsql immutable parallel safe cost {100 + len(body) // COST} as {quote}{body}{quote};\n"
    )


def arithmetic(names: Names) -> str:
    """The helpers of careful arithmetic."""
    text = Path(__file__).with_name("arithmetic.sql").read_text(encoding="utf-8")
    powers = {"up": 700, "down": -700, "over_1": 324, "over_2": -376, "under_1": -375, "under_2": 325}
    values = {key: POSTGRES.double(2.0**power) for key, power in powers.items()}
    parts = {part: names.of(part) for part in ("add", "mul", "div")}
    return text.format(**parts, **values, tag=tag(text, *parts.values()))
