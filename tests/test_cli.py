"""The command line as people meet it: every worked example runs, results are JSON on demand, errors have codes."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import zoo
from sandbox import ROOT, Sandbox

from anyport import cli
from anyport.conformance import Report
from anyport.targets import TABLE

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


OWN = {
    "docs/serve/contracts.md": "test_contracts_page", "docs/serve/operations.md": "test_operations",
    "docs/serve/integrations.md": "test_integrations", "docs/serve/watching.md": "test_log",
    "docs/targets/pgvector.md": "slow/test_pgvector_page",
}  # fmt: skip
"""Pages whose examples need more than the penguins, and the tests that run them."""


def blocks(language: str) -> list[Any]:
    """Every fenced block of the documentation in this language; what is for make is run by test_examples."""
    found = []
    for page in PAGES:
        if page.relative_to(ROOT).as_posix() in OWN:
            continue
        texts = [m[2] for m in FENCE.finditer(page.read_text(encoding="utf-8")) if m[1] == language]
        name = page.relative_to(ROOT).as_posix()
        found += [pytest.param(t, id=f"{name}-{i}") for i, t in enumerate(texts) if not t.startswith("make ")]
    return found


def test_pages_with_tests_of_their_own_have_them() -> None:
    for page, test in OWN.items():
        assert (ROOT / page).name in (ROOT / "tests" / f"{test}.py").read_text(encoding="utf-8")


def test_only_known_languages_are_fenced() -> None:
    """A block that is not run is text, or a console session that cannot be: the rest would rot unseen."""
    kinds = {m[1] for page in PAGES for m in FENCE.finditer(page.read_text(encoding="utf-8"))}
    assert kinds <= {"sh", "python", "text", "console", "toml"}


def test_every_command_is_shown_in_the_reference() -> None:
    shown = "".join(p.values[0] for p in blocks("sh") if p.id.startswith("docs/cli.md"))
    assert {c for c in cli.COMMANDS if f"anyport {c} " not in shown + " " and f"anyport {c}\n" not in shown} == set()


@pytest.mark.parametrize("block", blocks("sh"))
def test_a_worked_example_works(box: Sandbox, block: str) -> None:
    if "anyport serve" in block:
        (line,) = block.strip().splitlines()
        serve(box, line)
        return
    if "anyport verify" in block and "--key" in block and "keygen" not in block:
        # it verifies what the example before it has signed
        for argv in (["keygen", "keys"], ["sign", "penguins.anyport", "--key", "keys/anyport.key"]):
            signed = box.anyport(*argv)
            assert signed.returncode == 0, signed.stderr
    with asked_server(box, block) as text:
        done = box.run("bash", "-euo", "pipefail", "-c", text)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr


SERVER, CALLS = "localhost:8080", "localhost:8081"
"""An example that asks here gets a server of the penguins; the second is its gRPC port."""


@contextmanager
def asked_server(box: Sandbox, block: str) -> Iterator[str]:
    """The example as it can run: with a server where it asks one."""
    if SERVER not in block and CALLS not in block:
        yield block
        return
    argv, port = ["anyport", "serve", "penguins.anyport", "--port", "8080"], free_port()
    if CALLS in block:
        argv += ["--grpc-port", str(port)]
    with serving(box, argv) as url:
        yield block.replace(SERVER, url.removeprefix("http://")).replace(CALLS, f"127.0.0.1:{port}")


def serve(box: Sandbox, line: str) -> None:
    """Run a server's example until it has answered, then Ctrl-C."""
    with serving(box, shlex.split(line)):
        return


@contextmanager
def serving(box: Sandbox, argv: list[str]) -> Iterator[str]:
    """The URL of a server that is ready; at the end it gets a Ctrl-C and must end well."""
    argv = [part.replace("8080", str(free_port())) for part in argv]
    with box.start(*argv) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            found = re.search(r"http://\S+", said)
            assert found, said + (server.stderr.read() if server.stderr else "")
            with urllib.request.urlopen(f"{found[0]}/readyz", timeout=10) as reply:
                assert json.load(reply)["ready"] is True
            yield found[0]
        finally:
            server.send_signal(signal.SIGINT)
            _, errors = server.communicate(timeout=30)
        assert server.returncode in (0, 130)
        assert "Traceback" not in errors


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.parametrize("block", blocks("python"))
def test_a_python_example_works(box: Sandbox, block: str) -> None:
    with asked_server(box, block) as text:
        done = box.run("python", "-W", "error", "-c", text)
    assert done.returncode == 0, done.stderr
    assert "prediction" in done.stdout


