"""anyport deploy: nothing happens before --yes; what is deployed is asked there; what fails is undone."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tampering import resealed

from anyport import cli, deployment, targets
from anyport.bundle import read
from anyport.errors import Mistake, ParityFailed
from anyport.golden import store


def views(path: Path) -> list[str]:
    """The views of a SQLite database; [] where there is none."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as database:
        return [r[0] for r in database.execute("select name from sqlite_master where type = 'view'")]


@pytest.fixture
def artefact(penguins: Path, tmp_path: Path) -> Path:
    return targets.build(penguins, "sqlite", tmp_path / "artefact", view="species").path


def test_a_plan_is_only_shown(artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["deploy", str(artefact)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("1. create the view 'species' over the table 'species_input'\n")
    assert 'undo: drop view if exists "species"' in said
    assert f"next: anyport deploy {artefact} --yes" in said
    assert cli.main(["deploy", str(artefact), "--live", f"path={tmp_path / 'zoo.db'}", "--json"]) == 0
    [step] = json.loads(capsys.readouterr().out)["steps"]
    assert any(text.startswith('create view "species"') for text in step["do"]["sql"])
    assert not (tmp_path / "zoo.db").exists()


def test_it_is_deployed_asked_there_and_taken_back(
    artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = ["--live", f"path={tmp_path / 'zoo.db'}"]
    assert cli.main(["deploy", str(artefact), *live, "--yes", "--json"]) == 0
    [report] = json.loads(capsys.readouterr().out)
    assert (report["proof"], report["ok"]) == ("live", True)
    assert views(tmp_path / "zoo.db") == ["species"]
    assert cli.main(["deploy", str(artefact), *live, "--yes", "--undo"]) == 0
    assert views(tmp_path / "zoo.db") == []


def test_what_answers_differently_there_is_undone(artefact: Path, tmp_path: Path) -> None:
    inside = read(artefact / "bundle")
    golden = store.read(inside.path / "golden.npz", inside.signature)
    golden.outcome.outputs["probability"].values[7] += 0.25
    store.write(golden, inside.signature, inside.path / "golden.npz")
    resealed(artefact)
    with pytest.raises(ParityFailed, match=r"golden: 1 of 2000 rows differ.*; everything was undone"):
        deployment.deploy(artefact, live={"path": str(tmp_path / "zoo.db")})
    assert views(tmp_path / "zoo.db") == []


def test_a_database_that_refuses_is_left_as_it_was(artefact: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "zoo.db")) as database:
        database.execute("create table species (x)")
        database.commit()
    with pytest.raises(deployment.plan.PlanFailed, match=r"create the view 'species'.*nothing of this step was done"):
        deployment.deploy(artefact, live={"path": str(tmp_path / "zoo.db")})
    with closing(sqlite3.connect(tmp_path / "zoo.db")) as database:
        assert [r[0] for r in database.execute("select name from sqlite_master")] == ["species"]


def test_a_place_is_needed_to_deploy_to(artefact: Path) -> None:
    with pytest.raises(Mistake, match="needs a place"):
        deployment.deploy(artefact, live={})
    with pytest.raises(Mistake, match="no such option"):
        deployment.deploy(artefact, live={"dns": "x"})
