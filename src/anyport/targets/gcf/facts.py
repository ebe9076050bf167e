"""Facts: what a function is, as function.json in its artefact says; gcloud's flags, Terraform and the plan read it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from anyport.bundle import Form
from anyport.functions.google.limits import FINALIZED, MOST, PUBLISHED
from anyport.kit import function

CPUS = ((4096, 1), (8192, 2), (16384, 4), (24576, 6), (32768, 8))
"""MiB of memory at most → CPUs at least (https://cloud.google.com/run/docs/configuring/services/memory-limits,
2026-11)."""


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One function, and the one of events beside it where there is a trigger."""

    python: str
    memory: int
    """MiB."""
    cpu: int
    concurrency: int
    """Requests at once in one instance."""
    instances: int
    timeout: int
    trigger: str
    """pubsub:TOPIC or storage:BUCKET; "": none."""
    output: str
    model: str
    """gs:// of the bundle, where it does not lie in the package."""
    name: str
    version: str
    digest: str
    form: Form

    @property
    def runtime(self) -> str:
        """The vendor's name of the Python."""
        return f"python{self.python.replace('.', '')}"

    @property
    def environment(self) -> dict[str, str]:
        """The function's variables. As many threads as requests: gunicorn would take 4 for each CPU."""
        said = {
            "ORT_DISABLE_TELEMETRY": "1", "THREADS": str(self.concurrency), "ANYPORT_MAX_BODY": str(MOST),
            "ANYPORT_TIMEOUT": str(self.timeout),
        }  # fmt: skip
        if self.output:
            said["ANYPORT_OUTPUT"] = self.output
        if self.model:
            said |= {"ANYPORT_BUNDLE": self.model, "ANYPORT_DIGEST": self.digest}
        return said

    @property
    def description(self) -> str:
        return f"{self.name} {self.version}, packed by anyport"[:256]

    def trigger_of(self, project: str) -> dict[str, Any]:
        """The trigger as the vendor's API has it. Events come again until the function has taken them."""
        kind, _, where = self.trigger.partition(":")
        said: dict[str, Any] = {"retry_policy": "RETRY_POLICY_RETRY"}
        if kind == "pubsub":
            topic = where if "/" in where else f"projects/{project}/topics/{where}"
            return {**said, "event_type": PUBLISHED, "pubsub_topic": topic}
        filters = [{"attribute": "bucket", "value": where}]
        return {**said, "event_type": FINALIZED, "event_filters": filters}

    def write(self, out: Path) -> None:
        """function.json, and the same as Terraform's values and as gcloud's flags."""
        (out / "function.json").write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
        values: dict[str, Any] = {
            "name": function_name(self.name), "runtime": self.runtime, "memory": f"{self.memory}Mi",
            "cpu": str(self.cpu), "concurrency": self.concurrency, "timeout": self.timeout,
            "max_instances": self.instances, "description": self.description, "environment": self.environment,
            "trigger": self.trigger, "output": self.output, "model": self.model,
        }  # fmt: skip
        (out / "terraform.tfvars.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
        flags = {
            "--gen2": None, "--runtime": self.runtime, "--source": "source", "--entry-point": "answer",
            "--trigger-http": None, "--no-allow-unauthenticated": None, "--memory": f"{self.memory}Mi",
            "--cpu": str(self.cpu), "--concurrency": self.concurrency, "--timeout": f"{self.timeout}s",
            "--max-instances": self.instances, "--set-env-vars": self.environment,
        }  # fmt: skip
        (out / "gcloud.json").write_text(json.dumps(flags, indent=2) + "\n")


def function_name(name: str) -> str:
    """A bundle's name as the vendor takes it: lower-case letters, digits and hyphens, a letter first, 62 at most."""
    plain = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    return (plain if plain[:1].isalpha() else f"m-{plain}")[:62].rstrip("-")


def cpus(memory: int) -> int:
    """CPUs: a graph runs on one thread, and more memory wants more of them. A whole one at least, without which there
    is no concurrency (https://cloud.google.com/run/docs/configuring/services/cpu, 2026-11)."""
    return next((cpu for most, cpu in CPUS if memory <= most), CPUS[-1][1])


def facts_of(path: Path) -> Facts:
    """The facts of an artefact."""
    return function.facts(path, Facts, "Cloud Run functions")
