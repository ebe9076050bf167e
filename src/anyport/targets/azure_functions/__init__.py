"""azure_functions: the model as an Azure function app (Python v2), asked over HTTP, by a queue or by new blobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import msgspec

from anyport.bundle import Bundle, read
from anyport.errors import Mistake
from anyport.kit import archive, function, lock
from anyport.kit.function import MB
from anyport.target import Artifact, Reason, Running, Spec, Step
from anyport.targets import carry
from anyport.targets.azure_functions.cases import CASES
from anyport.targets.azure_functions.facts import Facts, facts_of

SPEC = Spec(
    name="azure_functions", title="an Azure function app", kind="function", takes=("graph", "python"), extra="azure",
    tier="slow", limits={"request_mb": 100 * 1.048576, "memory_mb": 4096, "http_timeout_s": 230, "instances": 1000},
)  # fmt: skip
"""Flex Consumption: https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan and
https://learn.microsoft.com/azure/azure-functions/functions-scale (2026-11)."""
HERE = Path(__file__).parent
RUNTIMES = ("3.11", "3.12", "3.13")
"""https://learn.microsoft.com/azure/azure-functions/functions-reference-python#python-version (2026-11)."""
SIZES = (2048, 4096)
"""MB of an instance (https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan#instance-sizes)."""
IMAGE = "anyport build --to docker, whose image Azure Container Apps takes, with any Python and any size"

