"""SQL breadth: every estimator of scikit-learn, alone and behind mixed preprocessing, as SQL on SQLite, DuckDB and
PostgreSQL: fresh rows, a third of them on the model's own split points, are asked of each and of the original. For the
other engines the text is written and held to their limits.

    python -m benchmarks.sqlbreadth [--only NAME ...] [--rows 3000] [--jobs 2]

Writes benchmarks/results/sqlbreadth.json and docs/sql-models.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.breadth import HEADINGS, asked_for, brief, merged, on_edges, run, tried
from benchmarks.catalogue import Case, cases
from benchmarks.databases.engines import ENGINES
from benchmarks.timing import save

PAGE = Path(__file__).parent.parent / "docs" / "sql-models.md"
WRITTEN = ("mariadb", "sqlserver", "bigquery", "snowflake", "redshift", "databricks", "trino")
"""Targets whose engines are not asked here."""
FALLBACK = dict.fromkeys(("DuckDB", "PostgreSQL", "sqlserver"), "ONNX Runtime")
"""What answers for a graph that is no SQL: DuckDB's Arrow function, PL/Python, Machine Learning Services."""


@dataclass(frozen=True)
class Result:
    """What became of one case."""

    name: str
    setting: str
    kind: str
    form: str
    why: str = ""
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Per engine: `bytes` of SQL, `worst`, `wrong` rows, `flips`, or `why` it was refused; {} where it was written."""
    seconds: float = 0.0


def measure(case: Case, rows: int) -> Result:
    """Fit, pack, compile, and compare."""
    found = tried(case, lambda made, bundle: {"engines": {**asked(made, bundle, rows), **written(bundle)}})
    return Result(case.name, case.setting, case.kind, **found)


def asked(made: Any, bundle: Any, rows: int) -> dict[str, dict[str, Any]]:
    """Each engine's answers to fresh rows, against the original's."""
    from anyport.batch import take
    from anyport.errors import Impossible
    from anyport.frameworks import Original, get
    from anyport.golden import answer, compare
    from anyport.ingest import to_batch
    from anyport.kit.database import KEY, answers, create, outcome
    from anyport.signature import refusals
    from anyport.sql.compile import compiled, selected

    fields = bundle.signature.inputs
    data, _ = to_batch(made.data, fields)
    inputs, _ = to_batch(made.fresh(rows), fields)
    original = Original(made.model, "sklearn", bundle.signature, data)
    on_edges(inputs, data, get("sklearn").boundaries(original))
    bad = refusals(inputs, bundle.signature)
    inputs = take(inputs, np.setdiff1d(np.arange(rows), list(bad)))
    expected = answer(original, inputs)
    found: dict[str, dict[str, Any]] = {}
    for name, opened in ENGINES.items():
        with opened() as session:
            try:
                model = compiled(bundle, session.dialect)
                query = selected(model, session.dialect, '"t"', keys=[KEY], fence="materialized ")
            except Impossible as error:
                found[name] = {"why": brief(error.what)}
                continue
            create(session, "t", inputs, "temporary ")
            listed = ", ".join(map(session.dialect.ident, [*answers(bundle.signature), KEY]))
            try:
                cells = session.ask(f"select {listed} from ({query}) as answered order by {session.dialect.ident(KEY)}")
            except session.errors as error:
                found[name] = {"bytes": len(query), "failed": brief(f"{type(error).__name__}: {error}")}
                continue
            got = outcome(bundle.signature, [row[:-1] for row in cells])
            result = compare(expected, got, bundle.signature, tolerance=bundle.manifest.tolerance)
            found[name] = {"bytes": len(query), "worst": result.worst, "wrong": result.wrong, "flips": result.flips}
            if not result.ok:
                found[name]["failed"] = brief(result.says())
    return found


def written(bundle: Any) -> dict[str, dict[str, Any]]:
    """Each of WRITTEN: why the target refuses the bundle, or nothing."""
    from anyport import targets

    found = {}
    for name in WRITTEN:
        module = targets.get(name)
        reason = targets.fits(module, bundle, targets.options(module, {}))
        found[name] = {} if reason is None else {"why": brief(reason.why)}
    return found


def says(found: Result) -> str:
    """One result in a line."""
    return f"{found.form} {found.why or '; '.join(f'{name}: {cell(name, e)}' for name, e in found.engines.items())}"


def cell(name: str, found: dict[str, Any] | None) -> str:
    """One engine's result in the table."""
    if found is None:
        return ""
    if "why" in found:
        return FALLBACK.get(name, "–")
    if "failed" in found:
        return f"**{found['failed']}**"
    return f"{found['worst']:.0e}" if "worst" in found else "✓"


