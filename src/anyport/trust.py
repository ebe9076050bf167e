"""Trust: whose code may run when a file is opened. Held by whoever opens it, never read from the file."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import tomllib
import warnings
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from anyport.bundle import sha256
from anyport.errors import AnyportError, Missing, Mistake, Untrusted, need
from anyport.inflate import inflated, limit
from anyport.places import config
from anyport.scan import Finding, Import, judge, scan
from anyport.unpickle import missing, unpickle

DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "cv2": "opencv-python-headless", "yaml": "pyyaml",
                 "skimage": "scikit-image", "bs4": "beautifulsoup4", "dateutil": "python-dateutil"}  # fmt: skip
"""Module → distribution, where the names differ and the module is not here to be asked."""


@dataclass(frozen=True)
class Trust:
    """The names that files may import when they are opened: `sklearn` covers all below it, `lib.*` is a glob.

    Names that run programs, open files or reach the network (scan.DANGEROUS) are covered by nothing but
    their own exact name, not even by `all`.
    """

    allow: tuple[str, ...] = ()
    all: bool = False
    files: frozenset[str] = frozenset()
    """sha256 of files and bundles that may do whatever they like."""
    source: str = "nobody"
    """Who consented, for messages."""

    def covers(self, name: Import) -> bool:
        """Whether this import was consented to; names that only build data need no consent."""
        if name.verdict == "known" or name.name in self.allow:
            return True
        if name.verdict == "dangerous":
            return False
        return self.all or any(
            name.name.startswith(entry + ".") or fnmatchcase(name.name, entry) for entry in self.allow
        )

    def also(self, digest: str) -> Trust:
        """The same, and the file of this sha256 wholly."""
        return replace(self, files=self.files | {digest})


def held(given: str | Iterable[str] | None = None) -> Trust:
    """The user's trust: `given` (--trust: names joined by commas, or "all"), $ANYPORT_TRUST, and config.toml's
    `[trust] allow = [...]`, together; and the digests of the bundles packed on this machine."""
    entries: list[str] = []
    sources = []
    asked = {
        "--trust": given, "$ANYPORT_TRUST": os.environ.get("ANYPORT_TRUST"),
        str(config() / "config.toml"): _configured(),
    }  # fmt: skip
    for source, names in asked.items():
        found = [n.strip() for n in (names.split(",") if isinstance(names, str) else names or ()) if n.strip()]
        for name in found:
            if not re.fullmatch(r"[\w*?.\[\]-]+", name):
                raise Mistake(f"{source}: {name!r} is not a module name", fix="--trust sklearn,lightgbm or --trust all")
        if found:
            entries += found
            sources.append(source)
    allow = tuple(sorted({name for name in entries if name != "all"}))
    return Trust(allow, "all" in entries, _remembered(), " and ".join(sources) or "nobody")


def remember(digest: str, name: str) -> None:
    """Trust the bundle of this digest from now on: it was packed by this user, on this machine."""
    if digest in _remembered():
        return
    config().mkdir(parents=True, exist_ok=True)
    with (config() / "packed").open("a", encoding="utf-8") as file:
        file.write(f"{digest} {name}\n")


def _configured() -> list[str]:
    file = config() / "config.toml"
    if not file.is_file():
        return []
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get("trust", {})
        allow = table.get("allow", [])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise Mistake(f"{file} cannot be read: {error}") from error
    if not isinstance(allow, list) or not all(isinstance(name, str) for name in allow):
        raise Mistake(f"{file}: [trust] allow must be a list of names", fix='write: allow = ["sklearn", "lightgbm"]')
    return allow


def _remembered() -> frozenset[str]:
    file = config() / "packed"
    if not file.is_file():
        return frozenset()
    return frozenset(re.findall(r"^[0-9a-f]{64}\b", file.read_text(encoding="utf-8", errors="replace"), re.M))


def load(path: Path, trust: Trust, *, tell: Callable[[str], None] | None = None) -> Any:
    """The model in a pickle, joblib (compressed too), cloudpickle or skops file, if `trust` covers what it imports.

    The file is scanned before it is opened and the finding told (default: stderr). Raises Untrusted naming
    what needs consent, Missing for libraries or versions that are not here, Mistake for anything that is
    damaged or holds no model.
    """
    tell = tell or _to_stderr
    start, whole = _start(path), sha256(path) in trust.files
    if start.startswith(ZIP):
        return _is_model(path, _opened(path, _skops(path, trust, whole=whole, tell=tell)))
    with inflated(path) as file:
        finding = _scanned(path, file)
        if not whole:
            _told(path, finding, trust, tell)
        check_here(path, finding)
        file.seek(0)
        permit = None if whole else trust.covers
        return _is_model(path, _opened(path, lambda: unpickle(file, permit, joblib=finding.joblib)))


def ask(path: Path, trust: Trust, *, tell: Callable[[str], None] | None = None) -> None:
    """Raise Untrusted if `load` would, and open nothing."""
    tell = tell or _to_stderr
    start, whole = _start(path), sha256(path) in trust.files
    if start.startswith(ZIP):
        _skops(path, trust, whole=whole, tell=tell)
    elif not whole:
        with inflated(path) as file:
            _told(path, _scanned(path, file), trust, tell)


ZIP = b"PK\x03\x04"


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise Mistake(f"{path} cannot be read: {error.strerror}") from error
    if not start:
        raise Mistake(f"{path} is empty; it holds no model")
    if start.startswith(b"version https://git-lfs"):
        raise Mistake(f"{path} is a Git LFS pointer, not the file itself", fix=f"git lfs pull --include {path}")
    return start


def _scanned(path: Path, file: IO[bytes]) -> Finding:
    try:
        return scan(file)
    except Mistake as error:
        raise type(error)(f"{path} {error.what}", fix=error.fix) from error


def _told(path: Path, finding: Finding, trust: Trust, tell: Callable[[str], None]) -> None:
    tell(f"{path} was read, not opened. Opening it imports:\n{finding.says()}")
    consent(path, finding.asking(), trust)


def consent(path: Path, names: tuple[Import, ...], trust: Trust) -> None:
    """Raise Untrusted, with the line that would consent, unless every name is covered."""
    asked = [i for i in names if not trust.covers(i)]
    if not asked or (path.is_file() and sha256(path) in trust.files):
        return
    dangerous = [i for i in asked if i.verdict == "dangerous"]
    roots = sorted({i.root for i in asked if i.verdict != "dangerous"})
    line = ",".join([*trust.allow, *(["all"] if trust.all else []), *roots, *(i.name for i in dangerous)])
    if dangerous:
        raise Untrusted(
            f"{path} is dangerous: it imports " + "; ".join(f"{i.name}, which {i.why}" for i in dangerous[:5]),
            fix=f"do not open it unless you know why it does that; then name it exactly: --trust {line}",
        )
    given = f"{trust.source} consents to {', '.join(trust.allow)} only" if trust.allow else "nobody consented to that"
    raise Untrusted(
        f"{path} runs code of {', '.join(roots)} when it is opened, and {given}",
        fix=f"if you trust where it comes from: --trust {line}",
    )


def check_here(path: Path, finding: Finding) -> None:
    """Raise Missing for libraries the file needs that are not here, or are here in another version."""
    for name, wanted in finding.versions.items():
        try:
            here = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            here = ""
        if here != wanted:
            raise _other_version(path, name, wanted, here)
    gone = missing(finding.imports)
    if gone:
        names = [DISTRIBUTIONS.get(root, root) for root in gone]
        raise Missing(f"{path} needs {', '.join(gone)}, not installed here", fix=f"pip install {' '.join(names)}")
    main = sys.modules["__main__"]
    for i in finding.imports:
        name = i.name.removeprefix("__main__.")
        if i.root == "__main__" and not hasattr(main, name.partition(".")[0]):
            raise Mistake(
                f"{path} needs {name}, which was defined in the script or notebook that saved it",
                fix="pack it there: anyport.pack(model, X), or save it with cloudpickle",
            )


def _other_version(path: Path, name: str, wanted: str, here: str) -> Missing:
    """There is no way to open it all the same: what we would then prove is another model than the user's."""
    return Missing(
        f"{path} was written with {name} {wanted}, and here is {here or 'none'}; another version may answer "
        "differently without saying so",
        fix=f"pip install {name}=={wanted}" + (f", or save the model again with {name} {here}" if here else ""),
    )


