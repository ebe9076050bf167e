"""MLflow's own scoring client asks our /invocations and gets the answers of scikit-learn's original."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # mlflow warns about its own type hints
    client = pytest.importorskip("mlflow.pyfunc.scoring_server.client", reason="runs in .envs/mlflow: make test-slow")

import requests
import served
from serving import Process, process
from sklearn.linear_model import LogisticRegression, Ridge

import anyport
from anyport.ingest import to_batch
from anyport.native import native

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

MODEL = served.fitted()
FRAME = native(to_batch(served.rows(40, seed=23), served.SIGNATURE.inputs)[0], served.SIGNATURE)


@pytest.fixture(autouse=True)
def bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client asks without a time limit of its own."""
    send = requests.Session.send
    monkeypatch.setattr(requests.Session, "send", lambda self, r, **more: send(self, r, **{**more, "timeout": 20}))


def asking(running: Process) -> Any:
    """MLflow's client of a server."""
    host, port = running.http.split(":")
    made = client.ScoringServerClient(host, port)
    made.wait_server_ready(timeout=20, scoring_server_proc=running.child)
    return made


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with process(served.bundle(tmp_path_factory.mktemp("mlflow") / "homes", MODEL), grpc=False) as running:
        yield asking(running)


def packed(model: Any, x: Any, folder: Path) -> Path:
    """A model of scikit-learn as a bundle."""
    return anyport.pack(model, x, name="plain", out=folder / "plain.anyport").path


def test_probes(homes: Any) -> None:
    homes.ping()
    assert homes.get_version() == anyport.__version__


def test_a_dataframe(homes: Any) -> None:
    """Text beyond ASCII, categories, bools, and missing cells, which the client writes as null or NaN."""
    labels = homes.invoke(FRAME).get_predictions("ndarray")
    assert FRAME.isna().any(axis=None)
    assert labels.tolist() == MODEL.predict(FRAME).tolist()
    framed = homes.invoke(FRAME).get_predictions()
    assert framed[0].tolist() == MODEL.predict(FRAME).tolist()


def test_a_dataframe_with_its_columns_in_another_order_and_an_index(homes: Any) -> None:
    shuffled = FRAME[FRAME.columns[::-1]].sample(frac=1, random_state=0)
    assert homes.invoke(shuffled)["predictions"] == MODEL.predict(shuffled[FRAME.columns]).tolist()


@pytest.mark.parametrize("key", ["dataframe_records", "instances", "inputs"])
def test_rows_in_the_other_forms(homes: Any, key: str) -> None:
    """What is text already, the client sends as it is."""
    rows = json.loads(FRAME.to_json(orient="records"))
    assert homes.invoke(json.dumps({key: rows}))["predictions"] == MODEL.predict(FRAME).tolist()
    if key == "inputs":
        columns = json.loads(FRAME.to_json(orient="split"))
        named = {name: [row[i] for row in columns["data"]] for i, name in enumerate(columns["columns"])}
        assert homes.invoke(json.dumps({key: named}))["predictions"] == MODEL.predict(FRAME).tolist()


def test_params_are_let_pass(homes: Any) -> None:
    assert homes.invoke(FRAME[:3], params={"top": 1})["predictions"] == MODEL.predict(FRAME[:3]).tolist()


def test_a_refusal_reaches_the_caller_in_words(homes: Any) -> None:
    bad = FRAME[:2].assign(plan="silver")
    with pytest.raises(Exception, match=r"error code 400.*'plan'.*silver"):
        homes.invoke(bad)
    with pytest.raises(Exception, match="BAD_REQUEST"):
        homes.invoke("{")


def test_tensors(tmp_path: Path) -> None:
    """An array is rows in column order, as scikit-learn's models take them; labels that are integers stay so."""
    x = np.random.default_rng(5).random((80, 4))
    model = LogisticRegression().fit(x, (x[:, 0] > x[:, 1]).astype(int) + 2)
    with process(packed(model, x, tmp_path), grpc=False) as running:
        asked = asking(running)
        for given in (x, x.astype(np.float32), x[:1]):
            found = asked.invoke(given).get_predictions("ndarray")
            assert found.dtype.kind == "i"
            np.testing.assert_array_equal(found, model.predict(given.astype(np.float64)))
        assert asked.invoke(x[:2].tolist())["predictions"] == model.predict(x[:2]).tolist()


def test_numbers(tmp_path: Path) -> None:
    """A regression of a frame, from a frame and from an array."""
    rng = np.random.default_rng(6)
    frame = pd.DataFrame({"a": rng.random(60), "b": rng.integers(0, 9, 60), "c": rng.random(60)})
    model = Ridge().fit(frame, frame["a"] * 3 - frame["b"])
    with process(packed(model, frame, tmp_path), grpc=False) as running:
        asked = asking(running)
        for found in (asked.invoke(frame), asked.invoke(frame.to_json(orient="split", index=False).join(
                ('{"dataframe_split": ', "}")))):  # fmt: skip
            np.testing.assert_allclose(found.get_predictions("ndarray"), model.predict(frame), rtol=1e-5, atol=1e-6)
