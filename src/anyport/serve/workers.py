"""Several workers: forked after the models are in memory, sharing the sockets, replaced when they die."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from anyport.errors import AnyportError

log = logging.getLogger("anyport.serve")


class Workers:
    """The parent of `count` forked processes, each of which runs `one(number, ready)` and ends well on SIGTERM."""

    def __init__(self, count: int, one: Callable[[int, Callable[[], None]], None]) -> None:
        self.count = count
        self.one = one
        self.pids: dict[int, int] = {}
        self.up: set[int] = set()
        """Numbers of workers that have been ready."""
        self.stopping = False

    def run(self, ready: Callable[[], None]) -> None:
        """Until a signal asks to stop and all have ended. `ready` is called once, when every worker is.

        A worker that dies is replaced; one that dies before it was ever ready would only die again, so that
        ends everything with an AnyportError.
        """
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        previous: dict[signal.Signals, Any] = {
            sig: signal.signal(sig, self.stop) for sig in (signal.SIGTERM, signal.SIGINT)
        }
        if hasattr(signal, "SIGHUP"):
            previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self.reread)
        told = False
        try:
            for number in range(self.count):
                self.start(number)
            while self.pids:
                self.hear()
                if not told and len(self.up) == self.count:
                    told = True
                    ready()
                self.bury()
                time.sleep(0.05)
        finally:
            for sig, handler in previous.items():
                signal.signal(sig, handler)
            os.close(self.reader)
            os.close(self.writer)
        if not told and not self.stopping:
            raise AnyportError("no worker could start; the log above says why")

    def stop(self, sig: int, frame: FrameType | None) -> None:
        """A signal's handler: ask every worker to end."""
        self.stopping = True
        for pid in list(self.pids):
            os.kill(pid, signal.SIGTERM)

    def reread(self, sig: int, frame: FrameType | None) -> None:
        """SIGHUP's handler: every worker reads keys and certificates again."""
        for pid in list(self.pids):
            os.kill(pid, sig)

    def start(self, number: int) -> None:
        """Fork worker `number`. In the child this does not return."""
        pid = os.fork()
        if pid:
            self.pids[pid] = number
            if self.stopping:  # the signal came while we forked
                os.kill(pid, signal.SIGTERM)
            return
        code = 70
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if hasattr(signal, "SIGHUP"):
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            self.one(number, lambda: self.say(number))
            code = 0
        except Exception:
            log.exception("worker %d ended", number)
        finally:
            os._exit(code)

    def say(self, number: int) -> None:
        """In a worker: tell the parent that it is ready."""
        os.write(self.writer, bytes([number]))

    def hear(self) -> None:
        """In the parent: who has become ready."""
        try:
            self.up.update(os.read(self.reader, 256))
        except BlockingIOError:
            return

    def bury(self) -> None:
        """Replace workers that have ended, unless they should have."""
        for pid, number in list(self.pids.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done:
                continue
            del self.pids[pid]
            if self.stopping:
                continue
            log.error("worker %d (pid %d) ended with %d", number, pid, os.waitstatus_to_exitcode(status))
            if number in self.up:
                self.start(number)
            else:
                for other in self.pids:
                    os.kill(other, signal.SIGTERM)