def _opened(path: Path, opener: Callable[[], Any]) -> Any:
    """What `opener` gives, with everything a file's own code may raise turned into ours."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            model = opener()
        except AnyportError as error:
            raise type(error)(f"{path} was not opened: {error.what}", fix=error.fix) from error
        except ImportError as error:
            raise Missing(f"{path} needs a module that is not here: {error}") from error
        except AttributeError as error:
            raise Mistake(f"{path} was written with other versions than those here: {error}") from error
        except Exception as error:  # constructors and __setstate__ of any library run here
            raise Mistake(f"{path} could not be opened: {type(error).__name__}: {error}") from error
    for warning in said:
        if warning.category.__name__ == "InconsistentVersionWarning":
            message: Any = warning.message
            raise _other_version(
                path, "scikit-learn", message.original_sklearn_version, message.current_sklearn_version
            )
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return model


def _skops(path: Path, trust: Trust, *, whole: bool, tell: Callable[[str], None]) -> Callable[[], Any]:
    """What opens a skops file: its untrusted types are shown, and `trusted` is the loader's list alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            names, size = archive.namelist(), sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise Mistake(f"{path} is a damaged zip file: {error}") from error
    if "schema.json" not in names:
        torch = any(name.endswith("data.pkl") for name in names)
        raise Mistake(
            f"{path} is {'a PyTorch checkpoint' if torch else 'a zip file'}, not a skops file",
            fix="name it .pt" if torch else "",
        )
    if size > limit(path):
        raise Mistake(f"{path} unpacks to {size >> 20} MB: a decompression bomb")
    skops = need("skops.io")
    try:
        types = skops.get_untrusted_types(file=path)
    except Exception as error:  # skops raises what json, zipfile and its own schemas raise
        raise Mistake(f"{path} is a damaged skops file: {type(error).__name__}: {error}") from error
    found = tuple(map(judge, types))
    if not whole:
        tell(f"{path} was read, not opened. skops does not trust: {', '.join(types) or 'nothing, all types are safe'}")
        consent(path, found, trust)
    return lambda: skops.load(path, trusted=types)


def _is_model(path: Path, found: Any) -> Any:
    """`found`, if it can answer anything."""
    if isinstance(found, type):
        raise Mistake(f"{path} holds the class {found.__qualname__}, not a fitted model", fix="save the fitted object")
    if callable(found) or any(hasattr(found, m) for m in ("predict", "transform", "predict_proba", "fit_predict")):
        return found
    inside = ""
    if isinstance(found, dict):
        keys = [k for k, v in found.items() if not isinstance(v, type) and hasattr(v, "predict")]
        inside = f" with a model under {keys[0]!r}" if keys else f" with keys {', '.join(map(repr, list(found)[:5]))}"
    kind = f"{type(found).__module__}.{type(found).__qualname__}".removeprefix("builtins.")
    raise Mistake(f"{path} holds a {kind}{inside}, which is no model", fix="save the fitted model by itself")


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


__all__ = ["Trust", "ask", "consent", "held", "load", "remember"]
