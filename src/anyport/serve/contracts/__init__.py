"""Wire contracts: one module each, with `routes()`; any of them on the same port.

A handler picks a model (`request.site.pick`), makes a Wire and returns `await request.answer(model, wire)`.
Problems that it raises are worded by its Route's `refuse`.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from anyport.serve.request import Route
from anyport.serve.settings import Settings


def modules() -> tuple[ModuleType, ...]:
    """Every contract, in the order in which their patterns are tried."""
    # imported by name, and here, so that artefacts carry them all (kit/runtime.py reads imports)
    from anyport.serve.contracts import azure, mlflow, oip, page, plain, sagemaker, tensorflow, vertex

    return (plain, page, oip, sagemaker, mlflow, vertex, azure, tensorflow)


def routes(settings: Settings) -> Iterator[Route]:
    """Routes of every contract. One that the settings name takes the place of any other at its path."""
    from anyport.serve.contracts import multimodel, vertex

    asked = [*vertex.named(settings), *(multimodel.routes() if settings.contract == "sagemaker" else ())]
    yield from asked
    taken = {(route.method, route.path) for route in asked}
    for module in modules():
        yield from (route for route in module.routes() if (route.method, route.path) not in taken)
