"""A web application as an artefact: its files laid out, started as its Procfile says, and asked over HTTP."""

from __future__ import annotations

import re
import shlex
import shutil
import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyport.bundle import Bundle, read
from anyport.client import HttpPredictor
from anyport.errors import Missing, Mistake, ServerError
from anyport.kit.endpoint import Live, key
from anyport.kit.process import Failed, Held, popen
from anyport.kit.runtime import carry, closure, view
from anyport.places import cache
from anyport.target import Artifact, Engine, Proof, Running

URL = re.compile(rb"http://127\.0\.0\.1:\d+")
SEALED = {
    "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "", "PYTHONNOUSERSITE": "1", "WEB_CONCURRENCY": "1",
    "GUNICORN_CMD_ARGS": "--no-control-socket",
}  # fmt: skip
"""Environment of a checked application: it says at once where it listens, and leaves nothing in its folder or in the
user's home, where gunicorn would put a socket."""


def lay(bundle: Bundle, out: Path, *folders: Path, integration: str, packages: tuple[str, ...]) -> None:
    """Write an application into `out`: the files of `folders`, runtime/ with what `anyport.integrations.INTEGRATION`
    needs, and requirements.txt, which pins `packages` and the model's own engine."""
    for folder in folders:
        for file in sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
            to = out / file.relative_to(folder)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to)
    roots = [f"anyport.integrations.{integration}", "anyport.integrations.replay"]
    engine: tuple[str, ...] = ("numpy", "msgspec", "onnxruntime")
    if bundle.form == "python":  # it runs in the environment that it was locked in, which has the rest
        engine = ("numpy", "msgspec")
        roots += ["anyport.pyworker", f"anyport.frameworks.{bundle.manifest.framework}"]
    carry(out / "runtime", *roots)
    pins = closure(*engine, *packages)
    (out / "requirements.txt").write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))


@contextmanager
def started(artifact: Artifact, *, title: str, framework: str, env: Mapping[str, str]) -> Iterator[Running]:
    """The application of an artefact, under the server that its Procfile names, in a process that can import nothing
    but what requirements.txt names. Raises Failed with its last words where it does not come up."""
    bundle = read(artifact.path / "bundle")
    python = view(*requirements(artifact.path))
    command = web(artifact.path / "Procfile", python, HOST="127.0.0.1", PORT="0")
    said: dict[str, Any] = {}

    def ready(held: Held) -> bool:
        where = URL.search(held.log.read_bytes())
        if where is None:
            return False
        with HttpPredictor(where[0].decode(), bundle.signature) as probe:
            try:
                status, reply = probe.get("/readyz")
            except ServerError:
                return False  # gunicorn says where it listens before its worker has started
        if status != 200:
            raise Failed(f"{title} cannot load its model: {held.tail()}")
        said.update(reply, url=probe.url)
        return True

    with (
        bytecode(artifact.path) as prefix,
        popen(command, cwd=artifact.path, env={**SEALED, **prefix, **env}, ready=ready, timeout=600) as held,
        HttpPredictor(said["url"], bundle.signature) as predictor,
    ):
        process = f"pid {said['pid']}: {shlex.join(map(str, command[1:]))}"
        yield Running(predictor, engine(said, bundle, framework, f"{title} under {server(command)}", process, "native"))
        if not held.alive():
            raise held.died()


@contextmanager
def bytecode(folder: Path) -> Iterator[dict[str, str]]:
    """Environment of a program that keeps the bytecode of its libraries in our cache, as compiling them is most of a
    start; that of `folder`'s own modules goes when the block ends."""
    prefix = cache("bytecode")
    own = folder.resolve()
    try:
        yield {"PYTHONPYCACHEPREFIX": str(prefix)}
    finally:
        shutil.rmtree(prefix / own.relative_to(own.anchor), ignore_errors=True)


@contextmanager
def reached(artifact: Artifact, live: Live, *, title: str, framework: str) -> Iterator[Running]:
    """The user's own application, asked for this very model. Mistake where it holds another."""
    bundle = read(artifact.path / "bundle")
    with HttpPredictor(live.url, bundle.signature, api_key=key(live)) as predictor:
        status, said = predictor.get("/readyz")
        if not isinstance(said, dict) or "application" not in said:
            raise Missing(f"{predictor.url} is no application with an anyport bundle: GET /readyz answered {status}")
        yield Running(predictor, engine(said, bundle, framework, title, predictor.url, "live"))


def engine(
    said: Mapping[str, Any], bundle: Bundle, framework: str, name: str, process: str, proof: Proof
) -> Engine:  # fmt: skip
    """Who answers, as GET /readyz says. Mistake where that is another model, or no application of this framework."""
    found = [(model["name"], model["digest"]) for model in said["models"]]
    if (bundle.name, bundle.digest) not in found:
        listed = ", ".join(f"{other} {digest[:12]}" for other, digest in found)
        raise Mistake(
            f"{process} does not serve {bundle.name} {bundle.digest[:12]}; it serves {listed or 'nothing'}",
            fix="deploy this artefact there, or check the one that was deployed",
        )
    parts = said["application"]
    if framework not in parts:
        raise Mistake(f"{process} is no {framework} application; it is made of {', '.join(parts)}")
    return Engine(name, ", ".join(f"{part} {version}" for part, version in parts.items()), process, proof)


def requirements(folder: Path) -> list[str]:
    """Names of the distributions that requirements.txt pins."""
    lines = (folder / "requirements.txt").read_text("utf-8").splitlines()
    return [line.partition("==")[0] for line in lines if line]


def web(procfile: Path, python: Path, **variables: str) -> list[str | Path]:
    """The command of a Procfile's line `web: python …`, run by this interpreter."""
    line = procfile.read_text("utf-8").partition("web: python ")[2].partition("\n")[0]
    if not line:
        raise Mistake(f"{procfile} has no line that begins with `web: python `")
    return [python, *shlex.split(string.Template(line).substitute(variables))]


def server(command: list[str | Path]) -> str:
    """The program that `python -m PROGRAM …` or `python manage.py PROGRAM …` starts."""
    return str(command[2])
