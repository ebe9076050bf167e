"""Metrics: what Prometheus' own parser reads is what happened, in all workers; and the recent past in GET /stats."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import served
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families
from test_serve import ANSWERS, MODEL, ROWS, Up, process, up

from anyport import bundle, predictor
from anyport.serve import exposition, keys, series
from anyport.serve.metrics import CODES, SECONDS, STAGES, Metrics, total
from anyport.serve.model import Served
from anyport.serve.series import Recorder
from anyport.serve.site import Site


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.bundle(tmp_path_factory.mktemp("metrics") / "homes", MODEL)


@pytest.fixture
def live(homes: Path) -> Iterator[Up]:
    with up(homes, watch_rows=100_000) as running:
        yield running


Found = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str, parse: Callable[[str], Any] = families) -> Found:
    """Samples by name and labels, without the model's own."""
    found = {}
    for family in parse(text):
        for sample in family.samples:
            labels = frozenset((k, v) for k, v in sample.labels.items() if k not in ("model", "version"))
            assert (sample.name, labels) not in found, "a sample is there twice"
            found[sample.name, labels] = sample.value
    return found


def metrics(running: Up) -> Found:
    return read(running.ask(None, "/metrics", method="GET")[2])


def value(found: Found, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_prometheus_reads_what_happened(live: Up) -> None:
    for row in ROWS[:20]:
        assert live.ask(row)[0] == 200
    assert live.ask(ROWS[:50])[0] == 200  # not the hot path
    assert live.ask({"columns": {name: [r[name] for r in ROWS[:30]] for name in ROWS[0]}})[0] == 200
    assert live.ask({"age": 1})[0] == 422
    assert live.ask(b"{")[0] == 400
    assert live.ask(None, "/nowhere", method="GET")[0] == 404
    found = metrics(live)
    assert value(found, "anyport_requests_total", code="200") == 22
    assert value(found, "anyport_requests_total", code="422") == 1
    assert value(found, "anyport_errors_total", kind="BadData") == 1
    assert value(found, "anyport_errors_total", kind="BadBody") == 1
    assert value(found, "anyport_other_requests_total", code="404") == 1
    assert value(found, "anyport_other_errors_total", kind="NotFound") == 1
    assert value(found, "anyport_request_seconds_count") == 24
    assert value(found, "anyport_run_rows_sum") == 100
    assert value(found, "anyport_run_rows_count") == 22
    assert value(found, "anyport_refused_rows_total") == 1
    assert value(found, "anyport_in_flight") == 0
    for stage in STAGES:
        assert value(found, "anyport_stage_seconds_count", stage=stage) == 22
    spent = sum(value(found, "anyport_stage_seconds_sum", stage=stage) for stage in STAGES)
    assert 0 < spent <= value(found, "anyport_request_seconds_sum")
    assert value(found, "anyport_model_ready") == 1


def test_predictions_are_counted_as_they_were_answered_on_every_path(live: Up) -> None:
    for row in ROWS[:20]:
        live.ask(row)
    live.ask(ROWS[20:40])
    live.ask(ROWS[40:90])
    live.ask({"columns": {name: [r[name] for r in ROWS[90:]] for name in ROWS[0]}})
    found = metrics(live)
    expected = Counter(answer["prediction"] for answer in ANSWERS)
    for label in served.LABELS:
        assert value(found, "anyport_predictions_total", output="prediction", label=label) == expected[label]
    assert value(found, "anyport_drift_rows", side="input", column="age") == len(ROWS)


def test_no_more_rows_are_kept_than_there_is_room_for(homes: Path) -> None:
    with up(homes, watch_rows=10) as running:
        watch = running.app.site.models[0].watch
        watch.lock.acquire()  # no tick while we ask: one second, however long it takes
        try:
            for at in range(0, 120, 4):
                assert running.ask(ROWS[at : at + 4])[0] == 200
            assert running.ask(ROWS[:60])[0] == 200
            assert [len(answers) for _, answers, _ in watch.taken] == [4, 4, 4]
            assert not watch.batches
        finally:
            watch.lock.release()
        running.ask(ROWS[:60])
    with up(homes, watch_rows=0) as running:
        running.ask(ROWS[0])
        running.ask(ROWS[:60])
        found = metrics(running)
        assert value(found, "anyport_run_rows_sum") == 61
        assert value(found, "anyport_predictions_total", output="prediction", label="yes") == 0
        assert value(found, "anyport_stage_seconds_count", stage="run") == 0


def test_open_metrics_is_given_to_who_asks_for_it(live: Up) -> None:
    live.ask(ROWS[0])
    headers, text = live.ask(None, "/metrics", method="GET", Accept="application/openmetrics-text; version=1.0.0")[1:]
    assert headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    found = read(text, open_families)
    assert value(found, "anyport_requests_total", code="200") == 1
    headers = live.ask(None, "/metrics", method="GET", Accept="text/plain")[1]
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_labels_may_hold_anything(tmp_path: Path) -> None:
    version = 'v 2/"β"\\n\n'
    folder = served.bundle(tmp_path / "odd", MODEL, version=version)
    model = Served(bundle.read(folder), Metrics([("homes", version)], 1).slot(0, 0))
    site = Site([model], Metrics([("homes", version)], 1))
    for parse, open_metrics in ((families, False), (open_families, True)):
        said = [
            sample.labels["version"]
            for family in parse(exposition.text(site, open_metrics=open_metrics))
            for sample in family.samples
            if sample.name == "anyport_model_info"
        ]
        assert said == [version]
    model.close()


def test_buckets_are_cumulated_and_end_with_all(live: Up) -> None:
    for row in ROWS[:30]:
        live.ask(row)
    buckets = [
        (float(sample.labels["le"]), sample.value)
        for family in families(live.ask(None, "/metrics", method="GET")[2])
        for sample in family.samples
        if sample.name == "anyport_request_seconds_bucket"
    ]
    assert [bound for bound, _ in buckets] == [*SECONDS, float("inf")]
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert counts[-1] == 30


def test_an_unknown_status_or_problem_is_counted_as_other() -> None:
    made = Metrics([("m", "1")], 1)
    slot = made.slot(0, 0)
    slot.request(418, 0.1, "Teapot")
    sums = total([slot])
    assert sums.codes == {CODES[-1]: 1}
    assert sums.kinds == {"Other": 1}
    assert sum(sums.seconds) == 1


def test_a_worker_that_starts_again_keeps_the_counts_and_forgets_what_was_under_way() -> None:
    made = Metrics([("m", "1")], 2)
    slot = made.slot(0, 1)
    slot.request(200, 0.1)
    slot.opened(3)
    slot.queued(2)
    again = made.slot(0, 1)
    again.begin()
    sums = total(made.slots(0))
    assert (sums.open, sums.queued, sums.codes) == (0, 0, {200: 1})


def test_what_is_under_way_is_told(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, begun = threading.Event(), threading.Event()
    usual = predictor.GraphPredictor.predict

    def slow(self: predictor.GraphPredictor, inputs: Any) -> Any:
        if go.is_set() or len(inputs["age"]) != 40:
            return usual(self, inputs)
        begun.set()
        assert go.wait(20)
        return usual(self, inputs)

    monkeypatch.setattr(predictor.GraphPredictor, "predict", slow)
    with up(homes) as running:
        running.app.site.models[0].off = True
        asking = threading.Thread(target=running.ask, args=(ROWS[:40],))
        asking.start()
        assert begun.wait(20)
        waiting = threading.Thread(target=running.ask, args=(ROWS[:50],))
        waiting.start()
        until = time.monotonic() + 10
        while value(found := metrics(running), "anyport_in_flight") < 2 or value(found, "anyport_queue_requests") < 1:
            assert time.monotonic() < until, found
        go.set()
        asking.join()
        waiting.join()
        assert value(metrics(running), "anyport_in_flight") == 0
        stage = {"stage": "queue"}
        assert value(metrics(running), "anyport_stage_seconds_sum", **stage) > 0


def test_all_workers_are_summed(homes: Path) -> None:
    with process(homes, "--workers", "2", "--watch-rows", "1000") as (_, url):

        def get(path: str) -> bytes:
            with urllib.request.urlopen(url + path, timeout=10) as reply:  # a connection of its own: any worker
                body: bytes = reply.read()
                return body

        pids: set[int] = set()
        asked = 0
        until = time.monotonic() + 20
        while len(pids) < 2 or asked < 40:
            assert time.monotonic() < until
            pids.add(json.loads(get("/readyz"))["pid"])
            request = urllib.request.Request(
                f"{url}/predict", json.dumps(ROWS[asked % 100]).encode(), {"Content-Type": "application/json"}
            )
            urllib.request.urlopen(request, timeout=10).close()
            asked += 1

        def resident() -> int:
            pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
            return pages * os.sysconf("SC_PAGE_SIZE")

        while True:  # the other worker counts once a second, and may have grown since
            assert time.monotonic() < until
            found = read(get("/metrics").decode())
            seen, memory = (
                value(found, "anyport_drift_rows", side="output", column="prediction"),
                value(found, "process_resident_memory_bytes"),
            )
            if seen == asked and memory == pytest.approx(resident(), rel=0.2):
                break
        assert value(found, "anyport_requests_total", code="200") == asked
        assert value(found, "anyport_workers") == 2
        assert value(found, "process_open_fds") > 2 * 4
        assert 0 < value(found, "process_cpu_seconds_total") < 60
        assert abs(value(found, "process_start_time_seconds") - time.time()) < 60


def test_the_recent_past_is_in_buckets() -> None:
    made = Metrics([("m", "1")], 2)
    slots = made.slots(0)
    recorders = [Recorder(slot) for slot in slots]
    for second in range(1000, 1012):
        for slot, recorder in zip(slots, recorders, strict=True):
            slot.ok([0.002] * 10)
            slot.run(30)
            slot.request(422, 0.0001)
            if second == 1005:
                slot.request(500, 3.0)
            recorder.tick(float(second))
    found = series.recent(slots, 1, now=1012.0)
    assert found["until"] == 1012
    assert found["requests"][-12:] == [22] * 5 + [22 + 2] + [22] * 6
    assert found["faults"][-1] == 2
    assert found["failures"][-8:] == [0, 2, 0, 0, 0, 0, 0, 0]
    assert found["rows"][-1] == 60
    assert found["batch"][-1] == 30
    assert found["requests"][0] == 0
    assert found["p50"][0] is None
    assert 1 < found["p50"][-1] <= 2.5
    assert found["p99"][-7] > 2500
    tens = series.recent(slots, 10, now=1020.0)
    assert tens["requests"][-2:] == [(10 * 22 + 2) / 10, 4.4]
    # two minutes later the ring holds nothing of it, though its cells were not written to
    assert sum(series.recent(slots, 1, now=1132.0)["requests"]) == 0


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.99])
def test_a_quantile_is_within_its_bucket(share: float) -> None:
    seconds = np.random.default_rng(4).lognormal(-5, 1, 5000)
    counts = np.bincount(np.searchsorted(SECONDS, seconds), minlength=len(SECONDS) + 1)
    found = series.quantile(counts.tolist(), share)
    exact = float(np.quantile(seconds, share))
    at = int(np.searchsorted(SECONDS, exact))
    assert found is not None
    assert SECONDS[at - 1] <= found <= SECONDS[at]
    assert series.quantile([0] * 17, share) is None
    assert series.quantile([0] * 16 + [5], share) == SECONDS[-1]


