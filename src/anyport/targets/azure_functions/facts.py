"""Facts: what a function app is, as function.json in its artefact says; host.json, Bicep and the plan read it."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from anyport.bundle import Form
from anyport.kit import function

MOST = 100 * 1024 * 1024
"""Bytes of a request at most
(https://learn.microsoft.com/azure/azure-functions/functions-scale#service-limits, 2026-11)."""
HTTP = 230
"""Seconds that Azure's load balancer waits for an answer, whatever the function may take
(https://learn.microsoft.com/azure/azure-functions/functions-scale#timeout, 2026-11)."""
HERE = Path(__file__).parent


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One function app."""

    python: str
    memory: int
    """MB."""
    concurrency: int
    """Requests at once in one instance."""
    instances: int
    timeout: int
    prefix: str
    auth: str
    trigger: str
    output: str
    model: str
    """Where the bundle lies, when it is not in the package: blob:CONTAINER/NAME."""
    name: str
    version: str
    digest: str
    form: Form

    @property
    def environment(self) -> dict[str, str]:
        """The app's settings."""
        said = {
            "ORT_DISABLE_TELEMETRY": "1", "ANYPORT_AUTH": self.auth, "ANYPORT_MAX_BODY": str(MOST),
            "ANYPORT_TIMEOUT": str(min(self.timeout, HTTP)), "AzureWebJobsDisableHomepage": "true",
        }  # fmt: skip
        if self.model:
            said |= {"ANYPORT_BUNDLE": self.model, "ANYPORT_DIGEST": self.digest}
        return said | ({"ANYPORT_TRIGGER": self.trigger, "ANYPORT_OUTPUT": self.output} if self.trigger else {})

    def host(self) -> bytes:
        """host.json, with the app's own timeout and prefix."""
        said = json.loads((HERE / "host.json").read_text("utf-8"))
        days, rest = divmod(timedelta(seconds=self.timeout), timedelta(days=1))
        clock = f"{rest.seconds // 3600:02}:{rest.seconds // 60 % 60:02}:{rest.seconds % 60:02}"
        said["functionTimeout"] = f"{days}.{clock}" if days else clock
        said["extensions"]["http"]["routePrefix"] = self.prefix
        return json.dumps(said, indent=2).encode() + b"\n"

    def write(self, out: Path) -> None:
        """function.json, and the same as Bicep's parameters and as local settings."""
        (out / "function.json").write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
        values: dict[str, Any] = {
            "name": app_name(self.name), "pythonVersion": self.python, "instanceMemoryMB": self.memory,
            "maximumInstanceCount": self.instances, "httpConcurrency": self.concurrency,
            "settings": self.environment,
        }  # fmt: skip
        parameters = {
            "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
            "contentVersion": "1.0.0.0", "parameters": {name: {"value": value} for name, value in values.items()},
        }  # fmt: skip
        (out / "main.parameters.json").write_text(json.dumps(parameters, indent=2) + "\n")
        local = json.loads((HERE / "local.settings.json").read_text("utf-8"))
        local["Values"] |= self.environment
        (out / "local.settings.json").write_text(json.dumps(local, indent=2) + "\n")


def app_name(name: str) -> str:
    """A bundle's name as Azure takes it: letters, digits and hyphens, from 2 to 43 (with a host name that is made
    unique: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules)."""
    plain = re.sub(r"[^a-zA-Z0-9-]+", "-", name).strip("-")[:43].strip("-")
    return plain if len(plain) > 1 else f"{plain}-model"


def facts_of(path: Path) -> Facts:
    """The facts of an artefact."""
    return function.facts(path, Facts, "Azure Functions")
