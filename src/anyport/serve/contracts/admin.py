"""Changing what is served while it is served: /admin, for whoever holds an administrator's key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec

from anyport.errors import Mistake
from anyport.serve import plan as plans
from anyport.serve.messages import Change
from anyport.serve.plan import Plan
from anyport.serve.reply import Problem, Reply
from anyport.serve.request import Request, Route

SHOWN = ("previous", "comparison")
"""What GET says beside the plan; a PUT of the same document means nothing by it."""


def routes() -> Iterator[Route]:
    """The plan, and the ways to change it; they need an administrator's key and no other."""
    for method, path, handler in (
        ("GET", "/admin/plan", show),
        ("PUT", "/admin/plan", put),
        ("PATCH", "/admin/plan", patch),
        ("POST", "/admin/reload", reload),
        ("POST", "/admin/rollback", rollback),
    ):
        yield Route(method, path, guarded(handler), open=True)


def guarded(handler: Callable[[Request], Awaitable[Reply]]) -> Callable[[Request], Awaitable[Reply]]:
    """The handler behind the administrators' keys. Problem 401."""

    async def checked(request: Request) -> Reply:
        keys = request.site.admin
        if keys is None or not keys.allow(request.scope["headers"]):
            raise Problem(
                401, "Unauthorized", "no valid administrator's key", "send Authorization: Bearer KEY",
                headers=((b"www-authenticate", b"Bearer"),),
            )  # fmt: skip
        return await handler(request)

    return checked


async def show(request: Request) -> Reply:
    """The plan, the one that a rollback goes back to, and how shadows compare."""
    site = request.site
    before = site.control.deployment.before if site.control is not None else None
    compared = {
        name: {"version": one.version, **site.metrics.shadow(name, one.version)}
        for name, one in site.plan.shadow.items()
    }
    said = {**msgspec.to_builtins(site.plan), "previous": before[0] if before else None, "comparison": compared}
    return Reply(200, msgspec.json.encode(said))


async def put(request: Request) -> Reply:
    """Serve another plan: all of it, or nothing changes. 409 where `generation` is given and is not the present."""
    said = await document(request)
    plan = made({key: value for key, value in said.items() if key not in SHOWN})
    return await changed(request, Change("put", plan, plan.generation or None))


async def patch(request: Request) -> Reply:
    """Change a part of the plan: a JSON merge patch (RFC 7396)."""
    said = await document(request)
    plan = request.site.plan
    generation = said.pop("generation", plan.generation)
    try:
        wanted = plans.patched(plan, said)
    except Mistake as error:
        raise Problem(400, "BadPlan", error.what, error.fix) from error
    return await changed(request, Change("put", wanted, generation))


async def reload(request: Request) -> Reply:
    """Serve what lies at the plan's paths by now, and read the keys again. SIGHUP does the same."""
    return await changed(request, Change("reload"))


async def rollback(request: Request) -> Reply:
    """Serve the plan before this one; once more comes back to this. 409 where there is none."""
    return await changed(request, Change("rollback"))


async def changed(request: Request, change: Change) -> Reply:
    """The plan that is served after a change."""
    control = request.site.control
    assert control is not None, "routes of a site that nobody controls"
    return Reply(200, msgspec.json.encode(await control.ask(change)))


async def document(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Problem 400."""
    try:
        return msgspec.json.decode(await request.body(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Problem(400, "BadBody", f"the body is no JSON object: {error}", "GET /admin/plan shows one") from error


def made(said: dict[str, Any]) -> Plan:
    """The plan in a document. Problem 400."""
    try:
        return plans.of(said)
    except Mistake as error:
        raise Problem(400, "BadPlan", error.what, error.fix) from error
