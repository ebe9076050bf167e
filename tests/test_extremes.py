"""Numbers at the ends of what a double holds: engines that call an overflow an error, or sort NaN, answer them too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import engines
import numpy as np
import pandas as pd
import pytest
from sklearn.kernel_approximation import AdditiveChi2Sampler
from sklearn.naive_bayes import CategoricalNB
from sklearn.neighbors import NearestCentroid
from sklearn.semi_supervised import LabelPropagation
from test_sql import golden_inputs, judged

import anyport
from anyport import targets
from anyport.batch import Batch, Column
from anyport.bundle import Bundle, read
from anyport.errors import Impossible

FAR = (0.0, 1.5, 5.0, 5.9, 5.95, 5.98, 6.0)
"""From the nearest row: 20 times its square is the exponent, which makes no normal number from -708.4 and nothing from
-745.13."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Batch, Any]:
    """The bundle, rows, and the original."""
    x = np.linspace(-1.0, 1.0, 40)
    frame = pd.DataFrame({"x": x, "y": np.tile([0.0, 0.01], 20)})
    labels = np.where(x < -0.2, 0, np.where(x < 0.3, 1, 2))
    model = LabelPropagation(gamma=20, max_iter=10_000).fit(frame, labels)
    folder = tmp_path_factory.mktemp("faint") / "faint.anyport"
    anyport.pack(model, frame, name="faint", version="1", out=folder)
    far = pd.DataFrame([(x, y) for x in (-0.7, -0.21, -0.19, 0.28, 0.33) for y in FAR], columns=["x", "y"])
    return read(folder), {name: Column(far[name].to_numpy()) for name in far}, (model, far)


@pytest.mark.parametrize("target", ["bigquery", "duckdb", "mariadb", "postgres", "redshift", "snowflake", "sqlite"])
def test_what_is_left_of_exponentials_decides(asked: tuple[Bundle, Batch, Any], tmp_path: Path, target: str) -> None:
    engines.need(target)
    bundle, rows, (model, far) = asked
    probability = model.predict_proba(far)
    assert np.isfinite(probability).all()
    assert (np.sort(probability)[:, -2] > 0.3).any(), "no label is near another"
    with targets.get(target).run(targets.build(bundle, target, tmp_path / "artefact")) as running:
        got = running.predictor.predict(rows).outputs
    assert got["prediction"].values.tolist() == model.predict(far).tolist()
    np.testing.assert_allclose(got["probability"].values, probability, rtol=0, atol=1e-9)


def test_an_engine_that_does_not_hold_them_is_not_given_them(asked: tuple[Bundle, Batch, Any], tmp_path: Path) -> None:
    with pytest.raises(Impossible, match=r"hang on numbers below 2\.2e-308, which SQL Server does not hold") as refused:
        targets.build(asked[0], "sqlserver", tmp_path / "artefact")
    assert "-O engine=python" in str(refused.value.fix)


def counts() -> Any:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.integers(0, 4, (200, 3)).astype(float), columns=["a", "b", "c"])
    return CategoricalNB(min_categories=4).fit(frame, (frame["a"] + frame["b"] > 3).astype(int)), frame


def positive() -> Any:
    frame = pd.DataFrame(np.random.default_rng(0).uniform(0, 4, (200, 2)), columns=["a", "b"])
    return AdditiveChi2Sampler().fit(frame), frame


def centres() -> Any:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 2)) + np.repeat([[0, 0], [3, 1], [-2, 4]], 100, 0), columns=["a", "b"])
    return NearestCentroid().fit(frame, np.repeat([0, 1, 2], 100)), frame


EVERY = (
    "bigquery", "databricks", "duckdb", "mariadb", "postgres", "redshift", "snowflake", "sqlite", "sqlserver", "trino",
)  # fmt: skip
UNCLAMPED = ("databricks", "duckdb", "postgres", "sqlite", "trino")
"""Targets that let a number become infinite."""


@pytest.mark.parametrize(("model", "target"), [
    *((counts, target) for target in EVERY),  # a refused infinity is no whole number, which is an error for all rows
    *((positive, target) for target in EVERY),  # the logarithm of the smallest double above 0
    *((centres, target) for target in UNCLAMPED),  # infinity less infinity is not above 0
], ids=lambda p: p if isinstance(p, str) else p.__name__)  # fmt: skip
def test_golden_rows_at_the_ends_are_answered(tmp_path: Path, model: Any, target: str) -> None:
    engines.need(target)
    made, frame = model()
    anyport.pack(made, frame, name="ends", version="1", out=tmp_path / "ends.anyport")
    bundle = read(tmp_path / "ends.anyport")
    rows = golden_inputs(bundle)
    with targets.get(target).run(targets.build(bundle, target, tmp_path / "artefact")) as running:
        found = judged(bundle, running.predictor.predict(rows))
    assert found.ok, found.says()
