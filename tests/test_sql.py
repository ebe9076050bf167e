"""The SQL compiler: every expression means what the graph means, thresholds are folded exactly, and the text that an
engine is given answers like the original, whatever the columns are called and the categories hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import packed
import pytest
import zoo
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anyport.batch import Batch, Column, Outcome, rows
from anyport.bundle import Bundle, Tolerance, read
from anyport.errors import BadData, Impossible
from anyport.golden.compare import compare
from anyport.golden.store import read as read_golden
from anyport.kit import database
from anyport.kit.database import answers, create, outcome
from anyport.signature import Field, Signature
from anyport.sql import fold, missing
from anyport.sql.compile import Compiled, compiled, selected, values_of, whole
from anyport.sql.dialect import DUCKDB, POSTGRES, SQLITE, Dialect
from anyport.sql.expr import Node, Pool, evaluate, order
from anyport.sql.fold import Folder, direction, joined, limits
from anyport.sql.size import reach
from anyport.sql.tree import LEAF, LESS_EQUAL, Tree, cut
from anyport.targets.sqlite import Connected

WORDS = ("documents", "text_beside_numbers")
"""Models that split text into words."""
GRAPHS = sorted(n for n, e in zoo.load().items() if e.form == "graph" and n not in WORDS and "tensor" not in e.traits)
SOME = ("penguin_species", "xgboost_numbers", "forest_behind_scaler", "odd_names", "nullable_columns", "components",
        "searched", "missing_indicator")  # fmt: skip
"""What engines that are slow to ask are asked in the default suite; the slow tests ask them everything."""


def tolerance(bundle: Bundle) -> Tolerance:
    """Double throughout, but for libraries that add in single precision."""
    close = 1e-6 if bundle.manifest.framework in ("xgboost", "catboost") or bundle.name == "penguin_species" else 1e-9
    return Tolerance(rtol=close, atol=close)


def judged(bundle: Bundle, got: Outcome) -> Any:
    file = bundle.member("golden.npz")
    assert file is not None
    golden = read_golden(file, bundle.signature)
    return compare(golden.outcome, got, bundle.signature, tolerance=tolerance(bundle), excluded=golden.excluded)


def golden_inputs(bundle: Bundle) -> Batch:
    file = bundle.member("golden.npz")
    assert file is not None
    return read_golden(file, bundle.signature).inputs


def asked(model: Compiled, batch: Batch) -> Outcome:
    """The model's answers in SQLite."""
    with closing(sqlite3.connect(":memory:")) as connection:
        session = Connected(connection)
        create(session, "t", batch)
        query = selected(model, SQLITE, '"t"', keys=[database.KEY], fence="materialized ")
        listed = ", ".join(map(SQLITE.ident, [*answers(model.signature), database.KEY]))
        found = session.ask(f"select {listed} from ({query}) order by {database.KEY}")
    return outcome(model.signature, [row[:-1] for row in found])


@pytest.mark.parametrize("name", GRAPHS)
def test_expressions_mean_what_the_original_answers(shelf: packed.Shelf, name: str) -> None:
    bundle = read(shelf.bundle(name))
    model, inputs = compiled(bundle, DUCKDB), golden_inputs(bundle)
    columns = evaluate([a.node for a in model.answers], values_of(model, inputs), rows(inputs))
    cells = []
    for answer, values in zip(model.answers, columns, strict=True):
        labels = answer.field.levels if answer.field.name.startswith("prediction") else None
        cells.append([labels[int(v)] for v in values] if labels is not None else values.tolist())
    refused = read_golden(bundle.path / "golden.npz", bundle.signature).outcome.refused
    why = [f"column {refused[i][0].column!r}: expected x, got y" if i in refused else None for i in range(rows(inputs))]
    found = judged(bundle, outcome(bundle.signature, list(zip(*cells, why, strict=True))))
    assert found.ok, found.says()


@pytest.mark.parametrize("name", GRAPHS)
def test_sqlite_answers_as_the_original_did(shelf: packed.Shelf, name: str) -> None:
    bundle = read(shelf.bundle(name))
    found = judged(bundle, asked(compiled(bundle, SQLITE), golden_inputs(bundle)))
    assert found.ok, found.says()


