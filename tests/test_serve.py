"""The server: answers are the original's and reach their own caller; bad requests harm nobody; it stops in order."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import served
from up import Up, same, up

from anyport import bundle, client, predictor, pyform
from anyport.batch import Batch, Outcome, concat, rows
from anyport.errors import BadData, Mistake
from anyport.ingest import to_batch
from anyport.serve import hot, keys
from anyport.serve.app import App

SRC = Path(__file__).resolve().parents[1] / "src"
MODEL = served.fitted()
ROWS = served.rows(120, seed=9)
ANSWERS = served.ask(MODEL, ROWS)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.bundle(tmp_path_factory.mktemp("serve") / "homes", MODEL)


@pytest.fixture(scope="module")
def live(homes: Path) -> Iterator[Up]:
    with up(homes) as running:
        yield running


def test_a_row_is_answered_as_the_original_does(live: Up) -> None:
    for row, expected in zip(ROWS[:20], ANSWERS[:20], strict=True):
        status, _, got = live.ask(row)
        assert status == 200
        assert same(got, expected)


def test_hundreds_who_come_at_once_are_all_let_in(live: Up) -> None:
    body = json.dumps(ROWS[0]).encode()
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    callers = [socket.create_connection(("127.0.0.1", live.port), timeout=30) for _ in range(300)]
    try:
        for caller in callers:
            caller.sendall(head.encode() + body)
        for caller in callers:
            assert caller.recv(4096).startswith(b"HTTP/1.1 200 ")
    finally:
        for caller in callers:
            caller.close()


def test_ordinary_rows_take_the_short_cut(live: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(App, "reply", None)  # ASGI would fail
    assert live.ask(ROWS[0])[0] == 200
    assert live.ask(ROWS[:5], "/predict?partial=true")[0] == 200


@pytest.mark.parametrize("count", [0, 1, 3, 32, 33, 120])
def test_records_and_columns_are_answered_in_their_own_form(live: Up, count: int) -> None:
    asked = ROWS[:count]
    status, _, got = live.ask(asked)
    assert status == 200
    assert len(got) == count
    assert all(same(g, e) for g, e in zip(got, ANSWERS, strict=False))
    status, _, said = live.ask({"columns": {name: [r[name] for r in asked] for name in ROWS[0]}})
    assert status == 200
    assert said["columns"]["prediction"] == [e["prediction"] for e in ANSWERS[:count]]
    expected = np.array([list(e["probability"].values()) for e in ANSWERS[:count]]).reshape(count, 3)
    assert np.allclose(np.array(said["columns"]["probability"]).reshape(expected.shape), expected)


def test_long_bodies_are_answered_off_the_loop_and_right(live: Up) -> None:
    asked = [ROWS[i % len(ROWS)] for i in range(2000)]
    status, _, got = live.ask(asked)
    assert status == 200
    assert all(same(g, ANSWERS[i % len(ROWS)]) for i, g in enumerate(got))


def test_all_bad_rows_are_listed_and_none_is_answered(live: Up) -> None:
    asked = [ROWS[0], {**ROWS[1], "age": "old", "plan": "silver"}, {**ROWS[2], "age": 2e6}, ROWS[3], {}]
    status, _, got = live.ask(asked)
    assert status == 422
    found = [(e["row"], e["column"], e["got"]) for e in got["errors"]]
    assert found[:3] == [(1, "age", '"old"'), (1, "plan", "'silver'"), (2, "age", "2000000.0")]
    assert [row for row, _, _ in found[3:]] == [4] * 5
    assert all(e["expected"] for e in got["errors"])


def test_partial_answers_the_good_rows_and_says_what_is_wrong_with_the_others(live: Up) -> None:
    asked = [ROWS[0], {**ROWS[1], "age": "old"}, ROWS[2]]
    status, _, got = live.ask(asked, "/predict?partial=true")
    assert status == 200
    assert same(got[0], ANSWERS[0])
    assert same(got[2], ANSWERS[2])
    assert got[1]["prediction"] is None
    assert [e["column"] for e in got[1]["errors"]] == ["age"]
    status, _, got = live.ask({**ROWS[1], "age": "old"}, "/predict?partial=true")
    assert (status, got["probability"], len(got["errors"])) == (200, None, 1)


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (400, {"body": b'{"age": 3,}'}),
        (400, {"body": b""}),
        (400, {"body": [], "path": "/predict?partial=maybe"}),
        (404, {"body": {}, "path": "/nowhere"}),
        (404, {"body": {}, "path": "/models/other/predict"}),
        (405, {"body": None, "method": "GET"}),
        (405, {"body": {}, "path": "/livez"}),
        (415, {"body": b"{}", "Content_Type": "text/html"}),
        (415, {"body": b"{}", "Content_Type": "application/json; charset=latin-1"}),
        (415, {"body": b"{}", "Content_Encoding": "br"}),
        (422, {"body": b"3"}),
        (413, {"body": b" " * (20 << 20)}),
    ],
)
def test_a_bad_request_gets_its_status_as_json(live: Up, status: int, asked: dict[str, Any]) -> None:
    got, _, said = live.ask(asked.pop("body"), **asked)
    assert got == status
    assert said["error"]
    assert said["what"]
    assert live.ask(ROWS[0])[0] == 200


def test_a_body_that_grows_too_large_is_refused_while_it_arrives(live: Up) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as sock:
        sock.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012  # it closes while we still send
            for _ in range(256):
                sock.sendall(chunk)
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as sock:
        sock.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n"
        )
        assert sock.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_is_asked_for_where_the_client_waits_to_be_asked(live: Up) -> None:
    body = json.dumps(ROWS[0]).encode()
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as sock:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        sock.sendall(head.encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body)
        assert same(answers(sock, 1)[0][1], ANSWERS[0])


def test_probes_and_pages(live: Up, homes: Path) -> None:
    assert live.ask(None, "/", method="GET")[2] == "Healthy"
    assert live.ask(None, "/livez", method="GET")[2] == {"live": True}
    status, headers, ready = live.ask(None, "/readyz", method="GET")
    assert status == 200
    assert headers["server"].startswith("anyport/")
    read = bundle.read(homes)
    assert ready["models"] == [{"name": "homes", "version": read.version, "digest": read.digest, "form": "graph"}]
    assert ready["pid"] == os.getpid()
    document = live.ask(None, "/openapi.json", method="GET")[2]
    row = document["components"]["schemas"][f"homes.{read.version}.Row"]
    assert list(row["properties"]) == [f.name for f in served.SIGNATURE.inputs]
    example = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert live.ask(example["row"]["value"])[0] == 200
    assert live.ask(example["columns"]["value"])[0] == 200


def test_metrics_count_requests_rows_and_errors(homes: Path) -> None:
    with up(homes) as running:
        for row in ROWS[:7]:
            running.ask(row)
        running.ask(ROWS[:5])
        running.ask({"age": 1})
        text = running.ask(None, "/metrics", method="GET")[2]
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    label = f'model="homes",version="{bundle.read(homes).version}"'
    assert found[f'anyport_requests_total{{{label},code="200"}}'] == "8"
    assert found[f'anyport_requests_total{{{label},code="422"}}'] == "1"
    assert found[f"anyport_run_rows_sum{{{label}}}"] == "12"
    assert found[f"anyport_request_seconds_count{{{label}}}"] == "9"
    assert found[f"anyport_refused_rows_total{{{label}}}"] == "1"


def test_several_models_and_versions_have_their_own_routes(tmp_path: Path, homes: Path) -> None:
    other = served.bundle(tmp_path / "b", MODEL, name="flats", version="v 2/β")
    with up(homes, other) as running:
        for path in ("/predict", "/models/homes/predict", "/models/flats/predict"):
            assert same(running.ask(ROWS[0], path)[2], ANSWERS[0])
        path = f"/models/flats/versions/{quote('v 2/β', safe='')}/predict"
        assert running.ask(ROWS[0], path)[0] == 200
        ready = running.ask(None, "/readyz", method="GET")[2]
        assert [m["name"] for m in ready["models"]] == ["homes", "flats"]


def test_keys_that_json_must_escape_are_escaped() -> None:
    import msgspec

    for names in (["a", "b"], ['quote"d', "back\\slash", "new\nline"]):
        made = hot.keyed(names, float)(*range(len(names)))
        assert json.loads(msgspec.json.encode(made)) == {name: i for i, name in enumerate(names)}


def test_keys_are_asked_for_everywhere_but_by_probes(tmp_path: Path, homes: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# two\nfirst-key\nsecond-key\n")
    with up(homes, keys=keys.read(file)) as running:
        assert running.ask(ROWS[0])[0] == 401
        assert running.ask(ROWS[0], Authorization="Bearer wrong")[0] == 401
        assert running.ask(ROWS[0], Authorization="Bearer second-key")[0] == 200
        assert running.ask(ROWS[0], X_API_Key="first-key")[0] == 200
        assert running.ask(None, "/metrics", method="GET")[0] == 401
        assert running.ask(None, "/readyz", method="GET")[0] == 200
    file.write_text("\n# none\n")
    with pytest.raises(Mistake, match="holds no API key"):
        keys.read(file)


def answers(sock: socket.socket, count: int) -> list[tuple[int, Any]]:
    """Status and JSON of the next answers on a connection."""
    data = b""
    found: list[tuple[int, Any]] = []
    while len(found) < count:
        head, split, rest = data.partition(b"\r\n\r\n")
        if split:
            length = next(int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length"))
            if len(rest) >= length:
                found.append((int(head.split()[1]), json.loads(rest[:length])))
                data = rest[length:]
                continue
        more = sock.recv(1 << 16)
        assert more, f"the connection ended after {len(found)} of {count} answers: {data[:200]!r}"
        data += more
    return found


def request(body: Any, path: str = "/predict", extra: str = "") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "Content-Type: application/json\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: {len(data)}\r\n{extra}\r\n"
    return head.encode() + data


def test_what_came_before_garbage_is_answered_first(live: Up) -> None:
    body = json.dumps(ROWS[0]).encode()
    for path, status in (("/readyz", b"200"), ("/models/homes/signature", b"200"), ("/nowhere", b"404")):
        with socket.create_connection(("127.0.0.1", live.port), timeout=10) as one:
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() + b"\x16\x03\x01 garbage\r\n\r\n")
            got = b"".join(iter(lambda: one.recv(65536), b""))
        assert got.startswith(b"HTTP/1.1 " + status)
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as one:
        head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        one.sendall(head + body + b"garbage\r\n\r\n")
        got = b"".join(iter(lambda: one.recv(65536), b""))
    assert re.findall(rb"HTTP/1\.1 (\d+) ", got) == [b"200", b"400"]


@pytest.mark.parametrize("seed", range(3))
def test_answers_reach_their_own_caller_under_any_interleaving(live: Up, seed: int) -> None:
    """12 connections, pipelined requests of every kind in random order, cut into random TCP segments."""
    failures: list[str] = []

    def caller(number: int) -> None:
        rng = random.Random(seed * 100 + number)
        text, expected = b"", []
        for _ in range(40):
            i = rng.randrange(len(ROWS))
            kind = rng.choice(["row"] * 6 + ["records", "columns", "long", "bad", "broken", "partial", "name"])
            if kind in ("row", "name"):
                text += request(ROWS[i], "/predict" if kind == "row" else "/models/homes/predict")
                expected.append((200, [ANSWERS[i]]))
            elif kind == "columns":
                text += request({"columns": {k: [v] for k, v in ROWS[i].items()}})
                expected.append((200, ANSWERS[i]["prediction"]))
            elif kind in ("records", "long"):
                chosen = [rng.randrange(len(ROWS)) for _ in range(3 if kind == "records" else 150)]
                text += request([ROWS[j] for j in chosen])
                expected.append((200, [ANSWERS[j] for j in chosen]))
            elif kind == "partial":
                text += request([ROWS[i], {}], "/predict?partial=true")
                expected.append((200, [ANSWERS[i], None]))
            else:
                text += request({**ROWS[i], "age": f"{number}-{i}"} if kind == "bad" else b"[")
                expected.append((422, f'"{number}-{i}"') if kind == "bad" else (400, None))
        with socket.create_connection(("127.0.0.1", live.port), timeout=30) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            got: list[tuple[int, Any]] = []
            reader = threading.Thread(target=lambda: got.extend(answers(sock, len(expected))))
            reader.start()
            at = 0
            while at < len(text):
                step = rng.choice([1, 7, 60, 500, 5000, 40000])
                sock.sendall(text[at : at + step])
                at += step
                if rng.random() < 0.1:
                    time.sleep(0.001)
            reader.join(30)
        if len(got) != len(expected):
            failures.append(f"{number}: {len(got)} answers of {len(expected)}")
        for place, ((status, value), (wanted, answer)) in enumerate(zip(got, expected, strict=False)):
            right = status == wanted
            if right and isinstance(answer, list):
                listed = value if isinstance(value, list) else [value]
                right = len(listed) == len(answer) and all(
                    g["prediction"] is None if e is None else same(g, e) for g, e in zip(listed, answer, strict=True)
                )
            elif right and status == 200:
                right = value["columns"]["prediction"] == [answer]
            elif right and status == 422:
                right = [e["got"] for e in value["errors"]] == [answer]
            if not right:
                failures.append(f"{number}, request {place}: {status} {str(value)[:100]}, expected {wanted}")

    callers = [threading.Thread(target=caller, args=(n,)) for n in range(12)]
    for one in callers:
        one.start()
    for one in callers:
        one.join(60)
    assert not failures


def test_a_row_that_breaks_the_joined_run_harms_only_itself(homes: Path, caplog: pytest.LogCaptureFixture) -> None:
    with up(homes) as running:
        path = running.app.site.models[0].hot
        assert path is not None
        run, sizes = path._run, []

        def fragile(names: Any, feed: dict[str, Any], options: Any) -> Any:
            sizes.append(len(feed["X"]))
            if (feed["X"][:, 1] == poison).any():
                raise RuntimeError("cannot divide by cheese")
            return run(names, feed, options)

        poisoned = {**ROWS[0], "rooms": 77}
        path.fill(path.row(json.dumps(poisoned).encode()), path.views[0])
        poison = path.views[0][1].item()
        path._run = fragile
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as sock:
            asked = [ROWS[1], poisoned, ROWS[2], [ROWS[3], ROWS[4]], [ROWS[5], poisoned]]
            sock.sendall(b"".join(map(request, asked)))
            got = answers(sock, 5)
        assert sizes[0] == 7, "all of them were joined first"
    assert [status for status, _ in got] == [200, 500, 200, 200, 500]
    assert same(got[0][1], ANSWERS[1])
    assert same(got[2][1], ANSWERS[2])
    assert [same(g, e) for g, e in zip(got[3][1], ANSWERS[3:5], strict=True)] == [True, True]
    assert "cheese" not in json.dumps(got)
    assert got[1][1]["id"] in caplog.text
    assert "cheese" in caplog.text


def test_a_failure_after_validation_is_a_500_on_the_slow_path_too(
    homes: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with up(homes) as running:
        monkeypatch.setattr(running.app.site.models[0].predictor, "predict", lambda batch: 1 / 0)
        status, _, said = running.ask({"columns": {k: [v] for k, v in ROWS[0].items()}})
    assert status == 500
    assert said["id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_client_that_closes_its_half_still_gets_its_answer(live: Up) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as sock:
        sock.sendall(request(ROWS[0]))
        sock.shutdown(socket.SHUT_WR)
        assert same(answers(sock, 1)[0][1], ANSWERS[0])


def test_connection_close_is_honoured(live: Up) -> None:
    for body in (ROWS[0], {"age": 1}):
        with socket.create_connection(("127.0.0.1", live.port), timeout=10) as sock:
            sock.sendall(request(body, extra="Connection: close\r\n"))
            data = b""
            while more := sock.recv(1 << 16):
                data += more
        assert data.lower().count(b"connection: close") == 1


def test_an_offer_to_upgrade_is_answered_in_http_1(live: Up) -> None:
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as sock:
        sock.sendall(request(ROWS[0], extra=offer) + request([{}], extra=offer) + request(ROWS[1]))
        got = answers(sock, 3)
        assert same(got[0][1], ANSWERS[0])
        assert got[1][0] == 422
        assert same(got[2][1], ANSWERS[1])
        text = request(ROWS[2], extra=offer)
        for at in range(len(text)):
            sock.sendall(text[at : at + 1])
        assert same(answers(sock, 1)[0][1], ANSWERS[2])


def test_what_is_no_http_is_refused_after_what_was(live: Up) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as sock:
        sock.sendall(request(ROWS[0]) + b"\x16\x03\x01 nonsense\r\n\r\n")
        got = answers(sock, 2)
        assert [status for status, _ in got] == [200, 400]
        assert same(got[0][1], ANSWERS[0])
        assert sock.recv(10) == b""


def test_idle_connections_are_closed_and_busy_ones_are_not(homes: Path) -> None:
    with up(homes, keep_alive=1) as running:
        idle = socket.create_connection(("127.0.0.1", running.port), timeout=10)
        busy = socket.create_connection(("127.0.0.1", running.port), timeout=10)
        text = request(ROWS[0])
        idle.sendall(text)
        answers(idle, 1)
        busy.sendall(text[:50])
        assert idle.recv(10) == b""
        busy.sendall(text[50:])
        assert answers(busy, 1)[0][0] == 200
        idle.close()
        busy.close()


class Slow:
    """A predictor that takes its time, as Python models do."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.sizes: list[int] = []

    def predict(self, batch: Batch) -> Outcome:
        self.sizes.append(rows(batch))
        time.sleep(0.3)
        if "poison" in batch["home city"].plain().values.tolist():
            raise RuntimeError("cannot")
        found: Outcome = self.inner.predict(batch)
        return found