def page(results: Sequence[Result]) -> str:
    """docs/sql-models.md."""
    graphs = [r for r in results if r.form == "graph"]
    whole = [r for r in graphs if all("worst" in r.engines[n] and "failed" not in r.engines[n] for n in ENGINES)]
    everywhere = [r for r in whole if not any("why" in e for e in r.engines.values())]
    failed = [e for r in graphs for e in r.engines.values() if "failed" in e]
    compared = [e for r in graphs for e in r.engines.values() if "wrong" in e]
    lines = [
        "# Which models become SQL",
        "",
        "Generated by `python -m benchmarks.sqlbreadth`; do not edit.",
        "",
        "Each estimator was fitted on 300 rows and packed; the SQL that anyport writes was then asked the same fresh",
        "rows as the original, a third of them on the model's own split points. A number is the worst absolute",
        "difference on an engine that answered. ✓: the text was written and keeps to that engine's documented limits;",
        "[its page](databases.md) says how far it is proven. *ONNX Runtime*: SQL has no words for it, and the target",
        "runs the graph beside the rows instead (SQL Server with `-O engine=python`; BigQuery imports some with",
        "`-O engine=onnx`). –: refused, with the reason below; such a model goes to a server.",
        "",
        f"- {len(graphs)} of {len(results)} cases are a proven graph; {len(whole)} of these are SQL on SQLite, DuckDB "
        f"and PostgreSQL, {len(everywhere)} on every engine here.",
        f"- {sum(e['wrong'] for e in compared)} rows outside the bundle's tolerance, and "
        f"{sum(e['flips'] for e in compared)} labels flipped, in {len(compared)} comparisons.",
        *([f"- {len(failed)} comparisons end in an error, which stands in its cell in bold."] if failed else []),
    ]  # fmt: skip
    names = [*ENGINES, *WRITTEN]
    titles = [*ENGINES, *(f"[{name}](targets/{name}.md)" for name in WRITTEN)]
    for kind, heading in HEADINGS.items():
        mine = [r for r in results if r.kind == kind]
        if not mine:
            continue
        lines += ["", f"## {heading}", "", f"| | setting | form | {' | '.join(titles)} |"]
        lines.append(f"|---|---|---|{'---|' * len(names)}")
        for r in sorted(mine, key=lambda r: (r.name, r.setting)):
            cells = [cell(n, r.engines.get(n)) if r.form == "graph" else "–" for n in names]
            lines.append(f"| {r.name} | {r.setting} | {r.form} | {' | '.join(cells)} |")
    lines += ["", "## Why not", ""]
    for r in results:
        for why, who in refused(r).items():
            lines.append(f"- {r.name}, {r.setting}: {why}" + (f" ({', '.join(who)})" if who else ""))
    return "\n".join(lines) + "\n"


def refused(result: Result) -> dict[str, list[str]]:
    """Reasons, and the engines that gave each; none named where it holds for all."""
    if result.form != "graph":
        return {result.why: []}
    found: dict[str, list[str]] = {}
    for name, engine in result.engines.items():
        if "why" in engine:
            found.setdefault(engine["why"], []).append(name)
    return {why: [] if len(who) == len(result.engines) else who for why, who in found.items()}


def main() -> int:
    every = [c for c in cases() if c.setting in ("alone", "mixed")]
    wanted, chosen = asked_for(__doc__, every, rows=3000)
    fresh = run(wanted, partial(measure, rows=chosen.rows), says, jobs=chosen.jobs)
    results = merged("sqlbreadth", Result, every, wanted, fresh)
    seconds = round(sum(r.seconds for r in results), 1)
    save("sqlbreadth", {"seconds": seconds, "results": [asdict(r) for r in results]})
    PAGE.write_text(page(results))
    return 1 if any(r.form == "failed" or any("failed" in e for e in r.engines.values()) for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
