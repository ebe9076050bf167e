"""Facts: what a function is, as function.json in its artefact says; the templates' values and the plan read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from anyport.bundle import Form
from anyport.kit import function
from anyport.kit.wheels import Machine


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One function."""

    package: str
    machine: Machine
    python: str
    memory: int
    timeout: int
    output: str
    model: str
    """s3:// of the bundle, where it does not lie in the package."""
    name: str
    version: str
    digest: str
    form: Form
    base: str

    @property
    def environment(self) -> dict[str, str]:
        """The function's variables."""
        said = {"ORT_DISABLE_TELEMETRY": "1"}
        if self.output:
            said["ANYPORT_OUTPUT"] = self.output
        if self.model:
            said |= {"ANYPORT_BUNDLE": self.model, "ANYPORT_DIGEST": self.digest}
        return said

    @property
    def description(self) -> str:
        return f"{self.name} {self.version}, packed by anyport"[:256]

    def write(self, out: Path) -> None:
        """function.json, and the same as values of the two templates and as a policy."""
        (out / "function.json").write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
        rights = policy(self, "${Region}", "${Account}", "${Function}")
        (out / "policy.json").write_text(json.dumps(rights, indent=2) + "\n")
        values: dict[str, Any] = {
            "function_name": function_name(self.name), "architecture": self.machine, "memory_size": self.memory,
            "timeout": self.timeout, "description": self.description, "output": self.output,
            "bundle": self.model, "digest": self.digest if self.model else "",
        }  # fmt: skip
        if self.package == "zip":
            values["runtime"] = f"python{self.python}"
        (out / "terraform.tfvars.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
        pairs = [f"{camel(name)}={json.dumps(str(value))}" for name, value in sorted(values.items()) if str(value)]
        overrides = json.dumps(" ".join(pairs))
        resolved = "resolve_image_repos" if self.package == "image" else "resolve_s3"
        (out / "samconfig.toml").write_text(
            "version = 0.1\n\n[default.deploy.parameters]\n"
            f"stack_name = {json.dumps(function_name(self.name))}\n"
            f'capabilities = "CAPABILITY_IAM"\n{resolved} = true\nparameter_overrides = {overrides}\n'
        )


def camel(name: str) -> str:
    """function_name as CloudFormation names parameters: FunctionName."""
    return "".join(part.capitalize() for part in name.split("_"))


def function_name(name: str) -> str:
    """A bundle's name as Lambda takes it: letters, digits, - and _, 64 at most
    (https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html)."""
    return name.replace(".", "-")[:64]


def image_name(facts: Facts) -> str:
    """The image's name and tag, without a registry."""
    return f"{function_name(facts.name)}:{facts.digest[:12]}"


def facts_of(path: Path) -> Facts:
    """The facts of an artefact."""
    return function.facts(path, Facts, "Lambda")


def policy(facts: Facts, region: str, account: str, function: str) -> dict[str, Any]:
    """What the function may do: write its own log, read its bundle, send its answers; nothing else
    (https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html)."""
    group = f"arn:aws:logs:{region}:{account}:log-group:/aws/lambda/{function}"
    said = [{
        "Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": f"{group}:*",
    }]  # fmt: skip
    if facts.model:
        bucket, _, key = facts.model.removeprefix("s3://").partition("/")
        said.append({"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": f"arn:aws:s3:::{bucket}/{key}"})
    kind, _, where = facts.output.partition(":")
    if kind == "s3":
        bucket, _, prefix = where.removeprefix("//").partition("/")
        inside = f"{prefix.strip('/')}/*" if prefix.strip("/") else "*"
        said.append({"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": f"arn:aws:s3:::{bucket}/{inside}"})
    elif kind == "sqs":  # https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE
        queue = f"arn:aws:sqs:{region}:{account}:{where.rstrip('/').rpartition('/')[2]}"
        said.append({"Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": queue})
    elif kind == "kinesis":
        stream = f"arn:aws:kinesis:{region}:{account}:stream/{where}"
        said.append({"Effect": "Allow", "Action": ["kinesis:PutRecords"], "Resource": stream})
    return {"Version": "2012-10-17", "Statement": said}
