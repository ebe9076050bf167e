"""The plan of a deployment: a new revision beside the one that has the traffic, proven before any goes to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from anyport.errors import Mistake, NotThere
from anyport.target import Artifact, Call, File, Step
from anyport.targets.gcf.cloud import Services, existing, parent, path
from anyport.targets.gcf.facts import Facts, function_name

if TYPE_CHECKING:
    from anyport.targets.gcf import Live

EVENT = "-event"
"""What the name of the function of events ends with."""
MASK = {"paths": ["build_config", "service_config", "labels", "description"]}
NEW, BEFORE = "new", "before"
"""Tags of revisions: one that is being proven, and the one that had the traffic before."""


def plan(artifact: Artifact, facts: Facts, live: Live) -> Sequence[Step]:
    """What deploying means. What is there already is looked up where a function is named; else nothing is."""
    if not 1 <= live.weight <= 100:
        raise Mistake(f"--live weight: {live.weight} is no share", fix="from 1 to 100 per cent")
    there = existing(live) if live.function else None
    if not live.function:
        live = msgspec.structs.replace(
            live, function=function_name(facts.name), project=live.project or "PROJECT", region=live.region or "REGION"
        )
    steps = [*stored(artifact, facts, first=there is None), *uploaded(artifact, live)]
    if there is None:
        function = function_of(facts, live, "answer")
        made = {"parent": parent(live), "function_id": live.function, "function": function}
        gone = Call("functions", "delete_function", {"name": path(live)})
        why = f"make the function {live.function}, which Google builds"
        steps.append(Step(why, Call("functions", "create_function", made, "function"), gone))
    else:
        steps += revised(facts, live, there)
    return [*steps, *listening(facts, live)]


def stored(artifact: Artifact, facts: Facts, *, first: bool) -> Sequence[Step]:
    """The bundle, where it does not travel with the source. It is taken back with the function itself only: an earlier
    revision may be served from the same object."""
    if not facts.model:
        return ()
    from anyport.target import Command

    file = str(artifact.path / "model.tar.gz")
    return (Step(f"put the bundle into {facts.model}", Command(("gcloud", "storage", "cp", file, facts.model)),
                 Command(("gcloud", "storage", "rm", facts.model)) if first else None),)  # fmt: skip


def uploaded(artifact: Artifact, live: Live) -> Sequence[Step]:
    """The source, where Google builds it from."""
    return (
        Step("ask where the source is wanted", Call(
            "functions", "generate_upload_url", {"parent": parent(live)}, "upload")),
        Step("upload it", Call(
            "upload", "put", {"url": "${upload.upload_url}", "body": File(artifact.path / "function.zip")})),
    )  # fmt: skip


def function_of(facts: Facts, live: Live, entry: str, *, traffic: bool = True) -> dict[str, Any]:
    """The function as the vendor's API has it."""
    service: dict[str, Any] = {
        "available_memory": f"{facts.memory}Mi", "available_cpu": str(facts.cpu),
        "max_instance_request_concurrency": facts.concurrency, "max_instance_count": facts.instances,
        "timeout_seconds": facts.timeout, "environment_variables": facts.environment,
        "all_traffic_on_latest_revision": traffic,
    }  # fmt: skip
    if entry == "event":
        project = parent(live).split("/")[1]
        service["environment_variables"] = {**facts.environment, "GOOGLE_CLOUD_PROJECT": project}
    if live.service_account:
        service["service_account_email"] = live.service_account
    source = {"bucket": "${upload.storage_source.bucket}", "object": "${upload.storage_source.object_}"}
    return {
        "name": path(live, EVENT if entry == "event" else ""), "description": facts.description,
        "environment": "GEN_2", "labels": {"anyport": facts.digest[:12]},
        "build_config": {"runtime": facts.runtime, "entry_point": entry, "source": {"storage_source": source}},
        "service_config": service,
    }  # fmt: skip


def revised(facts: Facts, live: Live, there: Any) -> Sequence[Step]:
    """A new revision of a function that is there. The one that has the traffic keeps it until the new one is proven."""
    service, old = there.service_config.service, there.service_config.revision
    had = traffic_of(live, service, old)
    keeps = next((one["revision"] for one in had if one.get("percent") and one.get("revision")), old)
    before = {"function": written(there), "update_mask": MASK}
    new = {"function": function_of(facts, live, "answer", traffic=False), "update_mask": MASK}
    pinned = [target(keeps, 100, BEFORE)]
    given = [target("${function.service_config.revision}", live.weight),
             target(keeps, 100 - live.weight, BEFORE)]  # fmt: skip
    what = "all traffic" if live.weight == 100 else f"{live.weight} % of the traffic"
    return (
        Step(f"pin the traffic to {keeps}, which has it", moved(service, pinned), moved(service, had)),
        Step("make a revision of the new source, which Google builds",
             Call("functions", "update_function", new, "function"), Call("functions", "update_function", before)),
        Step("give it an address of its own, and no traffic",
             moved(service, [*pinned, target("${function.service_config.revision}", 0, NEW)], "tagged"),
             moved(service, pinned)),
        Step(f"give it {what}", moved(service, given), moved(service, pinned), proven=True),
    )  # fmt: skip


