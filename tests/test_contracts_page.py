"""Every curl line in docs/serve/contracts.md is answered by a real server, predictions as the original's."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pytest
import served
from serving import process

PAGE = Path(__file__).parents[1] / "docs" / "serve" / "contracts.md"
LINES = re.findall(r"`(curl [^`]+)`", PAGE.read_text(encoding="utf-8"))
MODEL = served.fitted()
ROWS = served.rows(7, seed=3)
ROUTES = {"AIP_PREDICT_ROUTE": "/v1/endpoints/1/deployedModels/2:predict", "AIP_HEALTH_ROUTE": "/health-of-vertex"}
ONE = {"age": 3, "rooms": 2, "plan": "gold", "owner": True, "home city": "Oslo"}
"""The row that the line for GET /score has in its URL."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the page names."""
    made = tmp_path_factory.mktemp("page")
    (made / "row.json").write_text(json.dumps(ROWS[0]))
    (made / "rows.json").write_text(json.dumps(ROWS))
    (made / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    (made / "columns.json").write_text(json.dumps(columns))
    for name, header in (("rows.csv", True), ("headerless.csv", False)):
        sink = io.StringIO()
        table = csv.DictWriter(sink, list(ROWS[0]))
        if header:
            table.writeheader()
        table.writerows([{k: str(v).lower() if v in (True, False) else v for k, v in row.items()} for row in ROWS])
        (made / name).write_text(sink.getvalue(), encoding="utf-8")
    table = pa.table(columns)
    with pa.ipc.new_stream(str(made / "rows.arrows"), table.schema) as stream:
        stream.write_table(table)
    return made


@pytest.fixture(scope="module")
def urls(folder: Path) -> Iterator[dict[str, str]]:
    """A server as it is, with Vertex's variables, and one with SageMaker's multi-model API."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for name, value in ROUTES.items():
            patch.setenv(name, value)
        plain = stack.enter_context(process(served.bundle(folder / "homes", MODEL), grpc=False))
        served.bundle(folder / "a", MODEL, name="a")
        many = stack.enter_context(process(folder / "homes", "--contract", "sagemaker", grpc=False))
        yield {"plain": plain.url, "many": many.url}


def test_every_line_is_answered(folder: Path, urls: dict[str, str]) -> None:
    """In the order of the page: a model is loaded before it is asked, and asked before it is unloaded."""
    labels = [answer["prediction"] for answer in served.ask(MODEL, ROWS)]
    (alone,) = served.ask(MODEL, [ONE])
    assert len(LINES) == PAGE.read_text(encoding="utf-8").count("curl ") == 20
    for line in LINES:
        text = line.replace("NAME", "homes").replace("/opt/ml/models/a/model", str(folder / "a"))
        url = urls["many" if re.search(r"URL/models(/a)?\b", line) else "plain"]
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text.replace("curl ", "curl -sS --fail-with-body ", 1)],
            cwd=folder, capture_output=True, env={**os.environ, **ROUTES, "URL": url}, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if "rows." in line or "columns." in line or "headerless." in line:
            if "arrows" in line:
                told = pa.ipc.open_stream(done.stdout).read_all()["prediction"].to_pylist()
            else:  # labels that are no keys, in whatever form
                told = re.findall(r"\b(maybe|yes|no)\b(?!\":)", done.stdout.decode())
            assert told == labels, (line, done.stdout)
        elif "/score" in line:
            assert json.loads(done.stdout)["prediction"] == alone["prediction"]
