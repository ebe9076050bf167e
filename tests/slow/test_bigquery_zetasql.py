"""BigQuery's text under ZetaSQL, Google's own implementation of GoogleSQL: analysed as it is shipped, and evaluated.

Needs a JDK, and the jars: make .envs/zetasql/.ready.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import engines
import numpy as np
import packed
import pandas as pd
import pytest
import zoo
from conforming import conforms, unfit
from sklearn.impute import MissingIndicator
from test_sql import golden_inputs, judged

import anyport
from anyport import conformance, targets
from anyport.batch import Column
from anyport.bundle import read
from anyport.errors import BadData, Impossible
from anyport.kit import zetasql
from anyport.kit.view import View
from anyport.signature import Field, Signature
from anyport.sql.dialects import BIGQUERY
from anyport.targets import bigquery

pytestmark = [pytest.mark.slow, pytest.mark.target_bigquery]
JARS = Path(__file__).parents[2] / ".envs" / "zetasql"


@pytest.fixture(scope="module")
def google() -> Iterator[zetasql.ZetaSql]:
    """One process for all tests here: to start it takes longer than most answers."""
    engines.program("javac", "openjdk-17-jdk-headless")
    engines.must((JARS / ".ready").is_file(), "make .envs/zetasql/.ready")
    with zetasql.started(JARS) as process:
        yield process


@pytest.fixture(autouse=True)
def here(google: zetasql.ZetaSql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(zetasql.VARIABLE, str(JARS))
    monkeypatch.setattr(zetasql, "started", lambda jars: nullcontext(google))


@pytest.mark.parametrize("name", [
    "penguin_species", "boosted_categories", "nullable_columns", "missing_indicator", "counts", "several_numbers",
    "stacked", "float32_forest",
])  # fmt: skip
def test_google_s_own_implementation_answers_as_the_original(shelf: packed.Shelf, tmp_path: Path, name: str) -> None:
    report = conforms(read(shelf.bundle(name)), "bigquery", tmp_path / "artefact")
    assert report.proof == "emulated"
    assert report.engine["version"] == zetasql.VERSION


def test_a_number_changed_in_the_text_is_found_out(shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("boosted_categories"))
    made = targets.build(bundle, "bigquery", tmp_path / "artefact")
    for file in ("up.sql", "query.sql"):
        text = (made.path / file).read_text()
        before, found, after = text.rpartition(" then -.")
        assert found
        (made.path / file).write_text(f"{before} then -.9{after}")
    with bigquery.run(made) as running:
        cases = conformance.run_cases(bundle, running, bigquery)
    assert "golden" in {c.name for c in cases if c.verdict == "failed"}


def test_what_google_refuses_is_refused_in_its_words(shelf: packed.Shelf, tmp_path: Path) -> None:
    made = targets.build(read(shelf.bundle("penguin_species")), "bigquery", tmp_path / "artefact")
    text = (made.path / "up.sql").read_text()
    assert " exp(" in text
    (made.path / "up.sql").write_text(text.replace(" exp(", " expo("))
    with pytest.raises(Impossible, match=r"refuses the shipped text: Function not found: expo"), bigquery.run(made):
        pass


@contextmanager
def asking(expression: str) -> Iterator[zetasql.GooglePredictor]:
    """Who answers a query of an expression over the column x."""
    signature = Signature(
        inputs=(Field(name="x", dtype="int64"),), outputs=(Field(name="prediction", dtype="float64"),)
    )  # fmt: skip
    view = View(table="rows_", view="answers", keys=("id",))
    text = f"select `id`, {expression} as prediction, cast(null as string) as refusal from `models`.`rows_`"
    with zetasql.answering(JARS, signature, view, BIGQUERY, dataset="models", statement=text) as (predictor, _):
        assert text in predictor.sql  # what is executed is what is shipped
        yield predictor


def test_rows_too_many_for_one_message_are_asked_in_parts_and_an_error_in_one_is_the_caller_s() -> None:
    """As in BigQuery, dividing by zero is one."""
    with asking("1 / x") as small:
        assert answers(small, [4, -2]) == [0.25, -0.5]
        many, asked = np.arange(1, 400_001), small.zeta.ask
        with patch.object(small.zeta, "ask", side_effect=asked) as counted:
            assert answers(small, many) == (1 / many).tolist()
        assert counted.call_count in (3, 7)  # more than 4 MiB was refused, and its halves taken, or theirs
        assert answers(small, []) == []
        with pytest.raises(BadData, match="division by zero"):
            answers(small, [0])
        with pytest.raises(BadData, match="there is no column 'x'"):
            small.predict({"y": Column(np.array([1]))})


def test_a_text_as_long_as_bigquery_takes_it_is_analysed() -> None:
    """Google's analysis of it is then more than a message."""
    expression = f"case {' '.join(f'when x = {i} then {i}.5e0' for i in range(34_000))} else 0e0 end"
    assert 900_000 < len(expression) < BIGQUERY.longest
    with asking(expression) as small:
        assert answers(small, [0, 33_999, -1]) == [0.5, 33_999.5, 0.0]


def answers(predictor: zetasql.GooglePredictor, x: Any) -> list[float]:
    found: list[float] = predictor.predict({"x": Column(np.array(x, np.int64))}).outputs["prediction"].values.tolist()
    return found


