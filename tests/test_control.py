"""Plans: reload, rollback, canary and shadow act on every worker, or on none, and no request fails meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import served
from controlled import ANSWERS, ORIGINALS, ROWS, Callers, Server, server, who

from anyport import bundle

Shelf = dict[str, Path]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Four versions of one model."""
    folder = tmp_path_factory.mktemp("versions")
    return {version: served.bundle(folder / version, model, version=version) for version, model in ORIGINALS.items()}


@pytest.fixture(scope="module", params=[1, 2])
def workers(request: pytest.FixtureRequest) -> int:
    count: int = request.param
    return count


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, shelf: Shelf, workers: int) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("live"), shelf["1"], "--workers", str(workers)) as running:
        yield running


@pytest.fixture
def fresh(live: Server, shelf: Shelf) -> Server:
    """The server with version 1 alone."""
    status, said = live.admin("PUT", "plan", plan(shelf["1"]))
    assert status == 200, said
    return live


def plan(*paths: Path, **more: Any) -> dict[str, Any]:
    return {"models": [{"path": str(path)} for path in paths], **more}


def replace(path: Path, new: Path) -> None:
    """Put a copy of another bundle in a bundle's place, as a deployment does."""
    shutil.copytree(new, path.with_suffix(".new"))
    if path.exists():
        path.rename(path.with_suffix(".old"))
    path.with_suffix(".new").rename(path)
    shutil.rmtree(path.with_suffix(".old"), ignore_errors=True)


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for what happens in another process."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def answering(running: Server) -> str:
    """The version that answers one row at /predict."""
    status, _, said = running.ask("POST", "/predict", ROWS[0])
    assert status == 200, said
    (found,) = who([said], [0])
    return found


def test_twenty_changes_fail_no_request(live: Server, shelf: Shelf, tmp_path: Path, workers: int) -> None:
    moving = tmp_path / "homes"
    replace(moving, shelf["1"])
    status, said = live.admin("PUT", "plan", plan(moving, shelf["3"], traffic={"homes": {"1": 1}}))
    assert status == 200, said
    generation = said["generation"]
    with Callers(live.port, 6) as callers:
        for turn in range(5):
            now = "2" if turn % 2 == 0 else "1"
            replace(moving, shelf[now])
            for method, path, body in (
                ("POST", "reload", None),
                ("PATCH", "plan", {"traffic": {"homes": {now: 2, "3": 1}}}),
                ("POST", "rollback", None),
                ("PATCH", "plan", {"shadow": {"homes": {"version": "3"} if turn % 2 == 0 else None}}),
            ):
                status, said = live.admin(method, path, body)
                assert status == 200, said
                generation += 1
                assert said["generation"] == generation
            assert answering(live) == now
            for one in live.plans(workers):
                assert (one["generation"], one["models"][0]["version"]) == (generation, now)
    assert set(callers.answered) == {"1", "2", "3"}
    assert min(callers.answered.values()) > 5, callers.answered


def test_a_hangup_reloads_and_reads_the_keys_again(fresh: Server, shelf: Shelf, tmp_path: Path) -> None:
    moving = tmp_path / "homes"
    replace(moving, shelf["1"])
    assert fresh.admin("PUT", "plan", plan(moving))[0] == 200
    replace(moving, shelf["4"])
    keys = fresh.log.parent / "admin-keys"
    keys.write_text(keys.read_text() + "another\n")
    fresh.process.send_signal(signal.SIGHUP)
    until(lambda: answering(fresh) == "4", "the bundle on the disk is served")
    assert fresh.ask("GET", "/admin/plan", headers={"X-API-Key": "another"})[0] == 200
    replace(moving, shelf["1"])
    (moving / "fast.onnx").write_bytes(b"nothing")
    fresh.process.send_signal(signal.SIGHUP)
    until(lambda: "fast.onnx was changed after packing" in fresh.log.read_text(), "the log says why it cannot be")
    assert answering(fresh) == "4"


