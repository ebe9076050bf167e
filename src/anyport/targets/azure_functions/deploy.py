"""The plan of a deployment: an app on Flex Consumption, and its package; the one before is kept for the way back.

Flex Consumption has no slots (https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan#considerations):
a package that is published is what callers get, so the golden rows are asked right after, and what fails is taken back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from anyport.errors import Mistake
from anyport.functions.azure.events import places
from anyport.target import Artifact, Call, File, Step
from anyport.targets.azure_functions.cloud import BEFORE, App
from anyport.targets.azure_functions.facts import Facts, app_name

if TYPE_CHECKING:
    from anyport.targets.azure_functions import Live

CONTAINER = "packages"
KINDS = {"queue": "queue", "blob": "container"}
"""What holds messages, and what holds blobs."""


def plan(artifact: Artifact, facts: Facts, live: Live) -> Sequence[Step]:
    """What deploying means. What is there already is looked up where an app is named; else nothing is."""
    app = App(live) if live.function else None
    there = app.site() if app is not None else None
    if there is not None and app is not None:
        return [*stored(artifact, facts, live, app), *watched(facts, live, app.account()),
                *changed(app, facts, live, there), *published(artifact, again=True), *told(facts, app)]  # fmt: skip
    named = msgspec.structs.replace(
        live, function=live.function or app_name(facts.name), group=live.group or "GROUP",
        location=live.location or ("" if live.function else "LOCATION"),
    )  # fmt: skip
    if not named.location:
        raise Mistake(f"where is {live.function} to be made?", fix="add --live location=westeurope")
    return [*made(facts, named), *stored(artifact, facts, named, None), *watched(facts, named, account(named)),
            *published(artifact, again=False), *told(facts, None)]  # fmt: skip


def account(live: Live) -> str:
    """The storage account that an app is given: its own, unless one is named. Of all Azure, the only one so called."""
    own = hashlib.sha256(f"{live.subscription}/{live.group}/{live.function}".encode()).hexdigest()[:17]
    return live.storage or f"anyport{own}"


def made(facts: Facts, live: Live) -> Sequence[Step]:
    """Everything that an app needs, and itself."""
    group, name, store = live.group, live.function, account(live)
    tags = {"anyport": facts.digest[:12]}
    steps = []
    if not live.storage:
        parameters = {
            "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "location": live.location, "tags": tags,
            "properties": {"minimumTlsVersion": "TLS1_2", "allowBlobPublicAccess": False},
        }  # fmt: skip
        at = {"resource_group_name": group, "account_name": store}
        steps.append(Step(f"make the storage account {store}", Call(
            "storage.storage_accounts", "begin_create", {**at, "parameters": parameters}),
            Call("storage.storage_accounts", "delete", at)))  # fmt: skip
    inside = {"resource_group_name": group, "account_name": store, "container_name": CONTAINER}
    plan_at = {"resource_group_name": group, "name": f"{name}-plan"}
    at = {"resource_group_name": group, "name": name}
    free = {"location": live.location, "kind": "functionapp", "tags": tags,
            "sku": {"name": "FC1", "tier": "FlexConsumption"}, "properties": {"reserved": True}}  # fmt: skip
    return [
        *steps,
        Step(f"make a container for packages in {store}", Call(
            "storage.blob_containers", "create", {**inside, "blob_container": {}}),
            Call("storage.blob_containers", "delete", inside)),
        Step("ask how the app reaches it", Call("app", "connection", {"account": store}, "storage")),
        Step(f"make the plan {name}-plan, which costs while functions run", Call(
            "web.app_service_plans", "begin_create_or_update", {**plan_at, "app_service_plan": free}, "plan"),
            Call("web.app_service_plans", "delete", plan_at)),
        Step(f"make the function app {name}", Call(
            "web.web_apps", "begin_create_or_update", {**at, "site_envelope": site(facts, live, store, tags)}),
            Call("web.web_apps", "delete", {**at, "delete_empty_server_farm": False})),
    ]  # fmt: skip


def site(facts: Facts, live: Live, store: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """The app as ARM has it (https://learn.microsoft.com/azure/templates/microsoft.web/sites)."""
    settings = {**facts.environment, "AzureWebJobsStorage": "${storage.string}",
                "DEPLOYMENT_STORAGE_CONNECTION_STRING": "${storage.string}"}  # fmt: skip
    listed = [{"name": name, "value": value} for name, value in settings.items()]
    signed = {"type": "StorageAccountConnectionString",
              "storageAccountConnectionStringName": "DEPLOYMENT_STORAGE_CONNECTION_STRING"}  # fmt: skip
    where = f"https://{store}.blob.core.windows.net/{CONTAINER}"
    kept = {"storage": {"type": "blobContainer", "value": where, "authentication": signed}}
    return {
        "location": live.location, "kind": "functionapp,linux", "tags": dict(tags),
        "properties": {
            "serverFarmId": "${plan.id}", "httpsOnly": True, "siteConfig": {"appSettings": listed},
            "functionAppConfig": {"deployment": kept, **sized(facts)},
        },
    }  # fmt: skip


def sized(facts: Facts) -> dict[str, Any]:
    """What an instance is, and how many there are."""
    return {
        "runtime": {"name": "python", "version": facts.python},
        "scaleAndConcurrency": {
            "instanceMemoryMB": facts.memory, "maximumInstanceCount": facts.instances,
            "triggers": {"http": {"perInstanceConcurrency": facts.concurrency}},
        },
    }  # fmt: skip


def changed(app: App, facts: Facts, live: Live, there: Any) -> Sequence[Step]:
    """An app that is there, with this model's settings and sizes."""
    at = {"resource_group_name": live.group, "name": live.function}
    config = there.as_dict()["properties"].get("functionAppConfig", {})
    had = {name: config[name] for name in ("runtime", "scaleAndConcurrency") if name in config}
    before = app.settings(facts.environment, write=False)
    update = {"properties": {"functionAppConfig": {**config, **sized(facts)}}}
    back = {"properties": {"functionAppConfig": {**config, **had}}}
    return (
        Step(f"keep the package of {live.function}", Call("app", "keep", {})),
        Step("give it this model's memory and concurrency",
             Call("web.web_apps", "update", {**at, "site_envelope": update}),
             Call("web.web_apps", "update", {**at, "site_envelope": back})),
        Step("set its settings, and leave the others", Call("app", "settings", {"said": facts.environment}),
             Call("app", "settings", {"said": before})),
    )  # fmt: skip


def stored(artifact: Artifact, facts: Facts, live: Live, there: App | None) -> Sequence[Step]:
    """The bundle, where it does not travel in the package. It is taken back with the app itself only: an earlier
    deployment may be served from the same blob."""
    if not facts.model:
        return ()
    container, _, name = facts.model.removeprefix("blob:").partition("/")
    at = {"resource_group_name": live.group, "account_name": account(live) if there is None else there.account(),
          "container_name": container, "blob_container": {}}  # fmt: skip
    put = {"container": container, "name": name}
    return (
        Step(f"make the container {container}, unless it is there", Call("storage.blob_containers", "create", at)),
        Step(f"put the bundle into {facts.model}",
             Call("app", "put", {**put, "body": File(artifact.path / "model.tar.gz")}),
             Call("app", "remove", put) if there is None else None),
    )  # fmt: skip


def watched(facts: Facts, live: Live, store: str) -> Sequence[Step]:
    """The queue or container of the trigger, whose messages or blobs are the user's: it is never taken back."""
    place, _ = places(facts.trigger, facts.output)
    if place is None:
        return ()
    at = {"resource_group_name": live.group, "account_name": store}
    make = (
        Call("storage.queue", "create", {**at, "queue_name": place.name, "queue": {}}) if place.kind == "queue" else
        Call("storage.blob_containers", "create", {**at, "container_name": place.name, "blob_container": {}})
    )  # fmt: skip
    return (Step(f"make the {KINDS[place.kind]} {place.name}, unless it is there", make),)


def told(facts: Facts, there: App | None) -> Sequence[Step]:
    """Event Grid's subscription, without which a function of new blobs hears of none."""
    place, _ = places(facts.trigger, facts.output)
    if place is not None and place.kind == "blob":
        subject = f"/blobServices/default/containers/{place.name}/blobs/{place.prefix}"
        why = f"have Event Grid tell it of new blobs in {place.path}"
        return (
            Step(why, Call("app", "listen", {"subject": subject}), Call("app", "deaf", {}) if there is None else None),
        )
    if there is not None and there.listens():
        return (Step("have Event Grid tell it of new blobs no more", Call("app", "deaf", {})),)
    return ()


def published(artifact: Artifact, *, again: bool) -> Sequence[Step]:
    """The package, which callers get as soon as Azure has built it."""
    made = Call("app", "publish", {"body": File(artifact.path / "function.zip")})
    return (
        Step("publish the package, which Azure builds", made, Call("app", "publish_before", {}) if again else None),
    )


def back(facts: Facts, live: Live) -> Sequence[Step]:
    """The package before is published again; where there was none, everything goes."""
    app = App(live)
    app.there()
    if not app.kept():
        return destroy(facts, live)
    return (Step(f"publish {BEFORE}, the package before, again", Call("app", "publish_before", {})),)


def destroy(facts: Facts, live: Live) -> Sequence[Step]:
    """The app, its plan, and the storage account that was made for it."""
    at, store = {"resource_group_name": live.group}, account(live)
    name = live.function or app_name(facts.name)
    steps = []
    if live.storage and live.function and App(live).listens():
        steps.append(Step("have Event Grid tell it of new blobs no more", Call("app", "deaf", {})))
    steps += [
        Step(f"delete the function app {name}", Call(
            "web.web_apps", "delete", {**at, "name": name, "delete_empty_server_farm": False})),
        Step(f"delete its plan {name}-plan", Call("web.app_service_plans", "delete", {**at, "name": f"{name}-plan"})),
    ]  # fmt: skip
    if not live.storage:
        steps.append(Step(f"delete its storage account {store}, with every package", Call(
            "storage.storage_accounts", "delete", {**at, "account_name": store})))  # fmt: skip
    return steps
