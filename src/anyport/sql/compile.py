"""A bundle as SQL: which columns it takes, the values in between, its answers, and why a row has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anyport.bundle import Bundle
from anyport.errors import Impossible
from anyport.signature import Field, Signature
from anyport.sql.careful import lonely, number, outside, within
from anyport.sql.dialect import Dialect, kind_of
from anyport.sql.expr import Node, Pool, order
from anyport.sql.faint import faint_ones, last_ones
from anyport.sql.fold import Folder, joined, trees_of
from anyport.sql.named import chunked, lets
from anyport.sql.read import read
from anyport.sql.size import Limits, limits, nearest, reach
from anyport.sql.tree import cut
from anyport.sql.write import Writer

REFUSAL = "refusal"
"""The output that says why a row has no answer; NULL where it has one."""


@dataclass(frozen=True)
class Answer:
    """One scalar of an output: a column of the result."""

    name: str
    field: Field
    node: Node


@dataclass(frozen=True)
class Compiled:
    """A model as expressions, before any engine's text."""

    signature: Signature
    answers: tuple[Answer, ...]
    lets: tuple[Node, ...]
    """Named in this order: each needs only those before it."""
    folder: Folder
    meant: Compiled | None = None
    """Where an engine's own words stand in it: the same model without, which says how large its values become."""


def scalars(field: Field) -> list[str]:
    """The columns that a field is: itself, or `name_0` … of a tensor."""
    return [field.name] if not field.shape else [f"{field.name}_{i}" for i in range(field.width)]


def compiled(bundle: Bundle, d: Dialect) -> Compiled:
    """The bundle's proven graph as expressions that the dialect can nest. Impossible with the reason where it has no
    such graph, or SQL cannot hold it."""
    graph = bundle.member("exact.onnx")
    if graph is None and bundle.member("encoder.json") is None:
        graph = bundle.member("fast.onnx")  # of someone else's graph, which takes raw inputs
    if graph is None:
        raise Impossible(no_graph(bundle))
    return of_graph(graph.read_bytes(), bundle.signature, d)


def no_graph(bundle: Bundle) -> str:
    """Why the bundle has no graph over its raw columns."""
    if bundle.form == "python":
        return f"SQL is made from a proven graph, and this model has none: {bundle.manifest.why_no_graph}"
    why = next((t.rejected for t in bundle.manifest.tried if t.why == "exact.onnx"), "")
    return f"the model splits text into words, which SQL engines do each in another way{f' ({why})' if why else ''}"


def of_graph(graph: bytes, signature: Signature, d: Dialect) -> Compiled:
    """A graph over raw inputs as expressions."""
    program = read(graph, signature)
    names: list[tuple[str, Field]] = []
    roots: list[Node] = []
    for field in signature.outputs:
        found = program.outputs[field.name]
        columns = scalars(field) if field.shape else [field.name]
        if len(found) != len(columns):
            raise Impossible(f"output {field.name!r} has {len(found)} values a row; the signature says {len(columns)}")
        names += [(column, field) for column in columns]
        roots += found
    roots = shortened(program.pool, joined(program.pool, roots), d)
    answers = tuple(Answer(name, field, node) for (name, field), node in zip(names, roots, strict=True))
    return whole(signature, answers, d.cases)


def whole(signature: Signature, answers: Sequence[Answer], cases: int = 0) -> Compiled:
    """The model of these answers: thresholds folded, what is used more than once, or nests too deep, named."""
    roots = [a.node for a in answers]
    folder = Folder(trees_of(roots))
    return Compiled(signature, tuple(answers), tuple(lets(roots, folder, cases)), folder)


def shortened(pool: Pool, roots: Sequence[Node], d: Dialect) -> list[Node]:
    """Long sums as sums of sums, deep trees in pieces: what the dialect's parser takes."""
    new: dict[int, Node] = {}
    for node in order(roots):
        args = tuple(new[a.id] for a in node.args)
        made = node if args == node.args else pool.node(node.op, args, node.data, node.kind)
        if made.op in ("sum", "sum32") and len(args) > d.terms:
            made = chunked(made, pool, d.terms)
        elif made.op == "tree" and d.depth:
            made = cut(pool, made, d.depth)
        new[node.id] = made
    return [new[r.id] for r in roots]


