"""The deep models of the zoo through every target: packed, built, and asked the golden rows in the target's engine."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import zoo_deep

import anyport
from anyport import targets
from anyport.conformance import check_artifact
from anyport.kit.process import run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
BUILDERS = {
    "torch": ("torch_mlp", "torch_cnn", "torch_attention", "torch_script", "torch_program"),
    "tensorflow": ("keras_mlp", "keras_cnn", "keras_sequence", "saved_model"),
}
HERE = [name for library, names in BUILDERS.items() if importlib.util.find_spec(library) for name in names]
if not HERE:
    pytest.skip("runs in .envs/torch and .envs/tensorflow: make test-slow", allow_module_level=True)


@pytest.fixture(scope="module", params=HERE)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model of this environment, packed; files are loaded with the caller's consent."""
    folder = tmp_path_factory.mktemp(request.param)
    build = getattr(zoo_deep, request.param)
    takes_folder = "folder" in build.__annotations__
    model, data = build(folder) if takes_folder else build()
    return anyport.pack(model, data, name="deep", out=folder / "deep.anyport", trust="all", form="graph").path


SPECS = {name: targets.get(name).SPEC for name in targets.TABLE}
QUICK = [name for name, spec in SPECS.items() if spec.tier == "quick" and spec.kind != "database"]
"""Databases have no drivers in these environments; tests/test_targets.py asks them what tensors they take."""


@pytest.mark.parametrize("target", QUICK)
def test_a_deep_model_answers_as_it_did(bundle: Path, tmp_path: Path, target: str) -> None:
    made = targets.build(bundle, target, tmp_path / "artefact")
    report = check_artifact(made.path)
    assert [f"{c.name}: {c.says}" for c in report.cases if c.verdict == "failed"] == []
    assert report.proof == "native"


def test_the_artefact_answers_where_the_framework_is_not(bundle: Path, tmp_path: Path) -> None:
    made = targets.build(bundle, "local", tmp_path / "artefact")
    from anyport.kit.runtime import view

    python = view("msgspec", "numpy", "onnxruntime")
    code = (
        "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ('torch', 'tensorflow', 'keras', 'anyport'))))"
    )
    assert run([python, "-I", "-c", code]).code == 0
    assert check_artifact(made.path).ok
