"""The examples in docs/serve/operations.md do what they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import served
from controlled import KEY, ORIGINALS, ROWS, server

PAGE = Path(__file__).parents[1] / "docs" / "serve" / "operations.md"
EXAMPLE = re.compile(r"^<!-- example -->\n```sh\n(.*?)^```\n(?:<!-- shows: (.*?) -->\n)?", re.S | re.M)


def test_every_example_on_the_page_does_what_it_says(tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        served.bundle(tmp_path / f"homes-{version}.anyport", ORIGINALS[version], version=version)
    (tmp_path / "row.json").write_text(json.dumps(ROWS[0]))
    (define, nothing), *examples = EXAMPLE.findall(PAGE.read_text(encoding="utf-8"))
    assert not nothing
    assert len(examples) == 6
    with server(tmp_path / "server", tmp_path / "homes-1.anyport", "--workers", "2", cwd=tmp_path) as running:
        for example, shows in examples:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", define + example], cwd=tmp_path, text=True, capture_output=True,
                env={**os.environ, "URL": running.url, "KEY": KEY}, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, example + done.stdout + done.stderr
            assert shows
            assert shows in done.stdout, example + done.stdout
