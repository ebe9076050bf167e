"""Breadth: every estimator of scikit-learn, alone, behind mixed preprocessing and in front of a forest, is packed,
and 20,000 fresh rows, a third of them on the model's own split points, are asked of the bundle and the original.

    python -m benchmarks.breadth [--only NAME ...] [--setting alone|mixed|forest] [--jobs 2] [--rows 20000]

Writes benchmarks/results/breadth.json and docs/breadth.md. With --only or --setting, what was measured replaces
the same cases in the file, and the rest stays.
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
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args

import numpy as np

from benchmarks.catalogue import NOT_BEFORE_A_FOREST, NOT_FOR_ROWS, Case, Setting, cases, classes, fitted
from benchmarks.timing import RESULTS, save

PAGE = Path(__file__).parent.parent / "docs" / "breadth.md"
ALONE_SECONDS = 0.1
"""For asking the original row by row while packing (4 s otherwise): these models are many and simple."""
HEADINGS = {
    "classifier": "Classifiers", "regressor": "Regressors", "cluster": "Clusterers and mixtures",
    "outlier": "Outlier detectors", "transformer": "Transformers",
}  # fmt: skip


class Timed(Protocol):
    """What a case gave."""

    @property
    def seconds(self) -> float: ...


Found = TypeVar("Found", bound=Timed)


@dataclass(frozen=True)
class Result:
    """What became of one case."""

    name: str
    setting: Setting
    kind: str
    known: bool
    """Whether skl2onnx has a converter for the estimator."""
    form: str
    """graph, python, or failed."""
    kept: str = ""
    worst: float = 0.0
    flips: int = 0
    wrong: int = 0
    """Rows outside the bundle's tolerance."""
    rows: int = 0
    why: str = ""
    seconds: float = 0.0


def measure(case: Case, rows: int) -> Result:
    """Fit, pack, and compare fresh rows."""
    found = tried(case, lambda made, bundle: {"kept": bundle.manifest.kept, **compared(made, bundle, rows)})
    return Result(case.name, case.setting, case.kind, case.name in converted_elsewhere(), **found)


def tried(case: Case, asked: Callable[[Any, Any], dict[str, Any]]) -> dict[str, Any]:
    """Fit, pack, and what `asked` finds of the model and its bundle where that is a graph: form, why not, seconds."""
    start = time.perf_counter()
    found: dict[str, Any] = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = packed(case, asked)
        except Exception as error:  # the table shows what went wrong, and the benchmark fails at the end
            found = {"form": "failed", "why": brief(f"{type(error).__name__}: {error}")}
    return {**found, "seconds": round(time.perf_counter() - start, 2)}


def packed(case: Case, asked: Callable[[Any, Any], dict[str, Any]]) -> dict[str, Any]:
    import anyport
    from anyport.golden import rows as golden_rows

    golden_rows.SECONDS = ALONE_SECONDS
    made = fitted(case)
    with tempfile.TemporaryDirectory() as folder:
        bundle = anyport.pack(made.model, made.data, name="breadth", out=Path(folder) / "breadth.anyport")
        if bundle.form == "graph":
            return {"form": bundle.form, **asked(made, bundle)}
        return {"form": bundle.form, "why": brief(bundle.manifest.why_no_graph)}


def brief(why: str) -> str:
    """The first of several reasons; wide rows of numbers are cut."""
    first = why.partition("\n")[0]
    return first if len(first) <= 240 else f"{first[:240].rstrip()} …"


def compared(made: Any, bundle: Any, rows: int) -> dict[str, Any]:
    """The bundle against the original on fresh rows: a third on split points, or on values of training rows."""
    from anyport import predictor
    from anyport.batch import rows as count
    from anyport.batch import take
    from anyport.frameworks import Original, get
    from anyport.golden import answer, compare
    from anyport.ingest import to_batch

    fields = bundle.signature.inputs
    data, _ = to_batch(made.data, fields)
    inputs, _ = to_batch(made.fresh(rows), fields)
    original = Original(made.model, "sklearn", bundle.signature, data)
    on_edges(inputs, data, get("sklearn").boundaries(original))
    refused = predictor.of(bundle).predict(inputs).refused
    if refused:
        inputs = take(inputs, np.setdiff1d(np.arange(count(inputs)), list(refused)))
    result = compare(
        answer(original, inputs), predictor.of(bundle).predict(inputs), bundle.signature,
        tolerance=bundle.manifest.tolerance,
    )  # fmt: skip
    says = "" if result.ok else result.says()
    return {"worst": result.worst, "flips": result.flips, "wrong": result.wrong, "rows": result.rows, "why": says}