def test_pack_then_every_other_command_in_json(box: Sandbox) -> None:
    """One bundle through the whole command line; each answer is one JSON document on standard output."""
    packed = answered(box, "pack", "model.joblib", "--data", "train.csv", "--label", "species", "--trust", "all",
                      "-o", "new.anyport", "--version", "7")  # fmt: skip
    assert (packed["name"], packed["version"], packed["form"]) == ("new", "7", "graph")
    assert answered(box, "inspect", "new.anyport")["digest"] == packed["digest"]
    (report,) = msgspec.convert(answered(box, "check", "new.anyport", "--to", "local"), list[Report])
    assert report.ok
    assert report.digest == packed["digest"]
    listed = answered(box, "targets", "new.anyport")
    # a classifier has no vector to search by
    assert {t["name"]: t["fits"] for t in listed} == dict.fromkeys(TABLE, "yes") | {"pgvector": "no"}
    (built,) = answered(box, "build", "new.anyport", "--to", "local", "-o", "out")
    assert built["ok"] is True
    assert (box.folder / "out" / "report.json").is_file()
    bare = answered(box, "build", "new.anyport", "--to", "local", "-o", "bare", "--no-check")
    assert bare["bundle"] == packed["digest"]
    summary = answered(box, "predict", "new.anyport", "new.csv", "-o", "answers.csv", "--id", "row")
    assert (summary["rows"], summary["rejected"]) == (86, 0)
    assert set(answered(box, "keygen", "keys")) == {"private", "public"}
    assert answered(box, "sign", "new.anyport", "--key", "keys/anyport.key")["bundle"] == "new.anyport"
    assert answered(box, "verify", "new.anyport", "--key", "keys/anyport.pub")["digest"] == packed["digest"]
    states = {f["name"]: f["state"] for f in answered(box, "doctor", "new.anyport")}
    assert states["python"] == states["numpy"] == states["new.anyport"] == "ok"


def answered(box: Sandbox, *args: str) -> Any:
    done = box.anyport(*args, "--json")
    assert done.returncode == 0, f"{args}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def test_a_file_is_answered_as_by_the_original(box: Sandbox) -> None:
    done = box.anyport("predict", "penguins.anyport", "new.csv", "-o", "answers.csv", "--id", "row")
    assert done.returncode == 0, done.stderr
    given, got = pd.read_csv(box.folder / "new.csv"), pd.read_csv(box.folder / "answers.csv")
    made = zoo.load()["penguin_species"].make()
    expected = zoo.answers(made, given.drop(columns="row"))
    assert got["row"].tolist() == given["row"].tolist()
    assert got["prediction"].tolist() == expected["prediction"].tolist()
    chance = got[[f"probability_{i}" for i in range(3)]].to_numpy()
    np.testing.assert_allclose(chance, expected["probability"], rtol=1e-5, atol=1e-6)


def test_standard_input_to_standard_output(box: Sandbox) -> None:
    rows = (box.folder / "new.csv").read_text()
    piped = box.anyport("predict", "penguins.anyport", "-", "--id", "row", "--format", "csv", input=rows)
    assert piped.returncode == 0, piped.stderr
    box.anyport("predict", "penguins.anyport", "new.csv", "--id", "row", "-o", "answers.csv")
    assert piped.stdout == (box.folder / "answers.csv").read_text()


