"""Models of the zoo from other libraries than scikit-learn, and those that no graph can say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from zoo import NUMBERS, Made, classes, exhibit, numbers, penguins, rng


@exhibit("lightgbm")
def double_thresholds() -> Made:
    """LightGBM compares in double: thresholds cast to float32 send rows the wrong way. With missing values."""
    from lightgbm import LGBMClassifier

    x = numbers(500, 5)
    y = classes(x, 3)
    x[rng().random(x.shape) < 0.05] = np.nan
    model = LGBMClassifier(n_estimators=15, num_leaves=15, n_jobs=1, random_state=0, verbose=-1).fit(x, y)
    return Made(model, x[:400], x[400:])


@exhibit("lightgbm", traits=("category",))
def lightgbm_categories() -> Made:
    """LightGBM on pandas categories: levels by position, missing and unseen ones alike."""
    from lightgbm import LGBMRegressor

    random = rng()
    levels = [f"city {i}" for i in range(12)]
    data = pd.DataFrame({
        "city": pd.Categorical(random.choice(levels, 400), categories=levels), "size": random.normal(size=400) * 100,
    })  # fmt: skip
    y = data["size"] * 0.1 + data["city"].cat.codes % 5 * 20
    data.loc[::11, "city"] = np.nan
    model = LGBMRegressor(n_estimators=15, num_leaves=8, min_child_samples=5, n_jobs=1, random_state=0, verbose=-1)
    return Made(model.fit(data, y), data.iloc[:320], data.iloc[320:])


@exhibit("lightgbm")
def counts() -> Made:
    """A lightgbm.Booster by itself, whose answers are the exponential of its sums."""
    import lightgbm

    x = numbers(300, 4)
    rows = lightgbm.Dataset(x, rng().poisson(np.exp(classes(x, 4) / 2)))
    booster = lightgbm.train(
        {"objective": "poisson", "num_leaves": 7, "num_threads": 1, "verbose": -1, "seed": 0}, rows, 15
    )
    return Made(booster, x[:240], x[240:])


@exhibit("xgboost", traits=("category",))
def xgboost_categories() -> Made:
    """XGBoost with categories split by sets, and missing values whose direction was learned."""
    from xgboost import XGBClassifier

    data, y, fresh = penguins([*NUMBERS, "island", "sex"], "species")
    kinds = {
        "island": pd.CategoricalDtype(["Biscoe", "Dream", "Torgersen"]),
        "sex": pd.CategoricalDtype(["female", "male"]),
    }
    model = XGBClassifier(
        n_estimators=12, max_depth=4, enable_categorical=True, max_cat_to_onehot=1, n_jobs=1, random_state=0,
    )  # fmt: skip
    codes = pd.Categorical(y).codes
    return Made(model.fit(data.astype(kinds), codes), data.astype(kinds), fresh.astype(kinds))


@exhibit("xgboost")
def xgboost_numbers() -> Made:
    """XGBoost casts every double to float32 before it compares, and starts from a base score."""
    from xgboost import XGBRegressor

    x = numbers(300, 4)
    y = x[:, 0] * 10 + x[:, 3]
    x[::9, 1] = np.nan
    return Made(XGBRegressor(n_estimators=15, max_depth=4, n_jobs=1, random_state=0).fit(x, y), x[:240], x[240:])


@exhibit("catboost")
def catboost_numbers() -> Made:
    """CatBoost's symmetric trees, with borders in float32 and missing values below them all."""
    from catboost import CatBoostClassifier

    x = numbers(300, 4)
    y = np.array(["no", "yes"])[classes(x, 2)]
    x[::9, 1] = np.nan
    model = CatBoostClassifier(
        iterations=15, depth=4, thread_count=1, random_seed=0, verbose=False, allow_writing_files=False,
    )  # fmt: skip
    return Made(model.fit(x, y), x[:240], x[240:])


@exhibit("onnx", traits=("tensor",))
def fixed_batch() -> Made:
    """An ONNX graph exported for one row at a time."""
    import zoo_deep

    model, x = zoo_deep.fixed_batch(1)
    return Made(model, x[:-5], x[-5:])


def hour_and_weekday(frame: Any) -> Any:
    """Local hour and weekday of a time."""
    when = frame["when"].dt
    return np.c_[when.hour, when.day_of_week]


@exhibit("sklearn", form="python")
def times() -> Made:
    """Times with a zone, through a function of the user's own in a module that is not installed."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    hours = pd.date_range("2024-03-30", periods=300, freq="67min", tz="Europe/Prague")
    data = pd.DataFrame({"when": hours})
    model = make_pipeline(FunctionTransformer(hour_and_weekday), Ridge()).fit(data, data["when"].dt.hour * 1.0)
    return Made(model, data.iloc[:240], data.iloc[240:])


def written_in_a_notebook() -> Mapping[str, Any]:
    """A class defined in `__main__`, as a notebook does, that no import can find."""
    source = '''
class Rule:
    """Answers by a rule that someone wrote down."""

    def __init__(self, limit):
        self.limit = limit

    def predict(self, frame):
        import numpy as np

        heavy = frame["body_mass_g"].to_numpy() > self.limit
        return np.where(heavy & (frame["island"] == "Biscoe").to_numpy(), "big", "small")
'''
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "<cell 3>", "exec"), space)  # noqa: S102 - that is how a notebook makes a class
    return space


@exhibit("python", form="python", traits=("text",))
def notebook_class() -> Made:
    """An object of a class that lives in a notebook, with a predict method and nothing else."""
    data, _, fresh = penguins(["body_mass_g", "island"], "species")
    return Made(written_in_a_notebook()["Rule"](4500.0), data, fresh)
