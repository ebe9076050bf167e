"""A small model behind the server's tests: scikit-learn's own pipeline, and a bundle made from its parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from anyport import baseline
from anyport.batch import Batch, Column, Outcome
from anyport.bundle import Manifest, Tolerance, seal
from anyport.golden.rows import Golden
from anyport.golden.store import write
from anyport.graph.build import Builder
from anyport.graph.encoder import Divide, Encoder, Impute, Lookup, Number, Subtract
from anyport.ingest import to_batch
from anyport.native import native
from anyport.predictor import labels_array
from anyport.signature import Field, Signature

CITIES = ("Oslo", "Québec", "東京", 'a "quoted", city')
PLANS = ("basic", "gold")
LABELS = ("maybe", "no", "yes")

SIGNATURE = Signature(
    inputs=(
        Field(name="age", dtype="float64", native="float64", nullable=True, infinite=False, low=-1e6, high=1e6),
        Field(name="rooms", dtype="int64", native="int64"),
        Field(name="home city", dtype="string", native="object", missing="none", nullable=True),
        Field(name="plan", dtype="category", native="category", levels=PLANS, closed=True),
        Field(name="owner", dtype="bool", native="bool"),
    ),
    outputs=(
        Field(name="prediction", dtype="string", levels=LABELS),
        Field(name="probability", dtype="float64", shape=(3,), levels=LABELS),
    ),
)


def rows(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows as JSON has them."""
    rng = np.random.default_rng(seed)
    return [
        {
            "age": None if rng.random() < 0.1 else round(float(rng.normal(40, 15)), 3),
            "rooms": int(rng.integers(1, 9)),
            "home city": None if rng.random() < 0.1 else str(rng.choice([*CITIES, "nowhere"])),
            "plan": str(rng.choice(PLANS)),
            "owner": bool(rng.random() < 0.5),
        }
        for _ in range(n)
    ]


def fitted() -> Any:
    """The original: imputer, scaler, one-hot and a logistic regression."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    train = rows(300, seed=1)
    for row in train:
        row["home city"] = row["home city"] if row["home city"] in CITIES else "Oslo"
    batch, _ = to_batch(train, SIGNATURE.inputs)
    frame = native(batch, SIGNATURE)
    score = frame["rooms"] - frame["age"].fillna(40) / 10 + 2 * frame["owner"] - (frame["plan"] == "gold")
    y = np.where(score > 1, "yes", np.where(score > -1, "maybe", "no"))
    pipeline = make_pipeline(
        ColumnTransformer([
            ("number", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "rooms"]),
            ("text", OneHotEncoder(categories=[list(CITIES), list(PLANS)], handle_unknown="ignore"),
             ["home city", "plan"]),
            ("flag", "passthrough", ["owner"]),
        ]),
        LogisticRegression(max_iter=500),
    )  # fmt: skip
    return pipeline.fit(frame, y)


def ask(model: Any, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The original's own answers, as the server should give them."""
    batch, refused = to_batch(asked, SIGNATURE.inputs)
    assert not refused
    frame = native(batch, SIGNATURE)
    return [
        {"prediction": str(label), "probability": dict(zip(LABELS, map(float, p), strict=True))}
        for label, p in zip(model.predict(frame), model.predict_proba(frame), strict=True)
    ]


def encoder(model: Any) -> Encoder:
    """The fitted preprocessing as data."""
    imputer, scaler = model[0].named_transformers_["number"]
    fill, mean, scale = imputer.statistics_, scaler.mean_, scaler.scale_
    zeros = (0.0,) * len(CITIES)
    steps = [(Subtract(float(mean[i])), Divide(float(scale[i]))) for i in range(2)]
    return Encoder(
        tensor="float64",
        width=9,
        entries=(
            Number("age", 0, (Impute(float(fill[0])), *steps[0])),
            Number("rooms", 1, steps[1]),
            Lookup("home city", 2, 4, CITIES, unknown=zeros, missing=zeros),
            Lookup("plan", 6, 2, PLANS),
            Number("owner", 8),
        ),
    )


def graph(model: Any) -> bytes:
    """The fitted regression on the encoder's tensor."""
    b = Builder("float64")
    x = b.input("X", np.float64, ["N", 9])
    scores = b.add("Add", [b.add("MatMul", [x, b.constant(model[-1].coef_.T)]), b.constant(model[-1].intercept_)])
    b.output(b.add("Softmax", [scores], axis=1), "probability", np.float64, ["N", 3])
    return b.serialize()


def outcome(model: Any, inputs: Batch) -> Outcome:
    """The original's own answers to a Batch."""
    frame = native(inputs, SIGNATURE)
    labels = labels_array(SIGNATURE.outputs[0])
    found = np.array([LABELS.index(label) for label in model.predict(frame)])
    return Outcome({"prediction": Column(labels[found]), "probability": Column(model.predict_proba(frame))}, {})


def bundle(folder: Path, model: Any, *, name: str = "homes", version: str = "") -> Path:
    """A sealed bundle in form graph with golden rows."""
    folder.mkdir(parents=True)
    (folder / "fast.onnx").write_bytes(graph(model))
    (folder / "encoder.json").write_bytes(msgspec.json.encode(encoder(model)))
    inputs, _ = to_batch(rows(60, seed=2), SIGNATURE.inputs)
    golden = Golden(inputs, outcome(model, inputs), ("typical",) * 60, 0.0, ())
    write(golden, SIGNATURE, folder / "golden.npz")
    many, _ = to_batch(rows(2000, seed=3), SIGNATURE.inputs)
    distribution = baseline.make(many, outcome(model, many), SIGNATURE)
    (folder / "baseline.json").write_bytes(msgspec.json.encode(distribution))
    manifest = Manifest(
        protocol=1, name=name, framework="sklearn", form="graph", signature=SIGNATURE,
        tolerance=Tolerance(), files={}, version=version,
    )  # fmt: skip
    seal(folder, manifest)
    return folder
