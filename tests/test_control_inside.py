"""Plans, seen from inside one process: answers come from exactly one version, and what has left is let go."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import served
from controlled import ORIGINALS, ROWS, who
from hypothesis import given, settings
from hypothesis import strategies as st
from test_serve import answers, request

from anyport.batch import Batch, Outcome
from anyport.errors import Mistake
from anyport.serve import metrics, server
from anyport.serve.app import App
from anyport.serve.control import Control
from anyport.serve.deployment import Deployment
from anyport.serve.metrics import Metrics
from anyport.serve.mirror import WAITING
from anyport.serve.plan import Entry, Plan, Shadow
from anyport.serve.reply import Problem
from anyport.serve.site import Site

Shelf = dict[str, Path]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Four versions of one model."""
    folder = tmp_path_factory.mktemp("versions")
    return {version: served.bundle(folder / version, model, version=version) for version, model in ORIGINALS.items()}


class Up:
    """A server in a thread of this process, whose plan can be changed."""

    def __init__(self, app: App, port: int) -> None:
        self.app = app
        self.port = port

    def change(self, plan: Plan) -> Plan:
        """As its own loop would."""
        control = self.app.site.control
        assert control is not None
        return asyncio.run_coroutine_threadsafe(control.change(lambda _: plan), control.loop).result(20)

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


@contextmanager
def up(*folders: Path) -> Iterator[Up]:
    site = Site((), Metrics((), 1))
    deployment = Deployment(site)
    deployment.prepare(plan(*folders))
    deployment.commit()
    app = App(site)
    site.control = Control(app, deployment)
    ready = threading.Event()
    made = server.worker(app, lambda: None, ready.set)
    listening = server.bind("127.0.0.1", 0)
    thread = threading.Thread(target=lambda: made.run(sockets=[listening]))
    thread.start()
    try:
        assert ready.wait(20)
        yield Up(app, listening.getsockname()[1])
    finally:
        made.should_exit = True
        thread.join(20)
        deployment.close()
        assert not thread.is_alive()


def plan(*folders: Path, **more: Any) -> Plan:
    return Plan(tuple(Entry(str(folder)) for folder in folders), **more)


def columns(row: dict[str, Any]) -> dict[str, Any]:
    """One row in a form that the hot path does not take."""
    return {"columns": {name: [value] for name, value in row.items()}}


def rows_of(said: Any) -> list[dict[str, Any]]:
    """Answers as records, whatever form they came in."""
    if isinstance(said, list):
        return said
    if "columns" not in said:
        return [said]
    found = said["columns"]
    return [
        {"prediction": label, "probability": dict(zip(served.LABELS, p, strict=True))}
        for label, p in zip(found["prediction"], found["probability"], strict=True)
    ]


@pytest.fixture(scope="module")
def live(shelf: Shelf) -> Iterator[Up]:
    with up(shelf["1"]) as running:
        yield running


