"""lambda: the model as an AWS Lambda function, a zip or a container image, for every caller that Lambda has."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import msgspec

from anyport.bundle import Bundle, read
from anyport.errors import Impossible, Mistake
from anyport.functions.aws.outputs import SERVICES
from anyport.kit import archive, function, wheels
from anyport.kit.function import MB
from anyport.places import cache
from anyport.target import Artifact, Reason, Running, Spec, Step
from anyport.targets import carry
from anyport.targets.aws_lambda.cases import CASES
from anyport.targets.aws_lambda.facts import Facts, facts_of, image_name

SPEC = Spec(
    name="lambda", title="an AWS Lambda function", kind="function", takes=("graph", "python"), extra="lambda",
    tier="slow",
    limits={"unzipped_mb": 250 * 1.048576, "upload_mb": 50 * 1.048576, "image_mb": 10_000, "memory_mb": 10_240,
            "timeout_s": 900, "environment_bytes": 4096},
)  # fmt: skip
"""https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html (2026-11)."""
HERE = Path(__file__).parent
RUNTIMES = ("3.12", "3.13", "3.14")
"""Pythons of Lambda whose system has the glibc 2.28 that ONNX Runtime's wheels need: Amazon Linux 2023
(https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html)."""
WHOLE = "# whole: a Python model's libraries may import any of their parts"
"""The first line of a requirements.txt whose packages image/install.py does not trim further than that."""
IMAGE = "-O package=image, which holds 10 GB and any Python"

__all__ = ["CASES", "SPEC", "Live", "Options", "build", "connect", "fits", "plan", "run"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen about a function."""

    package: Literal["zip", "image"] = "zip"
    machine: Literal["x86_64", "arm64"] = "x86_64"
    python: Literal["", "3.11", "3.12", "3.13", "3.14"] = ""
    """"": the one that the bundle was packed on in form python, else 3.13."""
    memory: int = 0
    """MB; 0: by the size of the model. Lambda gives a whole CPU from 1,769 MB on."""
    timeout: int = 30
    """Seconds."""
    output: str = ""
    """Where answers to batches go: s3://BUCKET/PREFIX, sqs:QUEUE_URL or kinesis:STREAM."""
    model: str = ""
    """s3://BUCKET/PREFIX: the bundle lies there and is fetched by each instance, instead of lying in the package."""
    base: str = ""
    """Of an image: "" is Amazon's own, public.ecr.aws/lambda/python."""