@pytest.mark.parametrize("name", WORDS)
def test_what_sql_has_no_words_for_is_refused_with_the_reason(shelf: packed.Shelf, name: str) -> None:
    with pytest.raises(Impossible, match="splits text into words"):
        compiled(read(shelf.bundle(name)), SQLITE)


# -- thresholds folded back to the raw column

STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "sub", "mul", "div", "f32", "neg", "min", "max"]),
              st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3)),
    max_size=5,
)  # fmt: skip


def chain(pool: Pool, column: Node, steps: Sequence[tuple[str, float]]) -> Node:
    node = column
    for op, value in steps:
        node = pool.apply(op, node) if op in ("f32", "neg") else pool.apply(op, node, pool.const(value))
    return node


@settings(max_examples=300, deadline=None)
@given(STEPS, st.floats(-1e4, 1e4))
def test_a_folded_threshold_is_the_last_double_that_goes_left(steps: list[tuple[str, float]], threshold: float) -> None:
    pool = Pool()
    column = pool.node("column", (), ("x", False), "f")
    node = chain(pool, column, steps)
    way = direction(node, column)
    assert way in (-1, 1)
    limit = limits(node, column, np.array([threshold]), way)[0]

    def left(x: float) -> bool:
        return bool(evaluate([node], {"x": np.array([x])}, 1)[0][0] <= threshold)

    if np.isnan(limit):
        assert not left(-np.inf * way)
    else:
        assert left(limit)
        if np.isfinite(limit):
            assert not left(float(np.nextafter(limit, np.inf * way)))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_tree_cut_in_pieces_answers_the_same(data: st.DataObject) -> None:
    depth = data.draw(st.integers(1, 9))
    mode, feature, threshold, left, right = [], [], [], [], []
    for at in range(2 ** (depth + 1) - 1):
        inner = at < 2**depth - 1
        mode.append(LESS_EQUAL if inner else LEAF)
        feature.append(at % 3)
        threshold.append(float((at * 7919) % 13 - 6))
        left.append(2 * at + 1 if inner else at)
        right.append(2 * at + 2 if inner else at)
    tree = Tree(tuple(mode), tuple(feature), tuple(threshold), tuple(left), tuple(right), (False,) * len(mode),
                tuple(map(float, range(len(mode)))), {})  # fmt: skip
    pool = Pool()
    columns = [pool.node("column", (), (f"x{i}", False), "f") for i in range(3)]
    whole = pool.node("tree", columns, tree, "f")
    most = data.draw(st.integers(1, 4))
    pieces = cut(pool, whole, most)
    assert all(n.data.depth() <= most for n in order([pieces]) if n.op == "tree")
    x = np.random.default_rng(0).integers(-8, 8, (3, 200)).astype(float)
    env = {f"x{i}": x[i] for i in range(3)}
    a, b = evaluate([whole, pieces], env, 200)
    assert a.tolist() == b.tolist()


def test_sums_of_one_hot_columns_become_one_lookup() -> None:
    pool = Pool()
    city = pool.node("column", (), ("city", True), "s")
    hot = [pool.apply("float", pool.lookup(city, [(v, 1)], 0, 0)) for v in ("a", "b", "c")]
    total = pool.sum([pool.apply("mul", h, pool.const(w)) for h, w in zip(hot, (1.5, -2.0, 4.0), strict=True)])
    [made] = joined(pool, [total])
    assert made.op == "lookup"
    values = np.array(["a", "b", "c", "d", None], object)
    assert evaluate([made], {"city": values}, 5)[0].tolist() == [1.5, -2.0, 4.0, 0.0, 0.0]


def test_columns_are_kept_from_overflow_where_the_engine_would_raise() -> None:
    pool = Pool()
    x = pool.node("column", (), ("x", False), "f")
    assert 1e307 < reach([pool.apply("mul", x, pool.const(2.0))]) < 9e307
    cubed = pool.apply("mul", x, pool.apply("mul", x, x))
    assert 1e102 <= reach([cubed]) <= 1e103


# -- names and categories that would break out of the text

HOSTILE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12) | st.sampled_from(
    ["'", '"', "''", "\\", "\\'", "'; drop table t; --", "a'b\"c", "%s", "$$", "{}", "{0}", "\n", "select", "Übergröße"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=6, unique=True), HOSTILE)
