"""Rewrite the generated parts of README.md and docs/*.md from the code itself: python docs/generate.py [--check]

A generated part lies between `<!-- generated: NAME ARGUMENT -->` and `<!-- /generated -->`.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import figures  # noqa: E402 - it lies beside this file

from anyport import cli, frameworks, targets  # noqa: E402
from anyport.conformance import CASES  # noqa: E402
from anyport.data import SUFFIXES  # noqa: E402
from anyport.errors import AnyportError  # noqa: E402
from anyport.target import PROOFS  # noqa: E402

REGION = re.compile(r"^(<!-- generated: (\w+)(?: (\S+))? -->\n).*?^(<!-- /generated -->)", re.S | re.M)

PROOF_WORDS: Mapping[str, str] = {
    "live": "your real endpoint answered",
    "native": "the target's real engine answered, on this machine",
    "emulated": "the vendor's own emulator or runtime client answered",
    "stand-in": "it was executed, by something that is not the vendor's",
    "layout": "only the vendor's loader or validator has accepted it",
}
CODES: Mapping[int, str] = {
    0: "all is well",
    2: "the caller's mistake: a bad file, bad data, a bad option",
    3: "something is missing here; the message holds the line that installs it",
    4: "it cannot be done for this model; the message gives the reason",
    5: "the answers differ from the original model's",
    70: "a bug in anyport",
}
TITLES: Mapping[str, str] = {
    "catboost": "CatBoost", "keras": "Keras 3", "lightgbm": "LightGBM", "mlflow": "MLflow model folders",
    "onnx": "ONNX",
    "sklearn": "scikit-learn", "tensorflow": "TensorFlow SavedModel", "torch": "PyTorch", "xgboost": "XGBoost",
    "python": "any Python object with `predict`",
}  # fmt: skip


def table(head: tuple[str, ...], body: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)


def commands() -> str:
    """Every command and what it does."""
    return table(("command", "what it does"), [
        (f"[`anyport {name}`](docs/cli.md#anyport-{name})", first(f"anyport.cli.{name}")) for name in cli.COMMANDS
    ])  # fmt: skip


def first(module: str) -> str:
    """What a command's docstring says after its name."""
    return (importlib.import_module(module).__doc__ or "").split("\n\n")[0].replace("\n", " ").partition(": ")[2]


def exits() -> str:
    """Exit codes, from the error tree; a code that no error carries would be a mistake here."""
    kinds = {0, *(k.exit_code for k in every(AnyportError))}
    assert kinds == set(CODES), f"the exit codes in the error tree are {sorted(kinds)}"
    return table(("exit code", "means"), [(str(code), CODES[code]) for code in sorted(CODES)])


def every(kind: type[AnyportError]) -> Iterator[type[AnyportError]]:
    """An error class and all below it that anyport itself defines."""
    yield kind
    for below in kind.__subclasses__():
        yield from every(below)


def target_table() -> str:
    """Every target, with what it takes."""
    body = []
    for name in targets.TABLE:
        spec = targets.get(name).SPEC
        body.append((f"[`{name}`](docs/targets/{name}.md)", spec.title, spec.kind, " and ".join(spec.takes)))
    return table(("target", "what it is", "kind", "takes form"), body)


def target(name: str) -> str:
    """The head of one target's page."""
    module = targets.get(name)
    spec = module.SPEC
    sentence = (module.__doc__ or "").split("\n\n")[0].replace("\n", " ").partition(": ")[2]
    facts = [
        ("what it is", spec.title), ("kind", spec.kind), ("takes form", " and ".join(spec.takes)),
        ("install", f"`pip install 'anyport[{spec.extra}]'`" if spec.extra else "`pip install anyport`"),
    ]  # fmt: skip
    facts += [("programs", ", ".join(spec.programs))] if spec.programs else []
    facts += [(f"limit: {key}", f"{value:g}") for key, value in sorted(spec.limits.items())]
    facts += [(f"gap: {key}", f"{gap.why} (until: {gap.until})") for key, gap in sorted(spec.gaps.items())]
    for flag, kind in (("-O", module.Options), ("--live", module.Live)):
        for field in importlib.import_module("msgspec").structs.fields(kind):
            default = "required" if field.required else f"default `{field.default!r}`"
            facts.append((f"`{flag} {field.name}=…`", default))
    return f"# {name}\n\n{sentence[0].upper()}{sentence[1:]}\n\n{table(('', ''), facts)}"


