"""Train a species classifier on the Palmer penguins: mixed, missing and categorical columns.

Data: palmerpenguins (Horst, Hill, Gorman 2020), CC0, https://allisonhorst.github.io/palmerpenguins/
Usage: python examples/penguins/train.py FOLDER   writes FOLDER/penguins.joblib and FOLDER/new.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "year"]
WORDS = ["island", "sex"]


def train(data: pd.DataFrame) -> Pipeline:
    """Fit the pipeline."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = make_column_transformer((numbers, NUMBERS), (OneHotEncoder(handle_unknown="ignore"), WORDS))
    model = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=60, random_state=0))
    return model.fit(data[NUMBERS + WORDS], data["species"])


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = pd.read_csv(Path(__file__).with_name("penguins.csv"))
    seen, new = train_test_split(data, test_size=0.25, random_state=0, stratify=data["species"])
    model = train(seen)
    print(f"trained on {len(seen)} penguins; accuracy on {len(new)} others: {model.score(new, new['species']):.3f}")
    joblib.dump(model, folder / "penguins.joblib")
    seen[[*NUMBERS, *WORDS, "species"]].to_csv(folder / "train.csv", index=False)
    new[NUMBERS + WORDS].reset_index(names="row").to_csv(folder / "new.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
