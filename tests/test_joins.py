"""Trees as a table of nodes: joins along it answer exactly as nested CASE does, hold forests that CASE cannot, and what
is shipped keeps the engines' limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ensembles
import numpy as np
import packed
import pytest
from conforming import conforms

import anyport
from anyport import targets
from anyport.bundle import Bundle, read
from anyport.errors import Impossible
from anyport.kit import joined as forms
from anyport.kit.database import KEY, create
from anyport.kit.standin import StandIn, transpiled
from anyport.sql import joins
from anyport.sql.compile import Answer, Compiled, selected, whole
from anyport.sql.dialect import Dialect
from anyport.sql.dialects import BIGQUERY, LARGEST, TSQL
from anyport.sql.expr import Pool
from anyport.sql.joins import joined
from anyport.targets import sqlserver
from anyport.targets.bigquery import nodes as of_google
from anyport.targets.sqlserver import nodes as of_microsoft
from anyport.targets.sqlserver.rules import in_duckdb, lawful

ROWS = 300
BOTH = [BIGQUERY, TSQL]


def carried(d: Dialect, text: str) -> list[str]:
    """A statement for DuckDB."""
    return transpiled(text, "bigquery") if d is BIGQUERY else in_duckdb(text)


def place(d: Dialect, name: str) -> str:
    return f"{d.ident('m')}.{d.ident(name)}"


def filled(d: Dialect, model: Compiled) -> tuple[str, list[str]]:
    """The query of joins, and what fills its table."""
    table = place(d, "a{0}b")
    made = joined(model, d, table)
    engine = of_google.ENGINE if d is BIGQUERY else sqlserver.ENGINE
    found = forms.Asked("", table, made.columns, tuple(forms.lines(made, d, engine.gone)))
    fills = of_google.filling(found) if d is BIGQUERY else of_microsoft.filling(found)
    return selected(made.model, d, place(d, "t"), keys=[KEY]), fills


def answered(d: Dialect, batch: Any, statements: Sequence[str], *queries: str) -> list[list[tuple[Any, ...]]]:
    """The rows of each query, in the batch's order."""
    session = StandIn("m", largest=np.inf if d is BIGQUERY else float(LARGEST))
    try:
        create(session, "t", batch)
        for text in (*statements, *(f"create view v{i} as {q}" for i, q in enumerate(queries))):
            for one in carried(d, text):
                session.raw.execute(one)
        return [session.ask(f"select * from v{i} order by {KEY}") for i in range(len(queries))]
    finally:
        session.raw.close()


@pytest.mark.parametrize("d", BOTH, ids=lambda d: d.name)
@pytest.mark.parametrize("seed", range(8))
def test_joins_answer_bit_by_bit_as_nested_case(d: Dialect, seed: int) -> None:
    """Thresholds, categories, truths, codes and sums of columns; missing values on either side; whole numbers beyond
    2^53; infinities; constants between the trees; in double and in single precision."""
    model = ensembles.ensemble(seed, single=seed % 2 == 1, outputs=1 + seed % 3, constants=seed < 4)
    batch = ensembles.rows_of(seed, ROWS, huge=1e30)
    joins_, fills = filled(d, model)
    case = selected(whole(model.signature, model.answers, d.cases), d, place(d, "t"), keys=[KEY])
    if d is TSQL:
        lawful(joins_)
    got, wanted = answered(d, batch, fills, joins_, case)
    assert len(got) == ROWS
    assert repr(got) == repr(wanted)  # NaN too
    assert len({row[1] for row in got}) > 20


@pytest.mark.parametrize("d", BOTH, ids=lambda d: d.name)
def test_trees_that_ask_about_the_answers_of_trees(d: Dialect) -> None:
    """A stack: the second forest walks behind the first, in the same table."""
    rng, pool = np.random.default_rng(3), Pool()
    given = ensembles.features(pool)
    below = pool.sum([pool.node("tree", given, ensembles.tree(rng, 7, 3, full=True), "f") for _ in range(3)])
    trees = [pool.node("tree", [below], ensembles.tree(rng, 1, 3, full=True), "f") for _ in range(4)]
    about = ensembles.signature()
    stacked = whole(about, [Answer(about.outputs[0].name, about.outputs[0], pool.sum(trees))], d.cases)
    joins_, fills = filled(d, stacked)
    got, wanted = answered(d, ensembles.rows_of(3, ROWS), fills, joins_, selected(
        stacked, d, place(d, "t"), keys=[KEY]))  # fmt: skip
    assert repr(got) == repr(wanted)
    assert len({row[1] for row in got}) > 3
    assert joins_.count("between") == 2


