"""Form python: the original object with a locked environment, for models that no graph can be made of."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from anyport import errors
from anyport.batch import Batch, Outcome, rows, take
from anyport.bundle import Bundle, Manifest, read
from anyport.errors import AnyportError, BadBundle, Impossible, Missing, ParityFailed
from anyport.frameworks import Original, get
from anyport.kit.lock import environment, installed, lock, normal, pins
from anyport.predictor import blank, scatter
from anyport.signature import Signature, fitting, refusals
from anyport.trust import Trust, ask, held, load, remember

if TYPE_CHECKING:
    from anyport.golden.rows import Golden
    from anyport.kit.process import Held

MODEL = "model.cloudpickle"
LOCK = "requirements.lock"
RUNTIME = ("msgspec", "numpy")
"""What anyport's own code needs beside the model."""


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What pyworker.py is told: which file to load, how to ask it, and what the loader consented to."""

    model: str
    framework: str
    signature: Signature
    allow: tuple[str, ...]
    all: bool
    files: tuple[str, ...]


class PythonPredictor:
    """The original object in this process. One thread asks it at a time: nobody promised that it can do more."""

    def __init__(self, model: Any, framework: str, signature: Signature) -> None:
        self.signature = signature
        self.original = Original(model, framework, signature, {})
        self._lock = threading.Lock()

    def predict(self, inputs: Batch, /) -> Outcome:
        """The original's answers; rows that break the signature, or on which it raises, are refused."""
        from anyport.golden.ask import answer

        refused = refusals(inputs, self.signature)
        n = rows(inputs)
        if n == len(refused):
            return Outcome(blank(self.signature, n), refused)
        if not refused:
            with self._lock:
                return answer(self.original, inputs)
        import numpy as np

        good = np.setdiff1d(np.arange(n), list(refused))
        with self._lock:
            answered = answer(self.original, take(inputs, good))
        refused |= {int(good[row]): why for row, why in answered.refused.items()}
        outputs = {name: scatter(column, good, n) for name, column in answered.outputs.items()}
        return Outcome(outputs, dict(sorted(refused.items())))


class SubprocessPredictor:
    """The original object in the process of `apart`."""

    def __init__(self, signature: Signature, worker: Held) -> None:
        self.signature = signature
        self.worker = worker
        self._lock = threading.Lock()

    def predict(self, inputs: Batch, /) -> Outcome:
        """Its answers. Raises Impossible with its last words if the model brings its process down."""
        from anyport.frames import of_batch, raised, to_outcome

        fitting(inputs, self.signature)
        question = of_batch(inputs, self.signature.inputs)
        with self._lock:
            reply = talk(self.worker, question)
        raised(reply)
        return to_outcome(reply, self.signature.outputs)


def save(original: Original, folder: Path, manifest: Manifest, *, wheelhouse: Path | None = None) -> Manifest:
    """Write the model and requirements.lock into `folder`; gives the manifest with what was pinned.

    A framework with a file format of its own has `save(model, folder) -> member name or None`; everything
    else goes by cloudpickle, with the user's own code in it. Raises Offline, Impossible, Mistake.
    """
    from anyport.byvalue import distributions, dumps

    framework = get(original.framework)
    native = getattr(framework, "save", None)
    names = {*RUNTIME, *framework.requirements(original.model)}
    if native is None or native(original.model, folder) is None:
        data = dumps(original.model)
        (folder / MODEL).write_bytes(data)
        names |= set(distributions(data))
    if original.signature.container == "dataframe":
        names.add("pandas")
    if any("pyarrow" in field.native for field in original.signature.inputs):
        names.add("pyarrow")
    here = installed()
    unknown = sorted(name for name in map(normal, names) if name not in here)
    if unknown:
        raise Impossible(f"the model needs {', '.join(unknown)}, which no registry can be asked for",
                         fix="install it from a registry instead of from a folder")  # fmt: skip
    text = lock(
        [f"{name}=={here[name]}" for name in map(normal, names)],
        constraints=[f"{name}=={version}" for name, version in here.items()],
        wheelhouse=wheelhouse,
    )
    (folder / LOCK).write_text(text)
    pinned = sorted({f"{name}=={version}" for name, version, _ in pins(text) if here.get(name) == version})
    return msgspec.structs.replace(manifest, requirements=tuple(pinned), python=version_here())


def prove(folder: Path, golden: Golden) -> None:
    """Load the sealed Python form in a clean interpreter that has only its lock, and compare all golden rows.

    Once proven, its digest is remembered as trusted: this user packed it, on this machine.
    Raises ParityFailed, Impossible (it cannot be opened there), Offline.
    """
    from anyport.golden.compare import compare

    bundle = read(folder)
    with apart(bundle, trust=Trust().also(bundle.digest)) as clean:
        got = clean.predict(golden.inputs)
    stated = bundle.manifest.tolerance
    found = compare(golden.outcome, got, bundle.signature, tolerance=stated, excluded=golden.excluded)
    if not found.ok:
        raise ParityFailed(f"the Python form answers differently in a clean interpreter: {found.says()}")
    with contextlib.suppress(OSError):  # a read-only home: the user will be asked for consent instead
        remember(bundle.digest, bundle.name)


