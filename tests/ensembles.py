"""Random tree ensembles as expressions, over columns of every kind: what each form of their SQL is held to."""

from __future__ import annotations

from typing import Any

import numpy as np

from anyport.batch import Batch, Column
from anyport.signature import Field, Signature
from anyport.sql.compile import Answer, Compiled, values_of, whole
from anyport.sql.expr import Node, Pool, evaluate
from anyport.sql.tree import LEAF, LESS_EQUAL, MEMBER, Tree

CITIES = ("rome", "o'slo", "{0}", "Übergröße", "rome ")


def signature(outputs: int = 1) -> Signature:
    names = ["prediction", *(f"other_{i}" for i in range(outputs - 1))]
    return Signature(
        inputs=(
            Field(name="x", dtype="float64", nullable=True), Field(name="sure", dtype="float64"),
            Field(name="n", dtype="int64"), Field(name="flag", dtype="bool"),
            Field(name="city", dtype="string", nullable=True),
        ),
        outputs=tuple(Field(name=n, dtype="float64") for n in names),
    )  # fmt: skip


def features(pool: Pool) -> list[Node]:
    """Rising, falling, rounded, of whole numbers, of a truth, one-hot, codes, and of two columns at once."""
    x, sure = pool.node("column", (), ("x", True), "f"), pool.node("column", (), ("sure", False), "f")
    n, flag = pool.node("column", (), ("n", False), "i"), pool.node("column", (), ("flag", False), "b")
    city = pool.node("column", (), ("city", True), "s")
    codes = [(c, float(i)) for i, c in enumerate(CITIES)]
    return [
        x, pool.apply("f32", pool.apply("div", pool.apply("sub", sure, pool.const(0.3)), pool.const(-1.7))),
        pool.apply("float", n), pool.apply("float", flag),
        pool.lookup(city, [(CITIES[1], 1.0)], 0.0, 0.0), pool.lookup(city, codes, -1.0, float("nan")),
        pool.apply("add", x, sure),
    ]  # fmt: skip


def tree(rng: np.random.Generator, width: int, depth: int, *, full: bool) -> Tree:
    """A random tree over `width` features."""
    rows: list[list[Any]] = []
    sets: dict[int, frozenset[float]] = {}

    def grow(deep: int) -> int:
        at = len(rows)
        feature = int(rng.integers(width))
        leaf = deep == depth or (not full and deep > 0 and rng.random() < 0.3)
        rows.append([LEAF if leaf else LESS_EQUAL, 0 if leaf else feature, 0.0, at, at, False, 0.0])
        if leaf:
            rows[at][6] = float(rng.normal())
            return at
        rows[at][2] = float(rng.choice([rng.normal(), rng.integers(-2, 4), 0.5]))
        rows[at][5] = bool(rng.random() < 0.5)
        if feature == 5 and rng.random() < 0.5:
            rows[at][0] = MEMBER
            sets[at] = frozenset(float(v) for v in rng.choice(6, 3, replace=False) - 1)
        rows[at][3] = grow(deep + 1)
        rows[at][4] = grow(deep + 1)
        return at

    grow(0)
    mode, feature, threshold, left, right, gone, values = map(tuple, zip(*rows, strict=True))
    return Tree(mode, feature, threshold, left, right, gone, values, sets)


def ensemble(
    seed: int, *, trees: int = 12, depth: int = 4, full: bool = False, width: int = 7, single: bool = False,
    outputs: int = 1, constants: bool = True,
) -> Compiled:  # fmt: skip
    """Sums of trees, with a constant before, between and after them; with several outputs the trees share shapes."""
    rng = np.random.default_rng(seed)
    pool = Pool()
    given = features(pool)
    grown = [tree(rng, width, depth, full=full) for _ in range(trees)]
    roots = []
    for k in range(outputs):
        terms = [pool.node("tree", given, t.with_values(lambda v, k=k: v * (k + 1)), "f") for t in grown]  # type: ignore[misc]
        if constants:
            terms = [pool.const(0.7), *terms[:5], pool.const(-1.3), *terms[5:], given[6], terms[0]]
        roots.append(pool.sum(terms, single=single))
    last = pool.apply("exp", pool.apply("neg", roots[-1]))
    roots[-1] = (
        pool.apply("div", pool.const(1.0), pool.apply("add", pool.const(1.0), last)) if outputs > 1 else roots[-1]
    )
    about = signature(outputs)
    answers = tuple(Answer(f.name, f, node) for f, node in zip(about.outputs, roots, strict=True))
    return whole(about, answers)


def rows_of(seed: int, n: int, *, huge: float = 1e300) -> Batch:
    """Rows on thresholds and off them, with missing values and infinities; `huge` is beyond single precision."""
    rng = np.random.default_rng(seed)
    x = rng.choice([np.nan, np.inf, -np.inf, 0.5, 1.0, -0.0, *rng.normal(size=40)], n)
    city = np.empty(n, object)
    city[:] = rng.choice(np.array([*CITIES, "elsewhere", None], object), n)
    return {
        "x": Column(x), "sure": Column(rng.choice([0.3, 0.5, -huge, huge, *rng.normal(size=40)], n)),
        "n": Column(rng.choice(np.array([-(2**62), -1, 0, 1, 2, 3, 2**53 + 1]), n)),
        "flag": Column(rng.random(n) < 0.5),
        "city": Column(city, np.array([c is not None for c in city], bool)),
    }  # fmt: skip


def expected(model: Compiled, batch: Batch, n: int) -> list[np.ndarray[Any, Any]]:
    """What the expressions themselves mean."""
    return evaluate([a.node for a in model.answers], values_of(model, batch), n)
