"""The rest target and what its artefacts run on: the part of anyport they need, in an interpreter with nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import served
from test_serve import Up, up

from anyport import conformance, targets
from anyport.bundle import read, seal
from anyport.errors import Missing, Mistake
from anyport.kit import runtime
from anyport.targets import rest

MODEL = served.fitted()


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.bundle(tmp_path_factory.mktemp("rest") / "homes", MODEL)


@pytest.fixture(scope="module")
def artefact(homes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return targets.build(str(homes), "rest", tmp_path_factory.mktemp("built") / "rest").path


@pytest.fixture(scope="module")
def live(homes: Path) -> Iterator[Up]:
    with up(homes) as running:
        yield running


def failures(report: conformance.Report) -> list[str]:
    return [f"{c.name}: {c.says}" for c in report.cases if c.verdict == "failed"]


def test_an_artefact_passes_in_an_interpreter_with_nothing_else(artefact: Path) -> None:
    report = conformance.check_artifact(artefact)
    assert not failures(report)
    assert report.proof == "native"
    assert report.engine["name"] == "anyport serve"
    pid = report.engine["process"].split()[1].rstrip(":")
    assert pid != str(os.getpid())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


@pytest.mark.parametrize("module", ["sklearn", "pandas", "onnx"])
def test_the_interpreter_has_neither_framework_nor_checkout(artefact: Path, module: str) -> None:
    python = runtime.view(*rest.SERVER, "onnxruntime")
    code = f"import sys; sys.path.insert(0, {str(artefact / 'runtime')!r})\nimport anyport.serve.app, {module}"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True)
    assert f"No module named '{module}'" in done.stderr
    bare = subprocess.run(
        [python, "-I", "-c", "import numpy, onnxruntime, uvicorn, anyport"], capture_output=True, text=True
    )
    assert "No module named 'anyport'" in bare.stderr


def test_a_server_that_answers_otherwise_is_found_out(artefact: Path, tmp_path: Path) -> None:
    """One number of the shipped encoder changes, and its hash with it."""
    copy = tmp_path / "rest"
    shutil.copytree(artefact, copy)
    file = copy / "bundle" / "encoder.json"
    data = json.loads(file.read_bytes())
    data["entries"][1]["steps"][0]["value"] += 1e-3
    file.write_text(json.dumps(data))
    digest = seal(copy / "bundle", read(artefact / "bundle").manifest)
    facts = json.loads((copy / "anyport.json").read_bytes()) | {"bundle": digest}
    (copy / "anyport.json").write_text(json.dumps(facts))
    report = conformance.check_artifact(copy)
    assert not report.ok
    assert any(failure.startswith("golden") for failure in failures(report))


def test_a_live_server_is_checked_under_its_own_url(artefact: Path, live: Up) -> None:
    report = conformance.check_artifact(artefact, live={"url": live.url})
    assert not failures(report)
    assert (report.proof, report.engine["process"]) == ("live", live.url)


def test_a_live_server_of_another_model_is_refused(live: Up, tmp_path: Path) -> None:
    other = served.bundle(tmp_path / "other", MODEL, version="2")
    made = targets.build(str(other), "rest", tmp_path / "rest")
    with pytest.raises(Mistake, match="does not serve homes"):
        conformance.check_artifact(made.path, live={"url": live.url})


def test_an_artefact_holds_only_what_serving_needs(artefact: Path) -> None:
    inside = {path.relative_to(artefact / "runtime").as_posix() for path in (artefact / "runtime").rglob("*.py")}
    assert "anyport/serve/protocol.py" in inside
    assert "anyport/graph/rows.py" in inside, "imports inside functions count"
    assert not any(name.startswith(("anyport/targets/", "anyport/cli/", "anyport/graph/sklearn/")) for name in inside)
    pins = dict(line.split("==") for line in (artefact / "requirements.txt").read_text().split())
    assert {"numpy", "onnxruntime", "uvicorn", "h11"} <= set(pins), "what the packages need in turn is pinned too"
    assert not {"scikit-learn", "onnx", "pytest"} & set(pins)


def test_an_unknown_root_or_distribution_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="no module"):
        runtime.needed("anyport.serv")
    with pytest.raises(Missing, match="no-such-thing"):
        runtime.closure("no-such-thing")


def test_imports_for_type_checkers_alone_are_not_followed(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import anyport.a\nelse:\n    import anyport.b\n"
        "def f():\n    from anyport import c\n"
    )
    found = set(runtime._imports(file, "m"))
    assert {"anyport.b", "anyport.c"} <= found
    assert "anyport.a" not in found
