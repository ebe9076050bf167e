"""One life of a function, measured beside it: Amazon's runtime client starts, is asked N times, and its memory is read.

python3 driver.py TASK EVENTS N; prints JSON. EVENTS is a file of a JSON list. Runs in the container of the function.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from runtime_api import runtime_api


def main(task: str, file: str, count: int) -> None:
    with open(file, encoding="utf-8") as source:
        events = [json.dumps(event).encode() for event in json.load(source)]
    with runtime_api() as api:
        env = {**os.environ, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.port}", "LAMBDA_TASK_ROOT": task}
        start = time.perf_counter()
        argv = [sys.executable, "-m", "awslambdaric", "handler.handler"]
        with subprocess.Popen(argv, cwd=task, env=env, stdout=subprocess.DEVNULL) as client:
            first = api.invoke(events[0], seconds=300)
            took = time.perf_counter() - start
            if first.failed or api.init_error is not None:
                raise SystemExit((api.init_error or first.payload).decode())
            times = []
            for i in range(count):
                begun = time.perf_counter()
                api.invoke(events[i % len(events)], seconds=60)
                times.append(time.perf_counter() - begun)
            with open(f"/proc/{client.pid}/status", encoding="utf-8") as status:
                said = dict(line.split(":", 1) for line in status if ":" in line)
            client.kill()
    warm = sorted(times[len(times) // 10 :])
    print(json.dumps({
        "first_s": took, "warm_ms": statistics.median(warm) * 1e3, "p99_ms": warm[int(len(warm) * 0.99)] * 1e3,
        "resident_mb": int(said["VmRSS"].split()[0]) / 1024, "answer": json.loads(first.payload),
    }))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
