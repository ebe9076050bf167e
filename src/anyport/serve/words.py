"""Problems in vendors' words: one line of text, and the status where a contract knows no 422."""

from __future__ import annotations

from anyport.serve.reply import Problem

SHOWN = 5
"""Refused cells that one line of text names."""


def line(problem: Problem) -> str:
    """What is wrong, which cells, and what to do, as one line."""
    found = problem.more.get("errors") or []
    cells = [
        f"row {cell['row']}, column {cell['column']!r}: expected {cell['expected']}, got {cell['got']}"
        for cell in found[:SHOWN]
    ]
    if len(found) > SHOWN:
        cells.append(f"{len(found) - SHOWN} more")
    said = "; ".join([problem.what, *cells])
    number = f" (id {problem.more['id']})" if "id" in problem.more else ""
    # ?partial=true is ours; other contracts have no such thing
    fix = "" if found or not problem.fix else f": {problem.fix}"
    return f"{said}{number}{fix}"


def status(problem: Problem) -> int:
    """The status where rows that do not fit are 400 like any other bad request."""
    return 400 if problem.status == 422 else problem.status
