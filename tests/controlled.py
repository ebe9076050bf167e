"""`anyport serve` with an administrator, several versions of one model, and callers that never stop asking."""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import served

SRC = Path(__file__).resolve().parents[1] / "src"
KEY = "administrator-1"
ROWS = served.rows(60, seed=5)

LAUNCH = """
import os, sys, time
from pathlib import Path
from anyport.serve import __main__
from anyport.serve.deployment import Deployment

FAULT = Path(os.environ["FAULT"])
prepare = Deployment.prepare

def faulty(self, plan, places=None, **options):
    if places is not None and self.worker == 1 and FAULT.exists():
        if FAULT.read_text() == "fail":
            raise MemoryError("this worker has no memory left")
        FAULT.with_suffix(".pid").write_text(str(os.getpid()))
        while FAULT.exists():
            time.sleep(0.01)
    return prepare(self, plan, places, **options)

Deployment.prepare = faulty
sys.exit(__main__.main(sys.argv[1:]))
"""
"""The server's own command; while the file FAULT exists, worker 1 fails to prepare, or is stuck in it."""


def versions() -> dict[str, Any]:
    """Originals that answer the same rows differently, by version."""
    made = {}
    for number in range(1, 5):
        made[str(number)] = served.fitted()
        made[str(number)][-1].coef_ = made[str(number)][-1].coef_ * (1 - 0.2 * (number - 1))
    return made


ORIGINALS = versions()
ANSWERS = {version: served.ask(model, ROWS) for version, model in ORIGINALS.items()}


def close(got: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether an answer is an original's, within float noise; those of two versions are further apart."""
    return got["prediction"] == expected["prediction"] and all(
        abs(got["probability"][label] - p) < 1e-9 for label, p in expected["probability"].items()
    )


def who(got: list[dict[str, Any]], asked: list[int]) -> list[str]:
    """The versions whose originals give exactly these answers to these of `ROWS`."""
    return [
        version for version, answers in ANSWERS.items()
        if all(close(one, answers[i]) for one, i in zip(got, asked, strict=True))
    ]  # fmt: skip


class Server:
    """A server of its own process."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], fault: Path, log: Path) -> None:
        self.port = int(url.rsplit(":", 1)[1])
        self.url = url
        self.process = process
        self.fault = fault
        self.log = log

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {"Content-Type": "application/json", **(headers or {})}
        connection.request(method, path, None if body is None else json.dumps(body), given)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        found = {k.lower(): v for k, v in response.getheaders()}
        return response.status, found, json.loads(text) if "json" in found["content-type"] else text.decode()

    def admin(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of a request under /admin."""
        status, _, said = self.ask(method, f"/admin/{path}", body, {"Authorization": f"Bearer {KEY}"})
        return status, said

    def pid(self) -> int:
        """Of a worker."""
        return int(self.ask("GET", "/readyz")[2]["pid"])

    def plans(self, workers: int) -> list[dict[str, Any]]:
        """What every worker says that it serves."""
        found: dict[int, dict[str, Any]] = {}
        while len(found) < workers:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            said = []
            for path in ("/readyz", "/admin/plan"):
                connection.request("GET", path, headers={"Authorization": f"Bearer {KEY}"})
                said.append(json.loads(connection.getresponse().read()))
            connection.close()
            found[said[0]["pid"]] = said[1]
        return list(found.values())


@contextmanager
def server(folder: Path, *argv: str | Path, cwd: Path | None = None) -> Iterator[Server]:
    """A running server of these bundles; it ends well."""
    folder.mkdir(exist_ok=True)
    keys, fault, log = folder / "admin-keys", folder / "fault", folder / "log"
    keys.write_text(KEY + "\n")
    env = {**os.environ, "PYTHONPATH": str(SRC), "FAULT": str(fault)}
    command = [sys.executable, "-c", LAUNCH, *map(str, argv), "--port", "0", "--json", "--admin-key-file", str(keys)]
    with log.open("wb") as errors:
        child = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=errors)
        assert child.stdout is not None
        try:
            line = child.stdout.readline()
            assert line, log.read_text()
            yield Server(json.loads(line)["url"], child, fault, log)
            child.terminate()
            assert child.wait(20) == 0, log.read_text()
        finally:
            child.kill()
            child.wait()
            child.stdout.close()


class Callers:
    """Keep-alive connections that ask all the time, in every way, and compare every answer."""

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.end = threading.Event()
        self.wrong: list[str] = []
        self.answered: dict[str, int] = {}
        self.threads = [threading.Thread(target=self.call, args=(seed,)) for seed in range(count)]

    def __enter__(self) -> Callers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        for thread in self.threads:
            thread.join(30)
        assert not self.wrong, self.wrong[:3]

    def call(self, seed: int) -> None:
        """One connection."""
        try:
            self.asking(random.Random(seed))
        except Exception as error:
            self.wrong.append(f"connection {seed}: {type(error).__name__}: {error}")

    def asking(self, rng: random.Random) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.connect()
        first = connection.sock
        while not self.end.is_set():
            asked = [rng.randrange(len(ROWS)) for _ in range(rng.choice([1, 1, 3, 40]))]
            body: Any = [ROWS[i] for i in asked]
            path = rng.choice(["/predict", "/models/homes/predict", "/predict?partial=true"])
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
            if response.status != 200 or response.will_close or connection.sock is not first:
                self.wrong.append(f"{response.status} {text[:200]!r}")
                return
            found = who(json.loads(text), asked)
            said = response.headers["anyport-version"]
            if len(found) != 1 or said not in (None, found[0]):
                self.wrong.append(f"answers of {found}, and it says {said}")
            for version in found:
                self.answered[version] = self.answered.get(version, 0) + 1
        connection.close()
