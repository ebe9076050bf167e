"""gcf: the model as a Cloud Run function, asked over HTTP, by messages of Pub/Sub and by new objects in Storage."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import msgspec

from anyport.bundle import Bundle, read
from anyport.errors import Mistake
from anyport.functions.google.outputs import output
from anyport.kit import archive, function, lock
from anyport.kit.function import MB
from anyport.target import Artifact, Reason, Running, Spec, Step
from anyport.targets import carry
from anyport.targets.gcf.cases import CASES
from anyport.targets.gcf.facts import Facts, cpus, facts_of

SPEC = Spec(
    name="gcf", title="a Cloud Run function", kind="function", takes=("graph", "python"), extra="gcf", tier="slow",
    limits={"request_mb": 32 * 1.048576, "response_mb": 32 * 1.048576, "event_kb": 512, "memory_mb": 32_768,
            "timeout_s": 3600, "concurrency": 1000},
)  # fmt: skip
"""https://cloud.google.com/functions/quotas (2026-11), column 2nd gen; concurrency:
https://cloud.google.com/run/docs/about-concurrency."""
HERE = Path(__file__).parent
RUNTIMES = ("3.11", "3.12", "3.13", "3.14")
"""https://cloud.google.com/run/docs/runtimes/python (2026-11)."""
IMAGE = "anyport build --to docker, whose image Cloud Run takes, with any Python"