@dataclass(frozen=True)
class Prepared:
    """An input column: how the engine's column becomes what the expressions take, and when its row is refused."""

    name: str
    field: Field
    value: str
    refusals: tuple[tuple[str, str], ...]
    """Condition over the raw column, and the words of the refusal."""


def prepared(dialect: Dialect, signature: Signature, raw: Callable[[str], str]) -> Iterator[Prepared]:
    """Every input column of a dialect; `raw` says how the column is called."""
    for field in signature.inputs:
        for name in scalars(field):
            x = raw(name)
            yield Prepared(name, field, taken(dialect, field, x), tuple(refused(dialect, field, name, x)))


def taken(d: Dialect, field: Field, x: str) -> str:
    """A column as the expressions take it."""
    if field.is_float:
        return d.missing.format(x)
    if field.dtype == "datetime":
        return d.micros.format(x)
    if field.dtype == "bool" and field.nullable:
        return f"case when {d.holds(x)} then {d.branch(1.0)} when not {d.holds(x)} then {d.double(0.0)} end"
    if field.is_int and field.nullable:
        return d.cast(x, "double")
    return x


def refused(d: Dialect, field: Field, name: str, x: str) -> Iterator[tuple[str, str]]:
    """The conditions under which a row is refused, by the signature's rules (see signature.refusals)."""

    def words(got: str) -> str:
        return f"column {name!r}: expected {field.says()}, got {got}"

    value = d.missing.format(x) if field.is_float else x
    if not field.nullable:
        yield f"{value} is null", words("a missing value")
    infinity = d.infinity or d.most
    if field.is_float and not field.infinite and infinity:
        yield f"abs({x}) = {infinity}", words("an infinity")
    if field.is_float or field.is_int:
        finite = f" and abs({x}) < {infinity}" if field.is_float and infinity and field.infinite else ""
        number = d.double if field.is_float else (lambda v: str(int(v)))
        if field.low is not None:
            yield f"{value} < {number(field.low)}{finite}", words("a number below")
        if field.high is not None:
            yield f"{value} > {number(field.high)}{finite}", words("a number above")
    if field.closed:
        levels = ", ".join(d.level(str(v)) if field.is_text else constant(d, v) for v in field.levels or ())
        compared = d.binary.format(x) if field.is_text else x
        yield f"{compared} not in ({levels})", words("another value")


def label(d: Dialect, field: Field, text: str) -> str:
    """The text of an answer as the signature's type: a class's label for its index."""
    if field.levels is None or not field.name.startswith("prediction"):
        if field.is_int:
            return d.cast(text, "bigint")
        return text
    whens = " ".join(f"when {i} then {constant(d, v)}" for i, v in enumerate(field.levels))
    return f"case {text} {whens} end"


def constant(d: Dialect, value: Any) -> str:
    """A label."""
    if isinstance(value, bool):
        return ("true" if value else "false") if d.truths else str(int(value))
    if isinstance(value, str):
        return d.literal(value)
    return d.double(value) if isinstance(value, float) else str(value)


def levelled(model: Compiled) -> list[list[Node]]:
    """The named expressions in layers: each layer needs only those before it."""
    depth: dict[int, int] = {}
    named = {n.id for n in model.lets}
    layers: list[list[Node]] = []
    for node in order([a.node for a in model.answers], model.folder.reads):
        below = max((depth[a.id] for a in model.folder.reads(node)), default=0)
        if node.id in named:
            if len(layers) <= below:
                layers.append([])
            layers[below].append(node)
            depth[node.id] = below + 1
        else:
            depth[node.id] = below
    return layers


@dataclass(frozen=True)
class Value:
    """A name, its type, and the text that gives it."""

    name: str
    type: str
    text: str
    source: str = ""
    """Of a walk (see sql/joins.py): what it is gathered from; the text is an aggregate."""


@dataclass(frozen=True)
class Script:
    """A model in one dialect's words, in the order in which they are needed; how they are put together is the engine's
    affair. Texts of `columns` are over the engine's own columns; all others over the names before them."""

    columns: tuple[Value, ...]
    why: str
    """Why the row is refused, over the engine's own columns; NULL where it is not."""
    layers: tuple[tuple[Value, ...], ...]
    answers: tuple[Value, ...]
    """By their own names, not quoted; to be shown where `why` is NULL."""
    beyond: str = ""
    """Where this holds, over `columns`, arithmetic of a row might overflow; "" where none can (see Dialect.raises)."""


