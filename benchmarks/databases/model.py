"""The model of these benchmarks: gradient boosting, 100 trees of depth 6, behind a scaler and one-hot columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

NUMBERS = ["age", "income", "balance", "tenure"]
WORDS = {"city": 8, "plan": 4}


def rows(n: int, *, seed: int) -> pd.DataFrame:
    """Six raw columns: four numbers and two texts."""
    rng = np.random.default_rng(seed)
    numbers = {name: rng.normal(size=n) * 10.0**i + i for i, name in enumerate(NUMBERS)}
    words = {name: np.array([f"{name} {j}" for j in range(k)])[rng.integers(0, k, n)] for name, k in WORDS.items()}
    return pd.DataFrame({**numbers, **words})


def fitted() -> tuple[Any, pd.DataFrame]:
    """The pipeline and the 8,000 rows it was fitted on."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    data = rows(8_000, seed=0)
    noise = np.random.default_rng(1).normal(size=len(data))
    y = (data.age + data.income / 20 + (data.city == "city 1") * 2 + (data.plan == "plan 3") + noise > 0.5).astype(int)
    columns = make_column_transformer(
        (StandardScaler(), NUMBERS), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), list(WORDS)),
    )  # fmt: skip
    model = make_pipeline(columns, GradientBoostingClassifier(n_estimators=100, max_depth=6, random_state=0))
    return model.fit(data, y), data
