"""Other programs: run one to its end, or hold one while it is needed; the one place, with plan.py, that starts any."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from anyport.errors import AnyportError, Missing

TAIL = 8_000
"""Characters of output that an error shows at most."""
STRIPPED = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__")
"""What would let this interpreter's packages leak into a child that must run on its own."""


class Failed(AnyportError):
    """A program that we started ended badly or too late; callers turn this into what it means to the user."""


@dataclass(frozen=True)
class Done:
    """A program that ended. `stdout` is whole, `stderr` only its tail."""

    argv: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: str

    def checked(self) -> Done:
        """Itself, or `Failed` with the end of stderr when the exit code is not 0."""
        if self.code:
            shown = self.stderr.strip() or self.stdout.decode("utf-8", "replace").strip()[-TAIL:]
            raise Failed(f"{self.argv[0]} exited with {self.code}: {shown or 'it said nothing'}")
        return self


def environ(extra: Mapping[str, str] | None = None, *, python_path: str = "") -> dict[str, str]:
    """This process's environment for a child: no PYTHONPATH unless given here, onnxruntime's telemetry off."""
    env = {name: value for name, value in os.environ.items() if name not in STRIPPED}
    env.update(extra or {})
    if python_path:
        env["PYTHONPATH"] = python_path
    env["ORT_DISABLE_TELEMETRY"] = "1"
    return env


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    input: bytes | None = None,
) -> Done:
    """Run a program to its end. `env` adds to `environ()`; after `timeout` seconds it is killed with its children.

    Raises Missing where there is no such program, Failed when it was too slow; a bad exit code is the
    caller's to judge (`.checked()`).
    """
    process = _start(
        argv, cwd=cwd, env=env, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate(input, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{argv[0]} had not ended after {timeout:g} seconds and was stopped") from error
    finally:
        _stop(process, grace=0 if process.poll() is None else None)
    return Done(tuple(map(str, argv)), process.returncode, out, err.decode("utf-8", "replace")[-TAIL:])


@dataclass(frozen=True)
class Held:
    """A program that is running. Without `pipes`, what it says is in `log`."""

    argv: tuple[str, ...]
    pid: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None, "started without pipes"
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None, "started without pipes"
        return self.process.stdout

    def alive(self) -> bool:
        return self.process.poll() is None

    def tail(self) -> str:
        """The end of what it said on stderr (and on stdout, where that is no pipe)."""
        return self.log.read_bytes()[-TAIL:].decode("utf-8", "replace").strip()

    def died(self) -> Failed:
        """The error that says how it ended."""
        code = self.process.poll()
        how = f"ended with {code}" if code is not None else "stopped answering"
        return Failed(f"{self.argv[0]} {how}: {self.tail() or 'it said nothing'}")


@contextmanager
def popen(
    argv: Sequence[str | Path],
    *,
    ready: Callable[[Held], bool] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    pipes: bool = False,
    grace: float = 5,
) -> Iterator[Held]:
    """A running program, from when `ready` says so until the block ends; then it and its children are stopped.

    Raises Missing where there is no such program, Failed (with its last words) if it ends before it is
    ready or is not ready after `timeout` seconds. A fork that inherits the block ends nothing when it leaves it.
    """
    owner = os.getpid()
    folder = Path(tempfile.mkdtemp(prefix="anyport-"))
    try:
        log = folder / "log"
        with log.open("wb") as sink:
            pipe: IO[bytes] | int = subprocess.PIPE if pipes else sink
            stdin = subprocess.PIPE if pipes else subprocess.DEVNULL
            process = _start(argv, cwd=cwd, env=env, stdin=stdin, stdout=pipe, stderr=sink)
        held = Held(tuple(map(str, argv)), process.pid, process, log)
        try:
            until = time.monotonic() + timeout
            while ready is not None and not ready(held):
                if not held.alive():
                    raise held.died()
                if time.monotonic() > until:
                    said = held.tail() or "it said nothing"
                    raise Failed(f"{argv[0]} was not ready after {timeout:g} seconds: {said}")
                time.sleep(0.02)
            yield held
        finally:
            if os.getpid() == owner:
                _stop(process, grace=grace)
    finally:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)


def _start(
    argv: Sequence[str | Path], *, cwd: Path | None, env: Mapping[str, str] | None,
    stdin: int, stdout: IO[bytes] | int, stderr: IO[bytes] | int,
) -> subprocess.Popen[bytes]:  # fmt: skip
    if cwd is not None and not cwd.is_dir():
        raise Missing(f"{cwd} is not a folder")
    try:
        # A session of its own makes it the leader of a process group, so that its children end with it.
        return subprocess.Popen(
            [str(part) for part in argv], cwd=cwd, env=environ(env), stdin=stdin, stdout=stdout, stderr=stderr,
            start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise Missing(f"the program {argv[0]} is not installed here", fix="install it, or add it to PATH") from error
    except PermissionError as error:
        raise Missing(f"{argv[0]} is there but cannot be executed: {error.strerror}") from error


def _stop(process: subprocess.Popen[bytes], *, grace: float | None) -> None:
    """End the process group: ask, wait `grace` seconds, then kill. None: it has ended, only tidy up."""
    if grace is not None and process.poll() is None:
        if process.stdin is not None and not process.stdin.closed:
            try:
                process.stdin.close()
            except BrokenPipeError:
                process.stdin = None  # it closed its end first, which is what we were about to ask
        _signal(process, "SIGTERM" if grace else "SIGKILL")
        try:
            process.wait(grace or 5)
        except subprocess.TimeoutExpired:
            _signal(process, "SIGKILL")
            process.wait()
    if grace is not None:
        _signal(process, "SIGKILL")  # children that outlived their leader
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None and not stream.closed:
            stream.close()


def _signal(process: subprocess.Popen[bytes], name: Literal["SIGTERM", "SIGKILL"]) -> None:
    """Signal the whole group; where there are no groups (Windows), the process alone."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, getattr(signal, name))
        except (ProcessLookupError, PermissionError):
            return  # the group is gone already (macOS says EPERM for a group of zombies)
    elif process.poll() is None:
        process.kill() if name == "SIGKILL" else process.terminate()
