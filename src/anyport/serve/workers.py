"""Several workers: forked after the models are in memory, sharing the sockets, replaced when they die."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
from collections.abc import Callable
from time import monotonic
from types import FrameType

from anyport.errors import AnyportError
from anyport.serve import messages
from anyport.serve.coordinator import Coordinator
from anyport.serve.deployment import Deployment
from anyport.serve.messages import Change, Line, Message, Up

log = logging.getLogger("anyport.serve")

AGAIN = 1.0
"""Seconds before a worker that died before it answered is started again, once others have answered."""


class Workers:
    """The parent of `count` forked processes, each of which runs `one(number, line)` and ends well on SIGTERM.

    A worker says Up on its line when it answers; what else is said there is the Coordinator's.
    """

    def __init__(self, count: int, deployment: Deployment, one: Callable[[int, Line], None]) -> None:
        self.count = count
        self.one = one
        self.coordinator = Coordinator(deployment, self.say)
        self.pids: dict[int, int] = {}
        self.lines: dict[int, Line] = {}
        self.ever: set[int] = set()
        """Numbers of workers that have answered."""
        self.again: dict[int, float] = {}
        """Workers to start, and when."""
        self.stopping = False
        self.failed = False
        self.hangup = False

    def run(self, ready: Callable[[], None]) -> None:
        """Until SIGTERM or SIGINT and all have ended. `ready` is called once, when every worker answers. SIGHUP
        reloads.

        A worker that dies is replaced; one that dies before any of its number has answered would only die again, so
        that ends everything with an AnyportError.
        """
        woken, waker = socket.socketpair()
        for end in (woken, waker):
            end.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(woken, selectors.EVENT_READ)
        handled = {
            signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self.hung_up,
            signal.SIGCHLD: lambda *_: None,  # it wakes the selector, and that is all it is for
        }  # fmt: skip
        previous = {sig: signal.signal(sig, handler) for sig, handler in handled.items()}
        wakeup = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        told = False
        try:
            for number in range(self.count):
                self.start(number)
            while self.pids or self.again:
                for key, _ in self.selector.select(self.patience()):
                    if key.fileobj is woken:
                        woken.recv(1 << 12)
                    else:
                        self.hear(key.data)
                self.bury()
                self.restart()
                if not told and len(self.ever) == self.count:
                    told = True
                    ready()
                if self.hangup:
                    self.hangup = False
                    self.coordinator.ask(Change("reload"))
        finally:
            signal.set_wakeup_fd(wakeup)
            for sig, old in previous.items():
                signal.signal(sig, old)
            self.selector.close()
            woken.close()
            waker.close()
            self.coordinator.deployment.close()
        if not told and not self.stopping:
            raise AnyportError("no worker could start; the log above says why")

    def patience(self) -> float | None:
        """Seconds until something is due; None for nothing."""
        due = [at - monotonic() for at in self.again.values()]
        late = self.coordinator.late()
        due += [late] if late is not None else []
        return max(0.0, min(due)) if due else None

    def stop(self, sig: int, frame: FrameType | None) -> None:
        """A signal's handler: ask every worker to end."""
        self.stopping = True
        for pid in list(self.pids):
            os.kill(pid, signal.SIGTERM)

    def hung_up(self, sig: int, frame: FrameType | None) -> None:
        """A signal's handler: reload, in due course; keys and certificates at once, in every worker."""
        self.hangup = True
        for pid in list(self.pids):
            os.kill(pid, sig)

    def start(self, number: int) -> None:
        """Fork worker `number`. In the child this does not return."""
        ours, theirs = messages.line()
        pid = os.fork()
        if pid:
            theirs.close()
            self.pids[pid] = number
            self.lines[number] = ours
            self.selector.register(ours.socket, selectors.EVENT_READ, number)
            self.coordinator.started(number)
            if self.stopping:  # the signal came while we forked
                os.kill(pid, signal.SIGTERM)
            return
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(sig, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal's goes to all; the parent hears it for us
            ours.close()
            self.selector.close()
            for line in self.lines.values():
                line.close()
            self.one(number, theirs)
            code = 0
        except Exception:
            log.exception("worker %d ended", number)
        finally:
            os._exit(code)

    def say(self, number: int, message: Message) -> None:
        """Tell a worker something."""
        self.lines[number].send(message)

    def hear(self, number: int) -> None:
        """What a worker says."""
        found = self.lines[number].read()
        if found is None:
            self.selector.unregister(self.lines[number].socket)  # SIGCHLD says the rest
            return
        for message in found:
            if isinstance(message, Up):
                self.ever.add(number)
                self.coordinator.ready(number)
            else:
                self.coordinator.heard(number, message)

    def bury(self) -> None:
        """Find out which workers have ended. They are replaced unless they should have."""
        for pid, number in list(self.pids.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done:
                continue
            line = self.lines.pop(number)
            if line.socket in self.selector.get_map():
                self.selector.unregister(line.socket)
            line.close()
            del self.pids[pid]
            answered = number in self.coordinator.up
            code = os.waitstatus_to_exitcode(status)
            self.coordinator.gone(number, f"(pid {pid}) ended with {code}")
            if self.stopping or self.failed:
                continue
            log.error("worker %d (pid %d) ended with %d", number, pid, code)
            if number in self.ever:
                self.again[number] = monotonic() + (0.0 if answered else AGAIN)
            else:
                self.failed = True
                for other in self.pids:
                    os.kill(other, signal.SIGTERM)

    def restart(self) -> None:
        """Start the workers whose time has come."""
        for number in [one for one, at in self.again.items() if at <= monotonic() or self.stopping or self.failed]:
            del self.again[number]
            if not (self.stopping or self.failed):
                self.start(number)
