"""Requests made from the server's own OpenAPI document: python -m endurance.openapi [--requests N] [--seconds S]

A real server in a process of its own is asked by schemathesis in its phases examples, coverage and fuzzing, with data
that follows the document and data that does not. No answer may be 5xx, nor have a status, content type, header or body
that the document does not tell. The document itself must be valid OpenAPI 3.1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
import served
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from serving import process

from endurance import results

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance",
)  # fmt: skip
SHOWN = 40
"""Failures that are kept."""


def config(examples: int, seed: int) -> SchemathesisConfig:
    """All phases, both kinds of data, our checks."""
    return SchemathesisConfig.from_dict({
        "seed": seed,
        "continue-on-failure": True,
        "request-timeout": 20,
        "phases": {"stateful": {"enabled": False}},
        "generation": {"mode": "all", "max-examples": examples, "database": "none", "no-shrink": True},
        "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
    })  # fmt: skip


class Tally:
    """What has been asked, and answered how."""

    def __init__(self) -> None:
        self.requests = 0
        self.statuses: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.shown: dict[str, str] = {}
        self.errors: Counter[str] = Counter()

    def take(self, recorder: Any) -> None:
        """One scenario's requests and checks."""
        for interaction in recorder.interactions.values():
            self.requests += 1
            self.operations[recorder.label] += 1
            status = interaction.response.status_code if interaction.response is not None else "none"
            self.statuses[str(status)] += 1
        for checks in recorder.checks.values():
            for check in checks:
                if check.failure_info is None:
                    continue
                failure = check.failure_info.failure
                name = f"{recorder.label}: {check.name}: {failure.title}: {failure.message.strip()[:160]}"
                self.failures[name] += 1
                if name not in self.shown and len(self.shown) < SHOWN:
                    self.shown[name] = f"{failure.message}\n{check.failure_info.code_sample}"[:2000]


def document(url: str) -> dict[str, Any]:
    """The document of a server, which is valid."""
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=20) as reply:
        found: dict[str, Any] = json.load(reply)
    OpenAPIV31SpecValidator(found).validate()
    return found


def round_of(url: str, examples: int, seed: int, end: float, most: int, tally: Tally) -> None:
    """One run of the engine; it is stopped at the time or the number of requests."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config(examples, seed))
    stream = from_schema(schema).execute()
    for event in stream:
        if isinstance(event, events.ScenarioFinished):
            tally.take(event.recorder)
        elif isinstance(event, events.NonFatalError):
            tally.errors[f"{event.label}: {str(event.value)[:300]}"] += 1
        elif isinstance(event, events.FatalError):
            raise event.exception
        if time.monotonic() > end or tally.requests >= most:
            stream.stop()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=200, help="of each operation in each round")
    parser.add_argument("--keep-nothing", action="store_true")
    given = parser.parse_args()
    tally, seed = Tally(), given.seed
    with tempfile.TemporaryDirectory() as folder:
        bundle = served.bundle(Path(folder) / "homes", served.fitted())
        with process(bundle, "--predict-route", "/vertex", "--health-route", "/vertex/health", grpc=False) as running:
            operations = sum(len(methods) for methods in document(running.url)["paths"].values())
            started = time.monotonic()
            while tally.requests < given.requests and time.monotonic() - started < given.seconds:
                round_of(running.url, given.examples, seed, started + given.seconds, given.requests, tally)
                seed += 1
            took = time.monotonic() - started
            assert running.child.poll() is None, "the server has ended"
            running.log.seek(0)
            logged = running.log.read()
    figures = {
        "requests": tally.requests, "seconds": round(took, 1), "rounds": seed - given.seed, "operations": operations,
        "checks": CHECKS, "statuses": dict(sorted(tally.statuses.items())),
        "asked": dict(sorted(tally.operations.items())), "failures": dict(tally.failures.most_common()),
        "errors": dict(tally.errors),
    }  # fmt: skip
    if not given.keep_nothing:
        print(results.save("openapi", figures, seed=given.seed, packages=("schemathesis", "hypothesis")))
    print(f"{tally.requests} requests in {took:.0f} s: {dict(tally.statuses)}")
    for name, said in tally.shown.items():
        print(f"\n{tally.failures[name]} x {name}\n{said}")
    for name, count in tally.errors.items():
        print(f"\n{count} x {name}")
    print(logged[-2000:])
    return 1 if tally.failures or tally.errors or not tally.requests else 0


if __name__ == "__main__":
    sys.exit(main())
