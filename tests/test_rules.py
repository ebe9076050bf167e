"""The house rules that a machine can check: imports run one way and cost nothing, files stay short, docs are fresh."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from anyport import cli, targets

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
MODULES = {
    ".".join(p.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): p
    for p in sorted(SOURCE.rglob("*.py"))
}  # fmt: skip
COMMANDS = cli.COMMANDS
MOST_LINES = 400
BASE = {"msgspec", "typing_extensions"}
"""What any module may import at once: the types are made of it (and it takes typing_extensions where it is there)."""
AT_ONCE = {"anyport.serve.connection", "anyport.serve.protocol", "anyport.serve.server"}
"""Modules that subclass what they import, which is why they are themselves imported inside functions only."""
NEVER = {
    "core": {"cli", "a target"},
    "kit": {"cli", "a target", "targets", "frameworks", "graph", "serve"},
    "frameworks": {"cli", "a target", "targets", "serve", "stream"},
    "graph": {"cli", "a target", "targets", "serve", "stream"},
    "golden": {"cli", "a target", "targets", "serve", "stream"},
    "serve": {"cli", "a target", "targets", "frameworks"},
    "stream": {"cli", "a target", "targets", "frameworks"},
    "targets": {"cli", "a target", "frameworks"},
    "a target": {"cli", "another target", "frameworks", "graph"},
    "cli": {"a target"},
}
"""Area → areas that it must not import, at any depth of its code."""


def area(module: str) -> str:
    """The part of the package that a module belongs to."""
    parts = module.split(".")
    if parts[-1] == "__main__":
        return "cli"
    if parts[:2] == ["anyport", "targets"] and len(parts) > 2:
        return "a target"
    return parts[1] if len(parts) > 1 and parts[1] in NEVER else "core"


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imports(module: str) -> Iterator[tuple[str, int]]:
    """Every module that this one imports, wherever in its code, with the line."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            assert node.module is not None
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield (full if full in MODULES else node.module), node.lineno


def shipped(module: str) -> bool:
    """Whether a file of a target's folder is a script (or a project's file) that runs inside the artefact, and not
    part of the target."""
    return area(module) == "a target" and (
        module.split(".")[3:4] == ["project"]
        or any(isinstance(n, ast.If) and "__name__" in ast.unparse(n.test) for n in tree(module).body)
    )


def crossing(module: str, imported: str) -> str | None:
    """The forbidden area that an import reaches, or None."""
    here, there = area(module), area(imported)
    if there == "a target" and here == "a target":
        return None if module.split(".")[2] == imported.split(".")[2] else "another target"
    return there if imported.startswith("anyport") and there in NEVER[here] else None


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module: str) -> None:
    if shipped(module):
        return
    wrong = [f"line {line}: {name}" for name, line in imports(module) if crossing(module, name)]
    assert not wrong, f"{module} ({area(module)}) imports {', '.join(wrong)}"


@pytest.mark.parametrize(
    ("module", "imported", "reaches"),
    [
        ("anyport.bundle", "anyport.cli", "cli"),
        ("anyport.targets.rest", "anyport.targets.local", "another target"),
        ("anyport.targets.rest", "anyport.frameworks.sklearn", "frameworks"),
        ("anyport.frameworks.onnx", "anyport.targets", "targets"),
        ("anyport.kit.archive", "anyport.targets.local", "a target"),
        ("anyport.cli.build", "anyport.targets", None),
        ("anyport.targets.rest", "anyport.kit.process", None),
    ],
)
def test_a_crossing_is_seen(module: str, imported: str, reaches: str | None) -> None:
    assert crossing(module, imported) == reaches


def imported_by_each() -> dict[str, list[str]]:
    """What each module, imported first in a fresh interpreter's state, brings in from outside the standard library."""
    code = """
import importlib, json, sys
outside = {}
for name in json.load(sys.stdin):
    before = set(sys.modules)
    importlib.import_module(name)
    roots = {m.partition(".")[0] for m in set(sys.modules) - before}
    outside[name] = sorted(r for r in roots if r not in sys.stdlib_module_names and r != "anyport" and "." not in r)
    for module in set(sys.modules) - before:
        if module.partition(".")[0] == "anyport" or module.partition(".")[0] in outside[name]:
            del sys.modules[module]
json.dump(outside, sys.stdout)
"""
    names = [n for n in MODULES if not n.endswith("__main__") and not shipped(n)]
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(names), capture_output=True, text=True, check=False, timeout=300
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_importing_anything_imports_nothing_from_outside() -> None:
    found = imported_by_each()
    assert {"anyport", *targets.TABLE.values()} <= set(found)
    assert found["anyport"] == []
    assert set(found["anyport.serve.protocol"]) > BASE, "the probe does not see what it looks for"
    heavy = {name: set(roots) - BASE for name, roots in found.items() if name not in AT_ONCE}
    assert not {name: extra for name, extra in heavy.items() if extra}


