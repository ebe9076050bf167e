"""What an artefact runs on: anyport's own source, whole or in part, and an interpreter with nothing else beside it."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import anyport
from anyport.errors import Missing
from anyport.kit.lock import normal
from anyport.places import cache


def source() -> Path:
    """A folder that holds the package `anyport` as it is here, and nothing else; kept in the cache by its content.

    The folder that anyport was imported from may be site-packages: on a path, it would bring everything. An artefact's
    own runtime/ holds nothing else, and is it.
    """
    here = Path(anyport.__file__).parent
    if {path.name for path in here.parent.iterdir()} == {"anyport"} and here.parent.name == "runtime":
        return here.parent
    files = sorted(p for p in here.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    digest = hashlib.sha256()
    content = [(file.relative_to(here).as_posix(), file.read_bytes()) for file in files]
    for name, data in content:
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    home = cache("runtime") / digest.hexdigest()[:24]
    if home.is_dir():
        return home
    work = Path(tempfile.mkdtemp(prefix=".", dir=home.parent))
    try:
        for name, data in content:
            target = work / "new" / "anyport" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        try:
            os.rename(work / "new", home)
        except OSError:
            if not home.is_dir():  # else another process made the same one meanwhile
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return home


def needed(*roots: str) -> list[str]:
    """Files of the package, relative to it and sorted, that the modules `roots` can ever import, imports inside
    functions too. What is imported by a name made at run time (frameworks, targets) must be named as a root."""
    here = Path(anyport.__file__).parent
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        path = _file(here, module)
        if path is None or module in found:
            continue
        found[module] = path
        if module != "anyport":
            waiting.append(module.rpartition(".")[0])
        waiting += _imports(path, module)
    missing = [root for root in roots if root not in found]
    if missing:
        raise ModuleNotFoundError(f"no module {missing[0]}", name=missing[0])
    return sorted(path.relative_to(here).as_posix() for path in found.values())


def _file(here: Path, module: str) -> Path | None:
    """The file of one of our modules; None for a name that is no module of ours."""
    if module.partition(".")[0] != "anyport":
        return None
    base = here.joinpath(*module.split(".")[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _imports(path: Path, module: str) -> Iterator[str]:
    """Every name that may be a module in the imports of a file; those that only type checkers read are left out."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if node in skipped:
            skipped.update(ast.iter_child_nodes(node))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(node.body)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{module} imports relatively, which the house style has no place for")
            name = node.module or ""
            yield name
            yield from (f"{name}.{alias.name}" for alias in node.names)


def carry(out: Path, *roots: str) -> None:
    """Copy to `out`/anyport what the modules `roots` need of this package, and data files beside their modules."""
    here = Path(anyport.__file__).parent
    files = needed(*roots)
    folders = {Path(name).parent for name in files}
    beside = [
        p.relative_to(here).as_posix() for p in sorted(here.rglob("*.toml")) if p.relative_to(here).parent in folders
    ]
    if "serve/contracts/page.py" in files:
        beside += [p.relative_to(here).as_posix() for p in sorted((here / "serve" / "page").iterdir())]
    for name in [*files, *beside]:
        (out / "anyport" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(here / name, out / "anyport" / name)


def closure(*names: str) -> dict[str, str]:
    """Installed distributions that these need, themselves included, and their versions. Extras are left out;
    what only another platform needs is not installed here and so left out too. Missing for a name that is not here."""
    found: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        name = normal(waiting.pop())
        if name in found:
            continue
        try:
            dist = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            if name in map(normal, names):
                raise Missing(f"{name} is not installed here", fix=f"pip install {name}") from error
            continue
        found[name] = dist.version
        for line in dist.requires or ():
            required, _, marker = line.partition(";")
            if "extra" not in marker:
                waiting.append(re.split(r"[^A-Za-z0-9._-]", required.strip(), maxsplit=1)[0])
    return dict(sorted(found.items()))


def view(*names: str) -> Path:
    """The Python of an environment that holds only these distributions and what they need, as they are installed here.

    Made of links in some milliseconds, without a network; kept in the cache. It proves that an artefact needs
    nothing else: neither the training framework nor a checkout of anyport can be imported in it.
    """
    pins = closure(*names)
    dists = [importlib.metadata.distribution(name) for name in pins]
    tops: dict[str, Path] = {}
    for dist in dists:
        for file in dist.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not top.endswith(".pth"):
                tops[top] = Path(str(dist.locate_file(top)))
    key = "\n".join([sys.executable, sys.version, *(f"{top} {path}" for top, path in sorted(tops.items())), str(pins)])
    home = cache("views") / hashlib.sha256(key.encode()).hexdigest()[:24]
    python = home / "bin" / "python"
    if python.exists():
        return python
    work = Path(tempfile.mkdtemp(prefix=".", dir=home.parent))
    try:
        venv.EnvBuilder(symlinks=True, with_pip=False).create(work / "new")
        site = next((work / "new" / "lib").glob("python*/site-packages"))
        for top, path in tops.items():
            (site / top).symlink_to(path.resolve())
        try:
            os.rename(work / "new", home)
        except OSError:
            if not python.exists():  # else another process made the same one meanwhile
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return python
