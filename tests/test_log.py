"""The prediction log: what the Parquet files hold is what was asked and what the original answers; no answer waits."""

from __future__ import annotations

import ast
import json
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import served
from controlled import ORIGINALS, server
from controlled import ROWS as OTHERS
from controlled import who as versions_that_answer
from test_serve import ANSWERS, MODEL, ROWS, Up, same, up

from anyport import bundle, codec
from anyport.batch import Column, Outcome
from anyport.bundle import Manifest, Tolerance
from anyport.serve import parquet, record
from anyport.serve.hot import Tick
from anyport.serve.metrics import Metrics
from anyport.serve.model import Served
from anyport.serve.record import Copy, Record
from anyport.serve.settings import Settings
from anyport.signature import Field, Signature

SRC = Path(__file__).resolve().parents[1] / "src"
NAMES = tuple(ROWS[0])


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.bundle(tmp_path_factory.mktemp("log") / "homes", MODEL, version="1/β")


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def read(folder: Path) -> list[dict[str, Any]]:
    """Every row of every finished file."""
    return [row for path in files(folder) for row in pq.read_table(path).to_pylist()]


def asked(row: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a logged row."""
    return {name: row[name] for name in NAMES}


def answer(row: dict[str, Any]) -> dict[str, Any]:
    """The outputs of a logged row, in the form of an answer."""
    return {
        "prediction": row["prediction"],
        "probability": {label: row[f"probability_{i}"] for i, label in enumerate(served.LABELS)},
    }


def right(logged: list[dict[str, Any]], rows: list[dict[str, Any]]) -> bool:
    """Whether these rows, each once, were logged with the original's answers."""
    expected = sorted(map(json.dumps, rows))
    answers = served.ask(MODEL, [asked(row) for row in logged])
    return sorted(json.dumps(asked(row)) for row in logged) == expected and all(
        same(answer(row), said) for row, said in zip(logged, answers, strict=True)
    )


def counted(running: Up) -> tuple[int, int]:
    """Rows that the metrics say were logged, and dropped."""
    text = running.ask(None, "/metrics", method="GET")[2]
    lines = [line for line in text.splitlines() if line.startswith("anyport_log")]
    found = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines}
    return int(found["anyport_logged_rows_total"]), int(found["anyport_log_dropped_rows_total"])


def settled(running: Up, rows: int) -> None:
    """Wait until so many rows are in finished files, or dropped."""
    end = time.monotonic() + 20
    while sum(counted(running)) < rows:
        assert time.monotonic() < end, counted(running)
        time.sleep(0.02)


def test_rows_and_answers_are_in_the_log_as_the_original_gave_them(homes: Path, tmp_path: Path) -> None:
    before = time.time()
    with up(homes, log_dir=tmp_path / "new" / "log") as running:
        assert running.ask(ROWS[0])[0] == 200
        assert running.ask(ROWS[1:5])[0] == 200
        assert running.ask(ROWS[5:60])[0] == 200  # not the hot path
        assert running.ask({"columns": {name: [row[name] for row in ROWS[60:70]] for name in NAMES}})[0] == 200
        assert running.ask({"age": 1})[0] == 422
        mixed = [ROWS[70], ROWS[71] | {"plan": "none of them"}, ROWS[72]]
        assert running.ask(mixed)[0] == 422
        assert running.ask(mixed, "/predict?partial=true")[0] == 200
        assert running.ask([])[0] == 200
    logged = read(tmp_path / "new" / "log")
    assert right(logged, [*ROWS[:70], ROWS[70], ROWS[72]])
    assert all(before <= row["time"].timestamp() <= time.time() for row in logged)
    assert {(row["model"], row["version"]) for row in logged} == {("homes", "1/β")}
    assert sorted(Counter(row["request_id"] for row in logged).values()) == [1, 2, 4, 10, 55]