@pytest.fixture(params=["python", "graph"])
def slow(
    request: pytest.FixtureRequest, tmp_path: Path, homes: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, list[Slow]]:
    """A bundle whose predictor is slow."""
    import msgspec

    folder = served.bundle(tmp_path / "slow", MODEL)
    manifest = msgspec.structs.replace(bundle.read(folder).manifest, form=request.param)
    bundle.seal(folder, manifest)
    graph = predictor.of(bundle.read(homes))
    made: list[Slow] = []

    def opened(*_: Any, **__: Any) -> Slow:
        time.sleep(0.3)
        made.append(Slow(graph))
        return made[-1]

    monkeypatch.setattr(pyform, "predictor", opened)
    monkeypatch.setattr(predictor, "of", opened)
    return folder, made


def test_a_slow_model_runs_off_the_loop_and_joins_what_waits(slow: tuple[Path, list[Slow]]) -> None:
    with up(slow[0]) as running:
        got: dict[int, tuple[int, Any]] = {}

        def wave(asked: dict[int, Any]) -> None:
            """The first alone, the others while it runs."""

            def one(number: int) -> None:
                status, _, said = running.ask(asked[number])
                got[number] = (status, said)

            threads = [threading.Thread(target=one, args=(number,)) for number in asked]
            threads[0].start()
            time.sleep(0.05)
            for thread in threads[1:]:
                thread.start()
            time.sleep(0.03)
            before = time.perf_counter()
            assert running.ask(None, "/livez", method="GET")[0] == 200
            assert time.perf_counter() - before < 0.25, "the loop is free while the model runs"
            for thread in threads:
                thread.join(20)

        wave({i: ROWS[i] for i in range(10)})
        assert max(slow[1][0].sizes) > 5, "what waited was joined"
        wave({i: ROWS[i] if i != 15 else {**ROWS[0], "home city": "poison"} for i in range(10, 20)})
    assert got.pop(15)[0] == 500
    assert len(got) == 19
    for number, (status, said) in got.items():
        assert status == 200
        assert same(said, ANSWERS[number])