@pytest.mark.parametrize("d", BOTH, ids=lambda d: d.name)
def test_the_text_hardly_grows_with_the_trees(d: Dialect) -> None:
    """Only by what adds a leaf up: that keeps the order of the trees, on which the last place of a sum, and so a label,
    hangs."""
    few, many = (len(filled(d, ensembles.ensemble(1, trees=n, depth=5, constants=False))[0]) for n in (20, 220))
    assert (many - few) / 200 < (20 if d is BIGQUERY else 90)


def test_a_tree_too_deep_for_joins_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins, "DEEPEST", 3)
    with pytest.raises(Impossible, match=r"a tree is \d questions deep; as joins at most 3"):
        joined(ensembles.ensemble(0), TSQL, "t")


# -- targets


def module(name: str) -> Any:
    return targets.get(name)


@pytest.mark.parametrize("target", ["bigquery", "sqlserver"])
@pytest.mark.parametrize(
    "name",
    ["penguin_species", "xgboost_numbers", "forest_behind_scaler", "stacked", "xgboost_categories", "several_numbers"],
)
def test_the_zoo_in_joins_is_what_the_original_answered(
    shelf: packed.Shelf, tmp_path: Path, target: str, name: str
) -> None:
    from test_sql import golden_inputs, judged

    bundle = read(shelf.bundle(name))
    made = targets.build(bundle, target, tmp_path / "artefact", form="joins")
    up = (made.path / "up.sql").read_text()
    assert "nodes" in up
    with module(target).run(made) as running:
        found = judged(bundle, running.predictor.predict(golden_inputs(bundle)))
        assert running.engine.proof == "stand-in"
    assert found.ok, found.says()


def forest(kind: str, tmp_path: Path) -> Bundle:
    """A forest that nested CASE cannot hold."""
    import pandas as pd

    rng = np.random.default_rng(11)
    n = 6000
    x = pd.DataFrame(rng.normal(size=(n, 6)), columns=[f"x{i}" for i in range(6)])
    score = x["x0"] * x["x1"] + np.sin(3 * x["x2"]) + 0.3 * rng.normal(size=n)
    if kind == "deep":
        from sklearn.ensemble import RandomForestClassifier

        model: Any = RandomForestClassifier(300, max_depth=8, random_state=0, n_jobs=1).fit(x, score > 0)
    elif kind == "classes":
        from sklearn.ensemble import HistGradientBoostingClassifier

        model = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=31, early_stopping=False, random_state=0)
        model.fit(x, np.array(list("abcde"))[np.digitize(score, [-1, -0.3, 0.3, 1])])
    elif kind == "number":
        from sklearn.ensemble import ExtraTreesRegressor

        model = ExtraTreesRegressor(60, max_depth=12, random_state=0, n_jobs=1).fit(x, score)
    else:
        from lightgbm import LGBMClassifier

        x["city"] = pd.Categorical(rng.choice(["rome", "oslo", "bern", "lima", "kyiv", "cork"], n))
        x.loc[rng.random(n) < 0.2, "x0"] = np.nan
        x.loc[rng.random(n) < 0.1, "city"] = np.nan
        model = LGBMClassifier(n_estimators=400, num_leaves=63, random_state=0, n_jobs=1, verbose=-1)
        model.fit(x, (score + (x["city"] == "rome")).fillna(0) > 0)
    out = tmp_path / f"{kind}.anyport"
    anyport.pack(model, x.head(1500), name=kind, out=out)
    return read(out)


@pytest.mark.parametrize("target", ["bigquery", "sqlserver"])
@pytest.mark.parametrize("kind", ["deep", "classes", "number", "missing"])
def test_forests_that_case_cannot_hold_conform(tmp_path: Path, kind: str, target: str) -> None:
    bundle = forest(kind, tmp_path)
    report = conforms(bundle, target, tmp_path / "artefact")
    print((tmp_path / "artefact" / "up.sql").stat().st_size)
    assert report.proof == "stand-in"