def on_edges(inputs: dict[str, Any], data: Mapping[str, Any], boundaries: Mapping[str, Any]) -> None:
    """Put the first third of the rows on edges: every column on a split point or the next double after it, or
    (where the model has no splits) on a value that it was trained on."""
    from anyport.batch import Column

    rng = np.random.default_rng(3)
    for name, column in inputs.items():
        third = len(column) // 3
        if column.dictionary is not None or column.values.ndim != 1:
            continue
        values = column.values.copy()
        points = np.asarray(boundaries.get(name, ()), dtype=np.float64)
        if column.values.dtype.kind == "f" and len(points):
            chosen = rng.choice(points, third)
            values[:third] = np.where(rng.random(third) < 0.5, chosen, np.nextafter(chosen, np.inf))
            valid = column.valid
        else:
            index = rng.integers(0, len(data[name]), third)
            known = data[name].plain()
            values[:third] = known.values[index]
            valid = column.valid
            if valid is not None or known.valid is not None:
                valid = np.ones(len(column), bool) if valid is None else valid.copy()
                valid[:third] = True if known.valid is None else known.valid[index]
        inputs[name] = Column(values, valid)


def converted_elsewhere() -> set[str]:
    """Names of scikit-learn's estimators that skl2onnx has a converter for."""
    from skl2onnx._supported_operators import sklearn_operator_name_map

    return {kind.__name__ for kind in sklearn_operator_name_map}


def run(
    wanted: Sequence[Case], measured: Callable[[Case], Found], says: Callable[[Found], str], *, jobs: int
) -> list[Found]:
    """All cases, in processes of their own, in the order given."""
    made: dict[Case, Found] = {}
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        waiting = {pool.submit(measured, case): case for case in wanted}
        for done in as_completed(waiting):
            case = waiting[done]
            made[case] = done.result()
            seconds = made[case].seconds
            print(
                f"{len(made):4d}/{len(wanted)} {case.name} {case.setting}: {says(made[case])} ({seconds} s)", flush=True
            )
    return [made[case] for case in wanted]


def cell(result: Result | None) -> str:
    """One result in the table."""
    if result is None:
        return ""
    if result.form == "graph":
        text = f"graph, {result.kept}, {result.worst:.1e}"
        flips = f", {result.flips} flips" if result.flips else ""
        return text + (f", **{result.wrong} of {result.rows} rows differ{flips}**" if result.wrong else "")
    return "python" if result.form == "python" else "**failed**"


def totals(results: Sequence[Result]) -> dict[str, Any]:
    """The goals of the issue, as counts."""
    forms = Counter(r.form for r in results)
    known = [r for r in results if r.known]
    graphs = [r for r in results if r.form == "graph"]
    names = sorted({r.name for r in known})
    whole = [n for n in names if all(r.form == "graph" for r in known if r.name == n)]
    return {
        "cases": len(results),
        "estimators": len({r.name for r in results}),
        "packed": forms["graph"] + forms["python"],
        "graph": forms["graph"],
        "python": forms["python"],
        "failed": forms["failed"],
        "flips_in_graph": sum(r.flips for r in graphs),
        "rows_outside_tolerance_in_graph": sum(r.wrong for r in graphs),
        "rows_compared": sum(r.rows for r in graphs),
        "skl2onnx_knows": len(names),
        "of_these_graph_in_every_setting": len(whole),
        "of_these_share_in_form_graph": round(len(whole) / len(names), 4) if names else None,
    }


