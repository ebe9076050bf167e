"""The check can fail: an artefact that was tampered with, its hashes made right again, is found out every time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engines
import msgspec
import numpy as np
import onnx
import packed
import pytest
from onnx import helper, numpy_helper

from anyport import bundle, cli, targets
from anyport.bundle import read
from anyport.golden import store
from anyport.graph import encoder

GRAPHS = ("fast.onnx", "exact.onnx")
TARGETS = [pytest.param(t, marks=getattr(pytest.mark, f"target_{t.replace('-', '_')}")) for t in targets.TABLE]


def change_a_threshold(folder: Path) -> None:
    """The split at the root of the first tree moves by a fiftieth of its size."""
    for name in GRAPHS:
        if not (folder / name).is_file():
            continue
        model = onnx.load(folder / name)
        node = next(n for n in model.graph.node if n.op_type.startswith("TreeEnsemble"))
        # the operator of opset 5, and those before it
        held = next(a for a in node.attribute if a.name in ("nodes_splits", "nodes_values_as_tensor"))
        values = numpy_helper.to_array(held.t).copy()
        values[0] = moved(values[0])
        held.t.CopyFrom(numpy_helper.from_array(values, held.t.name))
        onnx.save(model, folder / name)


def moved(value: float) -> float:
    return value + max(abs(value), 1.0) / 50


def swap_two_columns(folder: Path) -> None:
    """Two columns of numbers feed each other's place."""
    file = folder / "encoder.json"
    held = encoder.read(file.read_bytes())
    numbers = [e for e in held.entries if isinstance(e, encoder.Number)][:2]
    other = {numbers[0].column: numbers[1].column, numbers[1].column: numbers[0].column}
    entries = tuple(msgspec.structs.replace(e, column=other.get(e.column, e.column)) for e in held.entries)
    assert entries != held.entries
    file.write_bytes(encoder.write(msgspec.structs.replace(held, entries=entries)))


def reverse_the_rows(folder: Path) -> None:
    """Every output comes out last row first."""
    for name in GRAPHS:
        if not (folder / name).is_file():
            continue
        model = onnx.load(folder / name)
        ends = {"from": -1, "to": -(1 << 40), "axis": 0, "step": -1}
        for what, value in ends.items():
            model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), f"_{what}"))
        for output in model.graph.output:
            for node in model.graph.node:
                node.output[:] = [f"{o}_forth" if o == output.name else o for o in node.output]
                node.input[:] = [f"{i}_forth" if i == output.name else i for i in node.input]
            model.graph.node.append(
                helper.make_node("Slice", [f"{output.name}_forth", "_from", "_to", "_axis", "_step"], [output.name])
            )
        onnx.save(model, folder / name)


def nothing(folder: Path) -> None:
    """The artefact as it was."""


def resealed(artefact: Path) -> None:
    """Make every hash right again, as someone would who wanted to deceive."""
    inside = artefact / "bundle"
    manifest = msgspec.json.decode((inside / "bundle.json").read_bytes(), type=bundle.Manifest)
    digest = bundle.seal(inside, manifest)
    note = json.loads((artefact / "anyport.json").read_text())
    (artefact / "anyport.json").write_text(json.dumps(note | {"bundle": digest}))


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


@pytest.mark.parametrize("name", ["penguin_species", "forest_behind_scaler", "xgboost_numbers"])
@pytest.mark.parametrize("tamper", [nothing, change_a_threshold, swap_two_columns, reverse_the_rows])
@pytest.mark.parametrize("target", TARGETS)
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
    tamper(artefact / "bundle")
    resealed(artefact)
    code = cli.main(["check", str(artefact), "--json"])
    report = json.loads(capsys.readouterr().out)[0]
    failed = {c["name"]: c for c in report["cases"] if c["verdict"] == "failed"}
    if tamper is nothing:
        assert (code, failed, report["ok"]) == (0, {}, True)
        return
    assert code == 5
    assert not report["ok"]
    assert failed["golden"]["differences"], "the rows that differ are listed"
    if tamper is reverse_the_rows:
        assert "single" not in failed, "one row alone has no order, so the check says what is wrong"
    assert json.loads((artefact / "report.json").read_text())["ok"] is False


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
@pytest.mark.parametrize("target", TARGETS)
def test_a_changed_byte_is_an_error_that_names_the_file(
    artefacts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, member: str
) -> None:
    artefact = tmp_path / "artefact"
    shutil.copytree(artefacts(target, "penguin_species"), artefact)
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
