"""A small model for the stream's tests: its rule in plain Python, and the same rule as a Predictor."""

from __future__ import annotations

import datetime as dt
import math
import threading
import time
from typing import Any

import numpy as np

from anyport.batch import Batch, Column, Outcome, rows, take
from anyport.predictor import blank, scatter
from anyport.signature import Field, Signature, refusals

SIGNATURE = Signature(
    inputs=(
        Field(name="x", dtype="float64", nullable=True),
        Field(name="n", dtype="int64", low=-1000, high=10**9),
        Field(name="city", dtype="string", nullable=True),
        Field(name="ok", dtype="bool"),
        Field(name="at", dtype="datetime", nullable=True),
    ),
    outputs=(
        Field(name="prediction", dtype="string", levels=("no", "yes")),
        Field(name="probability", dtype="float64", shape=(2,), levels=("no", "yes")),
    ),
)
EPOCH = dt.datetime(1970, 1, 1)


def rule(row: dict[str, Any]) -> float:
    """The probability of yes."""
    x = 0.5 if row["x"] is None else row["x"]
    city = row["city"]
    score = math.atan(x) + row["n"] % 7 - 3 + (0.25 if city is None else 0.5 * len(city)) - row["ok"]
    if row["at"] is not None:
        score += ((row["at"] - EPOCH) // dt.timedelta(seconds=1)) % 5
    return 1 / (1 + math.exp(-score))


class Ruled:
    """The rule as a Predictor; `calls` counts the rows that it was asked."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.calls = 0
        self.seconds = seconds
        self.lock = threading.Lock()

    def predict(self, inputs: Batch, /) -> Outcome:
        """Answers row by row; slower where asked, by an amount that differs from call to call."""
        with self.lock:
            self.calls += rows(inputs)
            turn = self.calls
        time.sleep(self.seconds * (turn * 2654435761 % 7) / 7)
        refused, n = refusals(inputs, SIGNATURE), rows(inputs)
        good = np.setdiff1d(np.arange(n), list(refused))
        if not len(good):
            return Outcome(blank(SIGNATURE, n), refused)
        columns = {name: values(column) for name, column in take(inputs, good).items()}
        yes = np.array([rule(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)])
        made = {
            "prediction": Column(np.array(["no", "yes"], object)[(yes > 0.5).astype(int)]),
            "probability": Column(np.stack([1 - yes, yes], axis=1)),
        }
        return Outcome({name: scatter(column, good, n) for name, column in made.items()}, refused)


class Ruling:
    """A predictor that refuses what the signature's rules refuse, before it asks another."""

    def __init__(self, asked: Any, signature: Signature) -> None:
        self.asked, self.signature = asked, signature

    def predict(self, inputs: Batch, /) -> Outcome:
        """The other's answers, spread over all rows."""
        refused, n = refusals(inputs, self.signature), rows(inputs)
        good = np.setdiff1d(np.arange(n), list(refused))
        if not len(good):
            return Outcome(blank(self.signature, n), refused)
        made = self.asked.predict(take(inputs, good)).outputs
        return Outcome({name: scatter(column, good, n) for name, column in made.items()}, refused)


def values(column: Column) -> list[Any]:
    """A column as Python values, None where missing."""
    plain = column.plain()
    return [None if gone else v for v, gone in zip(plain.values.tolist(), plain.missing().tolist(), strict=True)]


def records(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows that the rule answers, with everything that formats stumble over."""
    rng = np.random.default_rng(seed)
    cities = [
        "Oslo",
        "001",
        "NA",
        "",
        "null",
        "São, Paulo",
        'the "big" one',
        "two\nlines",
        "tab\there",
        None,
        "NaN",
        " ",
    ]
    made = []
    for i in range(count):
        at = None if rng.random() < 0.1 else EPOCH + dt.timedelta(microseconds=int(rng.integers(0, 2**50)))
        made.append({
            "id": f"{i:07d}",
            "x": None if rng.random() < 0.1 else float(rng.choice([rng.normal(), math.inf, -math.inf, 1e-300, 3.0])),
            "n": int(rng.integers(-1000, 10**9)),
            "city": cities[rng.integers(len(cities))],
            "ok": bool(rng.random() < 0.5),
            "at": at,
        })  # fmt: skip
    return made