def page(results: Sequence[Result]) -> str:
    """docs/breadth.md."""
    sums = totals(results)
    share = sums["of_these_share_in_form_graph"]
    lines = [
        "# Breadth: every estimator of scikit-learn",
        "",
        "Generated by `python -m benchmarks.breadth`; do not edit.",
        "",
        "Each estimator was fitted on 300 rows, packed, and the bundle compared with the original on fresh rows, a",
        "third of them on the model's own split points or on training values. A cell gives the bundle's form, the",
        "candidate that was kept, and the worst absolute difference. Python means that the original object travels,",
        "because no graph passed the proof; the reasons are below.",
        "",
        f"- {sums['cases']} cases of {sums['estimators']} estimators: {sums['graph']} graph, {sums['python']} python, "
        f"{sums['failed']} failed.",
        f"- {sums['flips_in_graph']} label flips and {sums['rows_outside_tolerance_in_graph']} rows outside the "
        f"tolerance in {sums['rows_compared']:,} rows answered by graphs.",
        f"- Of the {sums['skl2onnx_knows']} estimators that skl2onnx has a converter for, "
        f"{sums['of_these_graph_in_every_setting']} ({share:.1%}) are graphs in every setting."
        if share is not None else "- None of these has a converter in skl2onnx.",
    ]  # fmt: skip
    at = {(r.name, r.setting): r for r in results}
    for kind, heading in HEADINGS.items():
        names = sorted({r.name for r in results if r.kind == kind})
        settings = [s for s in get_args(Setting) if any((n, s) in at for n in names)]
        if not names:
            continue
        titles = {"alone": "alone", "mixed": "behind mixed preprocessing", "forest": "in front of a forest"}
        lines += ["", f"## {heading}", "", f"| | {' | '.join(titles[s] for s in settings)} |"]
        lines.append(f"|---|{'---|' * len(settings)}")
        lines += [f"| {n} | {' | '.join(cell(at.get((n, s))) for s in settings)} |" for n in names]
    reasons = [r for r in results if r.form != "graph" or r.wrong]
    if reasons:
        lines += ["", "## Why not a graph", ""]
        lines += [f"- {r.name}, {r.setting}: {r.why}" for r in reasons]
    lines += ["", "## Not here", ""]
    left = [(n, why) for n, why in sorted((NOT_FOR_ROWS | NOT_BEFORE_A_FOREST).items()) if why and n in classes()]
    lines += [f"- {name}: {why}." for name, why in left]
    return "\n".join(lines) + "\n"


def earlier(name: str, kind: Callable[..., Found]) -> dict[tuple[str, str], Found]:
    """The results in benchmarks/results/NAME.json, by the case's name and setting."""
    file = RESULTS / f"{name}.json"
    if not file.is_file():
        return {}
    return {(r["name"], r["setting"]): kind(**r) for r in json.loads(file.read_text())["results"]}


def asked_for(doc: str | None, every: Sequence[Case], *, rows: int) -> tuple[list[Case], argparse.Namespace]:
    """The cases that the command line names, and its options: jobs, rows."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--setting", choices=get_args(Setting))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", type=int, default=rows)
    chosen = parser.parse_args()
    unknown = set(chosen.only) - {c.name for c in every}
    if unknown:
        parser.error(f"no case is called {', '.join(sorted(unknown))}")
    return [
        c for c in every
        if (not chosen.only or c.name in chosen.only) and (not chosen.setting or c.setting == chosen.setting)
    ], chosen  # fmt: skip


def merged(
    name: str, kind: Callable[..., Found], every: Sequence[Case], wanted: Sequence[Case], fresh: Sequence[Found]
) -> list[Found]:
    """What was measured now, and where that was not everything, what the file holds of the rest."""
    known = earlier(name, kind) if len(wanted) < len(every) else {}
    known |= {(c.name, c.setting): f for c, f in zip(wanted, fresh, strict=True)}
    return [known[c.name, c.setting] for c in every if (c.name, c.setting) in known]


def main() -> int:
    every = list(cases())
    wanted, chosen = asked_for(__doc__, every, rows=20_000)
    start = time.perf_counter()
    fresh = run(wanted, partial(measure, rows=chosen.rows), cell, jobs=chosen.jobs)
    results = merged("breadth", Result, every, wanted, fresh)
    seconds = round(time.perf_counter() - start, 1)
    save("breadth", {"seconds": seconds, "totals": totals(results), "results": [asdict(r) for r in results]})
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(results))
    sums = totals(fresh)
    print(json.dumps(sums, indent=2))
    return 1 if sums["failed"] or sums["flips_in_graph"] or sums["rows_outside_tolerance_in_graph"] else 0


if __name__ == "__main__":
    sys.exit(main())