def test_stats_tell_it_as_json(live: Up) -> None:
    for row in ROWS[:25]:
        live.ask(row)
    live.ask({"age": 1})
    metrics(live)  # counts what this worker has seen
    until = time.monotonic() + 10
    while True:  # the second in which it was is told when it is over
        said = live.ask(None, "/stats", method="GET")[2]
        (model,) = said["models"]
        if sum(model["recent"]["requests"]) == 26:
            break
        assert time.monotonic() < until
    assert said["workers"] == 1
    assert (model["name"], model["requests"], model["rows"], model["refused_rows"]) == ("homes", 26, 25, 1)
    assert model["codes"] == {"200": 25, "422": 1}
    assert model["errors"] == {"BadData": 1}
    assert model["latency_ms"]["p50"] > 0
    assert model["stages_ms"]["run"]["p50"] > 0
    assert len(model["recent"]["p99"]) == 120
    (predicted,) = model["predictions"]
    assert set(predicted["bins"]) == {*served.LABELS, "other", "missing"}
    assert sum(predicted["ever"]) == 25
    assert {one["column"] for one in model["drift"]["columns"]} == {"prediction", *ROWS[0]}
    tens = live.ask(None, "/stats?step=10", method="GET")[2]["models"][0]["recent"]
    assert (tens["seconds"], len(tens["rows"])) == (10, 360)
    status, _, problem = live.ask(None, "/stats?step=7", method="GET")
    assert (status, problem["error"]) == (400, "BadQuery")


def test_stats_need_a_key_where_there_is_one(homes: Path) -> None:
    with up(homes, keys=keys.Keys(["secret"])) as running:
        assert running.ask(None, "/stats", method="GET")[0] == 401
        assert running.ask(None, "/stats", method="GET", X_API_Key="secret")[0] == 200
