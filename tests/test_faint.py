"""A model whose answers hang on exponentials that are no normal numbers any more, far from every row that it learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import engines
import numpy as np
import pandas as pd
import pytest
from sklearn.semi_supervised import LabelPropagation

import anyport
from anyport import targets
from anyport.batch import Batch, Column
from anyport.bundle import Bundle, read

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


@pytest.mark.parametrize(
    "target", ["bigquery", "duckdb", "mariadb", "postgres", "redshift", "snowflake", "sqlite", "sqlserver"]
)
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
