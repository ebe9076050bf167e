"""MLflow folders as mlflow itself writes them, read by our own frameworks and compared with mlflow's answers."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # mlflow warns about its own type hints
    mlflow = pytest.importorskip("mlflow", reason="runs in .envs/mlflow: make test-slow")
    importlib.import_module("mlflow.pyfunc")

import deep
import pandas as pd
import yaml
import zoo_deep
from sklearn.linear_model import LogisticRegression

from anyport.errors import Missing, Mistake, Untrusted
from anyport.frameworks import mlflow as framework
from anyport.frameworks import of_model, of_path
from anyport.trust import held

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def frame() -> pd.DataFrame:
    """Rows of three numbers."""
    return pd.DataFrame(np.random.default_rng(0).random((40, 3)), columns=["a", "b", "c"])


def target(x: pd.DataFrame) -> Any:
    return np.where(x["a"] + x["b"] > 1, "yes", "no")


def asked(model: Any, x: Any) -> Any:
    """mlflow's own answer to a folder."""
    return mlflow.pyfunc.load_model(str(model)).predict(x)


def edited(folder: Path, **changes: Any) -> None:
    """MLmodel with some keys of its one native flavor changed."""
    stated = yaml.safe_load((folder / "MLmodel").read_text())
    for flavor in stated["flavors"].values():
        flavor.update(changes)
    (folder / "MLmodel").write_text(yaml.safe_dump(stated))


@pytest.fixture(scope="module")
def sklearn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import mlflow.sklearn

    x = frame()
    folder = tmp_path_factory.mktemp("sk") / "m"
    model = LogisticRegression().fit(x, target(x))
    signature = mlflow.models.infer_signature(x, model.predict(x))
    mlflow.sklearn.save_model(
        model, str(folder), signature=signature, input_example=x[:2], serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
    )  # fmt: skip
    return folder


def test_a_pickled_model_needs_consent_and_answers_as_mlflow_does(sklearn_folder: Path) -> None:
    assert of_path(sklearn_folder) == "mlflow"
    with pytest.raises(Untrusted, match="sklearn"):
        framework.load(sklearn_folder, held(None))
    model = framework.load(sklearn_folder, held("sklearn"))
    assert of_model(model) == "mlflow"
    assert model.framework == "sklearn"
    x = frame()
    assert framework.ask(model, x)["prediction"].tolist() == asked(sklearn_folder, x).tolist()
    assert framework.hints(model, x).columns == ("a", "b", "c")
    kept = framework.example(model)
    pd.testing.assert_frame_equal(kept, x[:2])


def test_a_candidate_of_the_model_inside_is_right(sklearn_folder: Path) -> None:
    found = deep.original(framework.load(sklearn_folder, held("sklearn")), frame(), "mlflow")
    assert found.signature.labels == ("no", "yes")
    graphs = deep.graphs(found)
    assert graphs
    assert {deep.fault(found, g) for g in graphs.values()} == {""}