class Live(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The function in the user's account: `--live function=NAME`, or `url=https://…` of one that anyone may ask."""

    function: str = ""
    region: str = ""
    """"" is that of the environment."""
    alias: str = "live"
    """What callers name; a new version gets its traffic once it has answered the golden rows."""
    qualifier: str = ""
    """A version (or alias) to check instead."""
    weight: float = 1.0
    """Share of the traffic that a new version gets; the version before keeps the rest."""
    role: str = ""
    """ARN of an execution role; "" makes one that may write its own log and nothing else."""
    bucket: str = ""
    """Where a package of more than 50 MB is put, from which Lambda takes it."""
    repository: str = ""
    """Of an image: ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME."""
    url: str = ""
    """A function URL, or another that leads to the function."""
    api_key_file: str = ""
    endpoint_url: str = ""
    """Of something that stands in for AWS."""


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Python models only with the Python they were packed on; nothing that cannot be unpacked."""
    wrong(options)
    python = chosen(bundle, options)
    if bundle.form == "python" and python != bundle.manifest.python:
        return Reason(f"the model was packed on Python {bundle.manifest.python} and runs on no other",
                      f"drop -O python, or pack it on Python {python}")  # fmt: skip
    if options.package == "zip" and python not in RUNTIMES:
        what = f"the model was packed on Python {python}" if bundle.form == "python" else f"Python {python} is too old"
        return Reason(f"{what}; a zip takes {', '.join(RUNTIMES)}, whose glibc the packages need", IMAGE)
    size = sum((bundle.path / name).stat().st_size for name in bundle.manifest.files) / MB
    if options.package == "zip" and not options.model and size > SPEC.limits["unzipped_mb"]:
        return Reason(
            f"the bundle has {size:.0f} MB; a function of Lambda unpacks to {SPEC.limits['unzipped_mb']:.0f} MB",
            f"-O model=s3://BUCKET/PREFIX, from which each instance fetches it; or {IMAGE}",
        )
    return None


def wrong(options: Options) -> None:
    """Mistake for options that nobody could build."""
    if options.memory and not 128 <= options.memory <= SPEC.limits["memory_mb"]:
        raise Mistake(f"-O memory: {options.memory} MB", fix="from 128 to 10240")
    if not 1 <= options.timeout <= SPEC.limits["timeout_s"]:
        raise Mistake(f"-O timeout: {options.timeout} s", fix="from 1 to 900")
    kind = options.output.partition(":")[0]
    if options.output and (kind not in SERVICES or not options.output.partition(":")[2].strip("/")):
        fix = "s3://BUCKET/PREFIX, sqs:QUEUE_URL or kinesis:STREAM"
        raise Mistake(f"-O output: {options.output} is no place", fix=fix)
    if options.model and not options.model.startswith("s3://"):
        raise Mistake(f"-O model: {options.model} is not in S3", fix="s3://BUCKET/PREFIX")
    if options.base and options.package == "zip":
        raise Mistake("-O base: a zip stands on no image", fix="add -O package=image")


def chosen(bundle: Bundle, options: Options) -> str:
    """The Python of the function."""
    return options.python or (bundle.manifest.python if bundle.form == "python" and bundle.manifest.python else "3.13")


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """function.zip (or a build context for the image), template.yaml with samconfig.toml (SAM), main.tf with
    terraform.tfvars.json (Terraform), policy.json, function.json and a README."""
    sized = min(function.memory(bundle), int(SPEC.limits["memory_mb"]))
    facts = Facts(
        package=options.package, machine=options.machine, python=chosen(bundle, options),
        memory=options.memory or sized, timeout=options.timeout, output=options.output,
        model=f"{options.model.rstrip('/')}/{bundle.name}-{bundle.digest[:24]}.tar.gz" if options.model else "",
        name=bundle.name, version=bundle.version, digest=bundle.digest, form=bundle.form,
        base=options.base or f"public.ecr.aws/lambda/python:{chosen(bundle, options)}",
    )  # fmt: skip
    carry(bundle, out)
    with TemporaryDirectory(prefix="anyport-") as folder:
        work = Path(folder)
        function.lay(bundle, work, {"handler.py": HERE / "project" / "handler.py"}, "anyport.functions.aws.handler",
                     "anyport.functions.fetch")  # fmt: skip
        if options.model:
            archive.tar_gz(out / "bundle", out / "model.tar.gz")
        else:
            shutil.copytree(out / "bundle", work / "bundle")
        says = zipped(bundle, work, out, facts) if options.package == "zip" else context(bundle, work, out, facts)
    facts.write(out)
    for name in ("template.yaml", "main.tf"):
        shutil.copyfile(HERE / options.package / name, out / name)
    shutil.copyfile(HERE / "README.md", out / "README.md")
    return Artifact("lambda", out, bundle.form, bundle.digest, says=says)


def zipped(bundle: Bundle, work: Path, out: Path, facts: Facts) -> tuple[str, ...]:
    """Write function.zip; gives what fills it. Impossible where it is too large, before anything is packed."""
    whole = bundle.form == "python"
    lib = wheels.installed(function.packages(bundle), machine=facts.machine, python=facts.python, whole=whole)
    parts = function.filling({"lib": lib, "anyport": work / "runtime", "the model": out / "bundle"})
    if facts.model:
        del parts["the model"]
    said = function.told(parts)
    total, most = sum(parts.values()) / MB, SPEC.limits["unzipped_mb"]
    if total > most:
        away = "-O model=s3://BUCKET/PREFIX, from which each instance fetches it; or " if "the model" in parts else ""
        raise Impossible(f"the function has {said}; Lambda takes {most:.0f} MB", fix=away + IMAGE)
    archive.zip_folder(work, out / "function.zip", onto=library(lib))
    size = (out / "function.zip").stat().st_size / MB
    upload = SPEC.limits["upload_mb"]
    lines = [f"{size:.1f} MB as a zip, {said}"]
    if size > upload:
        lines.append(f"more than the {upload:.0f} MB of a direct upload: deploy it with --live bucket=BUCKET")
    if wheels.compiler(facts.python) is None:
        lines.append(f"not compiled, as no Python {facts.python} is here: cold starts take longer")
    return tuple(lines)


def library(lib: Path) -> Path:
    """lib/ as an archive that function.zip goes on from; made once."""
    home = cache("zips") / f"{lib.name}.zip"
    if not home.is_file():
        archive.zip_folder(lib, home, below="lib")
    return home


def context(bundle: Bundle, work: Path, out: Path, facts: Facts) -> tuple[str, ...]:
    """Write the image's build context."""
    shutil.copytree(work, out / "app")
    more = ["on-lambda-calls"] if facts.output or facts.model else []
    how = f"{WHOLE}\n" if bundle.form == "python" else ""
    (out / "requirements.txt").write_text(how + function.packages(bundle, "on-lambda", *more))
    shutil.copyfile(HERE / "image" / "install.py", out / "install.py")
    shutil.copyfile(Path(wheels.__file__).with_name("trim.py"), out / "trim.py")
    dockerfile = (HERE / "image" / "Dockerfile").read_text()
    (out / "Dockerfile").write_text(re.sub(r"^ARG BASE=.*$", f"ARG BASE={facts.base}", dockerfile, flags=re.M))
    (out / ".dockerignore").write_text("*\n!app\n!requirements.txt\n!install.py\n!trim.py\n")
    return (f"an image of {image_name(facts)} for {facts.machine}, on {facts.base}",)


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """The package in a process of its own, under Amazon's runtime client, which asks us for events."""
    from anyport.targets.aws_lambda import local

    facts = facts_of(artifact.path)
    started = local.image if facts.package == "image" else local.zipped
    with started(artifact, facts, read(artifact.path / "bundle")) as running:
        yield running


def connect(artifact: Artifact, live: Live) -> AbstractContextManager[Running]:
    """The user's own function, asked for this very model."""
    from anyport.targets.aws_lambda import cloud

    return cloud.connect(artifact, live)


def plan(artifact: Artifact, options: Options, live: Live | None) -> Sequence[Step]:
    """A version, and the traffic to it once it is proven; what exists in the account is looked up there."""
    from anyport.targets.aws_lambda import deploy

    return deploy.plan(artifact, facts_of(artifact.path), live or Live())


def back(artifact: Artifact, live: Live) -> Sequence[Step]:
    """The way back: the version before gets the traffic; of the first one, everything goes."""
    from anyport.targets.aws_lambda import deploy

    return deploy.back(facts_of(artifact.path), live)


def destroy(artifact: Artifact, live: Live) -> Sequence[Step]:
    """Everything that deploying made."""
    from anyport.targets.aws_lambda import deploy

    return deploy.destroy(facts_of(artifact.path), live)


def calls(live: Live) -> AbstractContextManager[Any]:
    """What makes the plan's calls in the user's account."""
    from anyport.targets.aws_lambda import cloud

    return cloud.calls(live)


def candidate(given: Mapping[str, str], answers: Mapping[str, Any]) -> Mapping[str, str]:
    """What `--live` says of the version that a plan has published and that has no traffic yet."""
    return {**given, "qualifier": str(answers["version"]["Version"])}
