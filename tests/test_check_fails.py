"""The check can fail: an artefact that was tampered with, its hashes made right again, is found out every time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engines
import packed
import pytest
from conforming import fitting
from tampering import TAMPERS, change_the_numbers, found_out, resealed, swap_two_columns

from anyport import cli, targets
from anyport.bundle import read
from anyport.golden import store
from anyport.target import Spec

ALL = [pytest.param(name, marks=getattr(pytest.mark, f"target_{name.replace('-', '_')}")) for name in targets.TABLE]


def spec(one: Any) -> Spec:
    return targets.get(str(one.values[0])).SPEC


TARGETS = [one for one in ALL if not spec(one).answers and spec(one).kind != "database"]
"""Those whose engine is no service (tests/slow does the same with the others) and that answer from the bundle."""
DATABASES = [
    one for one in ALL if not spec(one).answers and spec(one).kind == "database" and one.values[0] != "pgvector"
    and not engines.elsewhere(str(one.values[0]))
]  # fmt: skip
"""Those that answer from SQL text: it is this that one would change. An engine in another environment is asked so by
slow tests of its own."""


@pytest.fixture(scope="module")
def artefacts(shelf: packed.Shelf, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Artefacts by target and exhibit, each built once here."""
    built: dict[tuple[str, str], Path] = {}

    def get(target: str, name: str) -> Path:
        if (target, name) not in built:
            out = tmp_path_factory.mktemp("built") / target
            built[target, name] = targets.build(shelf.bundle(name), target, out).path
        return built[target, name]

    return get


EXHIBITS = ("penguin_species", "forest_behind_scaler", "xgboost_numbers")
ANSWERING = [
    pytest.param(*one.values, name, marks=one.marks, id=f"{one.values[0]}-{name}")
    for one in TARGETS
    for name in (EXHIBITS if spec(one).tier == "quick" else EXHIBITS[:1])
]
"""Target and exhibit: one is enough where every check starts a server, and the same code answers."""


@pytest.mark.parametrize(("target", "name"), ANSWERING)
@pytest.mark.parametrize("tamper", TAMPERS)
def test_tampering_is_found_out(
    artefacts: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    target: str,
    tamper: Callable[[Path], None],
    name: str,
) -> None:
    engines.need(target)
    artefact = tmp_path / "artefact"
    shutil.copytree(artefacts(target, name), artefact)
    found_out(artefact, tamper, capsys)


@pytest.mark.parametrize("target", DATABASES)
def test_a_number_changed_in_the_sql_is_found_out(
    artefacts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    engines.need(target)
    if targets.get(target).SPEC.tier == "slow" and targets.get(target).SPEC.programs:
        pytest.skip("its engine is started in the slow tests")
    artefact = tmp_path / "artefact"
    shutil.copytree(artefacts(target, "forest_behind_scaler"), artefact)
    assert cli.main(["check", str(artefact)]) == 0
    change_the_numbers(artefact)
    assert cli.main(["check", str(artefact)]) == 5
    assert "golden: row" in capsys.readouterr().out


@pytest.mark.parametrize("target", TARGETS)
def test_a_mismatch_is_shown_with_rows_and_values(
    artefacts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    engines.need(target)
    artefact = tmp_path / "artefact"
    shutil.copytree(artefacts(target, "penguin_species"), artefact)
    swap_two_columns(artefact / "bundle")
    resealed(artefact)
    assert cli.main(["check", str(artefact)]) == 5
    said = capsys.readouterr().out
    assert "NOT the same answers" in said
    assert "golden: row" in said
    assert "expected" in said
    assert "next:" not in said


@pytest.mark.parametrize("member", ["fast.onnx", "encoder.json", "golden.npz", "baseline.json"])
@pytest.mark.parametrize("target", ALL)
def test_a_changed_byte_is_an_error_that_names_the_file(
    shelf: packed.Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, member: str
) -> None:
    artefact = tmp_path / "artefact"
    shutil.copytree(targets.build(fitting(target, shelf), target, tmp_path / "built").path, artefact)
    if not (artefact / "bundle" / member).is_file():
        member = "fast.onnx"
    file = artefact / "bundle" / member
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert cli.main(["check", str(artefact)]) == 2
    said = capsys.readouterr().err
    assert f"{member} was changed after packing" in said
    assert "Traceback" not in said


def test_a_doctored_answer_is_found_out(artefacts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other side of the comparison: golden rows that were changed do not match the untouched graph."""
    artefact = tmp_path / "artefact"
    shutil.copytree(artefacts("local", "xgboost_numbers"), artefact)
    inside = read(artefact / "bundle")
    golden = store.read(inside.path / "golden.npz", inside.signature)
    golden.outcome.outputs["prediction"].values[7] += 0.25
    store.write(golden, inside.signature, inside.path / "golden.npz")
    resealed(artefact)
    assert cli.main(["check", str(artefact)]) == 5
    assert "golden: row" in capsys.readouterr().out
