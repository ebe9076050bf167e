"""fastapi: a FastAPI project of the user's own, with the model's routes in it, its tests, and uvicorn or gunicorn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import msgspec

from anyport.bundle import Bundle
from anyport.errors import need
from anyport.kit.endpoint import Live
from anyport.kit.web import lay, reached, started
from anyport.target import Artifact, Reason, Running, Spec, Step
from anyport.targets import carry

SPEC = Spec(
    name="fastapi", title="a FastAPI application", kind="server", takes=("graph", "python"), extra="fastapi",
    tier="slow",
)  # fmt: skip
HERE = Path(__file__).parent
SERVERS: Mapping[str, tuple[str, ...]] = {"uvicorn": ("uvicorn",), "gunicorn": ("gunicorn", "uvicorn-worker")}
"""Server → the distributions that it needs."""

__all__ = ["SPEC", "Live", "Options", "build", "connect", "fits", "plan", "run"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`-O server=gunicorn`: uvicorn's workers under gunicorn."""

    server: Literal["uvicorn", "gunicorn"] = "uvicorn"


def fits(bundle: Bundle, options: Any) -> Reason | None:
    """Every bundle can be mounted."""
    return None


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """app/, tests/, Procfile, pyproject.toml, requirements.txt, README.md, bundle/ and runtime/."""
    need("fastapi")
    carry(bundle, out)
    packages = ("fastapi", *SERVERS[options.server])
    lay(bundle, out, HERE / "project", HERE / "servers" / options.server, integration="fastapi", packages=packages)
    return Artifact("fastapi", out, bundle.form, bundle.digest)


def run(artifact: Artifact) -> AbstractContextManager[Running]:
    """The application as its Procfile starts it."""
    return started(artifact, title="FastAPI", framework="fastapi", env={"APP_PREFIX": ""})


def connect(artifact: Artifact, live: Live) -> AbstractContextManager[Running]:
    """The user's own application; the URL is that of the router."""
    return reached(artifact, live, title="FastAPI", framework="fastapi")


def plan(artifact: Artifact, options: Any, live: Any) -> Sequence[Step]:
    """Nothing is deployed: the project is the user's, and its README says how to start it."""
    return ()
