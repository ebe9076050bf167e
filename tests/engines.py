"""How the engine of each target is found on this machine; ENGINES=required turns what is absent into a failure."""

from __future__ import annotations

import os
import shutil

import pytest

from anyport import targets
from anyport.doctor import engine_of


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


def program(name: str, package: str) -> None:
    """A program on PATH, by the name of the Debian package that holds it."""
    must(shutil.which(name) is not None, f"{name} is not on this machine: apt-get install {package}")
