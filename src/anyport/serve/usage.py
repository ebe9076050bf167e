"""What a worker uses, as the system says it: memory, open files, CPU time."""

from __future__ import annotations

import os
import sys
import time

from anyport.serve.metrics import Host

STARTED = time.time()


def report(host: Host, connections: int) -> None:
    """Write it down. Where the system has no /proc, memory is the most there ever was, and open files are unknown."""
    used = time.process_time()  # finer than os.times, whose ticks are 10 ms
    host.say(resident=resident(), files=files(), cpu=used, connections=connections, started=STARTED)


def resident() -> int:
    """Bytes of resident memory."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        if sys.platform == "win32":
            return 0
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most << 10


def files() -> int:
    """Open file descriptors; 0 where that cannot be known."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # the listing itself has one open
    except OSError:
        return 0