def framework_table() -> str:
    """Every framework, the files it reads, and whether reading them runs code."""
    assert set(TITLES) == set(frameworks.TABLE), "a framework lacks its title in docs/generate.py"
    body = []
    for name in sorted(frameworks.TABLE, key=lambda n: (n == "python", TITLES[n].lower())):
        module = frameworks.get(name)
        files = ", ".join(f"`{s.lstrip('/')}`" for s in module.SUFFIXES) or "none: pass it live"
        body.append((TITLES[name], files, "yes: needs `--trust`" if module.EXECUTES else "no"))
    return table(("framework", "files", "opening them runs code"), body)


def data_forms() -> str:
    """What rows can be read from."""
    return ", ".join(f"`{s}`" for s in SUFFIXES)


def proofs() -> str:
    """Proof levels, strongest first."""
    assert set(PROOF_WORDS) == set(PROOFS), "a proof level lacks its words in docs/generate.py"
    return table(("proof", "means"), [(f"`{p}`", PROOF_WORDS[p]) for p in PROOFS])


def cases() -> str:
    """The conformance cases."""
    return table(("case", "asks"), [(f"`{c.name}`", c.title) for c in CASES])


def cli_reference() -> str:
    """Every command with its arguments and its worked example."""
    parts = []
    top = cli.parser()
    found = next(a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    for name in cli.COMMANDS:
        sub = found.choices[name]
        example = (sub.epilog or "").removeprefix("example:").strip()
        example = "\n".join(line.strip() for line in example.splitlines())
        said = (sub.description or "").strip()
        rows = [argument(a) for a in sub._actions if not isinstance(a, argparse._HelpAction)]
        body = table(("argument", "meaning"), [r for r in rows if r[0] not in ("`--json`", "`--debug`")])
        parts.append(f"## anyport {name}\n\n{said[0].upper()}{said[1:]}\n\n```sh\n{example}\n```\n\n{body}")
    return "\n\n".join(parts)


def argument(action: argparse.Action) -> tuple[str, str]:
    """One argument's names and its help."""
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if not action.option_strings:
        shown = metavar + ("…" if action.nargs == "+" else "")
        return f"`{shown}`", action.help or ""
    value = "" if action.nargs == 0 else f" {'|'.join(map(str, action.choices)) if action.choices else metavar}"
    default = action.default if action.nargs != 0 and action.default not in (None, "", [], argparse.SUPPRESS) else None
    said = action.help or ""
    if default is not None and "default" not in said:
        said += f" (default: {default})"
    required = " (required)" if action.required else ""
    return "`" + ", ".join(action.option_strings) + value + "`", (said + required).strip()


GENERATORS: Mapping[str, Callable[..., str]] = {
    "commands": commands, "exits": exits, "targets": target_table, "target": target, "frameworks": framework_table,
    "data": data_forms, "proofs": proofs, "cases": cases, "cli": cli_reference, "figures": figures.table,
    "machine": figures.machine, "memory": figures.memory,
}  # fmt: skip


def rewritten(text: str) -> str:
    """A page with its regions made anew."""

    def region(match: re.Match[str]) -> str:
        made = GENERATORS[match[2]](*([match[3]] if match[3] else []))
        return f"{match[1]}{made.rstrip()}\n{match[4]}"

    return REGION.sub(region, text)


def measured() -> dict[Path, str]:
    """Pages that are all one benchmark's table, from its results."""
    from benchmarks import breadth, sqlbreadth

    found: dict[Path, str] = {}
    for name, page, made, kind in (
        ("breadth", breadth.PAGE, breadth.page, breadth.Result),
        ("sqlbreadth", sqlbreadth.PAGE, sqlbreadth.page, sqlbreadth.Result),
    ):
        results = list(breadth.earlier(name, kind).values())
        if results:
            found[page] = made(results)
    return found


def pages() -> list[Path]:
    """Every page that may hold generated parts."""
    return [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]


def main(argv: list[str]) -> int:
    """Rewrite what is stale; with --check only say what is, and exit 1."""
    stale = []
    wanted = {page: rewritten(page.read_text(encoding="utf-8")) for page in pages()}
    wanted |= figures.charts(DOCS) | measured()
    missing = [n for n in targets.TABLE if not (DOCS / "targets" / f"{n}.md").is_file()]
    for page, text in wanted.items():
        if page.is_file() and page.read_text(encoding="utf-8") == text:
            continue
        stale.append(page.relative_to(DOCS.parent).as_posix())
        if "--check" not in argv:
            page.write_text(text, encoding="utf-8")
    for name in missing:
        print(f"docs/targets/{name}.md is missing")
    for page_name in stale:
        print(f"{page_name} {'is stale: make docs' if '--check' in argv else 'rewritten'}")
    return 1 if missing or (stale and "--check" in argv) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
