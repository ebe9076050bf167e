"""A target of someone else's package: installed for real, found by its entry point, held to the whole suite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from anyport.conformance import CASES

PLUGIN = Path(__file__).with_name("plugin")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """site-packages with the plugin in it; uv's own build backend needs no network."""
    folder = tmp_path_factory.mktemp("site")
    uv = [sys.executable, "-m", "uv", "pip", "install", "-q", "--offline", "--no-cache", "--no-deps"]
    subprocess.run([*uv, "--python", sys.executable, "--target", folder, PLUGIN], check=True, timeout=120)
    return folder


@pytest.fixture
def anyport(installed: Path, tmp_path: Path) -> Run:
    """Runs the command line where the plugin can be imported."""

    def run(*args: str, site: Path = installed) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(site)}
        return subprocess.run(
            [sys.executable, "-m", "anyport", *args],
            cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    return run


def test_it_is_listed_like_any_other(anyport: Run, penguins: Path) -> None:
    done = anyport("targets", str(penguins), "--json")
    assert done.returncode == 0, done.stderr
    found = {t["name"]: t for t in json.loads(done.stdout)}
    assert list(found) == sorted(found)
    assert {"echo", "local", "rest"} <= set(found)
    assert found["echo"]["title"] == "a second interpreter"
    assert (found["echo"]["fits"], found["echo"]["engine"]) == ("yes", "present")


def test_it_passes_the_whole_suite_and_its_own_case(anyport: Run, penguins: Path) -> None:
    done = anyport("check", str(penguins), "--to", "echo", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = json.loads(done.stdout)
    assert [c["name"] for c in report["cases"]] == [*(c.name for c in CASES), "twice"]
    assert {c["verdict"] for c in report["cases"]} <= {"ok", "none"}
    assert report["proof"] == "native"


def test_its_options_are_read_and_its_refusals_shown(anyport: Run, penguins: Path, tmp_path: Path) -> None:
    built = anyport("build", str(penguins), "--to", "echo", "-o", "out", "-O", "greeting=salut", "--no-check")
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "out" / "greeting.txt").read_text() == "salut\n"
    rude = anyport("build", str(penguins), "--to", "echo", "-o", "rude", "-O", "greeting=hey!")
    assert rude.returncode == 4
    assert "exclamation mark" in rude.stderr
    unknown = anyport("build", str(penguins), "--to", "echo", "-o", "rude", "-O", "colour=red")
    assert unknown.returncode == 2
    assert "options: greeting" in unknown.stderr
    assert not (tmp_path / "rude").exists()


def test_without_the_package_there_is_no_such_target(anyport: Run, penguins: Path, tmp_path: Path) -> None:
    done = anyport("check", str(penguins), "--to", "echo", site=tmp_path)
    assert done.returncode == 2
    assert "there is no target 'echo'" in done.stderr


def test_a_plugin_that_cannot_be_imported_is_named(anyport: Run, penguins: Path, tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[anyport.targets]\nbroken = broken_module\n")
    done = anyport("check", str(penguins), "--to", "broken", site=tmp_path)
    assert done.returncode == 3
    assert "broken_module" in done.stderr
    assert "Traceback" not in done.stderr
