"""The benchmark models, and their bundles in a folder that is kept between benchmarks of one run."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

SIZES = (3, 5, 8, 10, 12, 16, 20, 28)
"""Levels of the eight categorical columns: 102 together."""


@cache
def folder() -> Path:
    """Where models and bundles of this run are; ANYPORT_BENCHMARK_FOLDER keeps them for the next."""
    kept = os.environ.get("ANYPORT_BENCHMARK_FOLDER")
    return Path(kept or tempfile.mkdtemp(prefix="anyport-bench-"))


def mixed_rows(n: int, *, seed: int = 0) -> pd.DataFrame:
    """8 categorical columns (102 levels) and 6 numeric ones."""
    rng = np.random.default_rng(seed)
    words = {f"c{i}": np.array([f"v{j}" for j in range(k)])[rng.integers(0, k, n)] for i, k in enumerate(SIZES)}
    numbers = {f"n{i}": rng.normal(size=n) * (i + 1) for i in range(6)}
    return pd.DataFrame({**words, **numbers})


def mixed_target(rows: pd.DataFrame, *, seed: int = 1) -> np.ndarray:
    """A binary target that depends on both kinds of column."""
    noise = np.random.default_rng(seed).normal(size=len(rows))
    return (rows.n0 + rows.n1 / 2 + (rows.c0 == "v1") * 2 + (rows.c4 == "v3") + noise > 0.5).to_numpy().astype(int)


def mixed() -> tuple[Any, pd.DataFrame]:
    """OneHot + Scaler + HistGradientBoosting with 100 trees, fitted on 20,000 rows."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rows = mixed_rows(20_000)
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), [f"c{i}" for i in range(8)]),
        (StandardScaler(), [f"n{i}" for i in range(6)]),
    )
    model = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=0))
    return model.fit(rows, mixed_target(rows)), rows


def boosted() -> tuple[Any, pd.DataFrame]:
    """LightGBM, 200 trees of 31 leaves on 30 numbers."""
    import lightgbm

    rng = np.random.default_rng(2)
    rows = pd.DataFrame(rng.normal(size=(20_000, 30)), columns=[f"n{i}" for i in range(30)])
    target = (rows.n0 * rows.n1 + rows.n2 + rng.normal(size=len(rows)) > 0).astype(int)
    model = lightgbm.LGBMClassifier(n_estimators=200, num_leaves=31, verbose=-1, n_jobs=2, random_state=0)
    return model.fit(rows, target), rows


def linear_rows(n: int, *, seed: int = 3) -> pd.DataFrame:
    """30 numeric columns, six decimals each."""
    values = np.random.default_rng(seed).normal(size=(n, 30)).round(6)
    return pd.DataFrame(values, columns=[f"n{i}" for i in range(30)])


def linear() -> tuple[Any, pd.DataFrame]:
    """StandardScaler + LogisticRegression on 30 numbers."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = linear_rows(20_000)
    noise = np.random.default_rng(4).normal(size=len(rows))
    target = (rows.n0 - rows.n1 / 2 + rows.n2 + noise > 0).to_numpy().astype(int)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, target), rows


def packed(name: str) -> Path:
    """The bundle of `mixed`, `boosted` or `linear`; beside it NAME.joblib, the original. Made once a run."""
    import anyport

    out = folder() / f"{name}.anyport"
    if not out.exists():
        model, rows = {"mixed": mixed, "boosted": boosted, "linear": linear}[name]()
        joblib.dump(model, folder() / f"{name}.joblib")
        anyport.pack(model, rows.head(5_000), name=name, out=out, form="graph", say=print)
    return out


def original(name: str) -> Any:
    """The fitted original of a packed model."""
    packed(name)
    return joblib.load(folder() / f"{name}.joblib")
