"""Names that a database would take for one another."""

from __future__ import annotations

from collections.abc import Sequence

from anyport.errors import Impossible


def once(names: Sequence[str], engine: str, what: str) -> None:
    """Impossible naming two that differ in nothing but capitals: engines that fold case take them for one."""
    seen: dict[str, str] = {}
    for name in names:
        # ASCII only, as SQLite and DuckDB fold
        key = "".join(c.lower() if c.isascii() else c for c in name)
        if key in seen:
            raise Impossible(f"{engine} takes the {what} {seen[key]!r} and {name!r} for one: it does not tell case")
        seen[key] = name
