"""One event through Amazon's runtime client, as moto wants it of an image: HANDLER EVENT → last line: the answer."""

from __future__ import annotations

import os
import subprocess
import sys

sys.path.insert(0, "/opt")

from runtime_api import runtime_api


def main(handler: str, event: str) -> int:
    """Ask the function that lies in /var/task."""
    with runtime_api() as api:
        env = {**os.environ, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.port}"}
        with subprocess.Popen([sys.executable, "-m", "awslambdaric", handler], cwd="/var/task", env=env) as client:
            try:
                api.began.wait(60)
                if api.init_error is not None:
                    print(api.init_error.decode())
                    return 1
                found = api.invoke(event.encode(), seconds=60)
                print(found.payload.decode(), flush=True)
                return int(found.failed)
            finally:
                client.kill()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