def test_a_model_that_is_being_loaded_is_live_and_not_ready(slow: tuple[Path, list[Slow]]) -> None:
    with up(slow[0], wait=False) as running:
        assert running.ask(None, "/livez", method="GET")[0] == 200
        assert running.ask(None, "/readyz", method="GET")[0] == 503
        status, headers, _ = running.ask(ROWS[0])
        assert (status, headers["retry-after"]) == (503, "1")
        until = time.monotonic() + 10
        while running.ask(None, "/readyz", method="GET")[0] != 200:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert set(slow[1][0].sizes) == {1}, "it was warmed on a golden row before it said ready"
        assert running.ask(ROWS[0])[0] == 200


def test_the_client_is_a_predictor_that_answers_as_the_graph_does(live: Up, homes: Path) -> None:
    graph = predictor.of(bundle.read(homes))
    batch, _ = to_batch(ROWS, served.SIGNATURE.inputs)
    far, _ = to_batch([{**ROWS[0], "age": 5e6}, {**ROWS[0], "plan": "silver"}], served.SIGNATURE.inputs)
    whole = concat([batch, far])
    with client.HttpPredictor(live.url, served.SIGNATURE) as asked:
        got, expected = asked.predict(whole), graph.predict(whole)
        one = asked.predict({k: c.__class__(c.values[:1]) for k, c in batch.items()})
        none = asked.predict({k: c.__class__(c.values[:0]) for k, c in batch.items()})
    assert set(got.refused) == set(expected.refused) == {120, 121}
    assert [r.column for said in got.refused.values() for r in said] == ["age", "plan"]
    assert got.outputs["prediction"].values.tolist() == expected.outputs["prediction"].values.tolist()
    apart = got.outputs["probability"].values[:120] - expected.outputs["probability"].values[:120]
    assert abs(apart).max() < 1e-12
    assert one.outputs["probability"].values.shape == (1, 3)
    assert {len(c) for c in none.outputs.values()} == {0}