def test_the_next_line_can_be_pasted(box: Sandbox) -> None:
    """What `next:` says is a command line that is understood, with files that are there."""
    argv = ["inspect", "penguins.anyport"]
    seen = []
    while argv[0] not in seen and argv[0] != "serve":
        seen.append(argv[0])
        done = box.anyport(*argv)
        assert done.returncode == 0, done.stderr
        found = re.findall(r"^next: anyport (.+)$", done.stdout, re.M)
        assert found, done.stdout
        argv = shlex.split(found[-1])
        cli.parser(argv[0]).parse_args(argv)
    assert seen == ["inspect", "check"]
    assert argv == ["serve", "penguins.anyport"]


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        ([], 2, "required"),
        (["pakc", "x"], 2, "invalid choice"),
        (["check"], 2, "required"),
        (["check", "penguins.anyport", "--to", "rset"], 2, "did you mean 'rest'"),
        (["check", "penguins.anyport", "--live", "url=http://127.0.0.1:9"], 2, "exactly one"),
        (["check", "penguins.anyport", "--to", "rest", "--live", "url"], 2, "KEY=VALUE"),
        (["check", "penguins.anyport", "--to", "rest", "--live", "uri=http://x"], 2, "options: url"),
        (["check", "train.csv"], 2, "not a bundle"),
        (["inspect", "nowhere.anyport"], 2, "not a bundle"),
        (["build", "penguins.anyport", "--to", "local", "-o", "train.csv"], 2, "nothing was written"),
        (["predict", "penguins.anyport", "nowhere.csv"], 2, "nowhere.csv"),
        (["serve", "nowhere.anyport"], 2, "not a bundle"),
        (["pack", "model.joblib", "--data", "train.csv", "--label", "species"], 2, "--trust"),
        (["pack", "model.joblib", "--data", "train.csv", "--trust", "all"], 2, "--label species"),
        (["pack", "model.joblib", "--data", "train.csv", "--label", "specie", "--trust", "all"], 2, "no such column"),
        (["pack", "model.joblib", "--data", "train.csv", "--label", "species", "--trust", "all", "--name", "Ä"], 2,
         "cannot be a bundle name"),
    ],
    ids=lambda v: "_".join(v)[:60] if isinstance(v, list) else "",
)  # fmt: skip
def test_a_mistake_has_its_code_and_its_words(box: Sandbox, argv: list[str], code: int, says: str) -> None:
    before = box.left()
    done = box.inside(*argv)
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert box.left() == before


def test_an_error_as_json_is_on_standard_output(box: Sandbox) -> None:
    done = box.anyport("inspect", "nowhere.anyport", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout) == {
        "error": "BadBundle", "what": "nowhere.anyport is not a bundle: it has no bundle.json",
        "fix": "anyport pack MODEL --data DATA", "exit_code": 2,
    }  # fmt: skip


def test_debug_shows_the_traceback(box: Sandbox) -> None:
    assert "Traceback" in box.anyport("inspect", "nowhere.anyport", "--debug").stderr


def test_a_graph_that_cannot_be_is_code_4(box: Sandbox) -> None:
    source = """
import cloudpickle

class Rule:
    def predict(self, X):
        return X.iloc[:, 0] * 2.0

with open("rule.cloudpickle", "wb") as file:
    cloudpickle.dump(Rule(), file)
"""
    assert box.run("python", "-c", source).returncode == 0
    pd.DataFrame({"a": np.arange(30.0)}).to_csv(box.folder / "rows.csv", index=False)
    before = box.left()
    done = box.anyport("pack", "rule.cloudpickle", "--data", "rows.csv", "--trust", "all", "--form", "graph")
    assert done.returncode == 4, done.stderr
    assert "Python code" in done.stderr
    assert box.left() == before


def test_a_bundle_can_be_one_file(box: Sandbox) -> None:
    done = box.anyport("pack", "model.joblib", "--data", "train.csv", "--label", "species", "--trust", "all",
                       "-o", "one.anyport.tar.gz", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "one"
    assert "one.anyport" not in box.left()
    assert answered(box, "inspect", "one.anyport.tar.gz")["form"] == "graph"
    assert box.anyport("predict", "one.anyport.tar.gz", "new.csv", "--id", "row").returncode == 0


def test_help_is_plain_when_no_terminal_looks(box: Sandbox) -> None:
    for argv in (["--help"], ["inspect", "penguins.anyport"], ["check", "penguins.anyport", "--to", "local"]):
        done = box.anyport(*argv)
        assert done.returncode == 0
        assert "\x1b" not in done.stdout + done.stderr


def test_a_reader_that_goes_away_is_no_error(box: Sandbox) -> None:
    command = f"anyport predict penguins.anyport {Path('new.csv')} --id row | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=box.folder, env=box.environ(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout.startswith("row,prediction")
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