def broken(folder: Path, shelf: Shelf, how: str) -> Path:
    """A bundle that cannot be served in the place of version 1."""
    path = folder / how
    if how == "missing":
        return path
    if how in ("columns", "labels"):
        made = served.bundle(path, ORIGINALS["2"], version="9")
        manifest = bundle.read(made).manifest
        fields = list(manifest.signature.inputs if how == "columns" else manifest.signature.outputs)
        if how == "columns":
            fields[1] = msgspec.structs.replace(fields[1], name="chambers")
            signature = msgspec.structs.replace(manifest.signature, inputs=tuple(fields))
        else:
            fields[1] = msgspec.structs.replace(fields[1], levels=("no", "maybe", "yes"))
            signature = msgspec.structs.replace(manifest.signature, outputs=tuple(fields))
        bundle.seal(made, msgspec.structs.replace(manifest, signature=signature))
        return made
    shutil.copytree(shelf["2"], path)
    if how == "changed":
        (path / "encoder.json").write_bytes(b"{}")
    elif how == "protocol":
        said = json.loads((path / "bundle.json").read_bytes())
        (path / "bundle.json").write_text(json.dumps({**said, "protocol": 99}))
    elif how == "graph":
        (path / "fast.onnx").write_bytes(b"this is no graph")
        bundle.seal(path, bundle.Manifest(**{
            name: getattr(json_manifest(path), name) for name in bundle.Manifest.__struct_fields__
        }))  # fmt: skip
    return path


def json_manifest(path: Path) -> bundle.Manifest:
    """The manifest of a bundle whose members no longer hash to it."""
    return msgspec.json.decode((path / "bundle.json").read_bytes(), type=bundle.Manifest)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("missing", "is not a bundle"),
        ("changed", "encoder.json was changed after packing"),
        ("protocol", "protocol 99; this anyport reads up to 1"),
        ("graph", "CannotLoad"),
        ("columns", "input 'rooms': expected int64, got none"),
        ("labels", "output 'probability': expected float64[3] of maybe, no, yes, got float64[3] of no, maybe, yes"),
    ],
)
def test_a_bundle_that_cannot_be_served_changes_nothing(
    fresh: Server, shelf: Shelf, tmp_path: Path, workers: int, how: str, says: str
) -> None:
    before = fresh.plans(workers)
    path = broken(tmp_path, shelf, how)
    status, said = fresh.admin("PUT", "plan", plan(path))
    assert status == 422
    assert says in f"{said['error']}: {said['what']}"
    assert str(path) in said["what"] or how == "graph"
    assert said["fix"] or how == "changed"
    assert fresh.plans(workers) == before
    assert answering(fresh) == "1"


@pytest.mark.parametrize(
    ("more", "status", "says"),
    [
        ({"traffic": {"homes": {"7": 1}}}, 422, "there is no homes version 7"),
        ({"traffic": {"flats": {"1": 1}}}, 422, "there is no model flats"),
        ({"traffic": {"homes": {"1": 0}}}, 422, "one is above 0"),
        ({"traffic": {"homes": {"1": -1, "2": 2}}}, 422, "not negative"),
        ({"shadow": {"homes": {"version": "1"}}}, 422, "cannot shadow itself"),
        ({"shadow": {"homes": {"version": "2", "share": 1.5}}}, 422, "at most 1"),
        ({"models": [{"path": "PATH", "version": "3"}]}, 422, "expected version 3, got 1"),
        ({"models": [{"path": "PATH"}, {"path": "PATH"}]}, 422, "given twice"),
        ({"generation": 1}, 409, "the plan has changed"),
        ({"traffic": 3}, 400, "this is no plan"),
        ({"trafic": {}}, 400, "trafic"),
    ],
)
def test_a_plan_that_contradicts_itself_changes_nothing(
    fresh: Server, shelf: Shelf, workers: int, more: dict[str, Any], status: int, says: str
) -> None:
    before = fresh.plans(workers)
    text = json.dumps({**plan(shelf["1"], shelf["2"]), **more}).replace("PATH", str(shelf["1"]))
    got, said = fresh.admin("PUT", "plan", json.loads(text))
    assert (got, says in said["what"]) == (status, True), said
    assert fresh.plans(workers) == before


def test_without_an_administrators_key_nobody_gets_in(fresh: Server) -> None:
    for headers in ({}, {"X-API-Key": "guess"}):
        for method, path in (
            ("GET", "plan"),
            ("PUT", "plan"),
            ("PATCH", "plan"),
            ("POST", "reload"),
            ("POST", "rollback"),
        ):
            assert fresh.ask(method, f"/admin/{path}", {}, headers)[0] == 401
    assert fresh.admin("GET", "rollback")[0] == 405


