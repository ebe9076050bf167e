"""The Bundle on disk: a directory (or .tar.gz) whose bundle.json lists every member with its hash."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from anyport.errors import BadBundle, Mistake
from anyport.signature import Signature

PROTOCOL = 1
"""Readers refuse a newer one."""

Form = Literal["graph", "python"]
MAX_MEMBER = 4 << 30
"""Bytes; a larger member is refused before it is read."""
OUTSIDE = {"bundle.json", "bundle.sig", "meta.json"}
"""Members that bundle.json does not list: itself, its signature, and what may differ between equal bundles."""


class Tolerance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far an answer may be from the original's: |a - e| <= atol + rtol * |e|; `flips` is the share of
    labels that may differ (0 unless quantised)."""

    rtol: float = 1e-5
    atol: float = 1e-6
    flips: float = 0.0


class Tried(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One graph candidate and what its proof found. `rejected` is empty for the one kept."""

    name: str
    why: str
    rejected: str = ""
    worst: float | None = None
    """Largest absolute difference from the original over all rows tried."""
    flips: int = 0
    rows: int = 0
    microseconds: float | None = None
    """Of one row, in this process, when it was packed."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """bundle.json."""

    protocol: int
    name: str
    framework: str
    form: Form
    signature: Signature
    tolerance: Tolerance
    files: Mapping[str, str]
    """Member path → sha256, sorted."""
    tried: tuple[Tried, ...] = ()
    why_no_graph: str = ""
    kept: str = ""
    """Name of the candidate kept."""
    requirements: tuple[str, ...] = ()
    """Pinned distributions of the environment the original answered in (name==version)."""
    python: str = ""
    """Python version (major.minor) that the original answered in; the Python form needs the same."""
    version: str = ""
    """Given by --version; else the first 12 hex digits of the digest stand for it."""
    noise: float = 0.0
    """How far the original disagrees with itself, one row against batch."""
    golden: str = "synthesised"
    """'synthesised', or 'real' when the user chose to store their own rows."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: every member hashed to what bundle.json says when it was read."""

    path: Path
    manifest: Manifest
    digest: str
    """sha256 of bundle.json, hex."""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version or self.digest[:12]

    @property
    def signature(self) -> Signature:
        return self.manifest.signature

    @property
    def form(self) -> Form:
        return self.manifest.form

    def member(self, name: str) -> Path | None:
        """Path of a member, or None when the bundle has none of that name."""
        return self.path / name if name in self.manifest.files else None

    def meta(self) -> dict[str, Any]:
        """meta.json: when, from what commit and on what data it was packed; {} if it is not there."""
        file = self.path / "meta.json"
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any]) if file.is_file() else {}


def sha256_of(data: bytes) -> Any:
    """A SHA-256 object. CPython's own where it has one: hashlib loads OpenSSL, 3.5 MB that a small runtime
    can do without."""
    for name in ("_sha2", "_sha256"):  # 3.12+, 3.11
        try:
            return importlib.import_module(name).sha256(data)
        except ImportError:
            continue
    import hashlib

    return hashlib.sha256(data)


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks."""
    with path.open("rb") as file:
        digest = sha256_of(b"")
        while block := file.read(1 << 20):
            digest.update(block)
    return str(digest.hexdigest())


def members(folder: Path) -> list[str]:
    """Every file below `folder` as a sorted POSIX path; links and odd files are refused."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise BadBundle(f"{folder}: {name} is a link; a bundle holds plain files only")
        if path.is_file():
            if path.stat().st_size > MAX_MEMBER:
                raise BadBundle(f"{folder}: {name} is larger than {MAX_MEMBER >> 30} GiB")
            found.append(name)
        elif not path.is_dir():
            raise BadBundle(f"{folder}: {name} is neither a file nor a folder")
    return found


NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def check_name(name: str) -> str:
    """`name` if it can be a bundle's name (it becomes image tags, SQL names and routes)."""
    if not NAME.fullmatch(name):
        raise Mistake(
            f"{name!r} cannot be a bundle name", fix="use lower case letters, digits, '.', '_' and '-', at most 63"
        )
    return name


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that becomes `target` when the block ends well, and vanishes otherwise."""
    if target.exists() and not (target / "bundle.json").is_file() and not (target / "anyport.json").is_file():
        raise Mistake(f"{target} exists and is not anyport's; nothing was written", fix="choose another -o")
    target.parent.mkdir(parents=True, exist_ok=True)
    import shutil
    import tempfile

    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield work
        os.chmod(work, 0o755)
        old = work.with_name(work.name + ".old")
        if target.exists():
            os.replace(target, old)
        os.replace(work, target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def seal(folder: Path, manifest: Manifest) -> str:
    """Write bundle.json over the members present in `folder`; gives the digest. Same members, same bytes."""
    files = {name: sha256(folder / name) for name in members(folder) if name not in OUTSIDE}
    data = msgspec.json.format(
        msgspec.json.encode(msgspec.structs.replace(manifest, files=files), order="deterministic")
    )
    (folder / "bundle.json").write_bytes(data + b"\n")
    return str(sha256_of(data + b"\n").hexdigest())


def read(path: Path | str) -> Bundle:
    """Read and verify a bundle: a folder, or a .tar.gz (unpacked into a cache folder named by its hash).

    Raises BadBundle naming the member that is missing, changed, unlisted or hostile.
    """
    path = Path(path)
    if path.is_file() and path.name.endswith((".tar.gz", ".tgz")):
        from anyport.kit.archive import unpacked

        path = unpacked(path)
    file = path / "bundle.json"
    if not file.is_file():
        raise BadBundle(f"{path} is not a bundle: it has no bundle.json", fix="anyport pack MODEL --data DATA")
    data = file.read_bytes()
    try:
        protocol = msgspec.json.decode(data, type=dict[str, Any]).get("protocol")
    except msgspec.DecodeError as error:
        raise BadBundle(f"{file} is not readable: {error}") from error
    if not isinstance(protocol, int) or protocol > PROTOCOL:
        raise BadBundle(
            f"{path} has bundle protocol {protocol}; this anyport reads up to {PROTOCOL}", fix="pip install -U anyport"
        )
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise BadBundle(f"{file} does not hold a manifest: {error}") from error
    present = [name for name in members(path) if name not in OUTSIDE]
    for name in present:
        if name not in manifest.files:
            raise BadBundle(f"{path}: {name} is not listed in bundle.json")
    for name, expected in manifest.files.items():
        if name not in present:
            raise BadBundle(f"{path}: {name} is missing")
        found = sha256(path / name)
        if found != expected:
            raise BadBundle(
                f"{path}: {name} was changed after packing (sha256 {found[:12]}…, expected {expected[:12]}…)"
            )
    return Bundle(path, manifest, str(sha256_of(data).hexdigest()))
