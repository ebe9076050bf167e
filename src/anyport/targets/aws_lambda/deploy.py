"""The plan of a deployment: a new version beside what is there, proven before any traffic goes to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible, Mistake, NotThere
from anyport.target import Artifact, Call, Command, File, Step
from anyport.targets.aws_lambda.cloud import client, told
from anyport.targets.aws_lambda.facts import Facts, function_name, image_name, policy

if TYPE_CHECKING:
    from anyport.targets.aws_lambda import Live

DIRECT = 50 * 1048576
"""Bytes of a zip that Lambda takes from the caller itself
(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
ASSUME = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}  # fmt: skip
RETENTION = 30
"""Days that the log is kept."""


def plan(artifact: Artifact, facts: Facts, live: Live) -> Sequence[Step]:
    """What deploying means. What is there already is looked up where a function is named; else nothing is."""
    name = live.function or function_name(facts.name)
    if not 0 < live.weight <= 1:
        raise Mistake(f"--live weight: {live.weight} is no share", fix="from 0 to 1")
    there = existing(live) if live.function else None
    steps = [*stored(artifact, facts, live, first=there is None)]
    code = source(artifact, facts, live)
    if there is None:
        steps += created(facts, live, name, code)
    else:
        kind = there["Configuration"].get("PackageType", "Zip").lower()
        if kind != facts.package:
            raise Impossible(f"{name} is a function of package type {kind}, which cannot be changed",
                             fix="deploy it under another name, or build with -O package=" + kind)  # fmt: skip
        steps += updated(facts, name, code)
    made = Call(
        "lambda", "publish_version", {"FunctionName": name, "Description": facts.description}, "version",
        "published_version_active",
    )  # fmt: skip
    gone = Call("lambda", "delete_function", {"FunctionName": name, "Qualifier": "${version.Version}"})
    # the first version goes with the function itself
    steps.append(Step("publish it as a version", made, gone if there is not None else None))
    return [*steps, *moved(name, live, alias(name, live) if there is not None else None)]


def existing(live: Live) -> dict[str, Any] | None:
    """The function of that name, or None."""
    try:
        found: dict[str, Any] = told(lambda: client("lambda", live).get_function(FunctionName=live.function))
    except NotThere:
        return None
    return found


def alias(name: str, live: Live) -> dict[str, Any] | None:
    """The alias of that name, or None."""
    try:
        found: dict[str, Any] = told(lambda: client("lambda", live).get_alias(FunctionName=name, Name=live.alias))
    except NotThere:
        return None
    return found


def stored(artifact: Artifact, facts: Facts, live: Live, *, first: bool) -> Sequence[Step]:
    """What goes to S3 or to a registry first. What lies in S3 is taken back with the function itself only: an earlier
    version may be served from the same object."""
    steps = []
    if facts.model:
        bucket, _, key = facts.model.removeprefix("s3://").partition("/")
        steps.append(put("the bundle", bucket, key, artifact, "model.tar.gz", first=first))
    if facts.package == "image":
        local, remote = image_name(facts), repository(facts, live)
        platform = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}[facts.machine]
        built = ("docker", "build", "--platform", platform, "--tag", local, "--tag", remote, str(artifact.path))
        steps += [
            Step("build the image", Command(built)),
            Step(f"push it to {remote.partition('/')[0]} (after docker login)", Command(("docker", "push", remote))),
        ]
    elif too_large(artifact):
        if not live.bucket:
            raise Impossible("the zip has more than the 50 MB that Lambda takes directly", fix="--live bucket=BUCKET")
        steps.append(put("the package", live.bucket, zip_key(facts), artifact, "function.zip", first=first))
    return steps


def put(what: str, bucket: str, key: str, artifact: Artifact, file: str, *, first: bool) -> Step:
    """A file of the artefact as an object."""
    params = {"Bucket": bucket, "Key": key, "Body": File(artifact.path / file), "ChecksumAlgorithm": "SHA256"}
    return Step(f"put {what} into s3://{bucket}/{key}", Call("s3", "put_object", params),
                Call("s3", "delete_object", {"Bucket": bucket, "Key": key}) if first else None)  # fmt: skip


def too_large(artifact: Artifact) -> bool:
    """Whether the zip has to go by S3."""
    return (artifact.path / "function.zip").stat().st_size > DIRECT


def zip_key(facts: Facts) -> str:
    """Where the zip lies in the user's bucket."""
    return f"anyport/{facts.name}-{facts.digest[:24]}-{facts.machine}-python{facts.python}.zip"


def repository(facts: Facts, live: Live) -> str:
    """The image's name in the user's registry."""
    if not live.repository:
        if live.function:
            fix = "--live repository=ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME"
            raise Mistake("an image has to lie in a registry of AWS", fix=fix)
        return f"ACCOUNT.dkr.ecr.REGION.amazonaws.com/{image_name(facts)}"
    return f"{live.repository}:{facts.digest[:12]}"


def source(artifact: Artifact, facts: Facts, live: Live) -> dict[str, Any]:
    """Where Lambda takes the function's code from."""
    if facts.package == "image":
        return {"ImageUri": repository(facts, live)}
    if too_large(artifact):
        return {"S3Bucket": live.bucket, "S3Key": zip_key(facts)}
    return {"ZipFile": File(artifact.path / "function.zip")}


def settings(facts: Facts, name: str) -> dict[str, Any]:
    """The function's configuration."""
    said: dict[str, Any] = {
        "FunctionName": name, "Description": facts.description, "MemorySize": facts.memory, "Timeout": facts.timeout,
        "Environment": {"Variables": facts.environment}, "LoggingConfig": {"LogFormat": "JSON"},
    }  # fmt: skip
    if facts.package == "zip":
        said |= {"Runtime": f"python{facts.python}", "Handler": "handler.handler",
                 "SnapStart": {"ApplyOn": "PublishedVersions"}}  # fmt: skip
    return said