def test_no_category_or_name_breaks_out_of_the_text(levels: list[str], name: str) -> None:
    name = name or "x"
    pool = Pool()
    column = pool.node("column", (), (name, True), "s")
    made = pool.lookup(column, [(v, float(i + 1)) for i, v in enumerate(levels)], -1.0, -2.0)
    signature = Signature(
        inputs=(Field(name=name, dtype="string", nullable=True),), outputs=(Field(name="prediction", dtype="float64"),)
    )
    model = Compiled(signature, (answer(signature, made),), (), Folder([]))
    values = np.empty(len(levels) + 2, object)
    values[:] = [*levels, "\x01never", None]
    got = asked(model, {name: Column(values, np.array([v is not None for v in values], bool))})
    assert got.outputs["prediction"].values.tolist() == [*(float(i + 1) for i in range(len(levels))), -1.0, -2.0]


def answer(signature: Signature, node: Node) -> Any:
    from anyport.sql.compile import Answer

    return Answer("prediction", signature.outputs[0], node)


@pytest.mark.parametrize("dialect", [DUCKDB, SQLITE, POSTGRES], ids=lambda d: d.name)
def test_what_a_dialect_cannot_name_or_hold_is_refused(dialect: Dialect) -> None:
    with pytest.raises(Impossible, match="bytes"):
        dialect.ident("ž" * 6000)
    with pytest.raises(Impossible, match="NUL"):
        dialect.literal("a\x00b")


@settings(max_examples=300, deadline=None)
@given(st.floats(1e-280, 1e300) | st.floats(-1e300, -1e-280) | st.sampled_from([0.0, np.inf, -np.inf, np.nan]))
@example(-0.001172021286210117)
@example(42.62740459094098)
def test_a_double_is_written_exactly(value: float) -> None:
    """Beyond these SQLite itself, before 3.47, reads some decimals a step off."""
    with closing(sqlite3.connect(":memory:")) as connection:
        found = connection.execute(f"select {SQLITE.double(value)}").fetchone()[0]
    assert (found is None and value != value) or float(found) == value


# -- a table that does not fit


def table_of(**kinds: str) -> dict[str, str]:
    return kinds


def test_a_table_that_does_not_fit_is_told_every_column() -> None:
    signature = Signature(
        inputs=(Field(name="x", dtype="float64"), Field(name="city", dtype="string"), Field(name="n", dtype="int64")),
        outputs=(Field(name="prediction", dtype="float64"),),
    )
    database.checked(table_of(x="double precision", city="character varying(20)", n="integer"), signature)
    with pytest.raises(BadData, match=r"no column 'x' \(there is 'X'\); column 'city' is bigint") as error:
        database.checked(table_of(X="real", city="bigint", n="text"), signature)
    assert "column 'n' is text" in error.value.what


def test_every_expression_is_looked_at_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Gaussian process of 300 rows is 140,000 expressions: what looks below each anew never ends."""
    looked = 0

    def counted(*given: Any) -> list[Node]:
        nonlocal looked
        found = order(*given)
        looked += len(found)
        return found

    for module in (fold, missing):
        monkeypatch.setattr(module, "order", counted)
    pool = Pool()
    made = pool.node("column", (), ("x", False), "f")
    for i in range(1000):
        made = pool.apply("max", pool.apply("mul", made, made), pool.const(float(i)))
    [root] = joined(pool, [made])
    signature = Signature(inputs=(Field(name="x", dtype="float64"),), outputs=(Field(name="y", dtype="float64"),))
    model = whole(signature, [answer(signature, root)])
    assert len(selected(model, SQLITE, "t")) > 1000
    assert looked < 20 * 2000


def test_a_term_may_stand_twice_in_a_sum() -> None:
    pool = Pool()
    x, y = (pool.node("column", (), (name, False), "f") for name in "xy")
    word = pool.lookup(pool.node("column", (), ("w", False), "s"), [("a", 1.0)], 2.0, 3.0)
    [made] = joined(pool, [pool.sum([x, word, y, x, word])])
    columns = {"x": np.array([1.5]), "y": np.array([-4.0]), "w": np.array(["a"], object)}
    assert evaluate([made], columns, 1)[0].tolist() == [1.0]
    assert sum(n.op == "lookup" for n in order([made])) == 1
