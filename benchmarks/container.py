"""The image of a graph model: ready after how long, how much memory, how large, stopped after how long.

Floors: ready under 1 s, at most 90 MB resident, at most 200 MB above the base, SIGTERM to exit 0 under 1 s.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.models import packed
from benchmarks.timing import save

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import baseimage

from anyport import targets
from anyport.kit import image

ROUNDS = 7
JSON = {"Content-Type": "application/json"}
HARDENED = (
    "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "256m", "--user",
    "65532:65532",
)  # fmt: skip


def docker(*argv: str) -> str:
    """What docker answers."""
    return subprocess.run(["docker", *argv], capture_output=True, text=True, check=True).stdout.strip()


def answers(url: str, body: bytes | None = None) -> bool:
    """Whether a request is answered with 200."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, JSON), timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def one(made: str, row: bytes) -> dict[str, float]:
    """One life of a container, measured from the outside."""
    # created first: what is timed is the container's own start, and not the docker client's
    name = docker("create", *HARDENED, "--publish", "127.0.0.1::8080", made)
    try:
        start = time.perf_counter()
        docker("start", name)
        url = f"http://{docker('port', name, '8080').splitlines()[0]}"
        while not answers(f"{url}/readyz"):
            if time.perf_counter() - start > 60:
                raise SystemExit(docker("logs", name))
            time.sleep(0.005)
        ready = time.perf_counter() - start
        for _ in range(1000):
            assert answers(f"{url}/predict", row), "a prediction failed"
        pid = docker("inspect", "--format", "{{.State.Pid}}", name)
        status = Path(f"/proc/{pid}/status").read_text()
        resident = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024
        start = time.perf_counter()
        docker("kill", "--signal", "TERM", name)
        code = int(docker("wait", name))
        stopped = time.perf_counter() - start
        assert code == 0, f"it ended with {code}"
        return {"ready_s": ready, "resident_mb": resident, "stop_s": stopped}
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)


def main() -> None:
    base = baseimage.base()
    figures: dict[str, Any] = {"engine": image.engine_version(), "base": base, "extras_mb_above_base": {}}
    below = int(docker("image", "inspect", "--format", "{{.Size}}", base))
    bundle = packed("mixed")
    with tempfile.TemporaryDirectory(prefix="anyport-container-") as folder:

        def built(name: str, **given: str) -> str:
            made = targets.build(bundle, "docker", Path(folder) / name, base=base, **given)
            return image.build(made.path, f"anyport-bench:{name}")

        def above(made: str) -> float:
            return (int(docker("image", "inspect", "--format", "{{.Size}}", made)) - below) / 1e6

        plain = built("plain")
        for extra in ("grpc", "arrow", "otel"):
            figures["extras_mb_above_base"][extra] = round(above(built(extra, extras=extra)), 1)
    figures["mb_above_base"] = round(above(plain), 1)
    row = example(plain)
    rounds = [one(plain, row) for _ in range(ROUNDS)]
    figures |= {key: round(statistics.median(found[key] for found in rounds), 3) for key in rounds[0]}
    figures["rounds"] = rounds
    save("container", figures)


def example(made: str) -> bytes:
    """A row that the model answers, from the server's own OpenAPI document."""
    code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/openapi.json').read().decode())"
    name = docker("run", "--detach", *HARDENED, made)
    try:
        for _ in range(600):
            done = subprocess.run(["docker", "exec", name, "python3", "-c", code], capture_output=True, text=True)
            if done.returncode == 0:
                content = json.loads(done.stdout)["paths"]["/predict"]["post"]["requestBody"]["content"]
                return json.dumps(first_row(content["application/json"])).encode()
            time.sleep(0.1)
        raise SystemExit(docker("logs", name))
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)


def first_row(media: dict[str, Any]) -> Any:
    """The one-row example of a media type."""
    shown = [media["example"]] if "example" in media else [e["value"] for e in media.get("examples", {}).values()]
    return next(value for value in shown if isinstance(value, dict) and "columns" not in value)


if __name__ == "__main__":
    main()
