"""Install requirements.txt, which lies beside this file, into a folder, in the build stage: python3 install.py FOLDER

Wheels only, every hash compared, without what no prediction needs, compiled.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(folder: str) -> None:
    """The first program that fails ends it."""
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--no-compile", "--no-deps", "--require-hashes",
         "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--root-user-action=ignore",
         "--target", folder, "-r", str(HERE / "requirements.txt")],
        check=True,
    )  # fmt: skip
    whole = ["whole"] if (HERE / "requirements.txt").read_text().startswith("# whole") else []
    subprocess.run([sys.executable, str(HERE / "trim.py"), folder, *whole], check=True)
    # a few files of some packages are templates, which no compiler takes: it says so, and goes on
    subprocess.run([sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", folder])


if __name__ == "__main__":
    main(sys.argv[1])
