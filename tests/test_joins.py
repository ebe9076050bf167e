"""Trees as a table of nodes: joins along it answer exactly as nested CASE does, hold forests that CASE cannot, and what
is shipped keeps the engines' limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import ensembles
import numpy as np
import packed
import pytest
from conforming import conforms

import anyport
from anyport import targets
from anyport.batch import Column
from anyport.bundle import Bundle, read
from anyport.errors import Impossible, Mistake
from anyport.kit import joined as forms
from anyport.kit.database import KEY, create
from anyport.kit.standin import StandIn, transpiled
from anyport.sql import joins
from anyport.sql.compile import Answer, Compiled, selected, whole
from anyport.sql.dialect import Dialect
from anyport.sql.dialects import BIGQUERY, LARGEST, TSQL
from anyport.sql.expr import Pool
from anyport.sql.joins import joined
from anyport.target import Sql
from anyport.targets import bigquery, sqlserver
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
    ["penguin_species", "forest_behind_scaler", "stacked", "xgboost_categories"],
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
        assert running.engine.proof in ("stand-in", "emulated")
    assert found.ok, found.says()


@pytest.fixture(scope="module")
def forests(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """Forests that nested CASE cannot hold, each packed once."""
    folder = tmp_path_factory.mktemp("forests")
    return cache(lambda kind: read(forest(kind, folder)))


def forest(kind: str, folder: Path) -> Path:
    """Trains and packs one."""
    import pandas as pd

    rng = np.random.default_rng(11)
    n = 2500
    x = pd.DataFrame(rng.normal(size=(n, 4)), columns=[f"x{i}" for i in range(4)])
    score = x["x0"] * x["x1"] + np.sin(3 * x["x2"]) + 0.3 * rng.normal(size=n)
    if kind == "deep":
        from sklearn.ensemble import ExtraTreesClassifier

        model: Any = ExtraTreesClassifier(300, max_depth=8, random_state=0, n_jobs=1).fit(x, score > 0)
    elif kind == "classes":
        from sklearn.ensemble import HistGradientBoostingClassifier

        model = HistGradientBoostingClassifier(max_iter=120, early_stopping=False, random_state=0)
        model.fit(x, np.array(list("abcde"))[np.digitize(score, [-1, -0.3, 0.3, 1])])
    elif kind == "number":
        from sklearn.ensemble import ExtraTreesRegressor

        model = ExtraTreesRegressor(40, max_depth=12, random_state=0, n_jobs=1).fit(x, score)
    else:
        from lightgbm import LGBMClassifier

        x["city"] = pd.Categorical(rng.choice(["rome", "oslo", "bern", "lima", "kyiv", "cork"], n))
        x.loc[rng.random(n) < 0.2, "x0"] = np.nan
        x.loc[rng.random(n) < 0.1, "city"] = np.nan
        model = LGBMClassifier(n_estimators=450, num_leaves=63, random_state=0, n_jobs=1, verbose=-1)
        model.fit(x, (score + (x["city"] == "rome")).fillna(0) > 0)
    out = folder / f"{kind}.anyport"
    anyport.pack(model, x.head(300), name=kind, out=out)
    return out


@pytest.mark.parametrize("target", ["bigquery", "sqlserver"])
def test_300_trees_of_depth_8_are_what_the_original_answered(
    forests: Callable[[str], Bundle], tmp_path: Path, target: str
) -> None:
    from test_sql import golden_inputs, judged

    bundle = forests("deep")
    made = targets.build(bundle, target, tmp_path / "artefact")
    assert "_nodes" in (made.path / "down.sql").read_text()
    with module(target).run(made) as running:
        found = judged(bundle, running.predictor.predict(golden_inputs(bundle)))
    assert found.ok, found.says()


KINDS = ("deep", "classes", "number", "missing")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_forests_that_case_cannot_hold_conform_in_bigquery(
    forests: Callable[[str], Bundle], tmp_path: Path, kind: str
) -> None:
    bundle = forests(kind)
    refused = bigquery.fits(bundle, bigquery.Options(form="case"))
    assert refused is not None
    assert "BigQuery takes 1,024,000 in one statement" in refused.why
    made = tmp_path / "artefact"
    assert conforms(bundle, "bigquery", made).proof in ("stand-in", "emulated")
    assert len((made / "query.sql").read_text()) < 50_000
    up = bigquery.shipped(targets.artifact(made), "up.sql")
    assert max(map(len, up)) < 1_024_000 < sum(map(len, up))
    assert up[-1].startswith("create or replace view ")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_forests_conform_in_sql_server(forests: Callable[[str], Bundle], tmp_path: Path, kind: str) -> None:
    bundle, made = forests(kind), tmp_path / "artefact"
    if kind == "deep":  # the others are within its limits as CASE
        refused = sqlserver.fits(bundle, sqlserver.Options(form="case"))
        assert refused is not None
        assert "values in between; SQL Server has room for 4,096 columns" in refused.why
    report = conforms(bundle, "sqlserver", made, form="auto" if kind == "deep" else "joins")
    assert report.proof == "stand-in"
    *fills, view = sqlserver.shipped(targets.artifact(made))
    assert len(fills) > 2
    assert len(view) < 100_000


def test_small_models_stay_case(shelf: packed.Shelf) -> None:
    bundle = read(shelf.bundle("penguin_species"))
    assert [t[:24] for t in bigquery.files(bundle, bigquery.Options())["up.sql"]] == ["create or replace view `"]
    assert len(sqlserver.up(bundle, sqlserver.Options())) == 1


@pytest.mark.parametrize("target", ["bigquery", "sqlserver"])
def test_what_no_form_holds_is_refused_with_each_reason(
    shelf: packed.Shelf, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    its = targets.get(target)
    none = its.fits(read(shelf.bundle("one_label")), its.Options(form="joins"))
    assert none is not None
    assert (none.why, none.fix) == ("the model has no trees that could be a table of nodes", "-O form=case")
    monkeypatch.setattr(joins, "DEEPEST", 1)
    monkeypatch.setattr(forms, "as_case", refusing)
    both = its.fits(read(shelf.bundle("forest_behind_scaler")), its.Options(table="elsewhere"))
    assert both is not None
    assert both.why.startswith("as CASE: too long; as joins: a tree is ")
    assert both.fix == its.INSTEAD


def refusing(*_: Any, **__: Any) -> str:
    raise Impossible("too long")


def test_the_plan_of_bigquery_fills_the_table_and_takes_it_away(shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("forest_behind_scaler"))
    made = targets.build(bundle, "bigquery", tmp_path / "made", form="joins", dataset="zoo", view="v")
    fill, view = bigquery.plan(made, bigquery.Options(), None)
    assert isinstance(fill.do, Sql)
    assert isinstance(fill.undo, Sql)
    table = fill.undo.statements[0].removeprefix("drop table if exists ")
    assert table.startswith("`zoo`.`v_nodes_")
    fresh = table[:-1] + "_new`"
    first, *inserts, put, gone = fill.do.statements
    assert first.startswith(f"create or replace table {fresh} (node INT64, slot INT64, cut FLOAT64")
    assert all(t.startswith(f"insert into {fresh} (") for t in inserts)
    assert (put, gone) == (f"create or replace table {table} as select * from {fresh}", f"drop table {fresh}")
    assert isinstance(view.do, Sql)
    assert table in view.do.statements[0]
    assert view.undo == Sql(("drop view if exists `zoo`.`v`",))


def test_a_fill_that_fails_leaves_the_view_that_is_there(shelf: packed.Shelf) -> None:
    """BigQuery has no transaction around CREATE: what is filled has another name until it is whole, and another model's
    table another one for ever."""
    ups = [bigquery.files(read(shelf.bundle(n)), bigquery.Options(dataset="m", view="v", table="t", form="joins"))
           ["up.sql"] for n in ("forest_behind_scaler", "stacked")]  # fmt: skip
    names = [{text.split("`")[3] for text in of_google.fills(up)} for up in ups]
    assert not names[0] & names[1]
    bundle = read(shelf.bundle("forest_behind_scaler"))
    from test_sql import golden_inputs

    half = [*ups[0], *ups[1][:2], *ups[0][:2]]  # another model's fill is cut short, and then the same one's
    whole_, cut = (answers_of(golden_inputs(bundle), statements) for statements in (ups[0], half))
    assert whole_ == cut
    assert len(whole_) > 500


def answers_of(batch: Any, statements: Sequence[str]) -> str:
    """What the view answers after these statements."""
    n = len(next(iter(batch.values())).values)
    [found] = answered(BIGQUERY, batch | {"id": Column(np.arange(n))}, statements, f"select *, id as {KEY} from m.v")
    return repr(found)


def test_up_sql_of_sql_server_is_one_transaction(shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("forest_behind_scaler"))
    made = targets.build(bundle, "sqlserver", tmp_path / "made", form="joins", schema="ml", view="v")
    batches = (made.path / "up.sql").read_text().removesuffix("\nGO\n").split("\nGO\n")
    assert (batches[0], batches[-1]) == ("set xact_abort on;\nbegin transaction", "commit transaction")
    assert batches[1] == "drop table if exists [ml].[v_nodes]"
    assert batches[2].startswith("create table [ml].[v_nodes] (node int not null primary key, slot int not null, ")
    assert batches[-2].startswith("create or alter view [ml].[v] as\n")
    [step] = sqlserver.plan(made, sqlserver.Options(), None)
    assert step.do == Sql(tuple(batches[1:-1]))  # which a plan runs in one anyway
    assert step.undo == Sql(("drop view if exists [ml].[v]", "drop table if exists [ml].[v_nodes]"))
    with pytest.raises(Mistake, match="called as the view's own table of nodes"):
        sqlserver.fits(bundle, sqlserver.Options(view="v", table="V_nodes"))