@pytest.mark.parametrize(
    ("expression", "says"),
    [("cast(x as float32)", "Type not found: float32"), ("cast(x as int32)", "Type not found: int32"),
     ("x::float64", "Syntax error"), ("try_cast(x as float64)", "Function not found: try_cast"),
     ("x = 'a'", "No matching signature"),
     ("1e0 as qualify, x", "Syntax error")],
)  # fmt: skip
def test_what_bigquery_s_language_lacks_is_refused(expression: str, says: str) -> None:
    """Types by BigQuery's names and of its sizes, its keywords, no conversion between texts and numbers."""
    with pytest.raises(Impossible, match=says), asking(expression):
        pass


@pytest.mark.parametrize(("expression", "says"), [
    ("exp(x * 1e3)", "Floating point error in function: EXP"), ("x * 1e308 * 10", "overflow"),
    ("x * 9223372036854775807", "overflow"), ("ln(x - 2)", "Floating point error|LN"),
])  # fmt: skip
def test_what_is_out_of_range_is_an_error_as_in_bigquery(expression: str, says: str) -> None:
    """What the dialect is told by `raises`: https://cloud.google.com/bigquery/docs/reference/standard-sql/operators"""
    with asking(expression) as small, pytest.raises(BadData, match=says):
        answers(small, [2])


@pytest.mark.parametrize("name", ["boosted_trees", "lightgbm_categories", "outliers", "xgboost_numbers"])
def test_trees_as_a_table_are_filled_and_joined_by_google_too(shelf: packed.Shelf, tmp_path: Path, name: str) -> None:
    bundle = read(shelf.bundle(name))
    made = targets.build(bundle, "bigquery", tmp_path / "artefact", form="joins")
    assert "insert into" in (made.path / "up.sql").read_text()
    with bigquery.run(made) as running:
        found = judged(bundle, running.predictor.predict(golden_inputs(bundle)))
    assert running.engine.proof == "emulated"
    assert found.ok, found.says()


def test_a_table_of_nodes_is_filled_as_its_statements_say(
    shelf: packed.Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = read(shelf.bundle("xgboost_numbers"))
    made = targets.build(bundle, "bigquery", tmp_path / "artefact", form="joins")
    file = made.path / "up.sql"
    shipped = file.read_text()
    before, found, after = shipped.partition("split('0,1,")  # the first node, and its cut
    cut, comma, after = after.partition(",")
    assert found
    file.write_text(f"{before}{found}{float(cut) + 1}{comma}{after}")
    with bigquery.run(made) as running:
        assert not judged(bundle, running.predictor.predict(golden_inputs(bundle))).ok
    file.write_text(shipped.replace("split(line", "splitt(line"))
    with pytest.raises(Impossible, match="Function not found: splitt"), bigquery.run(made):
        pass
    file.write_text(shipped)
    monkeypatch.setattr(zetasql, "FILLED", 100)
    with bigquery.run(made) as running:
        assert running.engine.proof == "stand-in"
        assert "too many for ZetaSQL" in running.engine.process


def test_google_reads_every_text_and_double_as_it_was_written(google: zetasql.ZetaSql) -> None:
    """Each character of Unicode; numbers of every size, bit by bit."""

    def read_back(written: list[str]) -> list[Any]:
        said = google.ask(op="answer", sql=f"select {', '.join(written)}", dataset="d", tables={})
        assert "refused" not in said, said
        found: list[Any] = said["rows"][0]
        return found

    every = "".join(chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000)  # no NUL, no surrogates
    for part in (every[i : i + 20_000] for i in range(0, len(every), 20_000)):
        assert read_back([BIGQUERY.literal(part)]) == [part]
    for text in ("it's", "a\\b", "\\'", "\\x41", "\\u0041", '"', "`", "--", "/*", "${x}"):
        assert read_back([BIGQUERY.literal(text)]) == [text]
    bits = np.random.default_rng(0).integers(-(2**63), 2**63, 20_000).view(np.float64)
    extremes = [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -0.0, 0.1, 1e22, 9007199254740993.0]
    values = np.concatenate([bits[np.isfinite(bits)], extremes, [np.inf, -np.inf]])
    for some in np.array_split(values, 20):
        found = np.array([float(v) for v in read_back([BIGQUERY.alone(float(v)) for v in some])])
        np.testing.assert_array_equal(found.view(np.int64), some.view(np.int64))


@pytest.mark.parametrize("name", [n for n, e in zoo.load().items() if e.form == "graph"])
def test_the_golden_rows_of_every_exhibit_are_answered_as_by_the_original(
    shelf: packed.Shelf, tmp_path: Path, name: str
) -> None:
    bundle = read(shelf.bundle(name))
    if unfit("bigquery", bundle) is not None:
        with pytest.raises(Impossible):
            targets.build(bundle, "bigquery", tmp_path / "artefact")
        return
    with bigquery.run(targets.build(bundle, "bigquery", tmp_path / "artefact")) as running:
        found = judged(bundle, running.predictor.predict(golden_inputs(bundle)))
    assert running.engine.proof == "emulated"
    assert found.ok, found.says()


def test_truths_that_are_doubles_in_the_query_are_read(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, np.nan, 3.0, 4.0] * 20, "b": [np.nan, 2.0, 3.0, 5.0] * 20})
    anyport.pack(MissingIndicator().fit(frame), frame, name="gone", version="1", out=tmp_path / "gone.anyport")
    report = conforms(read(tmp_path / "gone.anyport"), "bigquery", tmp_path / "artefact")
    assert report.proof == "emulated"
