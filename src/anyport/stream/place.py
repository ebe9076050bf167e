"""Where answers go: a file that is whole or not there at all, or standard output."""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from anyport.errors import AnyportError, Mistake
from anyport.stream.formats import STDIO


@contextmanager
def replacing(out: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `out` when the block ends well, and leaves no trace when it does not.

    Standard output and anything that is no regular file (a pipe, /dev/null) is written straight.
    """
    if out == STDIO:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    out = out.resolve()  # through a link, not over it
    if out.exists() and not out.is_file():
        with out.open("wb") as file:
            yield file
        return
    beside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            if out.exists():
                os.chmod(beside, stat.S_IMODE(out.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, out)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turns the errors of a full disk, a missing folder or a closed pipe into ours."""
    try:
        yield
    except AnyportError:
        raise
    except BrokenPipeError as error:
        # else Python complains once more when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Mistake("whoever read the answers has stopped reading") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        fix = "free some space, or write to another disk with -o" if full else "choose another place with -o"
        raise Mistake(f"cannot write {out}: {why}; nothing was left behind", fix=fix) from error


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what is half-written is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