__all__ = ["CASES", "SPEC", "Live", "Options", "build", "connect", "fits", "plan", "run"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen about a function app."""

    python: Literal["", "3.11", "3.12", "3.13"] = ""
    """"": the one that the bundle was packed on in form python, else 3.13."""
    memory: Literal[0, 2048, 4096] = 0
    """MB; 0: by the size of the model."""
    concurrency: int = 0
    """Requests at once in one instance; 0: by what the model was measured to take."""
    instances: int = 100
    """At most."""
    timeout: int = 230
    """Seconds; over HTTP Azure waits no longer than 230."""
    prefix: str = ""
    """What stands before every route; Azure's own default is api."""
    auth: Literal["function", "anonymous", "admin"] = "function"
    """Who may ask: who has a key of the function's, anyone, or who has the app's master key."""
    trigger: str = ""
    """queue:NAME or blob:CONTAINER[/PREFIX]: what is answered as it comes, beside HTTP."""
    output: str = ""
    """Where answers to those go: queue:NAME or blob:CONTAINER[/PREFIX]."""
    model: str = ""
    """blob:CONTAINER[/PREFIX] of the app's own storage account, where the bundle is put; "" is the package itself."""


class Live(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The app in the user's subscription: `--live function=NAME`, or `url=https://…`."""

    function: str = ""
    group: str = ""
    """The resource group."""
    subscription: str = ""
    """"" is AZURE_SUBSCRIPTION_ID."""
    location: str = ""
    """A region, where the app is not there yet."""
    storage: str = ""
    """The storage account that an app which is not there yet is given; "" makes one."""
    url: str = ""
    key_file: str = ""
    """A file that holds a function key; with function= it is asked for."""
    endpoint_url: str = ""
    """Of something that stands in for Azure's APIs."""


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Python models only with the Python they were packed on; nothing that no instance has the memory for."""
    wrong(options)
    python = chosen(bundle, options)
    if bundle.form == "python" and python != bundle.manifest.python:
        return Reason(f"the model was packed on Python {bundle.manifest.python} and runs on no other",
                      f"drop -O python, or pack it on Python {python}")  # fmt: skip
    if python not in RUNTIMES:
        return Reason(f"the model was packed on Python {python}; function apps run on {', '.join(RUNTIMES)}", IMAGE)
    needed, most = function.memory(bundle), options.memory or SIZES[-1]
    if needed > most:
        return Reason(f"the model needs about {needed:,} MB of memory; an instance has {most:,}",
                      IMAGE if most == SIZES[-1] else "-O memory=4096")  # fmt: skip
    return None


def wrong(options: Options) -> None:
    """Mistake for options that nobody could build."""
    from anyport.functions.azure.events import place, places

    if not 0 <= options.concurrency <= 1000:
        raise Mistake(f"-O concurrency: {options.concurrency}", fix="from 1 to 1000")
    if not 40 <= options.instances <= SPEC.limits["instances"]:
        raise Mistake(f"-O instances: {options.instances}", fix="from 40 to 1000, as Azure takes it")
    if options.timeout < 1:
        raise Mistake(f"-O timeout: {options.timeout} s", fix="1 or more")
    if options.prefix.strip("/") != options.prefix or set(options.prefix) & set("{}?#* "):
        raise Mistake(f"-O prefix: {options.prefix!r} is none", fix="a path without slashes around it, as api")
    watched, _ = places(options.trigger, options.output)
    kept = place(options.model, "-O model")
    if kept is not None and kept.kind != "blob":
        raise Mistake(f"-O model: {options.model} holds no files", fix="blob:CONTAINER/PREFIX")
    if kept is not None and watched is not None and watched.kind == "blob" and kept.path.startswith(watched.path):
        raise Mistake(f"-O model: {options.model} is watched, so the bundle would be answered", fix="another container")


def chosen(bundle: Bundle, options: Options) -> str:
    """The Python of the app."""
    return options.python or (bundle.manifest.python if bundle.form == "python" and bundle.manifest.python else "3.13")


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """function.zip (the package that Azure builds), main.bicep with main.parameters.json, local.settings.json,
    .funcignore, function.json and a README."""
    needed: int = options.memory or next(size for size in SIZES if function.memory(bundle) <= size)
    facts = Facts(
        python=chosen(bundle, options), memory=needed, concurrency=options.concurrency or function.concurrency(bundle),
        instances=options.instances, timeout=options.timeout, prefix=options.prefix, auth=options.auth,
        trigger=options.trigger, output=options.output,
        model=f"{options.model.rstrip('/')}/{bundle.name}-{bundle.digest[:24]}.tar.gz" if options.model else "",
        name=bundle.name, version=bundle.version, digest=bundle.digest, form=bundle.form,
    )  # fmt: skip
    packages = function.packages(bundle, "on-azure")
    carry(bundle, out)
    with TemporaryDirectory(prefix="anyport-") as folder:
        work = Path(folder)
        app = {"function_app.py": HERE / "project" / "function_app.py"}
        function.lay(bundle, work, app, "anyport.functions.azure.events", "anyport.functions.azure.web",
                     "anyport.functions.azure.storage", "anyport.functions.fetch")  # fmt: skip
        (work / "requirements.txt").write_text(packages)
        (work / "host.json").write_bytes(facts.host())
        parts = {"anyport": work / "runtime", "the model": out / "bundle"}
        if facts.model:
            archive.tar_gz(out / "bundle", out / "model.tar.gz")
            del parts["the model"]
        else:
            shutil.copytree(out / "bundle", work / "bundle")
        filled = function.filling(parts)
        archive.zip_folder(work, out / "function.zip")
    facts.write(out)
    for name in ("main.bicep", "README.md", ".funcignore"):
        shutil.copyfile(HERE / name, out / name)
    says = (
        f"{(out / 'function.zip').stat().st_size / MB:.1f} MB of source, {function.told(filled)}; Azure's build "
        f"installs {len({name for name, _, _ in lock.pins(packages)})} packages beside it",
        f"{facts.memory} MB, {facts.concurrency} requests at once: {function.sized(bundle)}",
    )  # fmt: skip
    return Artifact("azure_functions", out, bundle.form, bundle.digest, says=says)


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """The package in a process of its own, under Microsoft's worker where that can be had, else its library."""
    from anyport.targets.azure_functions import local

    with local.started(artifact, facts_of(artifact.path), read(artifact.path / "bundle")) as running:
        yield running


def connect(artifact: Artifact, live: Live) -> AbstractContextManager[Running]:
    """The user's own app, asked for this very model."""
    from anyport.targets.azure_functions import cloud

    return cloud.connect(artifact, facts_of(artifact.path), live)


def plan(artifact: Artifact, options: Options, live: Live | None) -> Sequence[Step]:
    """The app, where it is not there yet, and the package; what exists in the subscription is looked up there."""
    from anyport.targets.azure_functions import deploy

    return deploy.plan(artifact, facts_of(artifact.path), live or Live())


def back(artifact: Artifact, live: Live) -> Sequence[Step]:
    """The way back: the package before is published again; of the first one, everything goes."""
    from anyport.targets.azure_functions import deploy

    return deploy.back(facts_of(artifact.path), live)


def destroy(artifact: Artifact, live: Live) -> Sequence[Step]:
    """Everything that deploying made."""
    from anyport.targets.azure_functions import deploy

    return deploy.destroy(facts_of(artifact.path), live)


def calls(live: Live) -> AbstractContextManager[Any]:
    """What makes the plan's calls in the user's subscription."""
    from anyport.targets.azure_functions import cloud

    return cloud.calls(live)
