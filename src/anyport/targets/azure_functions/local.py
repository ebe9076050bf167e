"""The app on this machine: the package as Azure unpacks it, under Microsoft's own worker; host.py is its host."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anyport.bundle import Bundle
from anyport.errors import Missing
from anyport.kit import lock
from anyport.kit.endpoint import serving
from anyport.kit.process import Held, popen
from anyport.kit.web import bytecode
from anyport.kit.wheels import compiler
from anyport.pyform import consented, version_here
from anyport.target import Artifact, Engine, Running
from anyport.targets.azure_functions.cases import FunctionPredictor
from anyport.targets.azure_functions.facts import Facts
from anyport.trust import held as trusted

HOST = Path(__file__).with_name("host.py")
SECONDS = 300
"""The longest that a start may take here."""
WORKER = (3, 13)
"""From which Python on Microsoft's worker is a library that can be installed
(https://pypi.org/project/azure-functions-runtime)."""


Launch = Callable[[Mapping[str, str]], AbstractContextManager[Held]]
"""Starts host.py with an app and these variables beside the app's own."""


@contextmanager
def started(artifact: Artifact, facts: Facts, bundle: Bundle) -> Iterator[Running]:
    """The app, unpacked, in a process of its own."""
    if bundle.form == "python":
        consented(bundle, trusted())
    with TemporaryDirectory(prefix="anyport-") as folder:
        app = Path(folder) / "app"
        with zipfile.ZipFile(artifact.path / "function.zip") as archive:
            archive.extractall(app)
        python, version = interpreter(facts, (app / "requirements.txt").read_text("utf-8"))
        with bytecode(app) as kept:
            env = {**facts.environment, "PYTHONDONTWRITEBYTECODE": "", "HOME": folder, "TMPDIR": folder, **kept}
            if facts.model:
                env["ANYPORT_BUNDLE"] = (artifact.path / "model.tar.gz").as_uri()

            def launch(more: Mapping[str, str]) -> AbstractContextManager[Held]:
                said = {**env, **more, "PYTHONUNBUFFERED": "1"}
                return popen([python, HOST, app], cwd=app, env=said, ready=ready, timeout=SECONDS)

            with served(launch, facts, bundle, version) as running:
                yield running


@contextmanager
def served(launch: Launch, facts: Facts, bundle: Bundle, version: str) -> Iterator[Running]:
    """The app that is asked over HTTP; one with another trigger begins when a case first has something for it."""
    with ExitStack() as stack:

        def begin(trigger: str, output: str) -> str:
            return url(stack.enter_context(launch({"ANYPORT_TRIGGER": trigger, "ANYPORT_OUTPUT": output})))

        worker = stack.enter_context(launch({}))
        prefix = f"/{facts.prefix}" if facts.prefix else ""
        predictor = stack.enter_context(FunctionPredictor(url(worker) + prefix, bundle.signature, begin))
        serving(predictor, bundle)
        yield Running(predictor, engine(said(worker), version))
        if not worker.alive():
            raise worker.died()


def engine(told: dict[str, Any], python: str) -> Engine:
    """Who answered: Microsoft's worker, or its library alone, which our own calls stand in for the worker of."""
    process = f"pid {told['pid']}: {told['worker']} {told['version']}, Python {python}"
    if told["worker"] == "azure-functions-runtime":
        return Engine("Microsoft's worker for Azure Functions", told["version"], process, "emulated")
    return Engine("Microsoft's library azure-functions, called by ours", told["version"], process, "stand-in")


def interpreter(facts: Facts, requirements: str) -> tuple[Path, str]:
    """The Python of an environment that holds what requirements.txt pins, and Microsoft's worker where that is to be
    had, and its version: the function's own where it is here, for a graph else this one."""
    found = compiler(facts.python)
    if found is None and facts.form == "python":
        raise Missing(f"the model runs on Python {facts.python} only, which is not here",
                      fix="check it where that is: anyport check --live function=…")  # fmt: skip
    version = facts.python if found is not None else version_here()
    text = with_worker(requirements) if tuple(map(int, version.split("."))) >= WORKER else requirements
    return lock.environment(text, python=version), version


def with_worker(requirements: str) -> str:
    """A lock with Microsoft's worker in it."""
    has = {name for name, _, _ in lock.pins(requirements)}
    more = [b for b in lock.blocks(lock.shipped("on-azure-worker")) if next(lock.pins(b))[0] not in has]
    return requirements + "".join(more)


def ready(worker: Held) -> bool:
    """Whether it says that it serves."""
    return bool(said(worker))


def said(worker: Held) -> dict[str, Any]:
    """What it says of itself once it serves; {} before."""
    lines = worker.log.read_text("utf-8", "replace").splitlines(keepends=True)
    line = next((line for line in lines if line.startswith("host: ") and line.endswith("\n")), "")
    found: dict[str, Any] = json.loads(line.removeprefix("host: ")) if line else {}
    return found


def url(worker: Held) -> str:
    """Where it listens."""
    return f"http://127.0.0.1:{said(worker)['port']}"