def test_importing_anyport_imports_none_of_its_own_modules() -> None:
    code = "import anyport, sys; print([m for m in sys.modules if m.startswith('anyport')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "['anyport']"


@pytest.mark.parametrize(("library", "doors"), [
    ("subprocess", {"anyport.kit.process", "anyport.plan"}),
    ("onnxruntime", {"anyport.ort"}),
])  # fmt: skip
def test_one_door(library: str, doors: set[str]) -> None:
    ours = [module for module in MODULES if not shipped(module)]
    users = {
        module for module in ours
        for name, _ in imports(module) if name.partition(".")[0] == library
    } | {
        module for module in ours for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("need", "import_module"))
        and any(isinstance(a, ast.Constant) and str(a.value).partition(".")[0] == library for a in node.args)
    }  # fmt: skip
    assert users <= doors
    assert users, f"nothing uses {library}; the rule looks for the wrong thing"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_opens_with_one_sentence(module: str) -> None:
    docstring = ast.get_docstring(tree(module))
    assert docstring, f"{module} has no docstring"
    first = docstring.split("\n\n")[0].replace("\n", " ")
    assert len(first) <= 240, f"{module} opens with {len(first)} characters"
    assert docstring.strip()[0] != "\n"


def test_files_stay_short() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES.values()}
    long = {name: n for name, n in lengths.items() if n > MOST_LINES}
    assert not long
    assert sorted(lengths.values())[len(lengths) // 2] <= 150


WORDS = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "Not" + "Implemented" + "Error"]
"""Written in pieces, so that this file is not found."""


def texts() -> Iterator[tuple[str, str]]:
    """Every file that we wrote, by its path."""
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True)
    kinds = {".py", ".md", ".toml", ".txt", ".json", ".yaml", ".yml", ".html", ".js", ".css", ".sh", ".cfg", ""}
    for name in done.stdout.splitlines():
        path = ROOT / name
        if path.suffix in kinds and path.is_file() and name not in ("LICENSE", "uv.lock"):
            yield name, path.read_text(encoding="utf-8")


def test_no_word_is_left_for_later_and_no_path_of_a_machine() -> None:
    # a home such as /root is a word that others may use; /home/name is not
    home = [str(Path.home())] if len(Path.home().parts) > 2 else []
    mine = [str(ROOT), *home, "/Us" + "ers/", "C:" + "\\Us" + "ers"]
    found = [f"{name}: {word}" for name, text in texts() for word in (*WORDS, *mine) if word in text]
    assert not found


def test_no_exception_is_swallowed_in_silence() -> None:
    """`except …: pass` needs a comment that gives the reason."""
    silent = []
    for module, path in MODULES.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.ExceptHandler) and len(node.body) == 1 and isinstance(node.body[0], ast.Pass):
                said = any("#" in line for line in lines[node.lineno - 1 : node.body[0].lineno])
                if not said:
                    silent.append(f"{module}:{node.lineno}")
    assert not silent


@pytest.mark.parametrize("command", COMMANDS)
def test_help_holds_an_example_of_its_own_command(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "anyport", command, "--help"], capture_output=True, text=True, check=True, timeout=300
    )  # fmt: skip
    assert "example:" in done.stdout
    assert f"  anyport {command} " in done.stdout or f"&& anyport {command} " in done.stdout or (
        f"  anyport {command}\n" in done.stdout
    )  # fmt: skip


def test_generated_docs_are_up_to_date() -> None:
    argv = [sys.executable, ROOT / "docs" / "generate.py", "--check"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nrun: make docs"


def test_links_in_the_docs_lead_somewhere() -> None:
    broken = []
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in link and not (page.parent / link).exists():
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert not broken


def test_every_page_of_the_server_is_in_its_index() -> None:
    folder = ROOT / "docs" / "serve"
    linked = set(re.findall(r"\]\((\w[\w-]*\.md)\)", (folder / "README.md").read_text(encoding="utf-8")))
    assert linked == {page.name for page in folder.glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("name", targets.TABLE)
def test_the_table_is_sorted_and_names_what_it_holds(name: str) -> None:
    assert list(targets.TABLE) == sorted(targets.TABLE)
    module = targets.get(name)
    assert module.SPEC.name == name
    for member in ("fits", "build", "run", "connect", "plan", "Options", "Live"):
        assert hasattr(module, member), f"{name} lacks {member}"
