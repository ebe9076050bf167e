"""A stand-in for Docker Hub's python:3.x-slim, made of Debian packages where no image can be pulled.

python tests/baseimage.py prints the name of the base for this Python, and makes it if it is not there. Needs root,
debootstrap and a running Docker engine.
"""

from __future__ import annotations

import fcntl
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SUITES = {"3.11": "bookworm", "3.13": "trixie"}
"""Python → the Debian release that brings it."""
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
NOT_NEEDED = (
    "var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man", "usr/share/info",
    "usr/share/locale",
)  # fmt: skip
"""What the official images leave out too; folders are emptied, because packages count on finding them."""
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
MINOR = ".".join(platform.python_version_tuple()[:2])


def base(python: str = MINOR) -> str:
    """The name of the image for a Python version; made now unless this engine has it."""
    name = f"anyport-base:{python}"
    with (Path(tempfile.gettempdir()) / f"anyport-base-{python}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes of pytest-xdist, one makes it
        if not there(name):
            make(name, SUITES[python])
    return name


def there(name: str) -> bool:
    """Whether the engine has an image."""
    return subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode == 0


def make(name: str, suite: str) -> None:
    """Unpack a minimal Debian with Python, and import it."""
    with tempfile.TemporaryDirectory(prefix="anyport-base-") as folder:
        root = Path(folder) / "root"
        said = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(root)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if said.returncode:
            raise SystemExit(f"debootstrap failed: {said.stdout[-2000:]}{said.stderr[-2000:]}")
        for part in NOT_NEEDED:
            shutil.rmtree(root / part, ignore_errors=True)
            (root / part).mkdir(parents=True)
        # what this machine trusts: behind a proxy that opens TLS, pip in a build could fetch nothing otherwise
        shutil.copyfile(Path("/") / CERTIFICATES, root / CERTIFICATES)
        (root / "usr/bin/python").symlink_to("python3")
        tar = Path(folder) / "root.tar"
        subprocess.run(["tar", "-C", root, "--one-file-system", "-cf", tar, "."], check=True)
        subprocess.run(["docker", "import", "-c", 'CMD ["python3"]', tar, name], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    print(base(*sys.argv[1:2]))
