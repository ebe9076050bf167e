"""Every error and status that the server answers with has a counter of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyport import errors
from anyport.serve.metrics import CODES, KINDS

SERVE = Path(__file__).parents[1] / "src" / "anyport" / "serve"
PASSED_ON = {f"{one}.{what}" for one in ("self", "problem", "error", "said") for what in ("error", "status")} | {
    "type(error).__name__"
}
"""What repeats a name or status that another call gave, or names one of our exceptions: see below."""
WORDED = {"words.status(problem)", "status"}
"""Vendors' statuses for a Problem; contracts take them from tables, whose numbers are read too."""
BUILD = {"Problem": (0, 1), "Said": (0, 1), "Reply": (0, None)}
"""Who is given a status and an error's name, and at which places."""


def constants(node: ast.expr) -> Iterator[object]:
    """The values that an expression may have; its own text where that is not known."""
    if isinstance(node, ast.Constant):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)
    else:
        yield ast.unparse(node)


def given(tree: ast.AST) -> Iterator[tuple[int, object, object]]:
    """Line, status and error's name ("" for none) of everything that is answered."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BUILD:
            _, error = BUILD[node.func.id]
            for status in constants(node.args[0]):
                for name in constants(node.args[error]) if error is not None else ("",):
                    yield node.lineno, status, name


def missing(tree: ast.AST) -> list[str]:
    """What is answered and counted nowhere."""
    found = []
    for line, status, name in given(tree):
        if status not in CODES and status not in PASSED_ON | WORDED:
            found.append(f"line {line}: status {status}")
        if name and name not in KINDS and name not in PASSED_ON:
            found.append(f"line {line}: error {name}")
    return found


@pytest.mark.parametrize("path", sorted(SERVE.rglob("*.py")), ids=lambda path: str(path.relative_to(SERVE)))
def test_what_a_module_answers_is_counted(path: Path) -> None:
    assert not missing(ast.parse(path.read_text(encoding="utf-8")))


def test_exceptions_that_a_change_of_plan_answers_with_are_counted() -> None:
    """A plan that cannot be served is answered with the exception's own name, see messages.said."""
    local = {"AnyportError", "Mistake", "BadData", "BadBundle", "Untrusted", "Missing", "Offline", "Impossible"}
    kinds = {name for name, one in vars(errors).items() if isinstance(one, type)}
    assert local <= kinds, "an exception has another name by now"
    assert local - {"AnyportError"} <= set(KINDS)


def test_the_walk_sees_what_it_looks_for() -> None:
    seen = list(given(ast.parse('raise Problem(400 if a else 418, "New", "what")\nreturn Reply(299, b"")')))
    assert seen == [(1, 400, "New"), (1, 418, "New"), (2, 299, "")]
    assert missing(ast.parse('Problem(418, "New", "")')) == ["line 1: status 418", "line 1: error New"]
    everything = [one for path in SERVE.rglob("*.py") for one in given(ast.parse(path.read_text(encoding="utf-8")))]
    assert len([one for one in everything if one[2]]) > 40


def test_no_name_is_counted_that_nobody_gives() -> None:
    names = {name for path in SERVE.rglob("*.py") for _, _, name in given(ast.parse(path.read_text("utf-8")))}
    exceptions = {name for name, one in vars(errors).items() if isinstance(one, type)}
    assert set(KINDS) - {"Other"} <= names | exceptions
    assert len(set(KINDS)) == len(KINDS)