CALCULATED = "calculated with "
"""Before the name of a column, among what a text uses: it is not only compared."""


def script(model: Compiled, d: Dialect, raw: Callable[[str], str] | None = None, *, clamped: bool = True) -> Script:
    """The model in a dialect. `raw` says how an input column is called (default: by its quoted name). Where arithmetic
    raises errors, columns are kept from what would overflow if `clamped`; else `beyond` says which rows would."""
    inputs = list(prepared(d, model.signature, raw or d.ident))
    places = {p.name: i for i, p in enumerate(inputs)}
    used: dict[str, str] = {}
    numbers: dict[str, dict[str, int]] = {}

    def column(name: str) -> str:
        i = places[name]
        used[f"x{i}"] = inputs[i].value
        writer.used.add(f"x{i}")
        return f"x{i}"

    def operand(name: str) -> str:
        p = inputs[places[name]]
        if not d.raises or not (p.field.is_float or (p.field.is_int and most.joint < 1e20)):
            return column(name)
        if not clamped or not p.field.is_float:
            writer.used.add(f"{CALCULATED}{column(name)}")
            return column(name)
        i = places[name]
        if name in most.alone:
            own[f"a{i}"] = lonely(d, column(name), most, name)
        else:
            used[f"a{i}"] = within(d, p.value, most.joint)
        writer.used.add(f"a{i}")
        return f"a{i}"

    def code(name: str, level: str) -> tuple[str, int]:
        known = numbers.setdefault(name, {})
        writer.used.add(f"c{places[name]}")
        return f"c{places[name]}", known.setdefault(level, len(known) + 1)

    meant = model.meant or model
    everything = [*meant.lets, *(a.node for a in meant.answers)]
    most = Limits(0.0) if not d.raises else bounds(meant) if clamped else Limits(reach(everything))
    own: dict[str, str] = {}
    roots = [*model.lets, *(a.node for a in model.answers)]
    writer = Writer(d, model.folder, column, operand, code if d.codes else None, lost=most.gone,
                    faint=faint_ones(roots, d), last=last_ones(roots))  # fmt: skip
    needs: dict[str, set[str]] = {}
    layers, count = [], 0
    for layer in levelled(model):
        made = []
        for node in layer:
            writer.used = needs[f"v{count}"] = set()
            text, source = writer.valued(node), writer.source(node)
            made.append((node, Value(f"v{count}", kind_of(node.kind, d), text, source)))
            count += 1
        writer.named.update({node.id: value.name for node, value in made})
        layers.append(tuple(value for _, value in made))
    writer.used = wanted = set()
    answers = tuple(Value(a.name, type_of(d, a.field), label(d, a.field, writer.value(a.node))) for a in model.answers)
    refusals = [f"when {condition} then {d.literal(words)}" for p in inputs for condition, words in p.refusals]
    kinds = {f"{c}{i}": operand_type(d, p.field) for i, p in enumerate(inputs) for c in "xa"}
    kinds |= {f"c{i}": d.types["index"] for i in range(len(inputs))}
    kinds["large"] = d.types["bigint"]
    used |= {f"c{places[name]}": number(d, inputs[places[name]].value, known) for name, known in numbers.items()}
    for name in sorted(needs, key=lambda v: -int(v[1:])):  # those that need others come after them
        wanted |= needs[name] if name in wanted else set()
    if own:
        wanted |= {"large", *(f"x{name[1:]}" for name in own)}
        large = (f"case when abs({p.value}) > {d.double(most.small)} then 1 else 0 end"
                 for p in inputs if p.field.is_float)  # fmt: skip
        used["large"] = f"({' + '.join(large)})"
        layers.insert(0, tuple(Value(name, d.types["double"], text) for name, text in sorted(own.items())))
    kept = tuple(tuple(v for v in layer if v.name in wanted) for layer in layers)
    calculated = sorted(v.removeprefix(CALCULATED) for v in wanted if v.startswith(CALCULATED))
    near = nearest(everything, most.joint) if calculated else 0.0
    return Script(
        tuple(Value(name, kinds[name], text) for name, text in sorted(used.items()) if name in wanted),
        f"case {' '.join(refusals)} end" if refusals else d.cast("null", "text"),
        tuple(layer for layer in kept if layer), answers,
        " or ".join(outside(d, x, most.joint, near) for x in calculated),
    )  # fmt: skip