__all__ = ["CASES", "SPEC", "Live", "Options", "build", "connect", "fits", "plan", "run"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen about a function."""

    python: Literal["", "3.11", "3.12", "3.13", "3.14"] = ""
    """"": the one that the bundle was packed on in form python, else 3.13."""
    memory: int = 0
    """MiB; 0: by the size of the model."""
    concurrency: int = 0
    """Requests at once in one instance; 0: by what the model was measured to take."""
    instances: int = 20
    """At most."""
    timeout: int = 60
    """Seconds."""
    trigger: str = ""
    """pubsub:TOPIC or storage:BUCKET: what a second function, of the same source, answers as it comes."""
    output: str = ""
    """Where answers to those go: gs://BUCKET/PREFIX or pubsub:TOPIC."""
    model: str = ""
    """gs://BUCKET/PREFIX: the bundle lies there and is fetched by each instance, instead of lying in the package."""


class Live(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The function in the user's project: `--live function=NAME`, or `url=https://…`."""

    function: str = ""
    project: str = ""
    """"" is that of the environment."""
    region: str = ""
    url: str = ""
    token_file: str = ""
    """A file that holds an identity token, as `gcloud auth print-identity-token` writes it."""
    tag: str = ""
    """Of a revision that is asked instead of the one which has the traffic."""
    weight: int = 100
    """Per cent of the traffic that a new revision gets; the one before keeps the rest."""
    service_account: str = ""
    """Whom the function runs as; "" is the project's default."""
    endpoint_url: str = ""
    """Of something that stands in for Google's APIs."""


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Python models only with the Python they were packed on; nothing that no instance has the memory for."""
    wrong(options)
    python = chosen(bundle, options)
    if bundle.form == "python" and python != bundle.manifest.python:
        return Reason(f"the model was packed on Python {bundle.manifest.python} and runs on no other",
                      f"drop -O python, or pack it on Python {python}")  # fmt: skip
    if python not in RUNTIMES:
        return Reason(f"the model was packed on Python {python}; functions run on {', '.join(RUNTIMES)}", IMAGE)
    needed, most = options.memory or function.memory(bundle), SPEC.limits["memory_mb"]
    if needed > most:
        return Reason(f"the model needs about {needed:,} MiB of memory; an instance has {most:,.0f}", IMAGE)
    return None


def wrong(options: Options) -> None:
    """Mistake for options that nobody could build."""
    limits = SPEC.limits
    if options.memory and not 512 <= options.memory <= limits["memory_mb"]:
        raise Mistake(f"-O memory: {options.memory} MiB", fix="from 512 to 32768")
    if not 0 <= options.concurrency <= limits["concurrency"]:
        raise Mistake(f"-O concurrency: {options.concurrency}", fix="from 1 to 1000")
    if not 1 <= options.timeout <= limits["timeout_s"]:
        raise Mistake(f"-O timeout: {options.timeout} s", fix="from 1 to 3600")
    if options.instances < 1:
        raise Mistake(f"-O instances: {options.instances}", fix="1 or more")
    place = output(options.output, project="PROJECT")
    kind, _, where = options.trigger.partition(":")
    if options.trigger and (kind not in ("pubsub", "storage") or not where.strip("/")):
        raise Mistake(f"-O trigger: {options.trigger} is none", fix="pubsub:TOPIC or storage:BUCKET")
    if options.trigger and place is None:
        fix = "-O output=gs://BUCKET/PREFIX" + (" or pubsub:TOPIC" if kind == "pubsub" else "")
        raise Mistake(f"-O trigger: the answers to {options.trigger} have no place", fix=fix)
    if kind == "storage" and place is not None:
        if not place.bucket:
            raise Mistake("-O output: the predictions of an object cannot be published", fix="gs://BUCKET/PREFIX")
        if place.bucket == where and not place.prefix:
            raise Mistake("-O output: answers in the bucket that is watched would be answered in turn, for ever",
                          fix="another bucket, or a prefix")  # fmt: skip
    if options.model and not options.model.startswith("gs://"):
        raise Mistake(f"-O model: {options.model} is not in Storage", fix="gs://BUCKET/PREFIX")


def chosen(bundle: Bundle, options: Options) -> str:
    """The Python of the function."""
    return options.python or (bundle.manifest.python if bundle.form == "python" and bundle.manifest.python else "3.13")


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """function.zip (the source that Google builds), gcloud.json (flags), main.tf with terraform.tfvars.json,
    function.json and a README."""
    needed = options.memory or function.memory(bundle)
    facts = Facts(
        python=chosen(bundle, options), memory=needed, cpu=cpus(needed),
        concurrency=options.concurrency or function.concurrency(bundle), instances=options.instances,
        timeout=options.timeout, trigger=options.trigger, output=options.output,
        model=f"{options.model.rstrip('/')}/{bundle.name}-{bundle.digest[:24]}.tar.gz" if options.model else "",
        name=bundle.name, version=bundle.version, digest=bundle.digest, form=bundle.form,
    )  # fmt: skip
    packages = function.packages(bundle, "on-gcf")
    carry(bundle, out)
    with TemporaryDirectory(prefix="anyport-") as folder:
        work = Path(folder)
        function.lay(bundle, work, {"main.py": HERE / "project" / "main.py"}, "anyport.functions.google.events",
                     "anyport.functions.google.web", "anyport.functions.fetch")  # fmt: skip
        (work / "requirements.txt").write_text(packages)
        parts = {"anyport": work / "runtime", "the model": out / "bundle"}
        if facts.model:
            archive.tar_gz(out / "bundle", out / "model.tar.gz")
            del parts["the model"]
        else:
            shutil.copytree(out / "bundle", work / "bundle")
        filled = function.filling(parts)
        archive.zip_folder(work, out / "function.zip")
    facts.write(out)
    for name in ("main.tf", "README.md"):
        shutil.copyfile(HERE / name, out / name)
    says = (
        f"{(out / 'function.zip').stat().st_size / MB:.1f} MB of source, {function.told(filled)}; Google's build "
        f"installs {len(list(lock.pins(packages)))} packages beside it",
        f"{facts.memory} MiB, {facts.cpu} CPU, {facts.concurrency} requests at once: {function.sized(bundle)}",
    )  # fmt: skip
    return Artifact("gcf", out, bundle.form, bundle.digest, says=says)


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """The source in a process of its own, under Google's functions-framework."""
    from anyport.targets.gcf import local

    with local.started(artifact, facts_of(artifact.path), read(artifact.path / "bundle")) as running:
        yield running


def connect(artifact: Artifact, live: Live) -> AbstractContextManager[Running]:
    """The user's own function, asked for this very model."""
    from anyport.targets.gcf import cloud

    return cloud.connect(artifact, live)


def plan(artifact: Artifact, options: Options, live: Live | None) -> Sequence[Step]:
    """A revision, and the traffic to it once it is proven; what exists in the project is looked up there."""
    from anyport.targets.gcf import deploy

    return deploy.plan(artifact, facts_of(artifact.path), live or Live())


def back(artifact: Artifact, live: Live) -> Sequence[Step]:
    """The way back: the revision before gets the traffic; of the first one, everything goes."""
    from anyport.targets.gcf import deploy

    return deploy.back(facts_of(artifact.path), live)


def destroy(artifact: Artifact, live: Live) -> Sequence[Step]:
    """Everything that deploying made."""
    from anyport.targets.gcf import deploy

    return deploy.destroy(facts_of(artifact.path), live)


def calls(live: Live) -> AbstractContextManager[Any]:
    """What makes the plan's calls in the user's project."""
    from anyport.targets.gcf import cloud

    return cloud.calls(live)


def candidate(given: Mapping[str, str], answers: Mapping[str, Any]) -> Mapping[str, str]:
    """What `--live` says of the revision that a plan has made and that has no traffic yet."""
    return {**given, "tag": "new"} if "tagged" in answers else given
