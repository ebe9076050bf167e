"""SQL breadth: every estimator of scikit-learn, alone and behind mixed preprocessing, built for every database target.

What is built is asked in the engine that the target's check uses: the bundle's golden rows, and fresh ones, a third of
them on the model's own split points. Where that engine is not here, the text is written and held to its limits.

    python -m benchmarks.sqlbreadth [--only NAME ...] [--rows 1000] [--jobs 2]

BigQuery's text goes to ZetaSQL where ANYPORT_ZETASQL names it, and SQL Server's to Microsoft's binder too where
ANYPORT_TSQL does. Writes benchmarks/results/sqlbreadth.json and docs/sql-models.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.breadth import HEADINGS, asked_for, brief, merged, on_edges, run, tried
from benchmarks.catalogue import Case, cases
from benchmarks.timing import save

PAGE = Path(__file__).parent.parent / "docs" / "sql-models.md"
SQL = {"engine": "sql"}
TARGETS: Mapping[str, Mapping[str, str]] = {
    "sqlite": {}, "duckdb": SQL, "postgres": SQL, "mariadb": {}, "clickhouse": {}, "bigquery": SQL, "sqlserver": SQL,
    "snowflake": {}, "redshift": {}, "databricks": {}, "trino": {},
}  # fmt: skip
"""Target → the options with which it is SQL or nothing."""
FALLBACK = dict.fromkeys(("duckdb", "postgres", "sqlserver"), "ONNX Runtime")
"""What answers for a graph that is no SQL: DuckDB's Arrow function, PL/Python, Machine Learning Services."""
THEMSELVES = ("native", "emulated")
"""Proofs by the engine itself, or by the vendor's own implementation of its language."""
UNASKED = {"GaussianProcessClassifier"}
"""Their SQL is megabytes, which engines plan for many minutes: it is written and held to the limits alone."""
FILES = ("up.sql", "model.sql", "query.sql")


