"""Functions on the Python that the clouds have, in a Docker engine: what Google and Microsoft install, and run them by.

Needs a running Docker engine, and a base image: make test-docker.
"""

from __future__ import annotations

import re
import secrets
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import baseimage
import engines
import packed
import pytest

from anyport import conformance, targets
from anyport.bundle import Bundle, read
from anyport.client import HttpPredictor
from anyport.kit import image
from anyport.kit.endpoint import serving
from anyport.kit.process import Held, popen, run
from anyport.target import Engine, Running
from anyport.targets.azure_functions import facts as azure_facts
from anyport.targets.azure_functions import local as azure
from anyport.targets.gcf import facts as gcf_facts
from anyport.targets.gcf import local as gcf

pytestmark = pytest.mark.slow
PYTHON = "3.13"
DOCKERFILE = """FROM {base}
COPY requirements.txt /requirements.txt
RUN ["python3", "-m", "pip", "install", "-q", "--break-system-packages", "--ignore-installed", \
"--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", "/requirements.txt"]
COPY app /app
WORKDIR /app
"""


@pytest.fixture(scope="session")
def base() -> str:
    engines.need("docker")
    engines.program("debootstrap", "debootstrap")
    return baseimage.base(PYTHON)


def built(artefact: Path, requirements: str, name: str, base: str, folder: Path) -> str:
    """An image of a function's source with what its requirements.txt pins, for the Python that it is for."""
    with zipfile.ZipFile(artefact / "function.zip") as archive:
        archive.extractall(folder / "app")
    (folder / "requirements.txt").write_text(requirements)
    (folder / "Dockerfile").write_text(DOCKERFILE.format(base=base))
    return image.build(folder, name)


@contextmanager
def container(
    made: str, env: Mapping[str, str], *argv: str, ready: Callable[[Held], bool], options: tuple[str, ...] = ()
) -> Iterator[Held]:
    """A container on this machine's own network, which ends with the block; its root cannot be written."""
    all_of_it = {**env, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp"}
    said = [part for name, value in all_of_it.items() for part in ("--env", f"{name}={value}")]
    name = f"anyport-test-{secrets.token_hex(4)}"
    held = ["--rm", "--name", name, "--init", "--network", "host", "--read-only", "--tmpfs", "/tmp", *options]
    try:
        with popen(["docker", "run", *held, *said, made, *argv], ready=ready, timeout=120) as client:
            yield client
    finally:
        # a slow machine kills the client while the container is still leaving
        run(["docker", "rm", "--force", "--volumes", name], timeout=60)


def holds(bundle: Bundle, running: Running, target: str) -> None:
    found = conformance.run_cases(bundle, running, targets.get(target))
    assert [f"{c.name}: {c.says}" for c in found if c.verdict == "failed"] == []
    assert {c.name for c in found if c.verdict == "ok"} >= {"golden", "concurrency"}


@pytest.mark.target_azure_functions
@pytest.mark.parametrize(("name", "prefix"), [("penguin_species", ""), ("counts", "api")])
def test_microsoft_s_own_worker_answers_as_the_original(
    shelf: packed.Shelf, base: str, tmp_path: Path, name: str, prefix: str
) -> None:
    bundle = read(shelf.bundle(name))
    made = targets.build(bundle, "azure_functions", tmp_path / "made", prefix=prefix, python=PYTHON)
    facts = azure_facts.facts_of(made.path)
    with zipfile.ZipFile(made.path / "function.zip") as archive:
        requirements = azure.with_worker(archive.read("requirements.txt").decode())
    context = tmp_path / "context"
    context.mkdir()
    shutil.copyfile(azure.HOST, tmp_path / "host.py")
    app = built(made.path, requirements, f"anyport-test:azure-{name.replace('_', '-')}", base, context)
    mount = ("--volume", f"{tmp_path / 'host.py'}:/host.py:ro")

    def launch(more: Mapping[str, str]) -> AbstractContextManager[Held]:
        env = {**facts.environment, **more}
        return container(app, env, "python3", "/host.py", "/app", ready=azure.ready, options=mount)

    with azure.served(launch, facts, bundle, PYTHON) as running:
        assert running.engine.proof == "emulated"
        assert re.search(r"azure-functions-runtime [\d.]+, Python 3.13", running.engine.process)
        holds(bundle, running, "azure_functions")


@pytest.mark.target_gcf
def test_functions_framework_answers_on_the_function_s_own_python(
    shelf: packed.Shelf, base: str, tmp_path: Path
) -> None:
    bundle = read(shelf.bundle("penguin_species"))
    made = targets.build(bundle, "gcf", tmp_path / "made", python=PYTHON)
    facts = gcf_facts.facts_of(made.path)
    with zipfile.ZipFile(made.path / "function.zip") as archive:
        requirements = archive.read("requirements.txt").decode()
    context = tmp_path / "context"
    context.mkdir()
    function = built(made.path, requirements, "anyport-test:gcf", base, context)
    env = {**facts.environment, "PORT": "0", "GUNICORN_LOG_LEVEL": "info"}
    argv = ("python3", "-m", "functions_framework", "--target", "answer", "--host", "127.0.0.1")
    with (
        container(function, env, *argv, ready=gcf.ready("answer", bundle)) as held,
        HttpPredictor(gcf.where(held), bundle.signature) as predictor,
    ):
        serving(predictor, bundle)
        holds(bundle, Running(predictor, Engine("functions-framework", "", gcf.where(held), "emulated")), "gcf")
