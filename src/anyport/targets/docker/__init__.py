"""docker: the model behind HTTP as a container image: no root, no shell, nothing writable, every package hashed."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from anyport.bundle import Bundle, read, sha256
from anyport.client import HttpPredictor
from anyport.errors import Impossible, Mistake, ServerError
from anyport.kit import image, sbom
from anyport.kit.endpoint import Live, reached, serving
from anyport.kit.lock import licences, normal, pins, shipped
from anyport.kit.runtime import carry as carry_runtime
from anyport.pyform import LOCK, consented
from anyport.target import Artifact, Command, Engine, Reason, Running, Spec, Step
from anyport.targets import carry
from anyport.trust import held

SPEC = Spec(
    name="docker", title="a container image", kind="server", takes=("graph", "python"), programs=("docker",),
    answers=("docker", "version", "--format", "{{.Server.Version}}"), start=image.START, tier="slow",
)  # fmt: skip
HERE = Path(__file__).parent
EXTRAS = ("arrow", "grpc", "otel")
USERS = {"default": "65532:65532", "sagemaker": "0:0"}
"""Variant → user and group. SageMaker expects containers to run as root
(https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html)."""

__all__ = ["SPEC", "Live", "Options", "build", "connect", "fits", "plan", "run"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen about an image."""

    base: str = ""
    """The image it stands on; needs python3, and for the build pip. "" is python:3.x-slim."""
    variant: Literal["default", "sagemaker"] = "default"
    """`sagemaker` runs as root, as SageMaker expects."""
    extras: str = ""
    """What else the server can do, joined by commas: arrow, grpc, otel."""
    port: int = 8080
    image: str = ""
    """The image's name, with its registry: "" is NAME:VERSION."""
    wheelhouse: str = ""
    """A folder of wheels; those that are locked travel with the context, and the build needs no network."""


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Every bundle can be served; options that nobody could build are the caller's mistake."""
    for extra in extras(options):
        if extra not in EXTRAS:
            raise Mistake(f"-O extras: there is no extra {extra!r}", fix=f"choose among {', '.join(EXTRAS)}")
    if not 0 < options.port < 65536:
        raise Mistake(f"-O port: {options.port} is no port", fix="choose one from 1024 to 65535")
    return None


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """A build context: Dockerfile, compose.yaml, sbom.cdx.json and README.md; packages/ (what is installed), app/ (the
    part of anyport that serves), bundle/."""
    carry(bundle, out)
    roots = ["anyport.serve.__main__"]
    if bundle.form == "python":
        roots += ["anyport.pyworker", f"anyport.frameworks.{bundle.manifest.framework}"]
    carry_runtime(out / "app" / "runtime", *roots)
    for name in ("serve.py", "healthcheck.py"):
        shutil.copyfile(HERE / name, out / "app" / name)
    # who builds the image of a bundle wants just this bundle opened in it
    consent = out / "config" / "anyport" / "packed"
    consent.parent.mkdir(parents=True)
    consent.write_text(f"{bundle.digest} {bundle.name}\n")

    locked = packages(bundle, options, out / "packages")
    known = licences()
    (out / "sbom.cdx.json").write_bytes(sbom.document(bundle, locked, known))

    name = options.image or reference(bundle)
    base = options.base or f"python:{bundle.manifest.python or minor()}-slim"
    arguments = {"BASE": base, "PORT": str(options.port), "USER": USERS[options.variant]}
    arguments |= {"PIP_NO_INDEX": "1"} if options.wheelhouse else {}
    labels = {
        "title": bundle.name, "description": f"{bundle.name} {bundle.version}, served by anyport",
        "version": bundle.version, "revision": bundle.digest, "licenses": joined(locked, known),
    }  # fmt: skip
    (out / "Dockerfile").write_text(filled((HERE / "Dockerfile").read_text(), arguments, labels))
    facts = {
        "IMAGE": name, "PORT": str(options.port), "PUBLISHED": str(options.port), "USER_ID": USERS[options.variant],
        "MEMORY": memory(bundle),
    }  # fmt: skip
    (out / ".env").write_text("".join(f"{key}={value}\n" for key, value in facts.items()))
    for file, to in (("compose.yaml", "compose.yaml"), ("README.md", "README.md"), ("dockerignore", ".dockerignore")):
        shutil.copyfile(HERE / file, out / to)
    return Artifact("docker", out, bundle.form, bundle.digest)


def packages(bundle: Bundle, options: Options, out: Path) -> list[tuple[str, str]]:
    """Write what the image installs, and with what; gives (name, version) of all of it."""
    out.mkdir()
    parts = ["server", *(["graph"] if bundle.form == "graph" else []), *extras(options)]
    text = shipped(*parts)
    (out / "requirements.txt").write_text(text)
    texts = [text]
    lock = bundle.member(LOCK)
    if lock is not None:
        shutil.copyfile(lock, out / "model.lock")
        texts.append(lock.read_text())
    shutil.copyfile(HERE / "install.py", out / "install.py")
    shutil.copyfile(Path(sbom.__file__).with_name("trim.py"), out / "trim.py")
    if options.wheelhouse:
        wheels(Path(options.wheelhouse), "".join(texts), out)
    return [(name, version) for text in texts for name, version, marker in pins(text) if "win32'" not in marker]


