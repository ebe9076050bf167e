"""Wire contracts: one module each, with `routes()`; any of them on the same port.

A handler picks a model (`request.site.pick`), makes a Wire and returns `await request.answer(model, wire)`.
Problems that it raises are worded by its Route's `refuse`.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from anyport.serve.request import Route


def modules() -> tuple[ModuleType, ...]:
    """Every contract, in the order in which their patterns are tried."""
    # imported by name, and here, so that artefacts carry them all (kit/runtime.py reads imports)
    from anyport.serve.contracts import oip, plain

    return (plain, oip)


def routes() -> Iterator[Route]:
    """Routes of every contract."""
    for module in modules():
        yield from module.routes()