def predictor(bundle: Bundle, *, trust: Trust | None = None) -> PythonPredictor:
    """The original object in this process, if the environment is the one it was locked in.

    Raises Missing naming both versions of whatever differs, Untrusted without consent.
    """
    same_environment(bundle)
    return opened(task(bundle, held() if trust is None else trust))


@contextmanager
def apart(
    bundle: Bundle, *, trust: Trust | None = None, python: Path | None = None, wheelhouse: Path | None = None
) -> Iterator[SubprocessPredictor]:
    """The original object in a process of its own: in the locked environment, made if need be, or in `python`.

    Consent is asked for before anything of the bundle's lock is installed.
    """
    from anyport.kit.process import Failed, popen
    from anyport.kit.runtime import source

    trust = held() if trust is None else trust
    told = consented(bundle, trust)
    if python is None:
        # Building a source distribution runs its code, which consent to the model's names does not cover.
        build = trust.all or bundle.digest in trust.files
        text, version = lock_text(bundle), bundle.manifest.python
        python = environment(text, python=version, wheelhouse=wheelhouse, build=build)
    script = source() / "anyport" / "pyworker.py"
    try:
        # -I: no PYTHONPATH, no user site-packages, no current folder
        with popen([python, "-I", script], pipes=True) as worker:
            reply = msgspec.json.decode(talk(worker, msgspec.json.encode(told)), type=dict[str, Any])
            if reply:
                kind = getattr(errors, reply["error"])
                raise kind(f"in its locked environment: {reply['what']}", fix=reply["fix"])
            yield SubprocessPredictor(bundle.signature, worker)
    except Failed as error:
        raise Impossible(f"the model brought its process down: {error.what}") from error


def talk(worker: Held, payload: bytes) -> bytes:
    """One question to the worker and its answer; Failed with its last words if it dies over it."""
    from anyport.frames import receive, send

    try:
        send(worker.stdin, payload)
        reply = receive(worker.stdout)
    except (BrokenPipeError, AnyportError) as error:
        raise worker.died() from error
    if reply is None:
        with contextlib.suppress(TimeoutError):
            worker.process.wait(5)
        raise worker.died()
    return reply


def opened(told: Task) -> PythonPredictor:
    """The model of a task, loaded here with the consent that the task carries (Untrusted without)."""
    trust = Trust(told.allow, told.all, frozenset(told.files), "the loader")
    path = Path(told.model)
    model = load(path, trust) if path.name == MODEL else get(told.framework).load(path, trust)
    return PythonPredictor(model, told.framework, told.signature)


def consented(bundle: Bundle, trust: Trust) -> Task:
    """What is to be loaded, once the trust is seen to cover it: Untrusted before anything is installed or opened.
    A framework's own file is judged by its loader, in the process that opens it."""
    told = task(bundle, trust)
    if Path(told.model).name == MODEL:
        ask(Path(told.model), Trust(told.allow, told.all, frozenset(told.files), trust.source))
    return told


def task(bundle: Bundle, trust: Trust) -> Task:
    """What is to be loaded, and with whose consent; a bundle of a trusted digest is trusted wholly."""
    members = [name for name in bundle.manifest.files if name.startswith("model.")]
    if not members:
        raise BadBundle(f"{bundle.path} is of form python and holds no model file")
    whole = {bundle.manifest.files[name] for name in members} if bundle.digest in trust.files else set()
    path = bundle.path / members[0].partition("/")[0]
    return Task(str(path.resolve()), bundle.manifest.framework, bundle.signature, trust.allow, trust.all,
                tuple(sorted(trust.files | whole)))  # fmt: skip


def lock_text(bundle: Bundle) -> str:
    """The bundle's requirements.lock."""
    file = bundle.member(LOCK)
    if file is None:
        raise BadBundle(f"{bundle.path} is of form python and has no {LOCK}")
    return file.read_text()


def same_environment(bundle: Bundle) -> None:
    """Raise Missing, naming both versions of each, unless this environment is the one that was locked."""
    wrong = []
    if bundle.manifest.python != version_here():
        wrong.append(f"Python {bundle.manifest.python} (here is {version_here()})")
    wanted: dict[str, set[str]] = {}
    always = set()
    for name, version, marker in pins(lock_text(bundle)):
        wanted.setdefault(name, set()).add(version)
        if not marker:
            always.add(name)
    for name, versions in sorted(wanted.items()):
        try:
            here = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            here = ""
        if here not in versions and (here or name in always):
            wrong.append(f"{name} {' or '.join(sorted(versions))} (here is {here or 'none'})")
    if wrong:
        raise Missing(
            f"{bundle.name} needs " + ", ".join(wrong),
            fix=f"uv pip sync {bundle.path / LOCK}, or let anyport run it apart: anyport predict --apart",
        )


def version_here() -> str:
    """Python's version as bundles state it: major.minor."""
    return ".".join(platform.python_version_tuple()[:2])