def wheels(house: Path, text: str, out: Path) -> None:
    """Copy the wheels of a lock from a folder. Mistake naming the packages of which it has none."""
    if not house.is_dir():
        raise Mistake(f"-O wheelhouse: {house} is not a folder", fix="pip download -d DIR -r packages/requirements.txt")
    hashes = set(re.findall(r"sha256:([0-9a-f]{64})", text))
    found = [file for file in sorted(house.glob("*.whl")) if sha256(file) in hashes]
    lacking = {name for name, _, _ in pins(text)} - {normal(file.name.partition("-")[0]) for file in found}
    if lacking:
        raise Mistake(
            f"-O wheelhouse: {house} lacks the locked wheel of {', '.join(sorted(lacking))}",
            fix="build without it once, then: pip download --no-deps -d DIR -r packages/requirements.txt",
        )
    for file in found:
        shutil.copyfile(file, out / file.name)


def extras(options: Options) -> tuple[str, ...]:
    """The extras asked for, sorted."""
    return tuple(sorted({part.strip() for part in options.extras.split(",") if part.strip()}))


def reference(bundle: Bundle) -> str:
    """NAME:VERSION as registries take it
    (https://github.com/distribution/reference/blob/main/reference.go)."""
    name = re.sub(r"[._-]{2,}", "-", bundle.name).strip("._-")
    return f"{name}:{re.sub(r'[^A-Za-z0-9_.-]', '-', bundle.version).lstrip('.-')[:128] or bundle.digest[:12]}"


def minor() -> str:
    """This Python's, as images are tagged."""
    return ".".join(platform.python_version_tuple()[:2])


def joined(locked: Sequence[tuple[str, str]], known: Mapping[str, str]) -> str:
    """The licences of anyport and of the packages that are known here, as one SPDX expression."""
    found = {known[name] for name, _ in locked if name in known}
    return " AND ".join(sorted({"Apache-2.0", *(f"({one})" if " " in one else one for one in found)}))


def memory(bundle: Bundle) -> str:
    """What a container may use at most: the server, the model in memory, and a Python model's libraries."""
    size = sum((bundle.path / name).stat().st_size for name in bundle.manifest.files) >> 20
    return f"{(256 if bundle.form == 'graph' else 1024) + 4 * size}m"


def filled(dockerfile: str, arguments: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """The Dockerfile with other defaults of its arguments, and other labels."""
    lines = dockerfile.splitlines(keepends=True)
    for name, value in arguments.items():
        (at,) = (i for i, line in enumerate(lines) if re.fullmatch(rf"ARG {name}(=.*)?\n", line))
        lines[at] = f"ARG {name}={quoted(value)}\n"
    for name, value in labels.items():
        (at,) = (i for i, line in enumerate(lines) if f"org.opencontainers.image.{name}=" in line)
        lines[at] = re.sub(r'(?<==)".*"', quoted(value).replace("\\", r"\\"), lines[at])
    return "".join(lines)


def quoted(value: str) -> str:
    """A value as a Dockerfile takes it."""
    return value if re.fullmatch(r"[\w.:/@-]+", value) else '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'


def facts(artifact: Artifact) -> dict[str, str]:
    """What `build` wrote into .env for compose."""
    lines = (artifact.path / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """The image, built and started here: read-only, without capabilities, as the user and with the memory that
    compose.yaml gives it. A Python model is opened only with this user's consent."""
    bundle = read(artifact.path / "bundle")
    if bundle.form == "python":
        consented(bundle, held())
    version = image.engine_version()
    said = facts(artifact)
    made = image.build(artifact.path, said["IMAGE"])

    def ready(url: str) -> bool:
        with HttpPredictor(url, bundle.signature, timeout=5) as probe:
            try:
                return probe.get("/readyz")[0] == 200
            except ServerError:
                return False

    with (
        image.container(
            made, port=int(said["PORT"]), ready=ready, memory=said["MEMORY"], user=said["USER_ID"], timeout=600
        ) as box,
        HttpPredictor(box.url, bundle.signature) as predictor,
    ):
        answering = serving(predictor, bundle)
        process = f"container {box.name} of {made[:19]}: {answering.server} serve {answering.version}"
        yield Running(predictor, Engine("Docker", version, process, "native"))
        if not box.held.alive():
            raise Impossible(f"the container ended while it was asked: {box.held.died().what}")


@contextmanager
def connect(artifact: Artifact, live: Live) -> Iterator[Running]:
    """The user's own container, asked for this very model. Mistake where it serves another."""
    with reached(live, read(artifact.path / "bundle")) as (predictor, said):
        yield Running(predictor, Engine(f"{said.server} serve", said.version, predictor.url, "live"))


def plan(artifact: Artifact, options: Options, live: Any) -> Sequence[Step]:
    """Build the image, and push it where its name says."""
    name = options.image or facts(artifact)["IMAGE"]
    return (
        Step(
            f"build the image {name}",
            Command(("docker", "build", "--tag", name, str(artifact.path))),
            Command(("docker", "image", "rm", name)),
        ),
        Step(
            f"push it to {name.partition('/')[0] if '/' in name else 'Docker Hub'}", Command(("docker", "push", name))
        ),
    )
