"""Install what the locks beside this file name, in the build stage of an image: python install.py FOLDER

FOLDER/server holds the packages of requirements.txt; FOLDER/environments/HASH is an environment of its own for each
*.lock, by the start of the lock's sha256, where anyport finds it. Wheels only, every hash compared. The standard
library and pip are all it takes.
"""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PIP = (
    sys.executable, "-m", "pip", "install", "--no-cache-dir", "--no-compile", "--no-deps", "--require-hashes",
    "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--root-user-action=ignore",
    "--find-links", str(HERE),
)  # fmt: skip
COMPILE = (sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")


def main(folder: Path) -> None:
    """Everything; the first program that fails ends it."""
    server = folder / "server"
    subprocess.run([*PIP, "--target", str(server), "-r", str(HERE / "requirements.txt")], check=True)
    subprocess.run([sys.executable, str(HERE / "trim.py"), str(server)], check=True)
    for lock in sorted(HERE.glob("*.lock")):
        home = folder / "environments" / hashlib.sha256(lock.read_bytes()).hexdigest()[:24]
        venv.EnvBuilder(symlinks=True, with_pip=False).create(home)
        site = next(home.glob("lib/python*/site-packages"))
        subprocess.run([*PIP, "--target", str(site), "-r", str(lock)], check=True)
    # a few files of some packages are templates, which no compiler takes: it says so, and goes on
    subprocess.run([*COMPILE, str(folder)], check=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
