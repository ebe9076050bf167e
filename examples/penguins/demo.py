"""The whole of anyport on the Palmer penguins, command by command: train, pack, check, predict, serve.

Usage: python examples/penguins/demo.py [--serve]   --serve keeps the server running until Ctrl-C
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
ANYPORT = [sys.executable, "-m", "anyport"]


def show(command: list[str], *, shown: str) -> None:
    """Print a command as a user would type it, then run it."""
    print(f"\n\x1b[1m$ {shown}\x1b[0m" if sys.stdout.isatty() else f"\n$ {shown}", flush=True)
    subprocess.run(command, check=True)


def anyport(*args: str) -> None:
    show([*ANYPORT, *args], shown=shlex.join(["anyport", *args]))


def request(url: str, row: dict[str, object]) -> None:
    """One real request and its answer."""
    body = json.dumps(row)
    print(f"\n$ curl -s {url}/predict -H 'content-type: application/json' -d '{body}'")
    call = urllib.request.Request(f"{url}/predict", body.encode(), {"content-type": "application/json"})
    start = time.perf_counter()
    with urllib.request.urlopen(call, timeout=10) as answer:
        print(f"{answer.read().decode()}\n({(time.perf_counter() - start) * 1e3:.1f} ms)", flush=True)


def serve(folder: Path, *, forever: bool) -> None:
    """Start the server, ask it once, stop it (or keep it)."""
    port = "8080" if forever else "0"
    bundle = str(folder / "penguins.anyport")
    print(f"\n$ anyport serve {bundle} --port {port}", flush=True)
    command = [*ANYPORT, "serve", bundle, "--port", port, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            ready = json.loads(server.stdout.readline())
            print(f"ready at {ready['url']}")
            row = {"bill_length_mm": 46.1, "bill_depth_mm": 13.2, "flipper_length_mm": 211, "body_mass_g": None,
                   "year": 2007, "island": "Biscoe", "sex": "female"}  # fmt: skip
            request(ready["url"], row)
            if forever:
                print("\nserving until Ctrl-C", flush=True)
                server.wait()
        except KeyboardInterrupt:
            print("\nstopping")
        finally:
            server.terminate()
    if server.returncode not in (0, -2, 130):
        raise SystemExit(f"the server ended with {server.returncode}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="penguins-") as name:
        folder = Path(name)
        show([sys.executable, str(HERE / "train.py"), name], shown=f"python examples/penguins/train.py {name}")
        bundle = str(folder / "penguins.anyport")
        anyport("pack", f"{name}/penguins.joblib", "--data", f"{name}/train.csv", "--label", "species",
                "--trust", "sklearn,numpy", "-o", bundle)  # fmt: skip
        anyport("inspect", bundle)
        anyport("check", bundle)
        anyport("predict", bundle, f"{name}/new.csv", "-o", f"{name}/answers.csv", "--id", "row")
        print(*(folder / "answers.csv").read_text().splitlines()[:5], sep="\n")
        serve(folder, forever="--serve" in sys.argv)


if __name__ == "__main__":
    main()
