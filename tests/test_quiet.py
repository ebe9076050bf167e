"""Nothing phones home: every connection attempt of every process is watched by the kernel, native libraries' too.

The commands run in a network namespace of their own that has an address and a route leading nowhere, so that whoever
wants to call out believes it can; strace then shows the attempt, and nothing leaves the machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import engines
import pytest
from sandbox import Sandbox

NETWORK = """
ip link set lo up
ip link add away type dummy 2>/dev/null || ip link add away type veth peer name nowhere
ip addr add 10.77.77.1/24 dev away
ip link set away up
if ip link show nowhere >/dev/null 2>&1; then ip link set nowhere up; fi
ip route add default via 10.77.77.2 dev away
exec "$@"
"""
CALLS = "connect,sendto,sendmsg,sendmmsg"
PATIENCE = 12
"""Seconds that a process which holds a session is watched: onnxruntime's first report leaves after eight."""
ADDRESS = re.compile(r'sin6?_addr=inet_(?:addr|pton)\((?:AF_INET6, )?"([^"]+)"|inet_pton\(AF_INET6, "([^"]+)"')


def attempts(box: Sandbox, *argv: str, code: int = 0) -> list[str]:
    """Every attempt of a command and its children to reach an address outside this machine."""
    log = box.folder.parent / "calls.txt"
    trace = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(log)]
    # onnxruntime also keeps quiet where it sees that it is being tested, which a user's machine is not
    env = {k: v for k, v in box.environ().items() if k != "CI" and not k.startswith(("PYTEST_", "ORT_", "GITHUB_"))}
    done = subprocess.run(
        ["unshare", "-rn", "sh", "-ec", NETWORK, "sh", *trace, *argv],
        cwd=box.folder, env=env, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    found = []
    for line in log.read_text(errors="replace").splitlines():
        address = ADDRESS.search(line)
        if address and not (address[1] or address[2] or "").startswith(("127.", "::1", "::ffff:127.")):
            found.append(line)
    return found


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    """strace and unshare, and leave to use both."""
    for program, package in (("strace", "strace"), ("unshare", "util-linux"), ("ip", "iproute2")):
        engines.program(program, package)
    argv = ["unshare", "-rn", "strace", "-qq", "-o", os.devnull, "true"]
    done = subprocess.run(argv, check=False, capture_output=True)
    engines.must(done.returncode == 0, f"no network namespace can be traced here: {done.stderr.decode().strip()}")


def test_an_attempt_is_seen(box: Sandbox) -> None:
    """The test can fail: a program that calls out is found out."""
    code = "import socket\ns = socket.socket()\ns.settimeout(0.2)\ns.connect_ex(('10.77.77.9', 80))"
    assert any("10.77.77.9" in line for line in attempts(box, sys.executable, "-c", code))


def test_a_loopback_connection_is_not_one(box: Sandbox) -> None:
    code = "import socket\nsocket.socket().connect_ex(('127.0.0.1', 9))"
    assert attempts(box, sys.executable, "-W", "ignore", "-c", code) == []


def test_onnxruntime_by_itself_does_phone_home(box: Sandbox) -> None:
    """Native telemetry is seen too, which is what anyport turns off; without this, silence would prove nothing."""
    code = f"""
import time, onnxruntime
onnxruntime.InferenceSession("penguins.anyport/fast.onnx")
time.sleep({PATIENCE})
"""
    assert attempts(box, sys.executable, "-c", code), "onnxruntime has gone quiet: this test may go"


PACK = "anyport pack model.joblib --data train.csv --label species --trust all -o out.anyport"


@pytest.mark.parametrize(
    "command",
    [
        PACK,
        "anyport inspect penguins.anyport",
        "anyport predict penguins.anyport new.csv -o answers.parquet --id row",
        "anyport check penguins.anyport --to local",
        "anyport check penguins.anyport --to rest",
        "anyport build penguins.anyport --to rest -o out --no-check",
        "anyport doctor penguins.anyport",
    ],
)
def test_a_command_calls_nobody(box: Sandbox, command: str) -> None:
    assert attempts(box, *command.split()) == []


def test_loading_and_predicting_in_python_call_nobody(box: Sandbox) -> None:
    code = f"""
import time, anyport, pandas
model = anyport.load("penguins.anyport")
rows = pandas.read_csv("new.csv").drop(columns="row")
assert len(model.predict(rows)) == 86
time.sleep({PATIENCE})
"""
    assert attempts(box, sys.executable, "-c", code) == []


def test_serving_calls_nobody(box: Sandbox) -> None:
    code = """
import json, signal, subprocess, sys, time, urllib.request
server = subprocess.Popen([sys.executable, "-m", "anyport", "serve", "penguins.anyport", "--port", "0", "--json"],
                          stdout=subprocess.PIPE)
url = json.loads(server.stdout.readline())["url"]
with urllib.request.urlopen(f"{url}/openapi.json") as reply:
    assert json.load(reply)["paths"]
row = {"bill_length_mm": 46.1, "bill_depth_mm": 13.2, "flipper_length_mm": 211, "body_mass_g": None, "year": 2007,
       "island": "Biscoe", "sex": "female"}
ask = urllib.request.Request(f"{url}/predict", json.dumps(row).encode(), {"content-type": "application/json"})
with urllib.request.urlopen(ask) as reply:
    assert json.load(reply)["prediction"] == "Gentoo"
time.sleep(float(sys.argv[1]))
server.send_signal(signal.SIGTERM)
sys.exit(server.wait())
"""
    assert attempts(box, sys.executable, "-c", code, str(PATIENCE)) == []


def test_an_artefact_by_itself_calls_nobody(box: Sandbox) -> None:
    """The script that was shipped, started by someone who has never heard of the variable."""
    from anyport import targets

    made = targets.build(box.folder / "penguins.anyport", "local", box.folder / "out")
    shutil.copyfile(box.folder / "new.csv", made.path / "rows.csv")
    argv = [sys.executable, "out/predict.py", "out/rows.csv", "-o", "out/answers.csv", "--id", "row"]
    assert attempts(box, *argv) == []
    assert len(Path(made.path / "answers.csv").read_text().splitlines()) == 87
