"""A folder as the documentation imagines it: the penguins' model, their rows, their bundle, and `anyport` on PATH."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


def fill(folder: Path, bundle: Path) -> None:
    """model.joblib, train.csv, new.csv, penguins.anyport."""
    train = [sys.executable, ROOT / "examples" / "penguins" / "train.py", folder]
    subprocess.run(train, check=True, capture_output=True, timeout=120)
    (folder / "penguins.joblib").rename(folder / "model.joblib")
    shutil.copytree(bundle, folder / "penguins.anyport")


@dataclass(frozen=True)
class Sandbox:
    """A copy of that folder, to run commands in."""

    folder: Path

    def environ(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *argv: str, input: str | None = None, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """A program in this folder, run to its end."""
        return subprocess.run(
            argv, cwd=self.folder, env=self.environ(), input=input, capture_output=True, text=True, check=False,
            timeout=timeout,
        )  # fmt: skip

    def anyport(self, *args: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """The command line."""
        return self.run("anyport", *args, input=input)

    def inside(self, *args: str) -> subprocess.CompletedProcess[str]:
        """The command line in this process, which spares the seconds that importing scikit-learn takes."""
        from anyport import cli

        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = cli.main(args)
            except SystemExit as error:  # argparse ends that way
                code = int(error.code or 0)
        return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """A program in this folder, running; the caller ends it."""
        return subprocess.Popen(
            argv, cwd=self.folder, env=self.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )  # fmt: skip

    def left(self) -> set[str]:
        """Names of what lies in the folder, hidden files too."""
        return {p.name for p in self.folder.iterdir()}
