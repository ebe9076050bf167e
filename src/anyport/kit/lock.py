"""Locked environments: pins with hashes by uv, and the interpreter of an environment that holds nothing else."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache as once
from pathlib import Path
from typing import Any

from anyport.errors import AnyportError, BadBundle, Impossible, Missing, Mistake, Offline, need
from anyport.kit.process import Done, run
from anyport.places import cache

SECONDS = 1800
"""The longest that uv may take: a large wheel over a slow line."""
PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[\w,-]+\])?==(?P<version>[\w.!+-]+)"
    r"(?:\s*;\s*(?P<marker>[^#\\]*?))?(?P<hashes>(?:\s+--hash=sha256:[0-9a-f]{64})*)"
)
BLOCK = re.compile(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", re.M | re.S)
"""One package of a lock with all its hashes."""
LOCKS = Path(__file__).with_name("locks")
# uv's words for a registry that it could not reach, or that could not answer
NO_NETWORK = re.compile(
    r"error sending request|Failed to fetch|dns error|tcp connect error|Connection (refused|reset)|timed? ?out|"
    r"network was disabled|Network is unreachable|invalid peer certificate|HTTP status server error|Could not connect",
    re.IGNORECASE,
)


def wheelhouse_of(given: Path | None) -> Path | None:
    """A folder of wheels that stands for the registry: `given`, else $ANYPORT_WHEELHOUSE."""
    if given is None and os.environ.get("ANYPORT_WHEELHOUSE"):
        given = Path(os.environ["ANYPORT_WHEELHOUSE"])
    if given is not None and not given.is_dir():
        raise Mistake(f"the wheelhouse {given} is not a folder", fix="pip download -d DIR -r requirements.lock")
    return None if given is None else given.resolve()


def lock(
    requirements: Sequence[str],
    *,
    constraints: Sequence[str] = (),
    python: str = sys.executable,
    wheelhouse: Path | None = None,
) -> str:
    """A requirements.txt of the requirements and all they need, pinned and hashed, for every platform.

    `constraints` bind versions without requiring anything. With a wheelhouse nothing else is asked, and the
    lock holds for this platform only. Raises Offline, Missing, or Impossible with uv's own reason.
    """
    house = wheelhouse_of(wheelhouse)
    with tempfile.TemporaryDirectory(prefix="anyport-") as folder:
        (Path(folder) / "in.txt").write_text("".join(f"{line}\n" for line in sorted(requirements)))
        (Path(folder) / "constraints.txt").write_text("".join(f"{line}\n" for line in sorted(constraints)))
        done = uv(
            "pip", "compile", "in.txt", "--constraints", "constraints.txt", "--generate-hashes", "--no-header",
            "--no-annotate", "--python", python, "--no-python-downloads",
            *(("--no-index", "--find-links", str(house)) if house else ("--universal",)), cwd=Path(folder),
        )  # fmt: skip
    if done.code:
        raise why(done, f"no environment can be locked for {', '.join(sorted(requirements))}")
    text = "\n".join(line for line in done.stdout.decode().splitlines() if not line.startswith(("#", "--"))) + "\n"
    list(pins(text))
    return text


def shipped(*parts: str) -> str:
    """What anyport itself installs elsewhere, pinned and hashed for every platform: the files of kit/locks, joined."""
    return "".join(sorted({block for part in parts for block in blocks((LOCKS / f"{part}.txt").read_text())}))


def blocks(text: str) -> list[str]:
    """The packages of a lock, each with all its hashes."""
    return BLOCK.findall(text)


def licences() -> dict[str, str]:
    """Distribution → licence, as an SPDX expression, of what `shipped` holds."""
    found: dict[str, str] = tomllib.loads((LOCKS / "licences.toml").read_text())
    return found


def pins(text: str) -> Iterator[tuple[str, str, str]]:
    """(name, version, marker) of every line of a lock; BadBundle for anything that is not a pin with hashes,
    because a line of a hostile lock may name another index, a folder or a repository."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = PIN.fullmatch(line)
        if found is None or not found["hashes"]:
            raise BadBundle(f"the lock has a line that is no hashed pin: {line[:100]!r}")
        yield normal(found["name"]), found["version"], (found["marker"] or "").strip()


