"""Exit 0 if the server of this image is ready, else 1: Docker's health check, in Python, as there may be no shell."""

import http.client
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""An address that means all of this machine's → one of them."""


def said(option: str, default: str) -> str:
    """A setting as the server got it: by an option of process 1, by its variable, or not at all."""
    with open("/proc/1/cmdline", "rb") as file:
        argv = file.read().decode("utf-8", "replace").split("\0")
    for i, word in enumerate(argv):
        if word == f"--{option}":
            return argv[i + 1]
        if word.startswith(f"--{option}="):
            return word.partition("=")[2]
    return os.environ.get(f"ANYPORT_{option.upper().replace('-', '_')}") or default


def ready() -> bool:
    """Whether GET /readyz is answered with 200."""
    from serve import port  # type: ignore[import-not-found]  # it lies beside this file in the image

    host, number = said("host", "127.0.0.1"), int(said("port", port()))
    host = EVERY.get(host, host)
    connection = http.client.HTTPConnection(host, number, timeout=2)
    if said("tls-cert", ""):
        import ssl

        # nobody is told anything over this connection, which never leaves the container
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(host, number, timeout=2, context=context)
    connection.request("GET", "/readyz")
    return connection.getresponse().status == 200


if __name__ == "__main__":
    try:
        sys.exit(0 if ready() else 1)
    except OSError as error:
        print(f"not ready: {error}", file=sys.stderr)
        sys.exit(1)
