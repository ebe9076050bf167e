"""The function on this machine: as Lambda unpacks a zip, or as a container, under Amazon's own runtime client."""

from __future__ import annotations

import json
import platform
import secrets
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anyport.bundle import Bundle
from anyport.errors import Impossible, Missing, Mistake, need
from anyport.kit import image as images
from anyport.kit import lock
from anyport.kit.process import Failed, Held, popen, run
from anyport.kit.runtime import view
from anyport.kit.runtime_api import RuntimeApi, runtime_api
from anyport.kit.web import bytecode
from anyport.kit.wheels import compiler
from anyport.pyform import consented
from anyport.target import Artifact, Engine, Running
from anyport.targets.aws_lambda.cases import FunctionFailed, FunctionPredictor
from anyport.targets.aws_lambda.facts import Facts, image_name
from anyport.trust import held as trusted

MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
"""What this machine calls itself → what Lambda does."""
SECONDS = 600
"""The longest that an initialisation may take here, where nothing is as quick as in Lambda's own machines."""
USER = "993:990"
"""Lambda's own user, sbx_user1051."""


@contextmanager
def zipped(artifact: Artifact, facts: Facts, bundle: Bundle) -> Iterator[Running]:
    """function.zip, unpacked. Its own packages are used where they are for a Python that is here; else the same
    versions for this one."""
    if bundle.form == "python":
        consented(bundle, trusted())
    need("awslambdaric")
    with TemporaryDirectory(prefix="anyport-") as folder:
        task = Path(folder) / "task"
        with zipfile.ZipFile(artifact.path / "function.zip") as archive:
            archive.extractall(task)
        python, whose = interpreter(facts, task)
        env = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(facts.memory), "LAMBDA_TASK_ROOT": str(task), **local(facts)}
        if facts.model:
            env["ANYPORT_BUNDLE"] = (artifact.path / "model.tar.gz").as_uri()
        argv: list[str | Path] = [python, "-m", "awslambdaric", "handler.handler"]
        with runtime_api() as api, bytecode(task) as cached:
            env |= {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.port}", "TMPDIR": folder, **cached}
            with popen(argv, cwd=task, env=env, ready=begun(api), timeout=SECONDS) as worker:
                yield asked(api, worker, bundle, f"pid {worker.pid}: awslambdaric handler.handler, {whose}")


@contextmanager
def image(artifact: Artifact, facts: Facts, bundle: Bundle) -> Iterator[Running]:
    """The image, built here and started as Lambda starts it: read-only but for /tmp, as its user, in its memory."""
    if bundle.form == "python":
        consented(bundle, trusted())
    images.engine_version()
    made = images.build(artifact.path, image_name(facts))
    name = f"anyport-{secrets.token_hex(6)}"
    with runtime_api() as api:
        variables = {**local(facts), "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.port}"}
        mounts: list[str] = []
        if facts.model:
            variables["ANYPORT_BUNDLE"] = "file:///var/model.tar.gz"
            mounts = ["--volume", f"{(artifact.path / 'model.tar.gz').resolve()}:/var/model.tar.gz:ro"]
        argv = [
            "docker", "run", "--rm", "--name", name, "--network", "host", "--read-only", "--tmpfs", "/tmp:size=512m",
            "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", f"{facts.memory}m", "--user", USER,
            *mounts, *(part for key, value in variables.items() for part in ("--env", f"{key}={value}")), made,
        ]  # fmt: skip
        try:
            with popen(argv, ready=begun(api), timeout=SECONDS) as worker:
                yield asked(api, worker, bundle, f"container {name} of {made[:19]}: awslambdaric handler.handler")
        finally:
            run(["docker", "rm", "--force", "--volumes", name], timeout=60)


def local(facts: Facts) -> dict[str, str]:
    """The variables that a function has, and those by which Lambda names it."""
    return {
        **facts.environment, "AWS_LAMBDA_FUNCTION_NAME": facts.name, "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_REGION": "eu-west-1",
    }  # fmt: skip


def interpreter(facts: Facts, task: Path) -> tuple[Path, str]:
    """A Python that has Amazon's client and nothing else beside the function's own packages, and whose they are."""
    here = MACHINES.get(platform.machine().lower())
    found = compiler(facts.python) if here == facts.machine else None
    if found is not None:
        return lock.environment(lock.shipped("on-lambda"), python=facts.python), f"Python {facts.python}"
    if facts.form == "python":
        raise Missing(f"the model runs on Python {facts.python} on {facts.machine} only, which is not here",
                      fix="check it where that is: anyport check --live function=…")  # fmt: skip
    shutil.rmtree(task / "lib")
    python = view("awslambdaric", "numpy", "onnxruntime", "msgspec")
    mine = ".".join(platform.python_version_tuple()[:2])
    return python, f"Python {mine} with this machine's packages (those of the zip: {facts.python}, {facts.machine})"


def begun(api: RuntimeApi) -> Callable[[Held], bool]:
    """Whether the function asks for its first event. Failed with its own words where it cannot be initialised."""

    def ready(worker: Held) -> bool:
        if api.init_error is not None:
            said = json.loads(api.init_error)
            what = said.get("errorMessage") or api.init_error.decode()
            raise Failed(f"the function cannot be initialised: {said.get('errorType')}: {what}\n{worker.tail()}")
        return api.began.is_set()

    return ready


def asked(api: RuntimeApi, worker: Held, bundle: Bundle, process: str) -> Running:
    """The function, ready to be asked, and who it says that it is."""

    def invoke(event: Any) -> Any:
        try:
            found = api.invoke(json.dumps(event).encode(), seconds=300)
        except (TimeoutError, CancelledError) as error:
            raise worker.died() if not worker.alive() else Impossible("the function gave no answer") from error
        said = json.loads(found.payload)
        if found.failed:
            raise FunctionFailed(said["errorType"], said["errorMessage"])
        return said

    predictor = FunctionPredictor(bundle.signature, invoke)
    mine(predictor, bundle)
    version = client_version()
    return Running(predictor, Engine("AWS Lambda's runtime client (awslambdaric)", version, process, "emulated"))


def mine(predictor: FunctionPredictor, bundle: Bundle) -> None:
    """Mistake where the function answers for another bundle."""
    status, said = predictor.get("/readyz")
    found: Sequence[Any] = said.get("models", ()) if isinstance(said, dict) else ()
    if not any(model["digest"] == bundle.digest for model in found):
        listed = ", ".join(f"{m['name']} {m['digest'][:12]}" for m in found) or f"nothing ({status})"
        raise Mistake(
            f"{predictor.url} does not answer for {bundle.name} {bundle.digest[:12]}; it has {listed}",
            fix="deploy this artefact there, or check the one that was deployed",
        )


def client_version() -> str:
    """Of Amazon's runtime client, as it is pinned."""
    return next(version for name, version, _ in lock.pins(lock.shipped("on-lambda")) if name == "awslambdaric")
