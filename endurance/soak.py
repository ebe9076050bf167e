"""Half load for a long time, with a reload every ten seconds: no request fails, and memory stays flat.

The server is `anyport serve` on core 0; wrk on core 1 asks at half of what it can do, and compares every answer with
the two that are right (those of the version before and after a reload). The bundle's path is a link that is moved to
the other version before each POST /admin/reload, as a deployment would.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from endurance.results import save

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
CONNECTIONS = 32
EVERY = 10.0
"""Seconds between two reloads."""
FLAT = 0.05
"""How much more memory the last tenth may take than the second did: the first warms up."""
LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = %s
wrong, failed = 0, 0
local threads = {}
function setup(thread) table.insert(threads, thread) end
function delay() return %d end
function response(status, headers, body)
  if status ~= 200 then failed = failed + 1
  elseif body ~= %s and body ~= %s then wrong = wrong + 1 end
end
function done(summary, latency, requests)
  local w, f = 0, 0
  for _, thread in ipairs(threads) do w = w + thread:get("wrong"); f = f + thread:get("failed") end
  local e = summary.errors
  io.write(string.format("found %%d %%d %%d %%d %%d\\n", summary.requests, w, f, e.connect + e.read + e.write,
    e.timeout))
  io.write(string.format("latency %%.1f %%.1f\\n", latency:percentile(50), latency:percentile(99)))
end
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--keep-nothing", action="store_true")
    given = parser.parse_args()
    import served

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = served.fitted()
        served.bundle(folder / "1", model, version="1")
        other = served.fitted()
        other[-1].intercept_ = other[-1].intercept_ + 0.25
        served.bundle(folder / "2", other, version="2")
        turns = [folder / "1", folder / "2"]
        point(folder / "homes", turns[0])
        (folder / "admin").write_text("sesame\n")
        row = served.rows(1, seed=5)[0]
        with serving(folder) as (pid, url):
            right = []
            for turn in (1, 0):
                right.append(ask(f"{url}/predict", row))
                point(folder / "homes", turns[turn])
                reload(url)
            assert right[0] != right[1], "both versions answer alike: nothing would be seen"
            most = load(folder, url, row, right, 3, 0)["requests"] / 3
            wait = max(1, round(1000 * CONNECTIONS / (most / 2) - 1000 * CONNECTIONS / most))
            found = soak(folder, url, pid, row, right, given.minutes * 60, wait, turns)
    found["share_of_full_load"] = round(found["per_second"] / most, 2)
    print(json.dumps(found, indent=1))
    if not given.keep_nothing:
        save("soak", found)
    wrong = [key for key in ("wrong", "failed", "errors", "timeouts", "failed_reloads") if found[key]]
    if found["memory_growth"] > FLAT:
        wrong.append("memory_growth")
    print(f"soak: {'FAILED: ' + ', '.join(wrong) if wrong else 'no failed request, memory flat'}")
    return bool(wrong)


def point(link: Path, to: Path) -> None:
    """Have a link lead to another folder, at once."""
    made = link.with_name("next")
    made.symlink_to(to)
    made.replace(link)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[int, str]]:
    """A server on core 0: its pid and URL."""
    argv = ["taskset", "-c", "0", sys.executable, "-m", "anyport.serve", folder / "homes", "--port", "0", "--json",
            "--admin-key-file", folder / "admin"]  # fmt: skip
    with subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            said = json.loads(child.stdout.readline())
            yield said["pid"], said["url"]
        finally:
            child.terminate()


def ask(url: str, row: dict[str, Any]) -> str:
    """The answer to a row, as it came."""
    call = urllib.request.Request(url, json.dumps(row).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(call, timeout=10) as reply:
        return str(reply.read().decode())


def reload(url: str) -> None:
    """POST /admin/reload."""
    call = urllib.request.Request(f"{url}/admin/reload", b"", {"Authorization": "Bearer sesame"})
    with urllib.request.urlopen(call, timeout=60) as reply:
        reply.read()


def wrk(folder: Path, url: str, row: dict[str, Any], right: list[str], seconds: int, wait: int) -> list[str]:
    """The command that asks for so long."""
    script = folder / "soak.lua"
    script.write_text(LUA % (quoted(json.dumps(row)), wait, quoted(right[0]), quoted(right[1])))
    return [
        "taskset",
        "-c",
        "1",
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "-s",
        str(script),
        f"{url}/predict",
    ]


def quoted(text: str) -> str:
    """A Lua string."""
    return f"[==[{text}]==]"


def told(said: str) -> dict[str, float]:
    """What wrk's script has found."""
    match = re.search(r"found (\d+) (\d+) (\d+) (\d+) (\d+)", said)
    spread = re.search(r"latency ([\d.]+) ([\d.]+)", said)
    assert match is not None, said
    assert spread is not None, said
    names = ("requests", "wrong", "failed", "errors", "timeouts")
    found: dict[str, float] = dict(zip(names, map(int, match.groups()), strict=True))
    return found | {"p50_ms": float(spread[1]) / 1e3, "p99_ms": float(spread[2]) / 1e3}


def load(folder: Path, url: str, row: dict[str, Any], right: list[str], seconds: int, wait: int) -> dict[str, float]:
    """Ask for some seconds, and what was found."""
    done = subprocess.run(wrk(folder, url, row, right, seconds, wait), capture_output=True, text=True, check=True)
    return told(done.stdout)


def soak(
    folder: Path, url: str, pid: int, row: dict[str, Any], right: list[str], seconds: float, wait: int,
    turns: list[Path],
) -> dict[str, Any]:  # fmt: skip
    """Ask, reload and watch memory."""
    memory: list[float] = []
    reloads = failed = 0
    command = wrk(folder, url, row, right, round(seconds), wait)
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asking:
        due = started + EVERY
        while asking.poll() is None:
            time.sleep(0.5)
            memory.append(resident(pid))
            if time.monotonic() >= due:
                due += EVERY
                reloads += 1
                point(folder / "homes", turns[reloads % 2])
                try:
                    reload(url)
                except OSError as error:
                    failed += 1
                    print(f"reload {reloads}: {error}", flush=True)
        assert asking.stdout is not None
        said = asking.stdout.read()
    tenth = max(1, len(memory) // 10)
    early, late = statistics.median(memory[tenth : 2 * tenth]), statistics.median(memory[-tenth:])
    return {
        "seconds": round(time.monotonic() - started), **told(said), "reloads": reloads, "failed_reloads": failed,
        "per_second": round(told(said)["requests"] / seconds), "memory_mb_early": round(early, 1),
        "memory_mb_late": round(late, 1), "memory_mb_most": round(max(memory), 1),
        "memory_growth": round(late / early - 1, 4), "load_average": os.getloadavg()[0],
    }  # fmt: skip


def resident(pid: int) -> float:
    """MB of memory that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
