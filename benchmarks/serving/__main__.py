"""Measure, save benchmarks/results/serving.json, print what was promised: python -m benchmarks.serving [--quick]."""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.models import packed
from benchmarks.serving import groups, many, peers
from benchmarks.serving.groups import Measured
from benchmarks.timing import save

ROUNDS = 5
TITLES: Mapping[str, str] = {
    "anyport": "anyport", "constant": "anyport's server, a constant answer", "uvicorn": "bare uvicorn + ONNX Runtime",
    "epoll": "C++ epoll, a constant answer", "epoll_model": "C++ epoll, the same model",
    **{name: peer.title for name, peer in peers.EVERY.items()},
}  # fmt: skip
PARTS = ("linear", "mixed", "graph", "original", "ray", "many")
JUDGED = [name for name in (*peers.ORIGINAL, *peers.RAY) if not name.endswith("_batch")]


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m benchmarks serving", description=__doc__)
    words.add_argument("--quick", action="store_true", help="two short rounds, no peers; nothing is saved")
    words.add_argument("--only", nargs="+", choices=PARTS, help="some parts only; nothing is saved")
    given = words.parse_args()
    for program in ("wrk", "g++", "taskset"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed here; apt-get install wrk g++ util-linux")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    parts = given.only or (("linear", "mixed", "many") if given.quick else PARTS)
    began = time.monotonic()
    for model in groups.ROWS:
        packed(model)
    found = {part: one(part, quick=given.quick) for part in PARTS if part in parts and part != "many"}
    several = many.measured(rounds=2 if given.quick else ROUNDS, seconds=1 if given.quick else 2) if (
        "many" in parts) else {}  # fmt: skip
    reached = judge(found, several)
    report(found)
    figures = {
        "reached": reached,
        "ratios": ratios(found),
        "missing": {name: reason for part in found.values() for name, reason in part.missing.items()},
        **{part: {"servers": {name: {"title": TITLES[name], **server} for name, server in each.servers.items()}}
           for part, each in found.items()},
        "many": several,
    }  # fmt: skip
    verdicts = promised(reached)
    print(f"\nmeasured in {time.monotonic() - began:.0f} s")
    if not given.quick and not given.only:
        save("serving", figures)
    return 0 if verdicts == {"holds"} else 1


def one(part: str, *, quick: bool) -> Measured:
    """One group of servers."""
    print(f"-- {part}", flush=True)
    kinds = {"graph": ("linear", peers.GRAPH), "original": ("mixed", peers.ORIGINAL), "ray": ("mixed", peers.RAY)}
    entries = groups.beside(*kinds[part]) if part in kinds else groups.limits(part)
    model = kinds[part][0] if part in kinds else part
    return groups.measured(model, entries, rounds=2 if quick else ROUNDS, quick=quick)


def worst(values: Iterable[float | None], pick: Any) -> float | None:
    """The value nearest to its limit; None where one of them was not measured, or there is none."""
    known = list(values)
    return None if not known or None in known else round(pick(known), 3)


def judge(found: Mapping[str, Measured], several: Mapping[str, Any]) -> dict[str, float | None]:
    """What docs/figures.py holds against what was promised."""

    def cpu(part: str, base: str) -> float | None:
        return found[part].ratio("anyport", base, "cpu_us") if part in found else None

    def rate(name: str) -> float | None:
        part = next(p for p, table in (("graph", peers.GRAPH), ("original", peers.ORIGINAL), ("ray", peers.RAY))
                    if name in table)  # fmt: skip
        return found[part].ratio("anyport", name, "per_second") if part in found else None

    def p99(part: str) -> float | None:
        group = found.get(part)
        return None if group is None or "anyport" in group.missing else group.servers["anyport"]["p99_ms"]

    def errors() -> float | None:
        ours = [group.servers["anyport"]["errors"] for group in found.values() if "anyport" not in group.missing]
        return sum(ours) if len(ours) == len(found) and ours else None

    return {
        "cpu_over_constant": worst([cpu("linear", "constant"), cpu("mixed", "constant")], max),
        "cpu_over_epoll": worst([cpu("linear", "epoll_model")], max),
        "over_fastapi": worst([rate("fastapi_graph")], min),
        "over_litserve_bentoml": worst([rate("litserve_graph"), rate("bentoml_graph")], min),
        "over_triton": worst([rate("triton")], min),
        "over_originals": worst([rate(name) for name in JUDGED], min),
        "p99_ms": worst([p99("linear"), p99("mixed")], max),
        "busy_p99_ms": several.get("busy_p99_ms"),
        "errors": errors(),
        "idle_errors": several.get("idle_errors"),
        "two_workers_cpu": several.get("two_workers_cpu"),
        "pss_over_one": several.get("pss_over_one"),
    }


def ratios(found: Mapping[str, Measured]) -> dict[str, dict[str, dict[str, float]]]:
    """anyport beside every other server: requests a second as a multiple of theirs, CPU time per request as a share."""
    every: dict[str, dict[str, dict[str, float]]] = {}
    for part, group in found.items():
        if "anyport" in group.missing:
            continue
        every[part] = {}
        for name in group.servers.keys() - {"anyport"}:
            pair = {key: group.ratio("anyport", name, key) for key in ("per_second", "cpu_us")}
            every[part][name] = {key: round(value, 3) for key, value in pair.items() if value is not None}
    return every


def report(found: Mapping[str, Measured]) -> None:
    """Tables for a terminal."""
    for part, group in found.items():
        print(f"\n{part:40} {'CPU µs':>9} {'req/s':>9} {'ours/it':>8} {'p50 ms':>8} {'p99 ms':>8} {'errors':>7}")
        for name, server in group.servers.items():
            times = group.ratio("anyport", name, "per_second") or 0
            print(f"{TITLES[name]:40} {server['cpu_us']:9.1f} {server['per_second']:9.0f} {times:8.1f} "
                  f"{server['p50_ms']:8.2f} {server['p99_ms']:8.2f} {server['errors']:7.0f}")  # fmt: skip
        for name, reason in group.missing.items():
            print(f"{TITLES[name]:40} not measured: {reason.splitlines()[0]}")


def promised(reached: Mapping[str, float | None]) -> set[str]:
    """Print every promise of docs/figures.py with its verdict; the kinds of verdict there were."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
    from figures import FIGURES

    ours = {figure.path[1]: figure for figure in FIGURES if figure.file == "serving"}
    assert ours.keys() == reached.keys(), f"docs/figures.py and the benchmark differ: {ours.keys() ^ reached.keys()}"
    print()
    verdicts = set()
    for name, figure in ours.items():
        value = reached[name]
        verdict = "not measured" if value is None else "holds" if figure.holds(value) else "MISSED"
        verdicts.add(verdict)
        print(
            f"{'-' if value is None else f'{value:g}{figure.unit}':>10}  {figure.goal():18} {verdict:13} {figure.says}"
        )
    return verdicts


if __name__ == "__main__":
    sys.exit(main())