def listening(facts: Facts, live: Live) -> Sequence[Step]:
    """The function of events, of the same source; it has no golden rows of its own to be asked."""
    if not facts.trigger:
        return ()
    function = function_of(facts, live, "event")
    function["event_trigger"] = {**facts.trigger_of(parent(live).split("/")[1]), "trigger_region": live.region}
    if live.service_account:
        function["event_trigger"]["service_account_email"] = live.service_account
    name = f"{live.function}{EVENT}"
    there = existing(live, EVENT) if live.project != "PROJECT" else None
    if there is not None:
        return (Step(
            f"give {name} the same source", Call("functions", "update_function",
            {"function": function, "update_mask": MASK}),
            Call("functions", "update_function", {"function": written(there), "update_mask": MASK}), proven=True,
        ),)  # fmt: skip
    made = {"parent": parent(live), "function_id": name, "function": function}
    return (Step(f"make {name}, which answers {facts.trigger} as it comes", Call("functions", "create_function", made),
                 Call("functions", "delete_function", {"name": path(live, EVENT)}), proven=True),)  # fmt: skip


def written(there: Any) -> dict[str, Any]:
    """What a function was made of, so that it can be made so again: its source is kept by Google."""
    said = type(there).to_dict(there, use_integers_for_enums=False)
    source = said["build_config"].get("source_provenance", {}).get("resolved_storage_source")
    build = {name: said["build_config"][name] for name in ("runtime", "entry_point")}
    build["source"] = {"storage_source": source} if source else said["build_config"]["source"]
    names = (
        "available_memory", "available_cpu", "max_instance_request_concurrency", "max_instance_count",
        "timeout_seconds", "environment_variables", "service_account_email",
    )  # fmt: skip
    service = {name: said["service_config"][name] for name in names if said["service_config"].get(name)}
    return {
        "name": said["name"], "description": said["description"], "labels": said["labels"], "build_config": build,
        "service_config": {**service, "all_traffic_on_latest_revision": False},
    }  # fmt: skip


def traffic_of(live: Live, service: str, latest: str) -> list[dict[str, Any]]:
    """Who gets a service's traffic, as revisions by name."""
    found = []
    for one in Services(live).get(service).get("traffic", ()):
        said = target(one.get("revision") or latest, one.get("percent", 0), one.get("tag", ""))
        if one.get("percent") or one.get("tag"):
            found.append(said)
    return found or [target(latest, 100)]


def target(revision: str, percent: int, tag: str = "") -> dict[str, Any]:
    """A share of the traffic
    (https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#TrafficTarget)."""
    said = {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": revision, "percent": percent}
    return {**said, "tag": tag} if tag else said


def moved(service: str, traffic: Sequence[Mapping[str, Any]], name: str = "") -> Call:
    """The call that gives a service's traffic to revisions."""
    return Call("services", "move", {"name": service, "traffic": list(traffic)}, name)


def back(facts: Facts, live: Live) -> Sequence[Step]:
    """The revision before gets all traffic again; where there was none, everything goes."""
    there = existing(live)
    if there is None:
        raise NotThere(f"there is no function {path(live)}", fix="anyport deploy makes it")
    service, latest = there.service_config.service, there.service_config.revision
    had = traffic_of(live, service, latest)
    before = next((one["revision"] for one in had if one.get("tag") == BEFORE), "")
    if not before:
        return destroy(facts, live)
    return (Step(f"give all traffic to {before} again", moved(service, [target(before, 100)])),)


def destroy(facts: Facts, live: Live) -> Sequence[Step]:
    """Both functions, with all their revisions."""
    steps = []
    if facts.trigger:
        steps.append(Step(f"delete {live.function}{EVENT}", Call(
            "functions", "delete_function", {"name": path(live, EVENT)})))  # fmt: skip
    gone = Call("functions", "delete_function", {"name": path(live)})
    return [*steps, Step(f"delete the function {live.function} with all its revisions", gone)]