def test_a_folder_saved_with_another_version_names_both(sklearn_folder: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "old"
    shutil.copytree(sklearn_folder, folder)
    edited(folder, sklearn_version="1.0.2")
    with pytest.raises(Missing, match=r"1\.0\.2, and here is"):
        framework.load(folder, held("sklearn"))


@pytest.mark.parametrize("name", ["../outside.pkl", "/etc/passwd", "absent.pkl"])
def test_a_path_in_mlmodel_stays_in_the_folder(sklearn_folder: Path, tmp_path: Path, name: str) -> None:
    import shutil

    folder = tmp_path / "m"
    shutil.copytree(sklearn_folder, folder)
    edited(folder, pickled_model=name)
    with pytest.raises(Mistake, match="lacks" if name == "absent.pkl" else "outside its folder"):
        framework.load(folder, held("all"))


def test_trusted_types_listed_in_the_folder_count_for_nothing(tmp_path: Path) -> None:
    import mlflow.sklearn
    from lightgbm import LGBMClassifier

    x = frame()
    model = LGBMClassifier(n_estimators=2, verbose=-1).fit(x, target(x))
    types = ["collections.OrderedDict", "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier"]
    mlflow.sklearn.save_model(
        model,
        str(tmp_path / "m"),
        serialization_format="skops",
        skops_trusted_types=types,
        pip_requirements=["lightgbm"],
    )
    with pytest.raises(Untrusted, match="lightgbm"):
        framework.load(tmp_path / "m", held(None))


def test_native_files_need_no_consent(tmp_path: Path) -> None:
    import mlflow.lightgbm
    import mlflow.onnx
    import mlflow.xgboost
    from lightgbm import LGBMClassifier
    from xgboost import XGBClassifier

    x = frame()
    y = (x["a"] > 0.5).astype(int)
    booster = LGBMClassifier(n_estimators=3, verbose=-1).fit(x, y).booster_
    mlflow.lightgbm.save_model(booster, str(tmp_path / "lgb"), pip_requirements=["lightgbm"])
    mlflow.xgboost.save_model(
        XGBClassifier(n_estimators=3).fit(x, y), str(tmp_path / "xgb"), pip_requirements=["xgboost"]
    )
    graph, rows = zoo_deep.sklearn_classifier(["b", "a", "c"], zipmap=False)
    mlflow.onnx.save_model(graph, str(tmp_path / "onnx"), pip_requirements=["onnx"])

    lgb = framework.load(tmp_path / "lgb", held(None))
    assert lgb.framework == "lightgbm"
    answered = framework.ask(lgb, x)
    assert any(np.allclose(v.reshape(len(x), -1)[:, -1], asked(tmp_path / "lgb", x)) for v in answered.values())

    xgb = framework.load(tmp_path / "xgb", held(None))
    assert type(xgb.inner).__name__ == "XGBClassifier"
    assert framework.ask(xgb, x)["prediction"].tolist() == asked(tmp_path / "xgb", x).tolist()

    onnx = framework.load(tmp_path / "onnx", held(None))
    found = deep.original(onnx, rows, "mlflow")
    assert found.signature.labels == ("a", "b", "c")
    assert deep.fault(found, deep.graphs(found)["graph"]) == ""


class Twice(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return model_input["a"] * 2


def test_a_python_model_is_scanned_and_then_opened_by_mlflow(tmp_path: Path) -> None:
    mlflow.pyfunc.save_model(str(tmp_path / "m"), python_model=Twice(), pip_requirements=["pandas"])
    with pytest.raises(Untrusted):
        framework.load(tmp_path / "m", held(None))
    model = framework.load(tmp_path / "m", held("all"))
    x = frame()
    np.testing.assert_array_equal(framework.ask(model, x)["prediction"], x["a"] * 2)
    assert "mlflow-skinny" in framework.requirements(model)


def test_a_live_pyfunc_model_is_asked_as_what_it_wraps(sklearn_folder: Path) -> None:
    live = mlflow.pyfunc.load_model(str(sklearn_folder))
    assert of_model(live) == "mlflow"
    answered = framework.ask(live, frame())
    assert answered["prediction"].tolist() == live.predict(frame()).tolist()
    assert answered["probability"].shape == (40, 2)


def test_code_in_the_folder_needs_full_consent(tmp_path: Path) -> None:
    import mlflow.sklearn

    (tmp_path / "own_code.py").write_text("answer = 42\n")
    x = frame()
    mlflow.sklearn.save_model(
        LogisticRegression().fit(x, target(x)), str(tmp_path / "m"), code_paths=[str(tmp_path / "own_code.py")],
        serialization_format="cloudpickle", pip_requirements=["scikit-learn"],
    )  # fmt: skip
    with pytest.raises(Untrusted, match=r"own_code\.py"):
        framework.load(tmp_path / "m", held("sklearn"))
    before = list(sys.path)
    try:
        assert framework.load(tmp_path / "m", held("all")).framework == "sklearn"
        assert sys.path[0].endswith("code")
    finally:
        sys.path[:] = before


def test_the_python_form_keeps_the_folder_without_the_example_rows(sklearn_folder: Path, tmp_path: Path) -> None:
    model = framework.load(sklearn_folder, held("sklearn"))
    name = framework.save(model, tmp_path)
    assert name is not None
    assert not list((tmp_path / name).glob("*example*"))
    again = framework.load(tmp_path / name, held("sklearn"))
    assert framework.ask(again, frame())["prediction"].tolist() == framework.ask(model, frame())["prediction"].tolist()


@pytest.mark.parametrize(
    ("text", "says"),
    [("flavors: [", "cannot be read"), ("hello: 1", "names no flavors"), ("flavors: {spark: {}}", "spark")],
)
def test_an_mlmodel_that_describes_nothing_is_a_mistake(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(Mistake, match=says):
        framework.load(tmp_path, held("all"))
