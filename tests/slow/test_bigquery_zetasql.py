"""BigQuery's text under ZetaSQL, Google's own implementation of GoogleSQL: analysed as it is shipped, and evaluated.

Needs a JDK, and the jars: make .envs/zetasql/.ready.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import engines
import packed
import pytest
from conforming import conforms

from anyport import conformance, targets
from anyport.bundle import read
from anyport.errors import BadData, Impossible
from anyport.kit import zetasql
from anyport.kit.view import View
from anyport.signature import Field, Signature
from anyport.sql.dialects import BIGQUERY
from anyport.targets import bigquery

pytestmark = [pytest.mark.slow, pytest.mark.target_bigquery]
JARS = Path(__file__).parents[2] / ".envs" / "zetasql"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    engines.program("javac", "openjdk-17-jdk-headless")
    engines.must((JARS / ".ready").is_file(), "make .envs/zetasql/.ready")
    monkeypatch.setenv(zetasql.VARIABLE, str(JARS))


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


@pytest.fixture
def small() -> Iterator[zetasql.GooglePredictor]:
    """A query that divides by a column."""
    signature = Signature(
        inputs=(Field(name="x", dtype="int64"),), outputs=(Field(name="prediction", dtype="float64"),)
    )  # fmt: skip
    view = View(table="rows_", view="answers", keys=("id",))
    text = "select `id`, 1 / x as prediction, cast(null as string) as refusal from `models`.`rows_`"
    with zetasql.answering(JARS, signature, view, BIGQUERY, dataset="models", statement=text) as (predictor, _):
        yield predictor


def test_rows_are_asked_in_parts_and_an_error_in_one_is_the_caller_s(
    small: zetasql.GooglePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in BigQuery, dividing by zero is one."""
    import numpy as np

    from anyport.batch import Column

    assert small.predict({"x": Column(np.array([4, -2]))}).outputs["prediction"].values.tolist() == [0.25, -0.5]
    monkeypatch.setattr(zetasql, "MESSAGE", 20)
    many = small.predict({"x": Column(np.arange(1, 101))})  # in many questions
    assert many.outputs["prediction"].values.tolist() == (1 / np.arange(1, 101)).tolist()
    assert small.predict({"x": Column(np.arange(0))}).refused == {}
    with pytest.raises(BadData, match="division by zero"):
        small.predict({"x": Column(np.array([0]))})
    with pytest.raises(BadData, match="there is no column 'x'"):
        small.predict({"y": Column(np.array([1]))})