@dataclass(frozen=True)
class Result:
    """What became of one case."""

    name: str
    setting: str
    kind: str
    form: str
    why: str = ""
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Per target: `bytes` of SQL, its `engine` and `proof`, `worst`, `wrong` rows, `flips`, or `why` it was refused."""
    seconds: float = 0.0


def measure(case: Case, rows: int) -> Result:
    """Fit, pack, build, and compare."""

    def asked(made: Any, bundle: Any) -> dict[str, Any]:
        exams = [] if case.name in UNASKED else [golden(bundle), fresh(made, bundle, rows)]
        return {"engines": {name: answered(name, bundle, exams) for name in TARGETS}}

    return Result(case.name, case.setting, case.kind, **tried(case, asked))


def golden(bundle: Any) -> tuple[Any, Any, Any]:
    """The bundle's own rows, the original's answers, and the cells that are not compared."""
    from anyport.golden.store import read

    kept = read(bundle.member("golden.npz"), bundle.signature)
    return kept.inputs, kept.outcome, kept.excluded


def fresh(made: Any, bundle: Any, rows: int) -> tuple[Any, Any, Any]:
    """Fresh rows that the original answers, and its answers."""
    from anyport.batch import take
    from anyport.frameworks import Original, get
    from anyport.golden import answer
    from anyport.ingest import to_batch
    from anyport.signature import refusals

    fields = bundle.signature.inputs
    data, _ = to_batch(made.data, fields)
    inputs, _ = to_batch(made.fresh(rows), fields)
    original = Original(made.model, "sklearn", bundle.signature, data)
    on_edges(inputs, data, get("sklearn").boundaries(original))
    bad = refusals(inputs, bundle.signature)
    inputs = take(inputs, np.setdiff1d(np.arange(rows), list(bad)))
    return inputs, answer(original, inputs), ()


def answered(name: str, bundle: Any, exams: Sequence[tuple[Any, Any, Any]]) -> dict[str, Any]:
    """What became of the bundle at one target."""
    from anyport import targets
    from anyport.doctor import engine_of
    from anyport.errors import AnyportError
    from anyport.golden import compare

    module = targets.get(name)
    reason = targets.fits(module, bundle, targets.options(module, TARGETS[name]))
    if reason is not None:
        return {"why": brief(reason.why)}
    with tempfile.TemporaryDirectory() as folder:
        made = targets.build(bundle, name, Path(folder) / "artefact", **TARGETS[name])
        found: dict[str, Any] = {"bytes": next(f.stat().st_size for f in map(made.path.joinpath, FILES) if f.is_file())}
        if not exams or engine_of(module.SPEC) != "present":
            return found
        try:
            with module.run(made) as running:
                found |= {"engine": running.engine.name, "proof": running.engine.proof}
                got = [
                    compare(expected, running.predictor.predict(inputs), bundle.signature, excluded=excluded,
                            tolerance=bundle.manifest.tolerance)
                    for inputs, expected, excluded in exams
                ]  # fmt: skip
        except AnyportError as error:
            return {**found, "failed": brief(f"{type(error).__name__}: {error.what}")}
    sums = {"wrong": sum(r.wrong for r in got), "flips": sum(r.flips for r in got)}
    bad = [brief(r.says()) for r in got if not r.ok]
    return {**found, "worst": max(r.worst for r in got), **sums, **({"failed": bad[0]} if bad else {})}


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
    if "worst" not in found:
        return "written"
    return f"{found['worst']:.0e}" if found["proof"] in THEMSELVES else "✓"


def page(results: Sequence[Result]) -> str:
    """docs/sql-models.md."""
    graphs = [r for r in results if r.form == "graph"]
    every = [(name, e) for r in graphs for name, e in r.engines.items()]
    here = {name: e["engine"] for name, e in every if e.get("proof") in THEMSELVES}
    whole = [r for r in graphs if all("worst" in r.engines[n] and "failed" not in r.engines[n] for n in here)]
    everywhere = [r for r in whole if not any("why" in e for e in r.engines.values())]
    failed = [e for _, e in every if "failed" in e]
    compared = [e for _, e in every if "wrong" in e]
    lines = [
        "# Which models become SQL",
        "",
        "Generated by `python -m benchmarks.sqlbreadth`; do not edit.",
        "",
        "Each estimator was fitted on 300 rows, packed, and built for every database target; what was built was asked",
        "the bundle's golden rows, and fresh ones, a third of them on the model's own split points, in the engine that",
        "the target's check uses. A number is the worst absolute difference where that engine is the real one, or the",
        "vendor's own implementation of its language. ✓: an engine that stands in for it answered within the bundle's",
        "tolerance; [its page](databases.md) says how far that goes. *written*: within the limits, but not asked: its",
        "engine was not there, or would plan so much SQL for minutes. *ONNX Runtime*: SQL has no words for it, and the",
        "target runs the graph beside the rows instead (SQL Server with `-O engine=python`; BigQuery imports some",
        "with `-O engine=onnx`). –: refused, with the reason below; such a model goes to a server.",
        "",
        f"Asked themselves: {', '.join(f'{name} ({engine})' for name, engine in here.items())}.",
        "",
        f"- {len(graphs)} of {len(results)} cases are a proven graph; {len(whole)} of these are SQL on all of these "
        f"engines, {len(everywhere)} on every target.",
        f"- {sum(e['wrong'] for e in compared)} rows outside the bundle's tolerance, and "
        f"{sum(e['flips'] for e in compared)} labels flipped, in {len(compared)} comparisons.",
        *([f"- {len(failed)} comparisons failed, and say how in bold."] if failed else []),
    ]  # fmt: skip
    names = list(TARGETS)
    titles = [f"[{name}](targets/{name}.md)" for name in names]
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
    wanted, chosen = asked_for(__doc__, every, rows=1000)
    fresh = run(wanted, partial(measure, rows=chosen.rows), says, jobs=chosen.jobs)
    results = merged("sqlbreadth", Result, every, wanted, fresh)
    seconds = round(sum(r.seconds for r in results), 1)
    save("sqlbreadth", {"seconds": seconds, "results": [asdict(r) for r in results]})
    PAGE.write_text(page(results))
    return 1 if any(r.form == "failed" or any("failed" in e for e in r.engines.values()) for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
