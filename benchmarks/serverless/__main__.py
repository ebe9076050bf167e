"""An AWS Lambda function of a scikit-learn pipeline, beside the same with scikit-learn, pandas and joblib.

    python -m benchmarks.serverless [--quick]

Both are zips for Python 3.13, unpacked read-only in a container with Amazon's runtime client and Lambda's CPU share at
512, 1,024 and 1,769 MB; interleaved rounds. Needs a Docker engine and debootstrap. Floors: a zip of 45 MB and 130 MB
unpacked; from the start to the first answer 5 times faster; 1 ms over the model in process; a third of the memory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.models import folder, mixed_rows, packed
from benchmarks.timing import save

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import baseimage

from anyport import targets
from anyport.kit import image, lock, runtime_api
from anyport.kit.lock import uv
from anyport.targets.aws_lambda.cases import http

HERE = Path(__file__).parent
PYTHON = "3.13"
SHARES = {512: 512 / 1769, 1024: 1024 / 1769, 1769: 1.0}
"""MB → the share of a CPU that Lambda gives with them
(https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html)."""
PEER = ("scikit-learn==1.9.1", "pandas==3.1.1", "joblib")


def docker(*argv: str) -> str:
    """What docker answers."""
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"docker {' '.join(argv[:2])}: {done.stderr[-2000:]}")
    return done.stdout.strip()


def machine(work: Path) -> str:
    """An image with Python, Amazon's runtime client and the driver."""
    base = baseimage.base(PYTHON)
    context = work / "machine"
    shutil.copytree(HERE.parents[1] / "tests" / "slow" / "lambda_image", context)
    shutil.copyfile(runtime_api.__file__, context / "runtime_api.py")
    shutil.copyfile(HERE / "driver.py", context / "driver.py")
    (context / "requirements.txt").write_text(lock.shipped("on-lambda"))
    dockerfile = context / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("once.py /opt/", "once.py driver.py /opt/"))
    image.build(context, "anyport-bench:lambda", [f"BASE={base}"])
    return "anyport-bench:lambda"


def ours(work: Path) -> Path:
    """The target's own zip, unpacked."""
    made = targets.build(packed("mixed"), "lambda", work / "ours", python=PYTHON)
    task = work / "tasks" / "anyport"
    with zipfile.ZipFile(made.path / "function.zip") as archive:
        archive.extractall(task)
    return made.path / "function.zip"


def theirs(work: Path) -> None:
    """The same model as the tutorial has it."""
    task = work / "tasks" / "original"
    shutil.copytree(HERE / "peer", task)
    shutil.copyfile(folder() / "mixed.joblib", task / "model.joblib")
    done = uv("pip", "install", "--target", str(task / "lib"), "--python-platform", "x86_64-manylinux_2_28",
              "--python-version", PYTHON, "--only-binary", ":all:", "--link-mode", "copy", *PEER, cwd=work)  # fmt: skip
    if done.code:
        raise SystemExit(done.stderr)


def compiled(made: str, tasks: Path) -> None:
    """Bytecode for both by the machine's own Python, as a build on such a machine has it."""
    command = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/tasks"]
    subprocess.run(
        ["docker", "run", "--rm", "--volume", f"{tasks}:/tasks", "--entrypoint", "python3", made, *command], check=False
    )


def life(made: str, tasks: Path, name: str, memory: int, count: int) -> dict[str, Any]:
    """One life of a function."""
    said = docker(
        "run", "--rm", "--read-only", "--tmpfs", "/tmp:size=512m", "--cpus", f"{SHARES[memory]:.3f}", "--memory", "3g",
        "--env", "ORT_DISABLE_TELEMETRY=1", "--env", "OMP_NUM_THREADS=1", "--volume", f"{tasks / name}:/var/task:ro",
        "--volume", f"{tasks / 'events.json'}:/events.json:ro", "--entrypoint", "python3", made,
        "/opt/driver.py", "/var/task", "/events.json", str(count),
    )  # fmt: skip
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def size(path: Path) -> float:
    """MB of all files below."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6


def in_process(rows: list[dict[str, Any]]) -> float:
    """Milliseconds of one row through the bundle in a process of this machine."""
    import time

    import anyport

    model = anyport.load(packed("mixed"))
    took = []
    for i in range(3000):
        begun = time.perf_counter()
        model.predict(rows[i % len(rows)])
        took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="two rounds of each")
    rounds = 2 if parser.parse_args().quick else 5
    rows = json.loads(mixed_rows(50, seed=9).to_json(orient="records"))
    with tempfile.TemporaryDirectory(prefix="anyport-serverless-") as name:
        work = Path(name)
        work.chmod(0o755)
        file = ours(work)
        zipped = {"zip_mb": file.stat().st_size / 1e6, "unpacked_mb": size(work / "tasks" / "anyport")}
        theirs(work)
        shutil.copytree(HERE / "nothing", work / "tasks" / "nothing")
        events = []
        for row in rows:
            event = http("POST", "/predict", json.dumps(row).encode())
            events.append({**event, "body": json.dumps(row), "isBase64Encoded": False})
        (work / "tasks" / "events.json").write_text(json.dumps(events))
        made = machine(work)
        compiled(made, work / "tasks")
        lives: dict[str, dict[int, list[dict[str, Any]]]] = {}
        for _ in range(rounds):
            for which in ("anyport", "original", "nothing"):
                for memory in SHARES:
                    count = 200 if memory < 1769 or which == "original" else 2000
                    one = life(made, work / "tasks", which, memory, count)
                    lives.setdefault(which, {}).setdefault(memory, []).append(one)
        share = size(work / "tasks" / "anyport") / size(work / "tasks" / "original")
    same(lives)
    figures: dict[str, Any] = {
        "zip_mb": round(zipped["zip_mb"], 1), "unpacked_mb": round(zipped["unpacked_mb"], 1),
        "unpacked_share": round(share, 3), "python": PYTHON, "in_process_ms": round(in_process(rows), 4),
        "at": {
            str(memory): {which: middle(lives[which][memory]) for which in lives} for memory in SHARES
        },
    }  # fmt: skip
    whole = figures["at"]["1769"]
    pairs = zip(lives["original"][1769], lives["anyport"][1769], strict=True)
    figures["reached"] = {
        "zip_mb": figures["zip_mb"], "unpacked_mb": figures["unpacked_mb"],
        "first_times_faster": round(statistics.median(a["first_s"] / b["first_s"] for a, b in pairs), 2),
        "overhead_ms": round(whole["anyport"]["warm_ms"] - whole["nothing"]["warm_ms"] - figures["in_process_ms"], 4),
        "memory_share": round(whole["anyport"]["resident_mb"] / whole["original"]["resident_mb"], 3),
    }  # fmt: skip
    save("serverless", figures)


def same(lives: dict[str, dict[int, list[dict[str, Any]]]]) -> None:
    """Both gave the same answer to the first row."""
    mine = json.loads(lives["anyport"][1769][0]["answer"]["body"])
    other = json.loads(lives["original"][1769][0]["answer"]["body"])
    assert str(mine["prediction"]) == str(other["prediction"][0]), (mine, other)


def middle(rounds: list[dict[str, Any]]) -> dict[str, float]:
    """The median of each figure."""
    names = ("first_s", "warm_ms", "p99_ms", "resident_mb")
    return {name: round(statistics.median(one[name] for one in rounds), 4) for name in names}


if __name__ == "__main__":
    main()
