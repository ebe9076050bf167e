"""Ways of changing an artefact's model behind its hashes; every one must be found out by the check."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from anyport import bundle, cli
from anyport.graph import encoder

GRAPHS = ("fast.onnx", "exact.onnx")


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


def change_the_numbers(artefact: Path) -> None:
    """Every fraction in the artefact's SQL files moves: thresholds, and what leaves hold."""
    changed = 0
    for file in artefact.rglob("*.sql"):
        text, times = re.subn(r"\d*\.\d{4,}(?!\d|e\d\d)", lambda m: repr(moved(float(m[0]))), file.read_text())
        file.write_text(text)
        changed += times
    assert changed


def nothing(folder: Path) -> None:
    """The artefact as it was."""


def resealed(artefact: Path) -> None:
    """Make every hash right again, as someone would who wanted to deceive."""
    inside = artefact / "bundle"
    manifest = msgspec.json.decode((inside / "bundle.json").read_bytes(), type=bundle.Manifest)
    digest = bundle.seal(inside, manifest)
    note = json.loads((artefact / "anyport.json").read_text())
    (artefact / "anyport.json").write_text(json.dumps(note | {"bundle": digest}))
    if (artefact / "function.zip").is_file():
        rezipped(artefact)


def rezipped(artefact: Path) -> None:
    """function.zip with the bundle that lies beside it."""
    old, new = artefact / "function.zip", artefact / "new.zip"
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(new, "w") as target:
        for one in source.infolist():
            if not one.filename.startswith("bundle/"):
                target.writestr(one, source.read(one), zipfile.ZIP_DEFLATED, 1)
        for file in sorted((artefact / "bundle").rglob("*")):
            target.write(file, file.relative_to(artefact).as_posix())
    os.replace(new, old)


TAMPERS = (nothing, change_a_threshold, swap_two_columns, reverse_the_rows)


def found_out(artefact: Path, tamper: Callable[[Path], None], capsys: pytest.CaptureFixture[str]) -> None:
    """The check of an artefact, tampered with and its hashes made right again, says so; untouched, it passes."""
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
