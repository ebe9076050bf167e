"""Generated FastAPI, Flask and Django projects: their own tests, and the other server each may run under."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import served

from anyport import conformance, targets
from anyport.kit import runtime

pytestmark = pytest.mark.slow

TESTS = {
    "fastapi": (["pytest", "httpx2"], ["-m", "pytest", "-q", "-p", "no:cacheprovider"], "4 passed"),
    "flask": (["pytest"], ["-m", "pytest", "-q", "-p", "no:cacheprovider"], "3 passed"),
    "django": ([], ["manage.py", "test"], "Ran 4 tests"),
}


@pytest.mark.parametrize("target", TESTS)
def test_a_generated_projects_own_tests_pass_and_can_fail(penguins: Path, tmp_path: Path, target: str) -> None:
    made = targets.build(penguins, target, tmp_path / "made")
    more, argv, says = TESTS[target]
    pins = [line.partition("==")[0] for line in (made.path / "requirements.txt").read_text().split()]
    environ = {"PATH": os.environ["PATH"], "SECRET_KEY": "of the tests", "PYTHONDONTWRITEBYTECODE": "1"}
    python = runtime.view(*pins, *more)
    done = subprocess.run([python, *argv], cwd=made.path, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert says in done.stdout + done.stderr
    # another model's golden rows beside it: the project's own tests must see it
    codec = made.path / "runtime" / "anyport" / "codec.py"
    codec.write_text(codec.read_text() + "\n_right = cells\ndef cells(*a):\n    return _right(*a)[::-1]\n")
    done = subprocess.run([python, *argv], cwd=made.path, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0


@pytest.mark.parametrize(("target", "server"), [("fastapi", "gunicorn"), ("flask", "werkzeug"), ("django", "gunicorn")])
def test_the_other_servers_run_it_too(tmp_path: Path, target: str, server: str) -> None:
    homes = served.bundle(tmp_path / "homes", served.fitted())
    made = targets.build(str(homes), target, tmp_path / "made", server=server)
    report = conformance.check_artifact(made.path)
    assert report.ok
    assert report.proof == "native"
    assert server in report.engine["version"]
    assert not list(made.path.rglob("__pycache__"))
