"""Images and containers, by the docker command line: build one, and hold a hardened container while it is needed."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from anyport.errors import AnyportError, Impossible, Missing, Offline
from anyport.kit.process import Held, popen, run

BUILD_SECONDS = 3600
"""The longest that a build may take: a framework over a slow line."""
START = "start it (systemctl start docker, or dockerd), or set DOCKER_HOST"
"""What the user does where no engine answers."""
HANDED_ON = (
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_CERT", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
"""Variables of this machine that say how a registry is reached; a build gets them by name, so that no secret is on
a command line."""
NO_NETWORK = re.compile(
    r"Temporary failure in name resolution|Failed to establish a new connection|Network is unreachable|"
    r"Connection (refused|reset)|Read timed out|CERTIFICATE_VERIFY_FAILED|Max retries exceeded",
)
NO_BASE = re.compile(
    r"manifest unknown|pull access denied|failed to resolve|error pulling image|registry-1|no such host"
)


@dataclass(frozen=True)
class Container:
    """A running container whose port is published on this machine's loopback."""

    name: str
    url: str
    held: Held


def engine_version() -> str:
    """The version of the Docker engine that answers here; Missing where there is none."""
    done = run(["docker", "version", "--format", "{{.Server.Version}}"], timeout=30)
    if done.code:
        raise Missing(
            f"no Docker engine answers here: {done.stderr.strip() or 'docker version said nothing'}",
            fix=START,
        )
    return done.stdout.decode().strip()


def build(context: Path, tag: str, arguments: Sequence[str] = ()) -> str:
    """Build a context under a tag; gives the image's id. `arguments` are more --build-arg NAME=VALUE.

    Raises Missing (no engine, no base image), Offline (a registry of packages out of reach), Impossible.
    """
    handed = [part for name in HANDED_ON if os.environ.get(name) for part in ("--build-arg", name)]
    handed += [part for argument in arguments for part in ("--build-arg", argument)]
    done = run(["docker", "build", "--force-rm", "--tag", tag, *handed, "."], cwd=context, timeout=BUILD_SECONDS)
    if done.code:
        raise why(f"{done.stdout[-8000:].decode('utf-8', 'replace')}\n{done.stderr}".strip(), tag)
    found = run(["docker", "image", "inspect", "--format", "{{.Id}}", tag], timeout=60).checked()
    return found.stdout.decode().strip()


def why(said: str, tag: str) -> AnyportError:
    """A failed build as the error that it is."""
    end = "\n".join(said.splitlines()[-15:])
    if NO_BASE.search(said):
        return Missing(
            f"the base image cannot be had: {end}", fix="choose one that is here or can be pulled: -O base=…"
        )
    if NO_NETWORK.search(said):
        return Offline(
            f"the packages of {tag} could not be fetched (which says nothing about them): {end}",
            fix="set PIP_INDEX_URL to an index within reach, or build with -O wheelhouse=DIR",
        )
    return Impossible(f"docker cannot build {tag}: {end}")


@contextmanager
def container(
    image: str,
    *,
    port: int,
    ready: Callable[[str], bool],
    memory: str,
    user: str = "",
    arguments: Sequence[str] = (),
    timeout: float = 120,
) -> Iterator[Container]:
    """A container of an image, from when `ready(url)` says so until the block ends; then it is removed.

    It has a read-only root, no capability, no way to gain any, at most `memory` and 256 processes.
    Failed with its last words if it ends before it is ready.
    """
    name = f"anyport-{secrets.token_hex(6)}"
    argv = [
        "docker", "run", "--rm", "--name", name, "--read-only", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--pids-limit", "256", "--memory", memory,
        *(("--user", user) if user else ()), "--publish", f"127.0.0.1::{port}", image, *arguments,
    ]  # fmt: skip
    where: list[str] = []

    def up(held: Held) -> bool:
        if not where:
            found = run(["docker", "port", name, str(port)], timeout=30)
            where.extend(f"http://{line}" for line in found.stdout.decode().split()[:1])
        return bool(where) and ready(where[0])

    try:
        with popen(argv, ready=up, timeout=timeout) as held:
            yield Container(name, where[0], held)
    finally:
        # where the client was killed before its container was
        run(["docker", "rm", "--force", "--volumes", name], timeout=60)