def test_files_say_what_they_hold(homes: Path, tmp_path: Path) -> None:
    with up(homes, log_dir=tmp_path) as running:
        running.ask(ROWS[0])
        assert not files(tmp_path), "a file has its name before it is whole"
    (path,) = files(tmp_path)
    assert [*tmp_path.iterdir()] == [path]
    name, version, start, pid, number = path.stem.split("-")
    assert (name, version, int(pid), number) == ("homes", "1%2F%CE%B2", os.getpid(), "0")
    assert abs(datetime.strptime(start, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp() - time.time()) < 60
    schema = pq.read_schema(path)
    assert schema.metadata[b"anyport.digest"].decode() == bundle.read(homes).digest
    assert schema.names == [
        "time",
        "request_id",
        "model",
        "version",
        *NAMES,
        "prediction",
        *(f"probability_{i}" for i in range(3)),
    ]
    assert schema.field("time").type == pa.timestamp("us", "UTC")
    assert schema.field("rooms").type == pa.int64()
    assert schema.field("owner").type == pa.bool_()
    assert json.loads(schema.field("probability_2").metadata[b"label"]) == "yes"
    assert schema.field("age").metadata[b"side"] == b"input"


CSV = ",".join(f'"{name}"' for name in NAMES) + "\n33.5,4,Oslo,gold,true\n1,2,,basic,false\n"
FULL = [row | {"age": 33.5, "home city": "Oslo"} for row in ROWS[:2]]
TENSORS = [
    {"name": name, "shape": [2], "datatype": kind, "data": [row[name] for row in FULL]}
    for name, kind in zip(NAMES, ("FP64", "INT64", "BYTES", "BYTES", "BOOL"), strict=True)
]
HELD = [dict(zip(NAMES, row, strict=True)) for row in ((33.5, 4, "Oslo", "gold", True), (1.0, 2, None, "basic", False))]
CONTRACTS: list[tuple[str, dict[str, str], Any, list[dict[str, Any]]]] = [
    ("/models/homes/predict", {}, ROWS[:2], ROWS[:2]),
    ("/predict", {"Content_Type": "text/csv"}, CSV.encode(), HELD),
    ("/predict", {"Content_Type": "application/x-ndjson"}, "\n".join(map(json.dumps, ROWS[:2])).encode(), ROWS[:2]),
    ("/v1/models/homes:predict", {}, {"instances": ROWS[:2]}, ROWS[:2]),
    ("/invocations", {}, {"dataframe_records": ROWS[:2]}, ROWS[:2]),
    ("/v2/models/homes/infer", {}, {"inputs": TENSORS}, FULL),
]


@pytest.mark.parametrize(("path", "headers", "body", "meant"), CONTRACTS)
def test_every_contract_is_logged(
    homes: Path, tmp_path: Path, path: str, headers: dict[str, str], body: Any, meant: list[dict[str, Any]]
) -> None:
    with up(homes, log_dir=tmp_path) as running:
        status, _, said = running.raw(body, path, X_Request_ID="the-caller's", **headers)
        assert status == 200, said
    logged = read(tmp_path)
    assert [asked(row) for row in logged] == meant
    assert right(logged, meant)
    assert {row["request_id"] for row in logged} == {"the-caller's"}


def test_a_request_has_one_id_in_all_logs(homes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with up(homes, log_dir=tmp_path, access_log=True, log_format="json") as running:
        for row in ROWS[:5]:
            running.ask(row)
        running.ask(ROWS[:40])
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    ids = {line["id"]: line["rows"] for line in lines if line.get("rows")}
    assert len(ids) == 6
    assert Counter(row["request_id"] for row in read(tmp_path)) == ids


def test_python_models_and_long_bodies_are_logged(homes: Path, tmp_path: Path) -> None:
    long = ROWS * 4
    with up(homes, log_dir=tmp_path) as running:
        model = running.app.site.models[0]
        assert running.ask(long)[0] == 200  # in a thread
        model.off = True  # as a Python model is answered: several requests in one run
        with ThreadPoolExecutor(8) as pool:
            found = [*pool.map(lambda row: running.ask([row] * 40)[0], ROWS[:16])]
        assert found == [200] * 16
    logged = read(tmp_path)
    assert right(logged, long + [row for row in ROWS[:16] for _ in range(40)])
    assert sorted(Counter(row["request_id"] for row in logged).values()) == [40] * 16 + [len(long)]


def test_there_is_nothing_between_a_row_and_its_tick_where_nothing_is_logged(homes: Path, tmp_path: Path) -> None:
    with up(homes) as running:
        assert all(type(way) is Tick for way in running.app.ticks.values())
        assert running.ask(ROWS[0])[0] == 200
        assert counted(running) == (0, 0)


# the parts, with a clock and chances of our own


class Kept:
    """A log without a thread."""

    def __init__(self, folder: Path, homes: Path, *, seed: int = 0, **options: Any) -> None:
        self.now = 1_785_000_000.0
        read = bundle.read(homes)
        self.model = Served(read, Metrics([(read.name, read.version)], 1).slot(0, 0))
        self.record = Record(
            Settings(log_dir=folder, **options), clock=lambda: self.now, draw=random.Random(seed).random
        )

    def offer(self, rows: list[dict[str, Any]], id: str = "") -> None:
        """As the hot path does."""
        body = json.dumps(rows if len(rows) > 1 else rows[0]).encode()
        answers = [ANSWERS[ROWS.index(row)] for row in rows]
        said = json.dumps(answers if len(rows) > 1 else answers[0]).encode()
        self.record.offer(Copy(self.model, self.now, id, len(rows), len(body), body, said))

    def counts(self) -> tuple[float, float]:
        from anyport.serve.metrics import total

        sums = total([self.model.slot])
        return sums.logged, sums.dropped


@pytest.fixture
def kept(homes: Path, tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "log", homes, log_rows=10, log_seconds=60)
    yield made
    made.model.close()


def test_a_file_ends_with_its_rows(kept: Kept, tmp_path: Path) -> None:
    for at in range(0, 24, 3):
        kept.offer(ROWS[at : at + 3])
    kept.record.step()
    assert [pq.read_metadata(path).num_rows for path in files(tmp_path / "log")] == [10, 10]
    assert kept.counts() == (20, 0)
    kept.record.close()
    assert [pq.read_metadata(path).num_rows for path in files(tmp_path / "log")] == [10, 10, 4]
    assert [row["rooms"] for row in read(tmp_path / "log")] == [row["rooms"] for row in ROWS[:24]]
    assert kept.counts() == (24, 0)


def test_a_file_ends_with_its_time(kept: Kept, tmp_path: Path) -> None:
    kept.offer(ROWS[:1])
    kept.record.step()
    kept.now += 59.9
    kept.offer(ROWS[1:2])
    kept.record.step()
    assert not files(tmp_path / "log")
    kept.now += 0.1
    kept.record.step()
    (path,) = files(tmp_path / "log")
    assert [row["time"].timestamp() - 1_785_000_000 for row in read(path.parent)] == [0, pytest.approx(59.9)]
    kept.now += 1000
    kept.record.step()
    assert files(tmp_path / "log") == [path], "a file without rows"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_sample_has_its_share_of_requests(homes: Path, tmp_path: Path, share: float) -> None:
    kept = Kept(tmp_path, homes, seed=4, log_sample=share)
    n = 4000
    taken = sum(kept.record.wanted() for _ in range(n))
    assert abs(taken - n * share) <= 4 * (n * share * (1 - share)) ** 0.5


def test_requests_are_drawn_whole_on_every_path(homes: Path, tmp_path: Path) -> None:
    with up(homes, log_dir=tmp_path, log_sample=0.5) as running:
        kept = running.app.site.record
        assert kept is not None
        kept.draw = random.Random(7).random
        for at in range(60):
            assert running.ask([ROWS[at], ROWS[at + 1]])[0] == 200
            assert running.ask([ROWS[at]] * 33)[0] == 200
    again = random.Random(7)
    drawn = [again.random() < 0.5 for _ in range(120)]
    found = Counter(Counter(row["request_id"] for row in read(tmp_path)).values())
    assert found == {2: sum(drawn[::2]), 33: sum(drawn[1::2])}


def test_a_full_queue_drops_and_counts(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "WAITING", 10)
    for at in range(0, 20, 2):
        kept.offer(ROWS[at : at + 2])
    assert kept.counts() == (0, 10)
    kept.record.step()
    kept.offer(ROWS[20:40])  # longer than the queue, but nothing else waits
    kept.offer(ROWS[:1])
    kept.record.close()
    assert [row["rooms"] for row in read(tmp_path / "log")] == [row["rooms"] for row in ROWS[:10] + ROWS[20:40]]
    assert kept.counts() == (30, 11)
    kept.offer(ROWS[:1])
    assert kept.counts() == (30, 12), "what comes after the end is not written, and said to be"


def test_large_bodies_fill_the_queue_too(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "WAITING_BYTES", 300)
    for row in ROWS[:10]:
        kept.offer([row])
    logged = 10 - kept.counts()[1]
    assert 0 < logged * len(json.dumps(ROWS[0])) < 450
    kept.record.close()
    assert kept.counts() == (logged, 10 - logged)


def test_one_copy_that_cannot_be_read_spoils_no_other(
    kept: Kept, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept.offer(ROWS[:1])
    kept.record.offer(Copy(kept.model, kept.now, "", 1, 5, b'{"age": 1}', b"{}"))
    kept.offer(ROWS[1:2])
    with caplog.at_level(logging.ERROR, "anyport.serve"):
        kept.record.close()
    assert [row["rooms"] for row in read(tmp_path / "log")] == [row["rooms"] for row in ROWS[:2]]
    assert kept.counts() == (2, 1)
    assert len(caplog.records) == 1


def test_a_folder_that_cannot_be_written_is_complained_of_once_a_minute(
    homes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    kept = Kept(tmp_path / "file" / "log", homes)
    with caplog.at_level(logging.ERROR, "anyport.serve"):
        for second in range(0, 121, 5):
            kept.now = 1_785_000_000.0 + second
            kept.offer(ROWS[:2])
            kept.record.step()
    assert [r.getMessage().count(str(tmp_path / "file" / "log")) for r in caplog.records] == [2, 2, 2]
    assert kept.counts() == (0, 50)
    (tmp_path / "file").unlink()
    kept.now += 5
    kept.offer(ROWS[2:3])
    kept.record.close()
    assert kept.counts() == (1, 50)
    assert right(read(tmp_path / "file" / "log"), ROWS[2:3])


def test_serving_goes_on_where_nothing_can_be_logged(homes: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with up(homes, log_dir=tmp_path / "file" / "log") as running:
        for row in ROWS[:20]:
            assert running.ask(row)[0] == 200
        settled(running, 20)
        assert counted(running) == (0, 20)


def test_a_name_that_is_taken_is_left_to_whoever_has_it(kept: Kept, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    stem = f"homes-1%2F%CE%B2-{datetime.fromtimestamp(kept.now, UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}"
    (folder / f"{stem}-0.parquet").write_bytes(b"another's")
    (folder / f"{stem}-1{parquet.PARTIAL}").write_bytes(b"another's too")
    kept.offer(ROWS[:1])
    kept.record.close()
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{stem}-0.parquet", f"{stem}-1{parquet.PARTIAL}", f"{stem}-2.parquet",
    ]  # fmt: skip
    assert (folder / f"{stem}-0.parquet").read_bytes() == b"another's"


def test_any_columns_have_names_and_missing_values_are_null(tmp_path: Path) -> None:
    signature = Signature(
        inputs=(
            Field(name="time", dtype="datetime", tz="Europe/Berlin", nullable=True),
            Field(name="prediction", dtype="float32", nullable=True),
            Field(name="size", dtype="category", levels=(1, 2, 3), nullable=True),
            Field(name="pixels", dtype="float32", shape=(2,)),
            Field(name="words", dtype="int64", shape=(None,)),
            Field(name="n", dtype="uint8", nullable=True),
        ),
        outputs=(Field(name="prediction", dtype="float64"),),
    )  # fmt: skip
    manifest = Manifest(
        protocol=1, name="m", framework="x", form="graph", signature=signature, tolerance=Tolerance(), files={}
    )  # fmt: skip
    made = parquet.Layout(bundle.Bundle(tmp_path, manifest, "d" * 64), "m")
    assert made.schema.names == [
        "time", "request_id", "model", "version", "input.time", "prediction", "size", "pixels_0", "pixels_1", "words",
        "n", "output.prediction",
    ]  # fmt: skip
    body = [
        {"time": "2026-03-01T12:00:00+01:00", "prediction": 1.5, "size": 2, "pixels": [1, 2], "words": [1, 2], "n": 7},
        {"time": None, "prediction": None, "size": None, "pixels": [3, 4], "words": [5, 6], "n": None},
    ]
    batch = codec.decode(json.dumps(body).encode(), signature)
    assert not batch.refused
    outcome = Outcome({"prediction": Column(np.array([0.5, np.nan]))}, {})
    file = parquet.File(tmp_path / "out", made, 0.0, 0)
    file.add(made.batch(batch.batch, outcome, [1.5, 2.5], ["a", "b"]))
    file.finish()
    first, second = read(tmp_path / "out")
    assert first == {
        "time": datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC), "request_id": "a", "model": "m", "version": "d" * 12,
        "input.time": datetime(2026, 3, 1, 11, tzinfo=UTC), "prediction": 1.5, "size": 2, "pixels_0": 1.0,
        "pixels_1": 2.0, "words": [1, 2], "n": 7, "output.prediction": 0.5,
    }  # fmt: skip
    assert [second[name] for name in ("input.time", "prediction", "size", "n")] == [None] * 4
    assert np.isnan(second["output.prediction"]), "the model did answer"


def test_only_the_columns_that_are_wanted_are_kept(homes: Path, tmp_path: Path) -> None:
    with up(homes, log_dir=tmp_path, log_columns=("rooms", "plan")) as running:
        running.ask(ROWS[0])
        running.ask(ROWS[:40])
    logged = read(tmp_path)
    assert [*logged[0]][4:-4] == ["rooms", "plan"]
    assert [(row["rooms"], row["plan"]) for row in logged] == [(r["rooms"], r["plan"]) for r in ROWS[:1] + ROWS[:40]]


# the server's own process


def launch(*argv: str | Path, limit: int = 0, code: str = "") -> subprocess.Popen[str]:
    """`python -m anyport.serve`; with a `limit`, no file of its can grow beyond so many bytes."""

    def limited() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    start = ["-m", "anyport.serve"] if not code else ["-c", code]
    return subprocess.Popen(
        [sys.executable, *start, *map(str, argv), "--port", "0", "--json"], text=True, preexec_fn=limited,
        env={**os.environ, "PYTHONPATH": str(SRC)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def posted(url: str, body: Any) -> int:
    import urllib.request

    data = json.dumps(body).encode()
    asked = urllib.request.Request(f"{url}/predict", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=20) as reply:
        return int(reply.status)


def test_sigterm_leaves_whole_files_of_every_worker(homes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    left = folder / f"homes-1-20260101T000000Z-{dead}-0{parquet.PARTIAL}"
    ours = folder / f"homes-1-20260101T000000Z-{os.getpid()}-0{parquet.PARTIAL}"
    left.write_bytes(b"PAR1")
    ours.write_bytes(b"PAR1")
    with launch(homes, "--workers", "2", "--log-dir", folder) as child:
        assert child.stdout is not None
        try:
            url = json.loads(child.stdout.readline())["url"]
            with ThreadPoolExecutor(8) as pool:
                assert set(pool.map(lambda at: posted(url, ROWS[at]), range(100))) == {200}
            assert not files(folder)
            child.send_signal(signal.SIGTERM)
            _, errors = child.communicate(timeout=30)
        finally:
            child.kill()
    assert child.returncode == 0, errors
    assert "dropped" not in errors, errors
    assert len(read(folder)) == 100, errors + str([*folder.iterdir()])
    assert right(read(folder), ROWS[:100])
    pids = {path.stem.split("-")[3] for path in files(folder)}
    assert len(pids) == 2, "one worker answered all; ask more"
    assert sorted(folder.glob(f"*{parquet.PARTIAL}")) == sorted([left, ours])
    (told,) = [line for line in errors.splitlines() if "unfinished" in line]
    assert "1 unfinished" in told
    assert left.name in told


def test_a_full_disk_stops_the_log_and_not_the_server(homes: Path, tmp_path: Path) -> None:
    with launch(homes, "--log-dir", tmp_path, limit=100) as child:
        assert child.stdout is not None
        try:
            url = json.loads(child.stdout.readline())["url"]
            assert {posted(url, row) for row in ROWS[:30]} == {200}
            child.send_signal(signal.SIGTERM)
            _, errors = child.communicate(timeout=30)
        finally:
            child.kill()
    assert child.returncode == 0, errors
    assert not [*tmp_path.iterdir()]
    assert "30 rows of homes 1/β are dropped" in errors
    assert "Traceback" not in errors


def test_without_pyarrow_the_server_says_what_to_install(homes: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from anyport.serve.__main__ import main; sys.exit(main())"
    with launch(homes, "--log-dir", tmp_path, code=code) as child:
        out, errors = child.communicate(timeout=30)
    assert (child.returncode, out) == (3, "")
    assert "pip install 'anyport[arrow]'" in errors


def test_a_new_plan_finishes_files_and_its_own_versions_are_logged(tmp_path: Path) -> None:
    for version in ("1", "2"):
        served.bundle(tmp_path / f"homes-{version}.anyport", ORIGINALS[version], version=version)
    folder, place = tmp_path / "log", tmp_path / "homes-1.anyport"
    with server(tmp_path / "server", place, "--workers", "2", "--log-dir", folder) as running:
        for row in OTHERS[:20]:
            assert running.ask("POST", "/predict", row)[0] == 200
        place.rename(tmp_path / "old")
        (tmp_path / "homes-2.anyport").rename(place)
        assert running.admin("POST", "reload")[0] == 200
        end = time.monotonic() + 20
        while sum(pq.read_metadata(path).num_rows for path in files(folder)) < 20:
            assert time.monotonic() < end, "files of the old plan are not finished"
            time.sleep(0.05)
        for row in OTHERS[20:40]:
            assert running.ask("POST", "/predict", row)[0] == 200
    logged = read(folder)
    assert Counter(row["version"] for row in logged) == {"1": 20, "2": 20}
    for row in logged:
        at = OTHERS.index(asked(row))
        assert versions_that_answer([answer(row)], [at]) == [row["version"]]
        assert (at < 20) == (row["version"] == "1")


def test_the_example_in_the_documentation_reads_the_log(homes: Path, tmp_path: Path) -> None:
    with up(homes, log_dir=tmp_path / "predictions") as running:
        assert running.ask(ROWS[:60])[0] == 200
    page = (SRC.parent / "docs" / "serve" / "watching.md").read_text(encoding="utf-8")
    example = page.split("<!-- example: log -->\n```python\n")[1].split("```")[0]
    argv = [sys.executable, "-c", example]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    groups = {one["prediction"]: one["time_count"] for one in ast.literal_eval(done.stdout)}
    assert groups == Counter(said["prediction"] for said in ANSWERS[:60])