chosen = st.lists(st.sampled_from("1234"), min_size=1, max_size=3, unique=True)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("change"), chosen, st.lists(st.integers(0, 3), min_size=3, max_size=3), st.booleans()),
        st.tuples(st.just("begin"), st.integers(0, 3), st.integers(0, 40), st.booleans()),
        st.tuples(st.just("go on"), st.integers(0, 3), st.integers(1, 300)),
        st.tuples(st.just("end"), st.integers(0, 3)),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_any_interleaving_of_changes_and_requests_answers_from_one_version(
    live: Up, shelf: Shelf, steps: list[tuple[Any, ...]]
) -> None:
    """Requests are cut anywhere, over several connections, and plans change between the pieces."""
    live.change(plan(shelf["1"]))
    serving = [{"1"}]
    connections = [live.connect() for _ in range(4)]
    begun: dict[int, tuple[bytes, int, list[int]]] = {}

    def end(number: int) -> None:
        rest, since, asked = begun.pop(number)
        connections[number].sendall(rest)
        status, said = answers(connections[number], 1)[0]
        assert status == 200, said
        found = who(rows_of(said), asked)
        assert len(found) == 1
        assert found[0] in set().union(*serving[since:]), "a version that was there while it was asked"

    for step in steps:
        kind, number = step[0], step[1]
        if kind == "change":
            _, versions, weights, shadowed = step
            given_ = {v: float(w) for v, w in zip(versions, weights, strict=False)}
            traffic = {"homes": given_} if sum(given_.values()) else {}
            shadow = {"homes": Shadow(versions[-1])} if shadowed and len(versions) > 1 else {}
            wanted = plan(*(shelf[v] for v in versions), traffic=traffic, shadow=shadow)
            try:
                live.change(wanted)
            except Problem as problem:
                if "cannot shadow itself" not in problem.what:
                    raise
                continue
            serving.append({v for v, w in given_.items() if w} or {versions[0]})
        elif kind == "begin" and number not in begun:
            _, _, count, cold = step
            asked = [(number + i) % len(ROWS) for i in range(1 if cold else max(count, 1))]
            text = request(columns(ROWS[asked[0]]) if cold else [ROWS[i] for i in asked])
            begun[number] = (text, len(serving) - 1, asked)
        elif kind == "go on" and number in begun:
            text, since, asked = begun[number]
            connections[number].sendall(text[: step[2]])
            begun[number] = (text[step[2] :], since, asked)
        elif kind == "end" and number in begun:
            end(number)
    for number in list(begun):
        end(number)
    for connection in connections:
        connection.close()


def test_a_request_whose_version_leaves_before_it_is_whole_is_answered_by_another(live: Up, shelf: Shelf) -> None:
    live.change(plan(shelf["2"], shelf["3"]))
    with live.connect() as half:
        text = request(ROWS[0])
        half.sendall(text[:-30])
        until_read(live)
        leaving = weakref.ref(live.app.site.models[0])
        for version in ("4", "1"):
            live.change(plan(shelf[version]))
        half.sendall(text[-30:])
        status, said = answers(half, 1)[0]
        assert (status, who([said], [0])) == (200, ["1"])
        half.sendall(request(ROWS[0]))
        answers(half, 1)
        live.change(plan(shelf["2"]))
        gc.collect()
        assert leaving() is None, "nothing holds a model that left two changes ago"


def until_read(live: Up) -> None:
    """Wait until some connection is reading a request."""
    end = time.monotonic() + 10
    while not any(connection.kept is not None for connection in live.app.connections):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_model_that_left_is_let_go_even_by_connections_that_only_wait(live: Up, shelf: Shelf) -> None:
    live.change(plan(shelf["1"]))
    with live.connect() as idle:
        idle.sendall(request(ROWS[0]))
        answers(idle, 1)
        predictor = live.app.site.models[0].predictor
        held = weakref.ref(predictor)  # type: ignore[arg-type]
        del predictor
        for version in ("2", "3"):
            live.change(plan(shelf[version]))
        end = time.monotonic() + 10
        while held() is not None:  # it is closed in a thread
            assert time.monotonic() < end
            time.sleep(0.01)


class Slow:
    """A shadow that takes its time, or fails."""

    def __init__(self, inner: Any, seconds: float) -> None:
        self.inner = inner
        self.seconds = seconds
        self.gate = threading.Event()

    def predict(self, batch: Batch) -> Outcome:
        self.gate.wait(20)
        time.sleep(self.seconds)
        if self.seconds == 0:
            raise RuntimeError("this shadow cannot")
        found: Outcome = self.inner.predict(batch)
        return found


