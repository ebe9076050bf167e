"""python -m benchmarks.serving [--quick]: measure, save benchmarks/results/serving.json, print floors and verdicts."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.models import folder, linear_rows, mixed_rows, original, packed
from benchmarks.serving.load import Server, free_port, running, wrk
from benchmarks.serving.ours import CONSTANT
from benchmarks.timing import save

HERE = Path(__file__).parent
ROUNDS, SECONDS, ASKED = 5, 2, 100
ROWS = {"linear": linear_rows, "mixed": mixed_rows}
FLOORS = (
    ("linear", "anyport", "constant", 1.7), ("mixed", "anyport", "constant", 1.7),
    ("linear", "constant", "epoll", 2.0), ("linear", "anyport", "epoll_model", 2.0),
)  # fmt: skip
"""Model, server, base, and how many times the base's CPU time per request it may use."""
UNCHECKED = ("constant", "epoll")
"""They answer the same to everything."""


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--quick", action="store_true", help="two short rounds, nothing is saved")
    quick = words.parse_args().quick
    for program in ("wrk", "g++", "taskset"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed here; apt-get install wrk g++ util-linux")
    subprocess.run(["g++", "-O2", "-o", folder() / "epoll", HERE / "epoll.cpp"], check=True)
    figures: dict[str, Any] = {model: measured(model, quick=quick) for model in ROWS}
    figures["floors"] = verdicts(figures)
    # docs/figures.py quotes it: the larger of the two models
    figures["cpu_over_constant"] = max(f["cpu_ratio"] for f in figures["floors"] if f["base"] == "constant")
    report(figures)
    if not quick:
        save("serving", figures)
    errors = sum(one["errors"] for model in ROWS for one in figures[model].values())
    if errors:
        raise SystemExit(f"{errors:.0f} requests failed")
    return 0 if all(f["holds"] for f in figures["floors"]) else 1


def measured(model: str, *, quick: bool) -> dict[str, Any]:
    """Every server's rounds for one model."""
    rows = ROWS[model](ASKED, seed=9)
    bodies = [rows.iloc[i].to_json(double_precision=15) for i in range(ASKED)]
    script = folder() / f"{model}.lua"
    script.write_text(f'wrk.method = "POST"\nwrk.body = [==[{bodies[0]}]==]\n'
                      'wrk.headers["Content-Type"] = "application/json"\n')  # fmt: skip
    bundle = str(packed(model))
    expected = original(model).predict_proba(rows)[:, 1]
    with ExitStack() as stack:
        up: dict[str, Server] = {}
        for name, command in commands(model, bundle).items():
            port = free_port()
            up[name] = stack.enter_context(running(
                name, [word.format(port=port) for word in command], url=f"http://127.0.0.1:{port}/predict",
                alive=f"http://127.0.0.1:{port}/", script=script, log=folder() / f"{name}.log",
            ))  # fmt: skip
        for name, server in up.items():
            if name not in UNCHECKED:
                check(server, bodies, expected)
            wrk(server, seconds=1)
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in up}
        for _ in range(2 if quick else ROUNDS):
            for name, server in up.items():
                rounds[name].append(wrk(server, seconds=1 if quick else SECONDS))
    return {name: {**middle(found), "rounds": [one["cpu_us"] for one in found]} for name, found in rounds.items()}


def commands(model: str, bundle: str) -> Mapping[str, list[str]]:
    """How each server is started; {port} is where it listens."""
    ours = [sys.executable, "-m", "benchmarks.serving.ours"]
    epoll = [str(folder() / "epoll"), "{port}"]
    found = {
        "anyport": [sys.executable, "-m", "anyport.serve", bundle, "--port", "{port}"],
        "constant": [*ours, "constant", bundle, "{port}"],
        "uvicorn": [*ours, "raw", bundle, "{port}"],
        "epoll": [*epoll, CONSTANT.decode().replace("{", "{{").replace("}", "}}")],
    }
    if model == "linear":
        scaler, logistic = (step for _, step in original(model).steps)
        columns = zip(scaler.mean_, scaler.scale_, logistic.coef_[0], strict=True)
        weights = folder() / "weights.txt"
        lines = [" ".join(repr(float(value)) for value in column) for column in columns]
        weights.write_text("\n".join([*lines, f"0 1 {float(logistic.intercept_[0])!r}", ""]))
        found["epoll_model"] = [*epoll, "", str(weights)]
    return found


def check(server: Server, bodies: list[str], expected: Any) -> None:
    """Raise unless every row is answered as the original answers it."""
    for body, probability in zip(bodies, expected, strict=True):
        call = urllib.request.Request(server.url, body.encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(call, timeout=10) as reply:
            got = json.loads(reply.read())["probability"]["1"]
        if not abs(got - probability) <= 1e-5:
            raise SystemExit(f"{server.name} answers {got} to {body}; the original {probability}")


def middle(found: list[dict[str, float]]) -> dict[str, float]:
    """Medians of a server's rounds; errors are added up."""
    kept = {key: round(statistics.median(one[key] for one in found), 3) for key in found[0]}
    return {**kept, "errors": sum(one["errors"] for one in found)}


def verdicts(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each floor with its ratio: the median of the rounds' own."""
    found = []
    for model, server, base, most in FLOORS:
        pairs = zip(figures[model][server]["rounds"], figures[model][base]["rounds"], strict=True)
        ratio = round(statistics.median(a / b for a, b in pairs), 2)
        found.append({"model": model, "server": server, "base": base, "cpu_ratio": ratio, "most": most,
                      "holds": ratio <= most})  # fmt: skip
    return found


def report(figures: Mapping[str, Any]) -> None:
    """Tables for a terminal."""
    for model in ROWS:
        print(f"\n{model:12} {'CPU µs':>8} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'errors':>7}")
        for name, one in figures[model].items():
            print(f"{name:12} {one['cpu_us']:8.1f} {one['per_second']:9.0f} {one['p50_ms']:8.2f} {one['p99_ms']:8.2f} "
                  f"{one['errors']:7.0f}")  # fmt: skip
    for f in figures["floors"]:
        print(f"{f['model']}: {f['server']} {f['cpu_ratio']}x {f['base']}, at most {f['most']}: "
              f"{'holds' if f['holds'] else 'MISSED'}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
