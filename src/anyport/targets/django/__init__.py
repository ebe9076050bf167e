"""django: a Django project of the user's own with the model's routes in it, its tests, and runserver or gunicorn."""

from __future__ import annotations

import secrets
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
    name="django", title="a Django application", kind="server", takes=("graph", "python"), extra="django",
    tier="slow",
)  # fmt: skip
HERE = Path(__file__).parent
SERVERS: Mapping[str, tuple[str, ...]] = {"runserver": (), "gunicorn": ("gunicorn",)}
"""Server → the distributions that it needs."""

__all__ = ["SPEC", "Live", "Options", "build", "connect", "fits", "plan", "run"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`-O server=gunicorn`: gunicorn instead of Django's development server."""

    server: Literal["runserver", "gunicorn"] = "runserver"


def fits(bundle: Bundle, options: Any) -> Reason | None:
    """Every bundle can be mounted."""
    return None


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """manage.py, config/, predictions/, Procfile, pyproject.toml, requirements.txt, README.md, bundle/ and runtime/."""
    need("django")
    need("rest_framework")
    carry(bundle, out)
    packages = ("django", "djangorestframework", *SERVERS[options.server])
    lay(bundle, out, HERE / "project", HERE / "servers" / options.server, integration="django", packages=packages)
    return Artifact("django", out, bundle.form, bundle.digest)


def run(artifact: Artifact) -> AbstractContextManager[Running]:
    """The application as its Procfile starts it."""
    env = {"SECRET_KEY": secrets.token_urlsafe(50), "DEBUG": "", "DJANGO_SETTINGS_MODULE": "config.settings"}
    return started(artifact, title="Django", framework="django", env=env)


def connect(artifact: Artifact, live: Live) -> AbstractContextManager[Running]:
    """The user's own application; the URL is that of what includes the patterns."""
    return reached(artifact, live, title="Django", framework="django")


def plan(artifact: Artifact, options: Any, live: Any) -> Sequence[Step]:
    """Nothing is deployed: the project is the user's, and its README says how to start it."""
    return ()
