"""The lambda target where its own packages run: Python 3.13 in a Docker engine, read-only, as Lambda's user, in 512 MB.

The zip under Amazon's own Runtime Interface Emulator, and in the containers that moto starts; the image as shipped.
Needs a running Docker engine: make test-docker.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import baseimage
import boto3
import engines
import packed
import pytest
from conforming import conforms
from moto import mock_aws

from anyport import conformance, targets
from anyport.bundle import read
from anyport.kit import image, lock, runtime_api
from anyport.kit.lock import uv
from anyport.target import Engine, Running
from anyport.targets import aws_lambda
from anyport.targets.aws_lambda.cases import FunctionFailed, FunctionPredictor, http
from anyport.targets.aws_lambda.local import USER

pytestmark = [pytest.mark.slow, pytest.mark.target_lambda]
HERE = Path(__file__).parent
HARDENED = (
    "--read-only", "--tmpfs", "/tmp:size=512m", "--memory", "512m", "--cap-drop", "ALL", "--user", USER,
    "--security-opt", "no-new-privileges",
)  # fmt: skip


@pytest.fixture(scope="session")
def base() -> str:
    """Debian's Python 3.13 as an image."""
    engines.need("docker")
    engines.program("debootstrap", "debootstrap")
    return baseimage.base("3.13")


@pytest.fixture(scope="session")
def machine(base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with Amazon's runtime client, for zips."""
    folder = tmp_path_factory.mktemp("machine") / "context"
    shutil.copytree(HERE / "lambda_image", folder)
    shutil.copyfile(runtime_api.__file__, folder / "runtime_api.py")
    (folder / "requirements.txt").write_text(lock.shipped("on-lambda"))
    image.build(folder, "anyport-test:lambda", [f"BASE={base}"])
    # moto fetches its helper image unless one of that name is here
    subprocess.run(["docker", "tag", base, "busybox:latest"], check=True)
    return "anyport-test:lambda"


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Amazon's Runtime Interface Emulator, out of the SAM CLI's own package."""
    folder = tmp_path_factory.mktemp("sam")
    done = uv("pip", "install", "--no-deps", "--target", str(folder), "--python-version", "3.12",
              "aws-sam-cli==1.170.0", cwd=folder)  # fmt: skip
    assert done.code == 0, done.stderr
    return folder / "samcli" / "local" / "rapid" / "aws-lambda-rie-x86_64"


@pytest.fixture(scope="session")
def zipped(shelf: packed.Shelf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return targets.build(shelf.bundle("penguin_species"), "lambda", tmp_path_factory.mktemp("lambda") / "zip").path


@contextlib.contextmanager
def emulated(emulator: Path, machine: str, zipped: Path, folder: Path) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """The zip under the emulator; gives the container's name, and what asks it."""
    task = folder / "task"
    with zipfile.ZipFile(zipped / "function.zip") as archive:
        archive.extractall(task)
    name, alone = f"anyport-test-{secrets.token_hex(4)}", threading.Lock()
    argv = [
        "docker", "run", "--detach", "--name", name, *HARDENED, "--volume", f"{task}:/var/task:ro",
        "--volume", f"{emulator}:/usr/local/bin/rie:ro", "--env", "ORT_DISABLE_TELEMETRY=1",
        "--publish", "127.0.0.1::8080", "--entrypoint", "/usr/local/bin/rie", machine,
        "python3", "-m", "awslambdaric", "handler.handler",
    ]  # fmt: skip
    try:
        subprocess.run(argv, check=True, capture_output=True)
        port = subprocess.run(["docker", "port", name, "8080"], check=True, capture_output=True, text=True).stdout
        url = f"http://{port.splitlines()[0]}/2015-03-31/functions/function/invocations"

        def invoke(event: Any) -> Any:
            # an instance gets one event at a time, and the emulator is one
            with alone, urllib.request.urlopen(url, json.dumps(event).encode(), timeout=60) as reply:
                said = json.loads(reply.read())
            # the emulator tells of a function's error by 200 and no header
            if isinstance(said, dict) and "errorType" in said:
                raise FunctionFailed(said["errorType"], said["errorMessage"])
            return said

        until = time.monotonic() + 60
        while True:
            try:
                invoke(http("GET", "/readyz", b""))
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < until, logs(name)
                time.sleep(0.1)
        yield name, invoke
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)


