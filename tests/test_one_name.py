"""A column called as an answer, or as what a graph holds in between, changes nothing but where names must differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conforming import conforms

import anyport
from anyport.bundle import Bundle, read
from anyport.errors import Mistake
from anyport.signature import Field, Signature
from anyport.sql.compile import compiled
from anyport.sql.dialect import SQLITE

NAMES = ["prediction", "probability", "c_1", "cast_2", "X"]


def rows() -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(7).normal(size=(160, len(NAMES))), columns=NAMES)


def classes(data: pd.DataFrame) -> Any:
    return (data["prediction"] + data["c_1"] * data["probability"] > 0).astype(int)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scaled, so that there are constants and arithmetic in between, and three classes of answers."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = rows()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data, classes(data))
    out = tmp_path_factory.mktemp("clash") / "clash.anyport"
    anyport.pack(model, data, name="clash", out=out)
    return out


def test_such_a_model_is_packed_as_a_graph_over_its_raw_columns(pipeline: Path) -> None:
    bundle = read(pipeline)
    assert bundle.form == "graph"
    assert [f.name for f in bundle.signature.inputs] == NAMES
    assert [f.name for f in bundle.signature.outputs] == ["prediction", "probability"]
    assert bundle.member("exact.onnx") is not None
    assert bundle.signature.ports == {"prediction": "prediction_given", "probability": "probability_given",
                                      "c_1": "c_1", "cast_2": "cast_2", "X": "X"}  # fmt: skip


@pytest.mark.parametrize("target", ["local", "sqlite", "duckdb"])
def test_every_target_answers_as_the_original_did(pipeline: Path, tmp_path: Path, target: str) -> None:
    conforms(read(pipeline), target, tmp_path / "artefact")


def test_boosters_and_tables_of_a_foreign_graph_too(tmp_path: Path) -> None:
    from lightgbm import LGBMClassifier

    data = rows()
    model = LGBMClassifier(n_estimators=5, verbose=-1).fit(data, classes(data))
    bundle = anyport.pack(model, data, name="boosted", out=tmp_path / "boosted.anyport")
    assert has_raw(bundle)
    whole = foreign(len(NAMES))
    bundle = anyport.pack(whole, data.astype("float32"), name="foreign", out=tmp_path / "foreign.anyport")
    assert has_raw(bundle)
    assert len(compiled(bundle, SQLITE).answers) == 1


def has_raw(bundle: Bundle) -> bool:
    return bundle.form == "graph" and bundle.member("exact.onnx") is not None


def foreign(width: int) -> Any:
    """An ONNX graph of one tensor, whose one value in between is called as one of our own makes it."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("ReduceMean", ["X"], ["prediction_as_double"], axes=[1], keepdims=1),
        helper.make_node("Sqrt", ["c_1"], ["out"]), helper.make_node("Abs", ["prediction_as_double"], ["c_1"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        [nodes[0], nodes[2], nodes[1]], "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", width])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 1])],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_view_does_not_pass_on_a_column_that_is_called_as_an_answer(pipeline: Path) -> None:
    from anyport.kit.view import view_of
    from anyport.targets import bigquery

    with pytest.raises(Mistake, match="the model itself has a column 'prediction'"):
        view_of(read(pipeline), bigquery.Options(keys="prediction"))


def test_a_given_name_is_no_other_columns() -> None:
    fields = [Field(name=n, dtype="float64") for n in ("prediction", "prediction_given", "x")]
    signature = Signature(inputs=tuple(fields), outputs=(Field(name="prediction", dtype="float64"),))
    assert list(signature.ports.values()) == ["prediction_given_given", "prediction_given", "x"]