def test_a_shadow_that_is_slow_or_fails_harms_nobody(live: Up, shelf: Shelf) -> None:
    live.change(plan(shelf["1"]))
    for seconds, counted in ((0.01, "rows"), (0.0, "failed")):
        live.change(plan(shelf["1"], shelf["2"]))
        model = live.app.site.models[1]
        assert model.predictor is not None
        model.predictor = slow = Slow(model.predictor, seconds)
        live.change(plan(shelf["1"], shelf["2"], shadow={"homes": Shadow("2")}))
        count = WAITING + 100
        with live.connect() as sock:
            for start in range(0, count, 10):
                sock.sendall(request(ROWS[0]) * 10)
                assert all(who([said], [0]) == ["1"] for _, said in answers(sock, 10)), start
        before = live.app.site.metrics.shadow("homes", "2")
        assert before["rows"] == before["failed"] == 0, "all were answered before the shadow said anything"
        assert before["dropped"] >= count - WAITING - 32
        slow.gate.set()
        end = time.monotonic() + 20
        while (found := live.app.site.metrics.shadow("homes", "2"))[counted] + found["dropped"] < count:
            assert time.monotonic() < end, found
            time.sleep(0.01)
        model.predictor = slow.inner
        live.change(plan(shelf["1"]))


def test_a_share_of_the_requests_is_shadowed(live: Up, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([0.1, 0.3, 0.2, 0.9, 0.24])
    monkeypatch.setattr("anyport.serve.mirror.random.random", lambda: next(drawn))
    live.change(plan(shelf["1"], shelf["2"], shadow={"homes": Shadow("2", 0.25)}))
    with live.connect() as sock:
        for _ in range(5):
            sock.sendall(request(ROWS[0]))
            answers(sock, 1)
    end = time.monotonic() + 10
    while live.app.site.metrics.shadow("homes", "2")["rows"] != 3:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_versions_that_weight_draws_are_those_the_random_source_says(
    live: Up, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.change(plan(shelf["1"], shelf["2"], shelf["3"], traffic={"homes": {"1": 1, "3": 3}}))
    for value, expected in ((0.0, "1"), (0.2499, "1"), (0.25, "3"), (0.9999, "3")):
        monkeypatch.setattr("anyport.serve.choice.random.random", lambda value=value: value)
        with live.connect() as sock:
            for body in (ROWS[0], columns(ROWS[0])):
                sock.sendall(request(body))
                assert who(rows_of(answers(sock, 1)[0][1]), [0]) == [expected]


def test_several_names_share_the_server_and_each_has_its_own_traffic(live: Up, shelf: Shelf, tmp_path: Path) -> None:
    flats = served.bundle(tmp_path / "flats", ORIGINALS["4"], name="flats", version="1")
    live.change(plan(shelf["1"], flats, shelf["2"], traffic={"homes": {"2": 1}}))
    with live.connect() as sock:
        for path, expected in (("/predict", "2"), ("/models/homes/predict", "2"), ("/models/flats/predict", "4"),
                               ("/models/homes/versions/1/predict", "1")):  # fmt: skip
            sock.sendall(request(ROWS[0], path))
            assert who([answers(sock, 1)[0][1]], [0]) == [expected]


def test_the_places_of_the_metrics_are_used_again_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "CAPACITY", 3)
    made = Metrics([("homes", "1")], 2)
    made.slot(0, 1).run(7)
    places = list(made.models)
    for version in ("2", "3", "1"):
        made.place(places, "homes", version, {("homes", "1")})
    assert places == [("homes", "1"), ("homes", "2"), ("homes", "3")]
    made.place(places, "homes", "4", {("homes", "1"), ("homes", "4")})
    assert places == [("homes", "1"), ("homes", "4"), ("homes", "3")]
    made.models = list(places)
    assert metrics.total(made.slots(0)).rows == 7
    made.place(places, "homes", "5", {("homes", "4"), ("homes", "3")})
    assert places[0] == ("homes", "5")
    assert made.slot(0, 1).cells.tolist() == [0.0] * metrics.WIDTH, "the counters of one that left are dropped"
    with pytest.raises(Mistake, match="no room for homes version 6"):
        made.place(places, "homes", "6", set(places))


def test_there_is_no_admin_where_nobody_has_a_key(live: Up) -> None:
    with live.connect() as sock:
        sock.sendall(request({}, "/admin/reload"))
        assert answers(sock, 1)[0][0] == 404
