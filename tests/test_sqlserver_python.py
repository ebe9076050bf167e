"""SQL Server's Python: the script of up.sql, run as its external host is documented to, answers as the original did."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import packed
import pytest
from test_sql import golden_inputs, judged

from anyport import targets
from anyport.batch import take
from anyport.bundle import read
from anyport.errors import BadData, Impossible
from anyport.target import Artifact, Sql
from anyport.targets import sqlserver
from anyport.targets.sqlserver import contract, driver, satellite
from anyport.targets.sqlserver.python import quoted


@pytest.fixture(scope="module")
def built(shelf: packed.Shelf, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A model with texts, and names that want quoting."""
    given = {"table": "it's ]x", "view": "a]b", "keys": "k'ey, n]", "schema": "m'l", "engine": "python"}
    bundle = read(shelf.bundle("penguin_species"))
    return targets.build(bundle, "sqlserver", tmp_path_factory.mktemp("sqlserver") / "artefact", **given)


def altered(made: Artifact, before: str, after: str, folder: Path) -> Artifact:
    """The artefact with another up.sql."""
    text = (made.path / "up.sql").read_text()
    assert before in text
    folder.mkdir()
    (folder / "bundle").symlink_to(made.path / "bundle")
    (folder / "up.sql").write_text(text.replace(before, after, 1))
    return Artifact("sqlserver", folder, made.form, made.digest, made.options)


def test_the_script_answers_as_the_original_did(built: Artifact) -> None:
    bundle = read(built.path / "bundle")
    with sqlserver.run(built) as running:
        found = judged(bundle, running.predictor.predict(golden_inputs(bundle)))
        assert running.engine.proof == "stand-in"
        assert re.match(r"pid \d+: the script of up.sql", running.engine.process)
    assert found.ok, found.says()


def test_what_sql_cannot_hold_goes_to_python(shelf: packed.Shelf, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("documents"))
    reason = sqlserver.fits(bundle, sqlserver.Options())
    assert reason is not None
    assert "-O engine=python" in reason.fix
    made = targets.build(bundle, "sqlserver", tmp_path / "artefact", engine="python")
    with sqlserver.run(made) as running:
        found = judged(bundle, running.predictor.predict(golden_inputs(bundle)))
    assert found.ok, found.says()


def test_the_procedure_declares_what_it_gives_and_its_statements_may_be_repeated(built: Artifact) -> None:
    [step] = sqlserver.plan(built, None, None)  # type: ignore[arg-type]  # the artefact says them
    assert isinstance(step.do, Sql)
    assert step.why == "make the procedure a]b over it's ]x"
    call = contract.called(step.do.statements)
    shown = [("k'ey", "nvarchar(4000)"), ("n]", "nvarchar(4000)"), ("prediction", "nvarchar(max)")]
    shown += [(f"probability_{i}", "double precision") for i in range(3)]
    assert call.results == (*shown, ("refusal", "nvarchar(max)"))
    assert call.rows.endswith(" from [m'l].[it's ]]x] as t")
    assert call.model[:2] == b"PK"
    made, gone = step.do.statements[0], step.undo
    assert made.startswith("if object_id(N'[m''l].[a]]b_model]') is null create table [m'l].[a]]b_model] (sha256 ")
    assert step.do.statements[1].startswith("delete from [m'l].[a]]b_model] where sha256 = '")
    assert gone == Sql(("drop procedure if exists [m'l].[a]]b]", "drop table if exists [m'l].[a]]b_model]"))
    batches = (built.path / "up.sql").read_text().split("\nGO\n")
    assert batches == [*step.do.statements, ""]


def test_a_model_that_is_not_the_one_installed_is_refused(built: Artifact, tmp_path: Path) -> None:
    made = altered(built, "bytes.write(0x50", "bytes.write(0x51", tmp_path / "tampered")
    rows = take(golden_inputs(read(built.path / "bundle")), [0, 1])
    with sqlserver.run(made) as running, pytest.raises(BadData, match=r"sha256 differs; run down\.sql, then up\.sql"):
        running.predictor.predict(rows)


def test_it_is_the_shipped_text_that_runs(built: Artifact, tmp_path: Path) -> None:
    bundle = read(built.path / "bundle")
    made = altered(built, "return [v[1:] if", "return [v[2:] if", tmp_path / "doctored")
    with sqlserver.run(made) as running:
        assert not judged(bundle, running.predictor.predict(golden_inputs(bundle))).ok


def test_an_onnxruntime_that_answers_wrongly_is_refused(built: Artifact, tmp_path: Path) -> None:
    made = altered(built, "answer.runtime()[:2]", "(1, 11)", tmp_path / "old")
    rows = take(golden_inputs(read(built.path / "bundle")), [0, 1])
    with sqlserver.run(made) as running, pytest.raises(BadData, match=r"answers this model wrongly; it takes 1\.12"):
        running.predictor.predict(rows)


@pytest.mark.parametrize("missing", [None, math.nan])
def test_null_is_missing_however_it_comes(missing: Any) -> None:
    assert satellite.values(["=", "=a=b", missing], "text") == ["", "a=b", None]
    assert satellite.values([str(2**63 - 1), missing], "whole") == [2**63 - 1, None]
    largest = 1.7976931348623157e308
    assert satellite.values([0.1, largest, -largest, missing], "number") == [0.1, math.inf, -math.inf, None]


def test_answers_are_floats_that_sql_server_has() -> None:
    largest = 1.7976931348623157e308
    assert satellite.floats([1, True, 0.1, math.inf, -math.inf]) == [1.0, 1.0, 0.1, largest, -largest]
    assert math.isnan(satellite.floats([None])[0])
    with pytest.raises(ValueError, match="9007199254740993 is beyond"):
        satellite.floats([2**53 + 1])


def test_the_driver_takes_nothing_that_the_host_would_not() -> None:
    pandas = pytest.importorskip("pandas")
    frame = driver.given({"c0": ("float", [1.0, None]), "c1": ("float", [1.0, 2.0]), "c2": ("nvarchar", ["a", None])})
    assert [str(frame[c].dtype) for c in ("c0", "c1")] == ["object", "float64"]
    assert frame["c0"].tolist() == [1.0, None]
    assert driver.taken(pandas.DataFrame({"a": [1.5, math.inf, math.nan]})) == [[1.5, None, None]]
    with pytest.raises(TypeError, match="neither floats nor texts"):
        driver.taken(pandas.DataFrame({"a": [1, 2]}))


@pytest.mark.parametrize("text", ["a\\\nb", "a\nGO\nb", "a\n go \nb", "a\rb", "\x00"])
def test_what_no_literal_can_hold_is_refused(text: str) -> None:
    with pytest.raises(Impossible, match="cannot stand in a literal"):
        quoted(text)
    assert quoted("it's\n[x] \\ ''") == "N'it''s\n[x] \\ '''''"