def bounds(model: Compiled) -> Limits:
    """How large the columns may be where they are calculated with."""
    highest = {
        name: max(abs(f.low), abs(f.high))
        for f in model.signature.inputs if f.is_float and f.low is not None and f.high is not None
        for name in scalars(f)
    }  # fmt: skip
    return limits([*model.lets, *(a.node for a in model.answers)], highest)


def operand_type(d: Dialect, field: Field) -> str:
    """The type of an input column as the expressions take it."""
    if field.is_text:
        return d.types["text"]
    if field.dtype == "datetime" or (field.is_int and not field.nullable):
        return d.types["bigint"]
    return d.types["boolean" if field.dtype == "bool" and not field.nullable else "double"]


def type_of(d: Dialect, field: Field) -> str:
    """The type of an answer."""
    if field.dtype == "string":
        return d.types["text"]
    if field.dtype == "bool":
        return d.types["boolean"]
    return d.types["bigint" if field.is_int else "double"]


def selected(model: Compiled, d: Dialect, source: str, *, keys: Sequence[str] = (), fence: str = "") -> str:
    """One SELECT over `source` (a relation, its name already quoted): `keys` as they are, every answer, the refusal.

    `fence` stands before the parenthesis of each common table expression (MATERIALIZED, where the engine would else
    copy an expression into every place that uses it).
    """
    made = script(model, d)
    width = len(keys) + len(made.columns) + 1 + sum(map(len, made.layers))
    if d.columns and width > d.columns:
        raise Impossible(f"the model needs {width:,} values in between; {d.name} has room for {d.columns:,} columns")
    first = [*(f"{d.ident(k)} as k{i}" for i, k in enumerate(keys)), *(f"{v.text} as {v.name}" for v in made.columns)]
    names = [*(f"k{i}" for i in range(len(keys))), *(v.name for v in made.columns), "why"]
    shown = ", ".join([*first, f"{made.why} as why"])
    parts = [f"layer0 as {fence}(\n  select {shown}\n  from {source}{end(d, len(names))})"]
    for layer in made.layers:
        for of in dict.fromkeys(v.source for v in layer):
            values = [v for v in layer if v.source == of]
            before, said = f"layer{len(parts) - 1}", ",\n    ".join(f"{v.text} as {v.name}" for v in values)
            if of:
                carried = ",\n    ".join(d.carried.format(name) for name in names)
                text = d.gathered.format(before=before, carried=carried, values=said, source=of)
            else:
                text = f"select *,\n    {said}\n  from {before}"
            names += [v.name for v in values]
            parts.append(f"layer{len(parts)} as {fence}(\n  {text}{end(d, len(names))})")
    inner = ", ".join(v.name for layer in (made.columns, *made.layers) for v in layer)
    answered = f"{d.once.format(inner)} and why is null" if d.once and inner else "why is null"
    last = [
        *(f"k{i} as {d.ident(k)}" for i, k in enumerate(keys)),
        *(f"case when {answered} then {v.text} end as {d.ident(v.name)}" for v in made.answers),
        f"why as {d.ident(REFUSAL)}",
    ]
    return "with " + ",\n".join(parts) + "\nselect\n  " + ",\n  ".join(last) + f"\nfrom layer{len(parts) - 1}"


def end(d: Dialect, width: int) -> str:
    """The end of a layer of so many columns."""
    return f"\n  {d.fenced.format(', '.join(['null'] * width))}\n" if d.fenced else "\n"


def values_of(compiled_: Compiled, batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch's columns as the expressions take them, for `expr.evaluate`: what the tests hold the engines to."""
    import numpy as np

    found: dict[str, Any] = {}
    for field in compiled_.signature.inputs:
        column = batch[field.name].plain()
        for i, name in enumerate(scalars(field)):
            flat = column.values.reshape(len(column.values), -1)[:, i] if field.shape else column.values
            gone = column.missing()
            if field.is_text:
                value = np.array([None if m else str(v) for v, m in zip(flat.tolist(), gone, strict=True)], object)
            elif field.dtype == "datetime":
                value = flat.astype("datetime64[us]").astype(np.int64)
            elif field.nullable and not field.is_float:
                value = np.where(gone, np.nan, flat.astype(np.float64))
            else:
                value = flat.astype(np.float64) if field.is_float else flat
            found[name] = value
    return found
