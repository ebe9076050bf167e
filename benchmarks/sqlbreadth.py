"""SQL breadth: every estimator of scikit-learn, alone and behind mixed preprocessing, as SQL on SQLite, DuckDB and
PostgreSQL: fresh rows, a third of them on the model's own split points, are asked of each and of the original.

    python -m benchmarks.sqlbreadth [--only NAME ...] [--rows 3000] [--jobs 2]

Writes benchmarks/results/sqlbreadth.json and docs/sql-models.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.breadth import ALONE_SECONDS, HEADINGS, brief, on_edges
from benchmarks.catalogue import Case, cases, fitted
from benchmarks.databases.engines import ENGINES
from benchmarks.timing import RESULTS, save

PAGE = Path(__file__).parent.parent / "docs" / "sql-models.md"


@dataclass(frozen=True)
class Result:
    """What became of one case."""

    name: str
    setting: str
    kind: str
    form: str
    why: str = ""
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Per engine: `bytes` of SQL, `worst`, `wrong` rows, `flips`, or `why` it was refused."""
    seconds: float = 0.0


def measure(case: Case, rows: int) -> Result:
    """Fit, pack, compile, and compare."""
    start = time.perf_counter()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = packed(case, rows)
        except Exception as error:  # the table shows what went wrong, and the benchmark fails at the end
            found = {"form": "failed", "why": brief(f"{type(error).__name__}: {error}")}
    return Result(case.name, case.setting, case.kind, **found, seconds=round(time.perf_counter() - start, 2))


def packed(case: Case, rows: int) -> dict[str, Any]:
    import anyport
    from anyport.golden import rows as golden_rows

    golden_rows.SECONDS = ALONE_SECONDS
    made = fitted(case)
    with tempfile.TemporaryDirectory() as folder:
        bundle = anyport.pack(made.model, made.data, name="breadth", out=Path(folder) / "breadth.anyport")
        if bundle.form != "graph":
            return {"form": "python", "why": brief(bundle.manifest.why_no_graph)}
        return {"form": "graph", "engines": asked(made, bundle, rows)}


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


def run(wanted: Sequence[Case], *, jobs: int, rows: int) -> list[Result]:
    """All cases, in processes of their own, in the order given."""
    made: dict[Case, Result] = {}
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        waiting = {pool.submit(measure, case, rows): case for case in wanted}
        for done in as_completed(waiting):
            one = made[waiting[done]] = done.result()
            says = one.why or "; ".join(f"{name}: {cell(e)}" for name, e in one.engines.items())
            print(
                f"{len(made):4d}/{len(wanted)} {one.name} {one.setting}: {one.form} {says} ({one.seconds} s)",
                flush=True,
            )
    return [made[case] for case in wanted]


def cell(found: dict[str, Any] | None) -> str:
    """One engine's result in the table."""
    if found is None:
        return ""
    if "why" in found:
        return "no SQL"
    if "failed" in found:
        return f"**{found['failed']}**"
    return f"{found['worst']:.0e}"


def page(results: Sequence[Result]) -> str:
    """docs/sql-models.md."""
    graphs = [r for r in results if r.form == "graph"]
    both = [r for r in graphs if all("worst" in e and "failed" not in e for e in r.engines.values())]
    rows = sum(1 for r in graphs for e in r.engines.values() if "wrong" in e)
    wrong = sum(e.get("wrong", 0) for r in graphs for e in r.engines.values())
    lines = [
        "# Which models become SQL",
        "",
        "Generated by `python -m benchmarks.sqlbreadth`; do not edit.",
        "",
        "Each estimator was fitted on 300 rows and packed; the SQL that anyport writes was then asked the same fresh",
        "rows as the original, a third of them on the model's own split points. A cell gives the worst absolute",
        "difference. What has no SQL form goes to DuckDB's Arrow UDF, to PL/Python, or to a server; the reasons are",
        "below.",
        "",
        f"- {len(both)} of {len(results)} cases are SQL on SQLite, DuckDB and PostgreSQL alike.",
        f"- {wrong} rows outside the bundle's tolerance in {rows} comparisons.",
    ]  # fmt: skip
    names = list(ENGINES)
    for kind, heading in HEADINGS.items():
        mine = [r for r in results if r.kind == kind]
        if not mine:
            continue
        lines += ["", f"## {heading}", "", f"| | setting | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
        for r in sorted(mine, key=lambda r: (r.name, r.setting)):
            cells = [cell(r.engines.get(n)) if r.form == "graph" else "no graph" for n in names]
            lines.append(f"| {r.name} | {r.setting} | {' | '.join(cells)} |")
    lines += ["", "## Why not", ""]
    for r in results:
        reasons = {r.why} if r.form != "graph" else {e["why"] for e in r.engines.values() if "why" in e}
        lines += [f"- {r.name}, {r.setting}: {why}" for why in sorted(reasons)]
    return "\n".join(lines) + "\n"


def earlier() -> dict[tuple[str, str], Result]:
    """The results in the file, by name and setting."""
    file = RESULTS / "sqlbreadth.json"
    if not file.is_file():
        return {}
    return {(r["name"], r["setting"]): Result(**r) for r in json.loads(file.read_text())["results"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", type=int, default=3000)
    chosen = parser.parse_args()
    every = [c for c in cases() if c.setting in ("alone", "mixed")]
    wanted = [c for c in every if not chosen.only or c.name in chosen.only]
    start = time.perf_counter()
    fresh = run(wanted, jobs=chosen.jobs, rows=chosen.rows)
    merged = (earlier() if len(wanted) < len(every) else {}) | {(r.name, r.setting): r for r in fresh}
    results = [merged[c.name, c.setting] for c in every if (c.name, c.setting) in merged]
    seconds = round(time.perf_counter() - start, 1)
    save("sqlbreadth", {"seconds": seconds, "results": [asdict(r) for r in results]})
    PAGE.write_text(page(results))
    return 1 if any(r.form == "failed" or any("failed" in e for e in r.engines.values()) for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