def test_a_document_that_was_read_can_be_written_back(fresh: Server, shelf: Shelf) -> None:
    assert fresh.admin("PUT", "plan", plan(shelf["1"], shelf["2"], shadow={"homes": {"version": "2"}}))[0] == 200
    _, said = fresh.admin("GET", "plan")
    status, again = fresh.admin("PUT", "plan", said)
    assert status == 200, again
    assert again["generation"] == said["generation"] + 1
    assert again["models"] == said["models"]
    status, late = fresh.admin("PUT", "plan", said)
    assert (status, late["error"]) == (409, "Changed")


def test_going_back_needs_nothing_from_the_disk(fresh: Server, shelf: Shelf, tmp_path: Path) -> None:
    moving = tmp_path / "homes"
    replace(moving, shelf["2"])
    assert fresh.admin("PUT", "plan", plan(moving))[0] == 200
    assert fresh.admin("PUT", "plan", plan(shelf["3"]))[0] == 200
    shutil.rmtree(moving)
    for expected in ("2", "3", "2"):
        assert fresh.admin("POST", "rollback")[0] == 200
        assert answering(fresh) == expected


def test_one_worker_that_cannot_prepare_stops_all(tmp_path: Path, shelf: Shelf) -> None:
    with server(tmp_path / "two", shelf["1"], "--workers", "2") as running:
        before = running.plans(2)
        running.fault.write_text("fail")
        with Callers(running.port, 2):
            status, said = running.admin("PUT", "plan", plan(shelf["2"]))
            assert (status, said["what"]) == (422, "worker 1: MemoryError: this worker has no memory left")
            assert running.plans(2) == before
            running.fault.unlink()
            assert running.admin("PUT", "plan", plan(shelf["2"]))[0] == 200
        assert [one["models"][0]["version"] for one in running.plans(2)] == ["2", "2"]


def test_a_worker_that_is_killed_while_it_prepares_is_replaced_and_nothing_has_changed(
    tmp_path: Path, shelf: Shelf
) -> None:
    import threading

    with server(tmp_path / "two", shelf["1"], "--workers", "2") as running:
        running.fault.write_text("hang")
        stuck = running.fault.with_suffix(".pid")
        got: list[tuple[int, Any]] = []

        def ask() -> None:
            """From a worker that is not the stuck one: an answer cannot come from the dead."""
            import http.client

            while not got:
                connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
                connection.request("GET", "/readyz")
                pid = json.loads(connection.getresponse().read())["pid"]
                workers = children(running.process.pid)
                if pid == min(workers):  # worker 0 was forked first
                    connection.request(
                        "PUT", "/admin/plan", json.dumps(plan(shelf["2"])), {"Authorization": "Bearer administrator-1"}
                    )
                    response = connection.getresponse()
                    got.append((response.status, json.loads(response.read())))
                connection.close()

        asker = threading.Thread(target=ask)
        asker.start()
        until(stuck.exists, "worker 1 prepares")
        running.fault.unlink()
        os.kill(int(stuck.read_text()), signal.SIGKILL)
        asker.join(20)
        status, said = got[0]
        assert (status, said["error"]) == (503, "WorkerDied"), said
        assert "worker 1" in said["what"]
        assert "-9" in said["what"]
        assert {one["models"][0]["version"] for one in running.plans(2)} == {"1"}
        assert running.admin("PUT", "plan", plan(shelf["2"]))[0] == 200
        assert {one["models"][0]["version"] for one in running.plans(2)} == {"2"}


