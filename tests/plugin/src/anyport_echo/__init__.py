"""echo: a second interpreter that answers over a pipe; the smallest target there can be."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from anyport.bundle import Bundle, read
from anyport.conformance import Case, Setting
from anyport.errors import Impossible
from anyport.kit.process import popen
from anyport.pyform import SubprocessPredictor
from anyport.target import Artifact, Engine, NoOptions, Reason, Running, Spec, Step
from anyport.targets import carry

SPEC = Spec(
    name="echo", title="a second interpreter", kind="runtime", takes=("graph",), limits={"bundle_mb": 50},
)  # fmt: skip
Live = NoOptions


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `-O key=value` may say."""

    greeting: str = "hello"


def fits(bundle: Bundle, options: Options) -> Reason | None:
    """Every graph fits, unless the greeting is rude."""
    return Reason("a greeting ends without an exclamation mark") if options.greeting.endswith("!") else None


def build(bundle: Bundle, out: Path, options: Options) -> Artifact:
    """bundle/, answer.py and the greeting."""
    carry(bundle, out)
    shutil.copyfile(Path(__file__).with_name("answer.py"), out / "answer.py")
    (out / "greeting.txt").write_text(options.greeting + "\n", encoding="utf-8")
    return Artifact("echo", out, bundle.form, bundle.digest)


@contextmanager
def run(artifact: Artifact) -> Iterator[Running]:
    """answer.py, exactly as shipped, in a process of its own."""
    bundle = read(artifact.path / "bundle")
    version = ".".join(map(str, sys.version_info[:3]))
    with popen([sys.executable, artifact.path / "answer.py"], pipes=True) as worker:
        # Python itself has answered, and there is no vendor whose engine it could be instead of
        engine = Engine("Python", version, f"pid {worker.pid}: answer.py", "native")
        yield Running(SubprocessPredictor(bundle.signature, worker), engine)


@contextmanager
def connect(artifact: Artifact, live: Any) -> Iterator[Running]:
    """There is no endpoint."""
    raise Impossible("echo has no live endpoint", fix="leave out --live")
    yield


def plan(artifact: Artifact, options: Options, live: Any) -> Sequence[Step]:
    """Nothing is deployed."""
    return ()


def first_twice(s: Setting) -> str:
    """The first golden row, twice in one batch, gets one answer twice."""
    from anyport.batch import take

    twice = s.predictor.predict(take(s.golden.inputs, [0, 0])).outputs
    return "" if all(len(set(map(str, c.plain().values.tolist()))) == 1 for c in twice.values()) else "two answers"


CASES = (Case("twice", "one row, twice in a batch", first_twice),)
