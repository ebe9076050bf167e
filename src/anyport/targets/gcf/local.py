"""The function on this machine: the source as Google unpacks it, under Google's own functions-framework."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from anyport.bundle import Bundle
from anyport.client import HttpPredictor
from anyport.errors import Missing, ServerError
from anyport.kit import lock
from anyport.kit.endpoint import serving
from anyport.kit.process import Failed, Held, popen
from anyport.kit.web import bytecode
from anyport.kit.wheels import compiler
from anyport.pyform import consented, version_here
from anyport.target import Artifact, Engine, Running
from anyport.targets.gcf.cases import Events, FunctionPredictor
from anyport.targets.gcf.facts import Facts
from anyport.targets.gcf.standin import google
from anyport.trust import held as trusted

LISTENS = re.compile(rb"Listening at: (http://127\.0\.0\.1:\d+)")
SECONDS = 300
"""The longest that a start may take here, where nothing is as quick as in Google's own machines."""


@contextmanager
def started(artifact: Artifact, facts: Facts, bundle: Bundle) -> Iterator[Running]:
    """The function that is asked over HTTP; the one of events begins when a case first has an event for it."""
    if bundle.form == "python":
        consented(bundle, trusted())
    with TemporaryDirectory(prefix="anyport-") as folder, ExitStack() as stack:
        source = Path(folder) / "source"
        with zipfile.ZipFile(artifact.path / "function.zip") as archive:
            archive.extractall(source)
        requirements = (source / "requirements.txt").read_text("utf-8")
        python, version = interpreter(facts, requirements)
        env = {
            **facts.environment, "PYTHONDONTWRITEBYTECODE": "", "HOME": folder, "TMPDIR": folder,
            **stack.enter_context(bytecode(source)),
        }  # fmt: skip
        if facts.model:
            env["ANYPORT_BUNDLE"] = (artifact.path / "model.tar.gz").as_uri()

        @contextmanager
        def events() -> Iterator[Events]:
            with google() as place:
                out = {"ANYPORT_OUTPUT": "gs://answers/out", "STORAGE_EMULATOR_HOST": place.url,
                       "PUBSUB_EMULATOR_HOST": place.url}  # fmt: skip
                with framework(python, source, {**env, **out}, "event", bundle) as (_, url):
                    yield Events(url, place)

        worker, url = stack.enter_context(framework(python, source, env, "answer", bundle))
        predictor = stack.enter_context(
            FunctionPredictor(url, bundle.signature, lambda: stack.enter_context(events()), timeout=300)
        )
        said = serving(predictor, bundle)
        process = f"pid {said.pid}: functions-framework --target answer, Python {version}"
        pinned = next(v for name, v, _ in lock.pins(requirements) if name == "functions-framework")
        yield Running(predictor, Engine("Google's functions-framework", pinned, process, "emulated"))
        if not worker.alive():
            raise worker.died()


def interpreter(facts: Facts, requirements: str) -> tuple[Path, str]:
    """The Python of an environment that holds what requirements.txt pins and nothing else, and its version: the
    function's own where it is here, for a graph else this one."""
    found = compiler(facts.python)
    if found is None and facts.form == "python":
        raise Missing(f"the model runs on Python {facts.python} only, which is not here",
                      fix="check it where that is: anyport check --live function=…")  # fmt: skip
    version = facts.python if found is not None else version_here()
    return lock.environment(requirements, python=version), version


@contextmanager
def framework(
    python: Path, source: Path, env: dict[str, str], target: str, bundle: Bundle
) -> Iterator[tuple[Held, str]]:
    """functions-framework with one of the two functions, and where it listens."""
    argv: list[str | Path] = [python, "-m", "functions_framework", "--target", target, "--host", "127.0.0.1"]
    said = {"PORT": "0", "GUNICORN_LOG_LEVEL": "info", "PYTHONUNBUFFERED": "1"}
    # it takes half a minute to end in peace
    with popen(argv, cwd=source, env={**env, **said}, ready=ready(target, bundle), timeout=SECONDS, grace=0) as worker:
        yield worker, where(worker)


def where(worker: Held) -> str:
    """The URL that it says."""
    found = LISTENS.search(worker.log.read_bytes())
    return found[1].decode() if found else ""


def ready(target: str, bundle: Bundle) -> Callable[[Held], bool]:
    """Whether it answers. Failed with its own words where it cannot load the model."""

    def asked(worker: Held) -> bool:
        url = where(worker)
        if not url:
            return False
        with HttpPredictor(url, bundle.signature) as probe:
            try:
                status, _, _ = probe.request("GET", "/readyz", None)
            except ServerError:
                return False  # it says where it listens before its worker has started
        # the function of events takes nothing but POST
        if status not in ((405,) if target == "event" else (200,)):
            raise Failed(f"the function cannot be initialised: GET /readyz answered {status}: {worker.tail()}")
        return True

    return asked
