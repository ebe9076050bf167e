"""The example is what `make demo` shows: it trains, packs, checks, predicts, serves one request, and ends well."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from conforming import unfit

from anyport import targets
from anyport.bundle import read

DEMO = Path(__file__).parents[1] / "examples" / "penguins" / "demo.py"


def test_the_demo_shows_the_whole_of_it(home: Path, penguins: Path) -> None:
    done = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout
    assert re.findall(r"^\$ anyport (\w+)", shown, re.M) == ["pack", "inspect", "check", "predict", "serve"]
    assert "form graph" in shown
    quick = [n for n in targets.TABLE if targets.get(n).SPEC.tier == "quick" and unfit(n, read(penguins)) is None]
    for name in quick:
        assert re.search(rf"^{name}: the same answers  \(native: ", shown, re.M), shown
    assert "FAILED" not in shown
    (first, *_) = csv.DictReader(io.StringIO(shown[shown.index("row,prediction,probability_0") :]))
    assert first["prediction"] in ("Adelie", "Chinstrap", "Gentoo")
    assert sum(float(first[f"probability_{i}"]) for i in range(3)) == pytest.approx(1.0, abs=1e-6)
    answer = json.loads(next(line for line in shown.splitlines() if line.startswith('{"prediction"')))
    assert answer["prediction"] == "Gentoo"
    assert len(answer["probability"]) == 3


def test_make_serve_keeps_running_until_ctrl_c(home: Path) -> None:
    argv = [sys.executable, "-u", str(DEMO), "--serve"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        url = ""
        for line in demo.stdout:
            if line.startswith("ready at "):
                url = line.split()[-1]
            if line.startswith("serving until Ctrl-C"):
                break
        with urllib.request.urlopen(f"{url}/livez", timeout=10) as reply:
            assert reply.status == 200
        demo.send_signal(signal.SIGINT)
        rest, errors = demo.communicate(timeout=30)
    assert demo.returncode == 0, rest + errors
    assert "stopping" in rest
    assert "Traceback" not in errors