def environment(text: str, *, python: str = "", wheelhouse: Path | None = None, build: bool = True) -> Path:
    """The Python of an environment that holds just what the lock names; made once and kept in the cache, or made
    ahead: $ANYPORT_ENVIRONMENTS is a folder of such, each named by the first 24 digits of its lock's sha256.

    `python` is a version such as "3.11", "" this one's. Without `build` only wheels are installed, so that
    nothing of the packages runs. Raises Offline, Missing (no such Python), Impossible.
    """
    list(pins(text))
    mine = ".".join(platform.python_version_tuple()[:2])
    wanted = sys.executable if python in ("", mine) else python
    key = f"{text}\n{python or mine}\n{platform.python_version()}\n{sys.platform}-{platform.machine()}"
    home = cache("environments") / hashlib.sha256(key.encode()).hexdigest()[:24]
    inside = Path("Scripts", "python.exe") if os.name == "nt" else Path("bin", "python")
    if os.environ.get("ANYPORT_ENVIRONMENTS"):
        ahead = Path(os.environ["ANYPORT_ENVIRONMENTS"]) / hashlib.sha256(text.encode()).hexdigest()[:24]
        if (ahead / "lib" / f"python{python or mine}").is_dir():
            return ahead / inside
    if (home / inside).exists():
        return home / inside
    house = wheelhouse_of(wheelhouse)
    work = Path(tempfile.mkdtemp(prefix=".", dir=home.parent))
    try:
        (work / "requirements.lock").write_text(text)
        # relocatable, because it is made under one name and kept under another
        made = uv("venv", "--python", wanted, "--relocatable", "--no-python-downloads", "--no-project",
                  str(work / "env"), cwd=work)  # fmt: skip
        if made.code:
            raise why(made, f"no environment of Python {python or mine} can be made")
        filled = uv(
            "pip", "sync", "--require-hashes", "--python", str(work / "env" / inside), "requirements.lock",
            *(("--no-index", "--find-links", str(house)) if house else ()), *(() if build else ("--no-build",)),
            cwd=work,
        )  # fmt: skip
        if filled.code:
            raise why(filled, "the locked environment cannot be installed")
        try:
            os.rename(work / "env", home)
        except OSError:
            if not (home / inside).exists():  # else another process made the same one meanwhile
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return home / inside


def uv(*argv: str, cwd: Path) -> Done:
    """Run uv, from its PyPI package or from PATH, outside any project."""
    program = shutil.which("uv")
    if importlib.util.find_spec("uv") is not None:
        program = str(need("uv").find_uv_bin())
    if program is None:
        raise Missing("uv is not installed here", fix="pip install 'anyport[python]'")
    return run([program, *argv, "--no-progress", "--color", "never"], cwd=cwd, timeout=SECONDS)


def why(done: Done, what: str) -> AnyportError:
    """uv's failure as ours: the network, a program or a Python that is not here, or the packages themselves."""
    said = done.stderr.strip()
    reason = re.sub(r"\s+", " ", said.partition("error: ")[2] or said).strip()[:1500] or f"uv exited with {done.code}"
    if re.search(r"No space left on device|Disk quota exceeded", said):
        return Mistake(f"{what}: the disk is full", fix="free some space, or set XDG_CACHE_HOME and UV_CACHE_DIR")
    if re.search(r"Hash mismatch", said):
        return BadBundle(f"{what}: the registry gave another file than the one that was locked: {reason}")
    if re.search(r"lack of valid authentication|HTTP status client error \((401|403|407)", said):
        return Mistake(f"{what}: the registry refused the credentials: {reason}", fix="see uv's UV_INDEX_… variables")
    if NO_NETWORK.search(said):
        return Offline(
            f"{what}: the registry could not be reached (which says nothing about the packages): {reason}",
            fix="try again, or set ANYPORT_WHEELHOUSE to a folder of wheels",
        )
    if re.search(r"No interpreter found|No Python interpreters? found", said):
        return Missing(f"{what}: {reason}", fix="uv python install VERSION")
    return Impossible(f"{what}: {reason}")


def normal(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@once
def _providers() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def distribution(module: str) -> str | None:
    """The installed distribution that a module comes from; None for Python's own, and for the user's own code:
    modules outside any distribution, or of one installed from a folder (`pip install -e .`)."""
    root = module.partition(".")[0]
    found = sorted({normal(name) for name in _providers().get(root, []) if not _from_folder(name)})
    if len(found) < 2:
        return found[0] if found else None
    # a namespace package (google.*): the one that owns the module's file
    spec = importlib.util.find_spec(module) if module in sys.modules else None
    origin = Path(spec.origin).resolve() if spec is not None and spec.origin else None
    for name in found:
        files = importlib.metadata.files(name) or []
        if origin is not None and any(
            Path(str(file.locate())).resolve() == origin for file in files if file.name == origin.name
        ):
            return name
    return found[0]


@once
def _from_folder(name: str) -> bool:
    text = importlib.metadata.distribution(name).read_text("direct_url.json")
    return text is not None and '"dir_info"' in text


def installed() -> dict[str, str]:
    """Every distribution here and its public version (a local label such as +cpu is no registry's)."""
    found: dict[str, str] = {}
    for dist in importlib.metadata.distributions():
        name: Any = dist.metadata["Name"]
        if name and not _from_folder(name):
            found.setdefault(normal(name), dist.version.partition("+")[0])
    return found