def created(facts: Facts, live: Live, name: str, code: Mapping[str, Any]) -> Sequence[Step]:
    """The first of its name: its log, its role (unless one is given), and itself."""
    group = f"/aws/lambda/{name}"
    log = Step(
        f"make the log group {group}", Call("logs", "create_log_group", {"logGroupName": group}),
        Call("logs", "delete_log_group", {"logGroupName": group}),
    )  # fmt: skip
    keep = Step(f"keep its lines for {RETENTION} days", Call(
        "logs", "put_retention_policy", {"logGroupName": group, "retentionInDays": RETENTION}))  # fmt: skip
    steps = [log, keep]
    role, role_name = live.role, f"{name}-anyport"
    if not role:
        rights = json.dumps(policy(facts, live.region or "*", "*", name))
        steps += [
            Step(f"make the role {role_name}, which Lambda alone may take", Call(
                "iam", "create_role", {"RoleName": role_name, "AssumeRolePolicyDocument": json.dumps(ASSUME)}, "role"),
                Call("iam", "delete_role", {"RoleName": role_name})),
            Step("let it write its log" + (", and what its output needs" if facts.output else ""), Call(
                "iam", "put_role_policy",
                {"RoleName": role_name, "PolicyName": "anyport", "PolicyDocument": rights}),
                Call("iam", "delete_role_policy", {"RoleName": role_name, "PolicyName": "anyport"})),
        ]  # fmt: skip
        role = "${role.Role.Arn}"
    tags = {"anyport": facts.digest[:12]}
    params = {**settings(facts, name), "Role": role, "Code": code, "PackageType": facts.package.capitalize(),
              "Architectures": [facts.machine], "Tags": tags}  # fmt: skip
    return [*steps, Step(
        f"make the function {name}", Call("lambda", "create_function", params, "function", "function_active_v2"),
        Call("lambda", "delete_function", {"FunctionName": name}),
    )]  # fmt: skip


def updated(facts: Facts, name: str, code: Mapping[str, Any]) -> Sequence[Step]:
    """New code and configuration; the versions that are published keep theirs, and the alias keeps its version."""
    to_code = {"FunctionName": name, **code, "Architectures": [facts.machine]}
    return (
        Step(f"configure {name} (no version that is published changes)", Call(
            "lambda", "update_function_configuration", settings(facts, name), wait="function_updated_v2")),
        Step("give it the new code", Call("lambda", "update_function_code", to_code, wait="function_updated_v2")),
    )  # fmt: skip


def moved(name: str, live: Live, before: Mapping[str, Any] | None) -> Sequence[Step]:
    """The alias to the new version, all of its traffic or a share."""
    to = {"FunctionName": name, "Name": live.alias}
    if before is None:
        return (Step(
            f"name it {live.alias}, which is what callers ask",
            Call("lambda", "create_alias", {**to, "FunctionVersion": "${version.Version}", "Description": "before:"}),
            Call("lambda", "delete_alias", to), proven=True,
        ),)  # fmt: skip
    old, routing = before["FunctionVersion"], before.get("RoutingConfig") or {"AdditionalVersionWeights": {}}
    back = {**to, "FunctionVersion": old, "RoutingConfig": routing, "Description": before.get("Description", "")}
    if live.weight < 1:
        new = {**to, "FunctionVersion": old,
               "RoutingConfig": {"AdditionalVersionWeights": {"${version.Version}": live.weight}}}  # fmt: skip
        why = f"give it {live.weight:.0%} of the traffic of {live.alias}; version {old} keeps the rest"
    else:
        new = {**to, "FunctionVersion": "${version.Version}", "RoutingConfig": {"AdditionalVersionWeights": {}}}
        why = f"give it all traffic of {live.alias}, which version {old} has now"
    return (Step(why, Call("lambda", "update_alias", {**new, "Description": f"before:{old}"}),
                 Call("lambda", "update_alias", back), proven=True),)  # fmt: skip


def back(facts: Facts, live: Live) -> Sequence[Step]:
    """The version before gets all traffic again; where there was none, everything goes."""
    name = live.function or function_name(facts.name)
    found = alias(name, live)
    if found is None:
        raise NotThere(f"{name} has no alias {live.alias}", fix="anyport deploy makes it")
    if (found.get("RoutingConfig") or {}).get("AdditionalVersionWeights"):
        before = found["FunctionVersion"]  # a share went to the new one; the old one is still the alias's own
    else:
        before = str(found.get("Description", "")).partition("before:")[2]
    if not before:
        return destroy(facts, live)
    params = {"FunctionName": name, "Name": live.alias, "FunctionVersion": before,
              "RoutingConfig": {"AdditionalVersionWeights": {}}, "Description": "before:"}  # fmt: skip
    why = f"give all traffic of {live.alias} to version {before} again"
    return (Step(why, Call("lambda", "update_alias", params)),)


def destroy(facts: Facts, live: Live) -> Sequence[Step]:
    """The function with all its versions, its log, and the role that was made for it."""
    name = live.function or function_name(facts.name)
    group = f"/aws/lambda/{name}"
    gone = Call("lambda", "delete_function", {"FunctionName": name})
    steps = [
        Step(f"delete the function {name} with all its versions", gone),
        Step(f"delete its log group {group}", Call("logs", "delete_log_group", {"logGroupName": group})),
    ]
    if not live.role:
        role = {"RoleName": f"{name}-anyport"}
        steps += [
            Step("take its role's rights", Call("iam", "delete_role_policy", {**role, "PolicyName": "anyport"})),
            Step("delete its role", Call("iam", "delete_role", role)),
        ]
    return steps
