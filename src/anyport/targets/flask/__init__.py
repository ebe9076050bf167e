"""flask: a Flask project of the user's own, with the model's routes in it, its tests, and gunicorn or werkzeug."""

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
    name="flask", title="a Flask application", kind="server", takes=("graph", "python"), extra="flask",
    tier="slow",
)  # fmt: skip
HERE = Path(__file__).parent
SERVERS: Mapping[str, tuple[str, ...]] = {"gunicorn": ("gunicorn",), "werkzeug": ()}
"""Server → the distributions that it needs."""

__all__ = ["SPEC", "Live", "Options", "build", "connect", "fits", "plan", "run"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`-O server=werkzeug`: the development server that `flask run` starts."""

    server: Literal["gunicorn", "werkzeug"] = "gunicorn"


def fits(bundle: Bundle, options: Any) -> Reason | None:
    """Every bundle can be mounted."""
    return None


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """app/, wsgi.py, tests/, Procfile, pyproject.toml, requirements.txt, README.md, bundle/ and runtime/."""
    need("flask")
    carry(bundle, out)
    packages = ("flask", *SERVERS[options.server])
    lay(bundle, out, HERE / "project", HERE / "servers" / options.server, integration="flask", packages=packages)
    return Artifact("flask", out, bundle.form, bundle.digest)


def run(artifact: Artifact) -> AbstractContextManager[Running]:
    """The application as its Procfile starts it."""
    return started(artifact, title="Flask", framework="flask", env={"APP_PREFIX": ""})


def connect(artifact: Artifact, live: Live) -> AbstractContextManager[Running]:
    """The user's own application; the URL is that of the blueprint."""
    return reached(artifact, live, title="Flask", framework="flask")


def plan(artifact: Artifact, options: Any, live: Any) -> Sequence[Step]:
    """Nothing is deployed: the project is the user's, and its README says how to start it."""
    return ()
