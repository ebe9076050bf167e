"""What a target is: Spec, Gap, Artifact, Engine, Step, and the Target protocol that a module satisfies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from anyport.bundle import Bundle, Form, Tolerance
from anyport.predictor import Predictor

Kind = Literal["runtime", "server", "function", "database", "stream", "batch", "device", "repository"]
Proof = Literal["live", "native", "emulated", "stand-in", "layout"]
PROOFS: tuple[Proof, ...] = ("live", "native", "emulated", "stand-in", "layout")
"""Strongest first."""


@dataclass(frozen=True)
class Gap:
    """Something a target cannot do yet, as data: the refusal, the strict xfail and the docs read this."""

    why: str
    until: Literal["we do it", "they do it", "never"]


@dataclass(frozen=True)
class Spec:
    """A target's facts."""

    name: str
    title: str
    kind: Kind
    takes: tuple[Form, ...]
    extra: str = ""
    """The extra of `pip install 'anyport[…]'` that it needs; "" for none."""
    programs: tuple[str, ...] = ()
    """Programs it needs on PATH to run its engine."""
    limits: Mapping[str, float] = field(default_factory=dict)
    tolerance: Tolerance | None = None
    """Where the engine itself is less precise than the bundle's own tolerance."""
    answers: tuple[str, ...] = ()
    """A command that ends well where the engine runs; () where having its programs is enough."""
    start: str = ""
    """How the user starts the engine that `answers` finds absent."""
    tier: Literal["quick", "slow"] = "quick"
    """'slow': it takes long, or an engine that has to be started first. Checked when named, and in the slow tests."""
    gaps: Mapping[str, Gap] = field(default_factory=dict)
    """Keyed by case name or model trait."""


@dataclass(frozen=True)
class Reason:
    """Why a bundle cannot go to a target, and what would change that."""

    why: str
    fix: str = ""


class NoOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Options (or Live) of a target that has none."""


@dataclass(frozen=True)
class Artifact:
    """What `build` wrote: a folder holding anyport.json, the bundle and the target's own files."""

    target: str
    path: Path
    form: Form
    digest: str
    """Of the bundle inside."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What -O said when it was built."""
    says: tuple[str, ...] = field(default=(), compare=False)
    """What the user should know of it: what fills it, what it costs."""


@dataclass(frozen=True)
class Engine:
    """What answered, in its own words; the proof level is computed from this."""

    name: str
    version: str
    process: str
    """'this process', 'pid 4711: anyport serve …', 'https://…'."""
    proof: Proof


@dataclass(frozen=True)
class Running:
    """An artefact in its engine, ready to answer."""

    predictor: Predictor
    engine: Engine


@dataclass(frozen=True)
class Command:
    """A program and its arguments."""

    argv: tuple[str, ...]


@dataclass(frozen=True)
class Sql:
    """Statements that run in one transaction, in the database that the plan is for."""

    statements: tuple[str, ...]


@dataclass(frozen=True)
class File:
    """A parameter of a Call that is a file's bytes; a plan shows its name."""

    path: Path


@dataclass(frozen=True)
class Call:
    """A method of a cloud's own client. What it answers is kept under `name`, and the text `${name.Field}` in a
    parameter of a later call is what a field of it holds."""

    service: str
    """boto3's name of the service, or the client's class."""
    method: str
    params: Mapping[str, Any]
    name: str = ""
    wait: str = ""
    """What is waited for afterwards, as the client calls it."""


Work = Command | Sql | Call


@dataclass(frozen=True)
class Step:
    """One step of a deployment plan."""

    why: str
    do: Work
    undo: Work | None = None
    proven: bool = False
    """Done only after the golden rows were answered there as the original did: traffic that moves."""


class Target(Protocol):
    """A module under anyport.targets, or one named by the entry point group `anyport.targets`."""

    SPEC: Spec
    Options: type[Any]
    Live: type[Any]

    def fits(self, bundle: Bundle, options: Any) -> Reason | None:
        """Why this bundle cannot go there, before any work; None if it can."""

    def build(self, bundle: Bundle, out: Path, options: Any) -> Artifact:
        """Write the artefact into the empty folder `out`. Same bundle and options, same bytes."""

    def run(self, artifact: Artifact) -> AbstractContextManager[Running]:
        """The artefact in its engine on this machine."""

    def connect(self, artifact: Artifact, live: Any) -> AbstractContextManager[Running]:
        """The user's own running endpoint."""

    def plan(self, artifact: Artifact, options: Any, live: Any) -> Sequence[Step]:
        """What deploying it means, step by step."""