def test_the_client_sends_long_batches_in_parts(live: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SENT", 1000)
    batch, _ = to_batch([*ROWS, {**ROWS[0], "age": 5e6}], served.SIGNATURE.inputs)
    assert len(list(client.bodies(batch, served.SIGNATURE))) > 5
    with client.HttpPredictor(live.url, served.SIGNATURE) as asked:
        got = asked.predict(batch)
    assert got.outputs["prediction"].values.tolist()[:120] == [a["prediction"] for a in ANSWERS]
    assert list(got.refused) == [120]


def test_the_clients_errors_say_what_happened(live: Up) -> None:
    batch, _ = to_batch(ROWS[:1], served.SIGNATURE.inputs)
    with pytest.raises(Mistake, match="is not a URL"):
        client.HttpPredictor("localhost:80", served.SIGNATURE)
    with pytest.raises(client.ServerError, match="cannot be asked"):
        client.HttpPredictor("http://127.0.0.1:9", served.SIGNATURE).predict(batch)
    with (
        client.HttpPredictor(live.url, served.SIGNATURE, path="/nowhere") as asked,
        pytest.raises(Mistake, match="404"),
    ):
        asked.predict(batch)
    said = client.failure(422, {"what": "x", "errors": [{"row": 1, "column": "extra", "expected": "a", "got": "b"}]})
    assert isinstance(said, BadData)
    assert "'extra'" in said.what


def test_the_client_asks_again_where_a_kept_connection_was_closed(homes: Path) -> None:
    batch, _ = to_batch(ROWS[:1], served.SIGNATURE.inputs)
    with up(homes) as running, client.HttpPredictor(running.url, served.SIGNATURE) as asked:
        asked.predict(batch)
        for connection in list(running.worker.server_state.connections):
            running.worker.servers[0].get_loop().call_soon_threadsafe(connection.transport.close)
        time.sleep(0.1)
        assert asked.predict(batch).outputs["prediction"].values.tolist() == [ANSWERS[0]["prediction"]]


@contextmanager
def process(*argv: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m anyport.serve` and the URL it announces."""
    env = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "anyport.serve", *map(str, argv), "--port", "0", "--json"]
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        line = child.stdout.readline()
        assert line, child.stderr.read()
        yield child, json.loads(line)["url"]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        child.stderr.close()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_answers_out_and_exits_0(homes: Path, sig: signal.Signals) -> None:
    with process(homes) as (child, url):
        port = int(url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as idle, \
                socket.create_connection(("127.0.0.1", port), timeout=10) as half:  # fmt: skip
            text = request(ROWS[0])
            idle.sendall(text)
            answers(idle, 1)
            half.sendall(text[:-20])
            time.sleep(0.05)
            child.send_signal(sig)
            time.sleep(0.3)
            half.sendall(text[-20:])
            assert same(answers(half, 1)[0][1], ANSWERS[0])
            assert half.recv(10) == b""
            assert idle.recv(10) == b""
        assert child.wait(10) == 0
        assert child.stderr is not None
        assert child.stderr.read() == ""


def test_workers_share_the_port_count_together_and_are_replaced(homes: Path) -> None:
    with process(homes, "--workers", "2") as (child, url):

        def pid() -> int:
            with client.HttpPredictor(url, served.SIGNATURE) as asked:
                return int(asked.get("/readyz")[1]["pid"])

        found: set[int] = set()
        until = time.monotonic() + 10
        while len(found) < 2:
            assert time.monotonic() < until
            found.add(pid())
        assert child.pid not in found
        batch, _ = to_batch(ROWS[:1], served.SIGNATURE.inputs)
        for _ in range(20):
            with client.HttpPredictor(url, served.SIGNATURE) as asked:
                asked.predict(batch)
                text = asked.request("GET", "/metrics", None)[1].decode()
        assert 'code="200"} 20' in text
        os.kill(min(found), signal.SIGKILL)
        new: set[int] = set()
        until = time.monotonic() + 10
        while len(new - {min(found)}) < 2:
            assert time.monotonic() < until
            try:
                new.add(pid())
            except client.ServerError:
                time.sleep(0.05)  # the killed worker had this connection
        child.terminate()
        assert child.wait(10) == 0


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["/nowhere.anyport"], 2, "is not a bundle"),
        (["HOMES", "HOMES"], 2, "given twice"),
        (["HOMES", "--api-key-file", "/nowhere"], 2, "cannot be read"),
        (["HOMES", "--host", "203.0.113.1"], 2, "cannot listen"),
        (["HOMES", "--workers", "0"], 2, "workers"),
    ],
)
def test_a_server_that_cannot_start_says_why(homes: Path, argv: list[str], code: int, says: str) -> None:
    command = [sys.executable, "-m", "anyport.serve", *[str(homes) if a == "HOMES" else a for a in argv], "--port", "0"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(SRC)}, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
