"""From exec to the first prediction in a fresh interpreter, its memory, `import anyport`, and the runtime's size.

Floors: ten times faster than importing scikit-learn + pandas + FastAPI and unpickling, a third of its memory;
`import anyport` under 30 ms over a bare interpreter; site-packages 145 MB as installed, 130 MB trimmed.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.models import folder, mixed_rows, packed
from benchmarks.timing import save

ROUNDS = 9
# VmHWM: ru_maxrss is inherited across exec and would be this process's own
PEAK = "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')))"


def minimal() -> Path:
    """An environment with anyport and its base dependencies only; gives its python."""
    home = Path(tempfile.mkdtemp(prefix="anyport-minimal-"))
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    subprocess.run([uv, "venv", "-q", "--clear", home], check=True)
    subprocess.run([uv, "pip", "install", "-q", "--python", home / "bin/python", "."], check=True)
    return home / "bin/python"


def peer() -> Path:
    """An environment with what a tutorial installs: FastAPI, uvicorn, scikit-learn, pandas."""
    home = Path(tempfile.mkdtemp(prefix="anyport-peer-"))
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    subprocess.run([uv, "venv", "-q", "--clear", home], check=True)
    wanted = ["fastapi", "uvicorn", "scikit-learn==1.9.1", "pandas", "joblib"]
    subprocess.run([uv, "pip", "install", "-q", "--python", home / "bin/python", *wanted], check=True)
    return home / "bin/python"


def timed(python: Path, code: str) -> tuple[float, int]:
    """Seconds of a whole process, and its peak resident memory in KB."""
    start = time.perf_counter()
    done = subprocess.run([python, "-c", f"{code}\n{PEAK}"], capture_output=True, text=True, check=True, cwd=folder())
    return time.perf_counter() - start, int(done.stdout.split()[-1])


def tree_mb(path: Path) -> float:
    """Bytes of all files below, in MB."""
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / 1e6


def main() -> None:
    bundle = packed("mixed")
    row = json.loads(mixed_rows(1).iloc[0].to_json())
    ours, theirs = minimal(), peer()
    site = next((ours.parent.parent / "lib").glob("python*/site-packages"))
    installed = tree_mb(site)
    variants = {
        "bare": (ours, "pass"),
        "import anyport": (ours, "import anyport"),
        "anyport": (ours, f"import anyport\nanyport.load({str(bundle)!r}).predict({row!r})"),
        "sklearn+pandas+fastapi": (
            theirs,
            "import fastapi, uvicorn, joblib, pandas\napp = fastapi.FastAPI()\nm = joblib.load('mixed.joblib')\n"
            f"@app.post('/predict')\ndef predict(row: dict): return m.predict_proba(pandas.DataFrame([row])).tolist()\n"
            f"predict({row!r})",
        ),
    }
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in variants}
    for python, code in variants.values():
        timed(python, code)
    for _ in range(ROUNDS):
        for name, (python, code) in variants.items():
            found[name].append(timed(python, code))
    seconds = {name: [s for s, _ in v] for name, v in found.items()}
    memory = {name: statistics.median(kb for _, kb in v) / 1024 for name, v in found.items()}
    pairs = list(zip(seconds["sklearn+pandas+fastapi"], seconds["anyport"], strict=True))
    figures = {
        "exec_to_first_prediction_ms": {n: round(statistics.median(v) * 1e3, 1) for n, v in seconds.items()},
        "times_faster": round(statistics.median(a / b for a, b in pairs), 1),
        "import_anyport_over_bare_ms": round(
            statistics.median(a - b for a, b in zip(seconds["import anyport"], seconds["bare"], strict=True)) * 1e3, 1
        ),
        "peak_resident_mb": {n: round(v, 1) for n, v in memory.items()},
        "memory_share": round(memory["anyport"] / memory["sklearn+pandas+fastapi"], 3),
        "site_packages_mb": round(installed, 1),
        "site_packages_trimmed_mb": round(trimmed(site), 1),
    }
    print(figures)
    save("coldstart", figures)


def trimmed(site: Path) -> float:
    """MB of site-packages as artefacts carry it (kit/runtime.py says what is left out)."""
    from anyport.kit.trim import trim

    copy = Path(tempfile.mkdtemp(prefix="anyport-trim-")) / "site-packages"
    shutil.copytree(site, copy)
    trim(copy)
    return tree_mb(copy)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    main()
