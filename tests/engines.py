"""How the engine of each target is found on this machine; ENGINES=required turns what is absent into a failure."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from anyport import targets
from anyport.doctor import engine_of
from anyport.kit import postgres

SERVERS = ExitStack()
"""What this process of the tests has begun and its end ends."""
DATABASES = count()


def must(present: bool, says: str) -> None:
    """Skip with a line that says what is lacking, or fail where every engine is required (CI)."""
    if present:
        return
    if os.environ.get("ENGINES") == "required":
        pytest.fail(says)
    pytest.skip(says)


def need(name: str) -> None:
    """The engine of a target."""
    state = engine_of(targets.get(name).SPEC)
    must(state == "present", f"the engine of target {name} is not on this machine: {state}")


def elsewhere(name: str) -> bool:
    """Whether a target's engine is too heavy for the environment of every day, and is not in this one either: its extra
    is none of the group dev, and .envs/ has it, where the slow tests ask it."""
    extra = targets.get(name).SPEC.extra
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    daily = re.fullmatch(r"anyport\[(.+)\]", project["dependency-groups"]["dev"][0])
    assert daily is not None
    return extra != "" and extra not in daily[1].split(",") and engine_of(targets.get(name).SPEC) != "present"


def program(name: str, package: str) -> None:
    """A program on PATH, by the name of the Debian package that holds it."""
    must(shutil.which(name) is not None, f"{name} is not on this machine: apt-get install {package}")


@contextmanager
def shared() -> Iterator[None]:
    """Within this, who asks for a PostgreSQL of its own gets a database of its own, in the one server of this process:
    to make and begin a server takes longer than what is asked of it. One with PL/Python is made as ever."""
    own = postgres.server

    @contextmanager
    def database(*, python: bool = False, env: Mapping[str, str] | None = None) -> Iterator[tuple[str, Any]]:
        if python or env:
            with own(python=python, env=env) as made:
                yield made
            return
        dsn, held = running(own)
        name = f"tested_{next(DATABASES)}"
        with postgres.connected(dsn) as admin:
            admin.run(f"create database {name}")
        try:
            yield dsn.replace("dbname=postgres", f"dbname={name}"), held
        finally:
            with postgres.connected(dsn) as admin:
                admin.run(f"drop database {name} with (force)")
                if not admin.ask("select 1 from pg_database where datname like 'tested%'"):  # roles are everybody's
                    for (role,) in admin.ask("select rolname from pg_roles where not rolsuper and rolname !~ '^pg_'"):
                        admin.run(f"drop role {admin.dialect.ident(role)}")

    with patch.object(postgres, "server", database):
        yield


def running(begin: Any, known: list[Any] = []) -> Any:  # noqa: B006 - kept from call to call
    """The server of this process; a new one where the last has died."""
    if not known or not known[-1][1].alive():
        known.append(SERVERS.enter_context(begin()))
    return known[-1]
