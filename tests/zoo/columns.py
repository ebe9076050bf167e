"""Models of the zoo over tables and text: missing, mixed, nullable, oddly named, unseen."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from zoo import NUMBERS, PENGUINS, Made, classes, exhibit, numbers, penguins, rng


@exhibit("sklearn", traits=("text",))
def penguin_species() -> Made:
    """The example's own pipeline: missing numbers, missing and unseen text, one-hot before boosting."""
    train = functools.cache(example)()
    data = pd.read_csv(PENGUINS)
    columns = train.NUMBERS + train.WORDS
    return Made(train.train(data.iloc[::2]), data.iloc[::2][columns], data.iloc[1::2][columns])


def example() -> ModuleType:
    """examples/penguins/train.py as a module."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("penguins_train", PENGUINS.with_name("train.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@exhibit("sklearn", traits=("category",))
def boosted_categories() -> Made:
    """HistGradientBoosting on pandas categories: splits by sets of levels, and levels it never saw."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    data, y, fresh = penguins([*NUMBERS, "island", "sex"], "species")
    kinds = {
        "island": pd.CategoricalDtype(["Torgersen", "Biscoe", "Dream"]),
        "sex": pd.CategoricalDtype(["male", "female"]),
    }
    model = HistGradientBoostingClassifier(max_iter=20, categorical_features="from_dtype", min_samples_leaf=5)
    return Made(model.fit(data.astype(kinds), y), data.astype(kinds), fresh.astype(kinds))


@exhibit("sklearn", traits=("text",))
def zero_padded_ids() -> Made:
    """Ids such as "001" must stay text, and OneHotEncoder(handle_unknown="error") refuses all others."""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    random = rng()
    data = pd.DataFrame({
        "shop": random.choice(["001", "010", "1", "0x1"], 240), "size": random.normal(size=240) * 1e3,
    })  # fmt: skip
    y = data["size"] * 2 + data["shop"].map({"001": 5, "010": -5, "1": 50, "0x1": 0})
    columns = make_column_transformer((OneHotEncoder(), ["shop"]), ("passthrough", ["size"]))
    return Made(make_pipeline(columns, Ridge()).fit(data, y), data.iloc[:200], data.iloc[200:])


@exhibit("sklearn", traits=("text",))
def nullable_columns() -> Made:
    """pandas' nullable Int64, boolean and string, with pd.NA where scikit-learn takes it."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    random = rng()
    data = pd.DataFrame({
        "age": pd.array(random.integers(18, 90, 300), "Int64"), "member": pd.array(random.random(300) < 0.4, "boolean"),
        "plan": pd.array(random.choice(["basic", "gold", "né"], 300), "string"),
    })  # fmt: skip
    y = (data["age"] > 50) ^ (data["plan"] == "gold")
    data.loc[::7, "age"] = pd.NA
    columns = make_column_transformer(
        (SimpleImputer(strategy="median"), ["age"]), (OneHotEncoder(handle_unknown="ignore"), ["plan"]),
        ("passthrough", ["member"]),
    )  # fmt: skip
    model = make_pipeline(columns, LogisticRegression(max_iter=500)).fit(data, y.astype(int))
    return Made(model, data.iloc[:240], data.iloc[240:])


@exhibit("sklearn", traits=("text",))
def odd_names() -> Made:
    """Column names with spaces, dots, quotes, other scripts, one that is a number, and one that is an answer's."""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    data, y, fresh = penguins([*NUMBERS, "island"], "species", split=300)
    names = ["bill.length (mm)", "prediction", "výška 'a' \"b\"", "体重; DROP TABLE x", "1"]
    data, fresh = data.set_axis(names, axis=1), fresh.set_axis(names, axis=1)
    keep = data[names[:4]].notna().all(axis=1)
    columns = make_column_transformer((StandardScaler(), names[:4]), (OneHotEncoder(handle_unknown="ignore"), ["1"]))
    model = make_pipeline(columns, LogisticRegression(max_iter=500)).fit(data[keep], y[keep])
    return Made(model, data[keep], fresh.dropna())


@exhibit("sklearn", traits=("text",))
def text_beside_numbers() -> Made:
    """CountVectorizer on one column of a table, sparse, joined with scaled numbers."""
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    texts, y = reviews(260)
    data = pd.DataFrame({"review": texts, "stars": rng().normal(size=260)})
    columns = make_column_transformer((CountVectorizer(), "review"), (StandardScaler(), ["stars"]))
    model = make_pipeline(columns, LogisticRegression(max_iter=500)).fit(data, y)
    return Made(model, data.iloc[:200], data.iloc[200:])


@exhibit("sklearn")
def missing_indicator() -> Made:
    """The fact that a value is missing is a column of its own, then squared and crossed."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    x = numbers(300, 4)
    y = x[:, 0] * 3 + x[:, 1]
    x[rng().random(x.shape) < 0.1] = np.nan
    steps = SimpleImputer(add_indicator=True), StandardScaler(), PolynomialFeatures(2), Ridge()
    return Made(make_pipeline(*steps).fit(x, y), x[:240], x[240:])


@exhibit("sklearn")
def splines() -> Made:
    """SplineTransformer before a linear model: knots that float32 cannot hold."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import SplineTransformer

    x = numbers(300, 3)
    y = np.sin(x[:, 0] * 50) + x[:, 1]
    return Made(make_pipeline(SplineTransformer(5), Ridge()).fit(x, y), x[:240], x[240:])


@exhibit("sklearn")
def binned() -> Made:
    """KBinsDiscretizer: a value on a bin's edge belongs to one side only."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import KBinsDiscretizer

    x = np.round(numbers(300, 3) * 10, 1)
    bins = KBinsDiscretizer(5, encode="onehot", strategy="uniform", subsample=None)
    return Made(make_pipeline(bins, LogisticRegression()).fit(x, classes(x, 2)), x[:240], x[240:])


def reviews(n: int) -> tuple[list[str], Any]:
    """Short texts with punctuation, case and accents, and whether they praise."""
    random = rng()
    good, bad = ["Good", "lovely", "très bien", "WORKS"], ["bad", "Broken!", "slow", "never-again"]
    other = ["the", "box", "it's", "a", "naïve", "café", "x2", "delivery", "…"]
    praise = random.random(n) < 0.5
    texts = [
        " ".join([*random.choice(other, 5), *random.choice(good if p else bad, 2), *random.choice(other, 3)])
        for p in praise
    ]
    return texts, np.where(praise, "praise", "blame")


@exhibit("sklearn", traits=("text",))
def documents() -> Made:
    """TF-IDF on a list of strings: accents, apostrophes, case, empty documents."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts, y = reviews(260)
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=3), LogisticRegression()).fit(texts, y)
    return Made(model, texts[:200], [*texts[200:], "", "unknown words only", "  Good\n\tGOOD  "])
