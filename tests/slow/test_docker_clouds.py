"""The image under the clouds' own local modes: SageMaker's LocalSession, Vertex AI's LocalModel, Azure ML's local
deployment; each in .envs/cloud, each answering as the original model does."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import baseimage
import engines
import pytest
import served

from anyport import targets
from anyport.kit import image

# Makefile runs these by themselves: they share two images, SageMaker publishes port 8080, and Docker's client for
# Python lists containers and then looks at each, which fails where one goes in between. pytest-xdist's groups do not
# give that: pytest 9.2 ignores them without a word (https://github.com/pytest-dev/pytest-xdist/issues/1386)
pytestmark = [pytest.mark.slow, pytest.mark.target_docker]
PYTHON = Path(__file__).parents[2] / ".envs" / "cloud" / "bin" / "python"
MODES = Path(__file__).with_name("cloud_modes.py")
ROWS = served.rows(3, seed=11)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variant → image."""
    engines.need("docker")
    engines.program("docker-compose", "docker-compose")
    engines.must(PYTHON.is_file(), "make .envs/cloud/.ready")
    folder = tmp_path_factory.mktemp("clouds")
    bundle = served.bundle(folder / "homes", served.fitted())
    found = {}
    for variant in ("default", "sagemaker"):
        made = targets.build(str(bundle), "docker", folder / variant, base=baseimage.base(), variant=variant)
        found[variant] = image.build(made.path, f"anyport-test:{variant}")
    return found


def left(*filters: str) -> list[str]:
    """Ids of containers, stopped and leaving ones too."""
    listed = ["docker", "ps", "--all", "--quiet", *filters]
    return subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()


def asked(mode: str, made: str, folder: Path, body: object) -> object:
    until = time.monotonic() + 30  # those of the test before may still be leaving
    while left():
        assert time.monotonic() < until, f"these do not leave: {left()}"
        time.sleep(0.2)
    argv = [PYTHON, "-W", "ignore", MODES, mode, made, folder, json.dumps(body)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=240)
    finally:  # they stop their containers, and leave them
        mine = left("--filter", f"ancestor={made}")
        if mine:
            subprocess.run(["docker", "rm", "--force", "--volumes", *mine], capture_output=True, check=False)
    answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert answers, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(answers[0].removeprefix("ANSWER "))


def same(got: object) -> None:
    expected = served.ask(served.fitted(), ROWS)
    assert isinstance(got, list)
    assert [one["prediction"] for one in got] == [one["prediction"] for one in expected]
    for one, other in zip(got, expected, strict=True):
        assert one["probability"] == pytest.approx(other["probability"])


def test_sagemaker_local_mode(built: dict[str, str], tmp_path: Path) -> None:
    same(asked("sagemaker", "anyport-test:sagemaker", tmp_path, ROWS))


def test_vertex_local_model(built: dict[str, str], tmp_path: Path) -> None:
    reply = asked("vertex", "anyport-test:default", tmp_path, {"instances": ROWS})
    assert isinstance(reply, dict)
    same(reply["predictions"])


def test_azure_local_deployment(built: dict[str, str], tmp_path: Path) -> None:
    same(asked("azure", "anyport-test:default", tmp_path, {"data": ROWS}))
