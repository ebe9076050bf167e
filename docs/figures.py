"""The measured figures of benchmarks/results/*.json as a table and a chart; nothing here is typed in by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


@dataclass(frozen=True)
class Figure:
    """One promise: where its measured value stands, and what it must reach."""

    file: str
    path: tuple[str, ...]
    says: str
    unit: str
    least: float | None = None
    most: float | None = None

    def value(self) -> float | None:
        """As measured; None where this benchmark has not been run."""
        found: Any = read(self.file)
        for key in self.path:
            found = None if found is None else found.get(key)
        return None if found is None else float(found)

    def holds(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def goal(self) -> str:
        return (
            f"at least {self.least:.3g}{self.unit}" if self.least is not None else f"at most {self.most:.3g}{self.unit}"
        )


FIGURES = (
    Figure("inprocess", ("one_row_times_faster",), "one row given as a dict, in process, against scikit-learn "
           "asked with a DataFrame", "×", least=400),
    Figure("inprocess", ("batch_1000_times_faster",), "1,000 rows in a DataFrame, against scikit-learn", "×", least=3),
    Figure("batch", ("mixed", "times_faster"), "a Parquet file of 1,000,000 rows, scikit-learn pipeline, against "
           "pandas and the original", "×", least=5),
    Figure("batch", ("mixed", "peak_mb", "anyport predict"), "peak memory of that", " MB", most=350),
    Figure("batch", ("boosted", "times_faster"), "the same with LightGBM, 200 trees, thresholds in exact double", "×",
           least=2),
    Figure("coldstart", ("times_faster",), "from exec to the first prediction, against unpickling with scikit-learn, "
           "pandas and FastAPI", "×", least=10),
    Figure("coldstart", ("memory_share",), "peak memory of that, as a share of theirs", "", most=1 / 3),
    Figure("coldstart", ("import_anyport_over_bare_ms",), "`import anyport` over a bare interpreter", " ms", most=30),
    Figure("coldstart", ("site_packages_mb",), "site-packages of a minimal runtime", " MB", most=145),
    Figure("coldstart", ("site_packages_trimmed_mb",), "the same as artefacts carry it", " MB", most=130),
    Figure("serving", ("reached", "cpu_over_constant"), "server CPU per request, against the same server answering a "
           "constant", "×", most=1.7),
    Figure("serving", ("reached", "cpu_over_epoll"), "the same against a minimal C++ epoll server, linear model", "×",
           most=2),
    Figure("serving", ("reached", "over_fastapi"), "requests per second, against FastAPI + ONNX Runtime, "
           "a graph of the same model", "×", least=8),
    Figure("serving", ("reached", "over_litserve_bentoml"), "the same against LitServe and BentoML", "×", least=25),
    Figure("serving", ("reached", "over_triton"), "the same against Triton (`nvidia-pytriton`)", "×", least=15),
    Figure("serving", ("reached", "over_originals"), "requests per second of a scikit-learn pipeline, against the "
           "fastest of MLflow, MLServer, BentoML, LitServe, Flask, Ray Serve and FastAPI", "×", least=100),
    Figure("serving", ("reached", "p99_ms"), "99% of answers at 32 connections within", " ms", most=5),
    Figure("serving", ("reached", "busy_p99_ms"), "the same at 1,000 connections", " ms", most=50),
    Figure("serving", ("reached", "errors"), "failed requests in all of that", "", most=0),
    Figure("serving", ("reached", "idle_errors"), "failed requests and lost connections with 10,000 idle ones open",
           "", most=0),
    Figure("serving", ("reached", "two_workers_cpu"), "CPU per request of two workers on two cores, against one",
           "×", most=1.05),
    Figure("serving", ("reached", "pss_over_one"), "memory (PSS) of 2 and 4 workers together, against one", "×",
           most=1.5),
    Figure("container", ("ready_s",), "a container, from its start to ready", " s", most=1),
    Figure("container", ("resident_mb",), "its resident memory after 1,000 predictions", " MB", most=90),
    Figure("container", ("mb_above_base",), "its image above the base, all dependencies included", " MB", most=200),
    Figure("container", ("stop_s",), "from SIGTERM to exit 0", " s", most=1),
    Figure("serverless", ("reached", "zip_mb"), "a Lambda function, scikit-learn pipeline: its zip", " MB", most=45),
    Figure("serverless", ("reached", "unpacked_mb"), "the same, unpacked", " MB", most=130),
    Figure("serverless", ("reached", "first_times_faster"), "from its start to its first answer, against "
           "scikit-learn, pandas and joblib", "×", least=5),
    Figure("serverless", ("reached", "overhead_ms"), "a warm answer, over the model in process and over a function "
           "that does nothing", " ms", most=1),
    Figure("serverless", ("reached", "memory_share"), "its memory, as a share of theirs", "", most=1 / 3),
    Figure("databases", ("reached", "postgres_rows_s"), "rows per second through PostgreSQL's function on one core: "
           "gradient boosting, 100 trees of depth 6 over 6 columns", "", least=60_000),
    Figure("databases", ("reached", "postgres_one_row_ms"), "one row through that function", " ms", most=2),
    Figure("databases", ("reached", "duckdb_over_orbital"), "the same in DuckDB, against orbital's SQL", "×", least=2),
    Figure("databases", ("reached", "udf_over_orbital"), "the same through DuckDB's Arrow function", "×", least=10),
    Figure("databases", ("reached", "compile_share"), "time to write the SQL, as a share of orbital's", "", most=0.1),
    Figure("databases", ("reached", "size_share"), "length of the SQL, as a share of orbital's", "", most=0.5),
    Figure("databases", ("reached", "worst"), "worst difference from the original on 100,000 rows, a third on splits",
           "", most=1e-12),
    Figure("databases", ("reached", "flips"), "labels flipped by that", "", most=0),
    Figure("breadth", ("totals", "of_these_share_in_form_graph"), "share of the estimators skl2onnx knows that are "
           "proven graphs in every setting", "", least=0.9),
    Figure("breadth", ("totals", "flips_in_graph"), "labels flipped by a graph, over all estimators and fresh rows", "",
           most=0),
)  # fmt: skip


def read(name: str) -> Mapping[str, Any] | None:
    """One benchmark's results, or None."""
    file = RESULTS / f"{name}.json"
    found: Mapping[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    return found


def measured() -> Iterator[tuple[Figure, float]]:
    """The figures that have been measured."""
    for figure in FIGURES:
        value = figure.value()
        if value is not None:
            yield figure, value


def table() -> str:
    """Every promise with what was measured."""
    lines = ["| measured | result | promised | |", "| --- | --- | --- | --- |"]
    for figure in FIGURES:
        value = figure.value()
        shown = "not measured yet" if value is None else f"{value:g}{figure.unit}"
        verdict = "" if value is None else ("holds" if figure.holds(value) else "**missed**")
        lines.append(f"| {figure.says} | {shown} | {figure.goal()} | {verdict} |")
    return "\n".join(lines)


def machine() -> str:
    """What each benchmark was run on."""
    lines = []
    for name in dict.fromkeys(f.file for f in FIGURES):
        found = read(name)
        if found is not None and "machine" in found:
            m = found["machine"]
            versions = ", ".join(f"{k} {v}" for k, v in m["versions"].items())
            lines.append(
                f"- `{name}`: {m['date']}, {m['cpu']}, {m['cores']} cores, load {m['load']:.1f} at the end, "
                f"Python {m['python']}; {versions}; commit {m['commit'][:10]}."
            )
    return "\n".join(lines) or "No benchmark has been run yet: `make bench`."


def memory() -> str:
    """What a function does with the CPU that Lambda gives with so much memory."""
    found = read("serverless")
    if found is None:
        return "Not measured yet: `python -m benchmarks.serverless`."
    lines = [
        "| memory | CPU | first answer | warm answer, median | 99% within | resident | the tutorial's: first, warm |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for mb, sides in found["at"].items():
        ours, theirs = sides["anyport"], sides["original"]
        lines.append(
            f"| {int(mb):,} MB | {int(mb) / 1769:.2f} | {ours['first_s']:.2f} s | {ours['warm_ms']:.2f} ms "
            f"| {ours['p99_ms']:.1f} ms | {ours['resident_mb']:.0f} MB | {theirs['first_s']:.2f} s, "
            f"{theirs['warm_ms']:.0f} ms |"
        )
    return "\n".join(lines)


def charts(docs: Path) -> dict[Path, str]:
    """benchmarks.svg: every measured ratio on a logarithmic scale, with its promise as a line."""
    ratios = [(f, v) for f, v in measured() if f.unit == "×" and f.least is not None]
    return {docs / "benchmarks.svg": svg(ratios)}


def svg(ratios: list[tuple[Figure, float]]) -> str:
    """Horizontal bars, 1 to 1,000 times faster."""
    left, width, height = 20, 680, 46
    total = height * len(ratios) + 40

    def x(value: float) -> float:
        return round(left + width * min(max(math.log10(max(value, 1.0)) / 3, 0.0), 1.0), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 90} {total}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        "<title>Times faster than the original stack; the line is what was promised</title>",
        f'<rect width="{left + width + 90}" height="{total}" fill="#ffffff"/>',
    ]
    for tick in (1, 10, 100, 1000):
        parts.append(f'<line x1="{x(tick)}" x2="{x(tick)}" y1="8" y2="{total - 26}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="{x(tick)}" y="{total - 10}" text-anchor="middle" fill="#555">{tick}×</text>')
    for i, (figure, value) in enumerate(ratios):
        top = 12 + i * height
        assert figure.least is not None
        says = figure.says.replace("&", "&amp;").replace("<", "&lt;")
        parts += [
            f'<text x="{left}" y="{top + 10}" fill="#222">{says}</text>',
            f'<rect x="{left}" y="{top + 16}" width="{x(value) - left}" height="16" fill="#2f6f8f"/>',
            f'<line x1="{x(figure.least)}" x2="{x(figure.least)}" y1="{top + 12}" y2="{top + 36}" '
            'stroke="#c0392b" stroke-width="2"/>',
            f'<text x="{x(value) + 6}" y="{top + 29}" fill="#222">{value:g}×</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
