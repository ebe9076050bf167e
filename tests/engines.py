"""How the engine of each target is found on this machine; ENGINES=required turns what is absent into a failure."""

from __future__ import annotations

import os

import pytest

from anyport import targets
from anyport.doctor import engine_of


def need(name: str) -> None:
    """Skip with a line that says what is lacking, or fail where every engine is required (CI)."""
    state = engine_of(targets.get(name).SPEC)
    if state == "present":
        return
    says = f"the engine of target {name} is not on this machine: {state}"
    if os.environ.get("ENGINES") == "required":
        pytest.fail(says)
    pytest.skip(says)