def logs(name: str) -> str:
    done = subprocess.run(["docker", "logs", name], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_the_zip_answers_under_amazons_emulator(emulator: Path, machine: str, zipped: Path, tmp_path: Path) -> None:
    bundle = read(zipped / "bundle")
    with emulated(emulator, machine, zipped, tmp_path) as (name, invoke):
        predictor = FunctionPredictor(bundle.signature, invoke)
        running = Running(predictor, Engine("Amazon's Runtime Interface Emulator", "1.170.0", name, "emulated"))
        cases = conformance.run_cases(bundle, running, aws_lambda)
        assert [f"{c.name}: {c.says}" for c in cases if c.verdict == "failed"] == []
        assert sum(c.verdict == "ok" for c in cases) >= 15
        with pytest.raises(FunctionFailed, match="BadData"):
            invoke({"no such column": 1})
        said = logs(name)
    assert '"CloudWatchMetrics"' in said
    assert "telemetry" not in said.lower()


def test_the_zip_answers_where_moto_starts_it(machine: str, zipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto's own Lambda: it unpacks the zip that was sent to it, and runs it in a container for each event."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("MOTO_DOCKER_LAMBDA_IMAGE", machine)
    # inside a container moto asks curl for this by os.popen, and leaves the pipe open (moto 5.2.5, settings.py)
    monkeypatch.setattr("moto.settings.moto_server_host", lambda: "http://host.docker.internal")
    with mock_aws(config={"core": {"passthrough": {"urls": [".*docker.*"]}}, "lambda": {"use_docker": True}}):
        role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        api = boto3.client("lambda")
        api.create_function(
            FunctionName="species", Runtime="python3.13", Role=role, Handler="handler.handler", Timeout=60,
            Code={"ZipFile": (zipped / "function.zip").read_bytes()}, MemorySize=512,
            Environment={"Variables": {"ORT_DISABLE_TELEMETRY": "1"}},
        )  # fmt: skip
        row = {"bill_length_mm": 46.1, "bill_depth_mm": 13.2, "flipper_length_mm": 211.0, "body_mass_g": None,
               "year": 2007, "island": "Biscoe", "sex": "female"}  # fmt: skip
        said = api.invoke(FunctionName="species", Payload=json.dumps(row))
        payload = json.loads(said["Payload"].read())
    assert payload["prediction"] == "Gentoo", payload


@pytest.mark.parametrize("name", ["penguin_species", "counts", "fixed_batch"])
def test_the_image_answers(shelf: packed.Shelf, base: str, tmp_path: Path, name: str) -> None:
    report = conforms(read(shelf.bundle(name)), "lambda", tmp_path / "artefact", package="image", base=base)
    assert (report.proof, report.engine["version"]) == ("emulated", "4.2.2")
    assert report.engine["process"].startswith("container anyport-")


def test_a_python_models_image_answers(shelf: packed.Shelf, tmp_path: Path) -> None:
    """On the Python that it was packed on."""
    engines.need("docker")
    bundle = read(shelf.bundle("notebook_class"))
    base = baseimage.base(bundle.manifest.python or "")
    report = conforms(bundle, "lambda", tmp_path / "artefact", package="image", base=base)
    assert report.proof == "emulated"


def test_a_model_apart_is_fetched_by_the_image(shelf: packed.Shelf, base: str, tmp_path: Path) -> None:
    bundle = read(shelf.bundle("penguin_species"))
    given = {"package": "image", "base": base, "model": "s3://models/here"}
    report = conforms(bundle, "lambda", tmp_path / "artefact", **given)
    assert report.ok
    assert not (tmp_path / "artefact" / "app" / "bundle").exists()