def children(pid: int) -> list[int]:
    """Processes that another has forked."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_worker_that_dies_comes_back_with_the_plan_of_now(tmp_path: Path, shelf: Shelf) -> None:
    moving = tmp_path / "homes"
    replace(moving, shelf["1"])
    with server(tmp_path / "two", moving, "--workers", "2") as running:
        replace(moving, shelf["2"])
        assert running.admin("POST", "reload")[0] == 200
        shutil.rmtree(moving)
        dead = children(running.process.pid)
        for pid in dead:
            os.kill(pid, signal.SIGKILL)
        until(
            lambda: len(new := children(running.process.pid)) == 2 and not set(new) & set(dead), "two others are there"
        )
        assert {one["models"][0]["version"] for one in running.plans(2)} == {"2"}
        assert answering(running) == "2"


def test_weights_are_kept_on_the_hot_path_and_off_it(fresh: Server, shelf: Shelf) -> None:
    weights = {"1": 6, "2": 3, "3": 1}
    assert fresh.admin("PUT", "plan", plan(*(shelf[v] for v in weights), traffic={"homes": weights}))[0] == 200
    bodies = {"hot": ROWS[0], "cold": {"columns": {name: [value] for name, value in ROWS[0].items()}}}
    for body in bodies.values():
        counts = dict.fromkeys(weights, 0)
        for _ in range(300):
            status, headers, said = fresh.ask("POST", "/predict", body)
            assert status == 200
            if "columns" in said:
                answers = dict(zip(served.LABELS, said["columns"]["probability"][0], strict=True))
                said = {"prediction": said["columns"]["prediction"][0], "probability": answers}
            assert who([said], [0]) == [headers["anyport-version"]]
            counts[headers["anyport-version"]] += 1
        for version, weight in weights.items():
            p = weight / 10
            # six standard deviations: wrong once in five hundred million runs
            assert abs(counts[version] - 300 * p) < 6 * (300 * p * (1 - p)) ** 0.5, counts


def test_a_header_names_the_version(fresh: Server, shelf: Shelf) -> None:
    column = {"columns": {name: [value] for name, value in ROWS[0].items()}}
    assert fresh.admin("PUT", "plan", plan(shelf["1"], shelf["2"]))[0] == 200
    for version in ("1", "2"):
        for body in (ROWS[0], column):
            status, headers, _ = fresh.ask("POST", "/predict", body, {"anyport-version": version})
            assert (status, headers["anyport-version"]) == (200, version)
        said = fresh.ask("POST", "/models/homes/predict", ROWS[0], {"anyport-version": version})[2]
        assert who([said], [0]) == [version]
    for body in (ROWS[0], column):
        status, _, said = fresh.ask("POST", "/predict", body, {"anyport-version": "7"})
        assert (status, said["what"]) == (404, "there is no model homes version 7 here")
    status, headers, _ = fresh.ask("POST", "/models/homes/versions/1/predict", ROWS[0], {"anyport-version": "2"})
    assert (status, headers["anyport-version"]) == (200, "1"), "the path says more than the header"
    assert fresh.admin("PUT", "plan", plan(shelf["1"]))[0] == 200
    status, headers, _ = fresh.ask("POST", "/predict", ROWS[0], {"anyport-version": "1"})
    assert (status, "anyport-version" in headers) == (200, False), "one version alone need not say its name"
    assert fresh.ask("POST", "/predict", ROWS[0], {"anyport-version": "2"})[0] == 404


def test_a_shadow_is_compared_and_shown(fresh: Server, shelf: Shelf) -> None:
    import numpy as np

    shadow = {"homes": {"version": "2"}}
    assert fresh.admin("PUT", "plan", plan(shelf["1"], shelf["2"], shadow=shadow))[0] == 200
    for row in ROWS[:20]:
        assert who([fresh.ask("POST", "/predict", row)[2]], [ROWS.index(row)]) == ["1"]
    fresh.ask("POST", "/predict", ROWS[20:60])  # too many rows for the hot path
    until(lambda: fresh.admin("GET", "plan")[1]["comparison"]["homes"]["rows"] == 60, "all were compared")
    found = fresh.admin("GET", "plan")[1]["comparison"]["homes"]
    one, two = (np.array([list(a["probability"].values()) for a in ANSWERS[version]]) for version in ("1", "2"))
    flipped = sum(a["prediction"] != b["prediction"] for a, b in zip(ANSWERS["1"], ANSWERS["2"], strict=True))
    assert flipped > 0
    assert found["labels"] == flipped
    assert found["differing"] == 60
    assert found["largest"] == pytest.approx(abs(one - two).max())
    assert (found["refusals"], found["failed"], found["dropped"]) == (0, 0, 0)
    text = fresh.ask("GET", "/metrics")[2]
    assert f'anyport_shadow_labels_total{{model="homes",version="2"}} {flipped}\n' in text
    assert fresh.admin("PATCH", "plan", {"shadow": {"homes": None}})[0] == 200
    assert fresh.admin("GET", "plan")[1]["comparison"] == {}
