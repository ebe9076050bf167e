"""connect: a model behind a URL answers like one here, says what went wrong, and asks again only where that is safe."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
import served
from test_serve import ANSWERS, MODEL, ROWS, Up, same, up

import anyport
from anyport import client, remote
from anyport.errors import BadData, Busy, Mistake, NotThere, ServerError, TooSlow, Unauthorized, Unreachable
from anyport.serve import keys

FRAME = pd.DataFrame(ROWS, index=[f"id{i}" for i in range(len(ROWS))])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("remote")
    first = served.bundle(folder / "homes", MODEL)
    second = served.bundle(folder / "second", MODEL, name="others", version="2/b")
    with up(first, second) as running:
        yield running


Ask = Callable[..., Any]


def sync(url: str, data: Any, *, partial: bool = False, **options: Any) -> Any:
    with anyport.connect(url, **options) as model:
        return model.predict(data, partial=partial)


def twin(url: str, data: Any, *, partial: bool = False, **options: Any) -> Any:
    async def ask() -> Any:
        async with await anyport.connect_async(url, **options) as model:
            return await model.predict(data, partial=partial)

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [sync, twin])


@both
def test_a_frame_gives_a_frame_with_its_index_and_the_originals_answers(live: Up, ask: Ask) -> None:
    found = ask(live.url, FRAME)
    assert list(found.index) == list(FRAME.index)
    assert list(found.columns) == ["prediction", "probability_0", "probability_1", "probability_2"]
    assert found["prediction"].tolist() == [e["prediction"] for e in ANSWERS]
    expected = np.array([list(e["probability"].values()) for e in ANSWERS])
    assert np.allclose(found[[f"probability_{i}" for i in range(3)]].to_numpy(), expected, atol=1e-9)


@both
def test_the_answer_has_the_form_of_the_question(live: Up, ask: Ask) -> None:
    row = ask(live.url, ROWS[0])
    assert row["prediction"] == ANSWERS[0]["prediction"]
    assert np.allclose(row["probability"], list(ANSWERS[0]["probability"].values()))
    assert [r["prediction"] for r in ask(live.url, ROWS[:3])] == [e["prediction"] for e in ANSWERS[:3]]
    assert ask(live.url, pl.DataFrame(ROWS))["prediction"].to_list() == [e["prediction"] for e in ANSWERS]
    assert len(ask(live.url, FRAME.iloc[:0])) == 0


@both
def test_it_is_the_same_as_loading_the_bundle(live: Up, ask: Ask) -> None:
    local = anyport.load(live.app.site.models[0].bundle.path).predict(FRAME)
    pd.testing.assert_frame_equal(ask(live.url, FRAME), local)


@both
def test_a_long_frame_travels_in_pieces_and_comes_back_in_order(
    live: Up, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SENT", 1500)
    with anyport.connect(live.url) as model:
        batch, _ = model.read(FRAME)
    assert len(list(client.bodies(batch, served.SIGNATURE))) > 5
    assert ask(live.url, FRAME)["prediction"].tolist() == [e["prediction"] for e in ANSWERS]


@both
def test_the_other_model_is_asked_by_name_and_version(live: Up, ask: Ask) -> None:
    assert ask(live.url, FRAME, name="others", version="2/b")["prediction"].tolist() == [
        e["prediction"] for e in ANSWERS
    ]
    with anyport.connect(live.url, name="others") as one, anyport.connect(f"{live.url}/models/others") as two:
        assert one.identity == two.identity
        assert (one.name, one.version) == ("others", "2/b")
    with pytest.raises(NotThere, match="no model others version 3"):
        ask(live.url, FRAME, name="others", version="3")
    with pytest.raises(Mistake, match="of which model"):
        ask(live.url, FRAME, version="3")


@both
def test_refused_rows_are_listed_or_left_out(live: Up, ask: Ask) -> None:
    bad = FRAME.copy()
    bad["plan"] = bad["plan"].astype(object)
    bad.iloc[3, bad.columns.get_loc("plan")] = "silver"
    bad.iloc[7, bad.columns.get_loc("age")] = 1e9
    with pytest.raises(BadData, match=r"2 of 120 rows are refused") as caught:
        ask(live.url, bad)
    assert [(p["row"], p["column"]) for p in caught.value.problems] == [(3, "plan"), (7, "age")]
    found = ask(live.url, bad, partial=True)
    gone = ["id3", "id7"]
    assert found.loc[gone, "prediction"].isna().all()
    assert found.loc[gone, "probability_0"].isna().all()
    assert "silver" in found.loc["id3", "errors"]
    rest = found.drop(index=gone)
    assert rest["errors"].isna().all()
    kept = [e["prediction"] for i, e in enumerate(ANSWERS) if i not in (3, 7)]
    assert rest["prediction"].tolist() == kept
    (one,) = ask(live.url, [ROWS[0] | {"plan": "silver"}], partial=True)
    assert one["prediction"] is None
    assert one["probability"] is None or one["probability"] == [None] * 3
    assert "silver" in one["errors"]


@both
def test_a_frame_without_a_column_is_refused_before_anything_is_sent(live: Up, ask: Ask) -> None:
    with pytest.raises(BadData, match="rooms"):
        ask(live.url, FRAME.drop(columns="rooms"))


@both
def test_a_key_is_asked_for(tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "keys").write_text("sesame\n")
    folder = served.bundle(tmp_path / "homes", MODEL)
    with up(folder, keys=keys.read(tmp_path / "keys")) as running:
        assert len(ask(running.url, FRAME, api_key="sesame")) == len(FRAME)
        for wrong in (None, "seseme"):
            with pytest.raises(Unauthorized, match="no valid API key"):
                ask(running.url, FRAME, api_key=wrong)


@both
def test_where_nobody_listens_is_unreachable_after_the_retries(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []
    for module in (client, remote):
        monkeypatch.setattr(module, "wait", lambda error, attempt: waited.append(attempt) or 0.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take the port meanwhile
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match="cannot be asked"):
            ask(url, FRAME, retries=2)
    assert waited == [0, 1]


class Script:
    """A server that gives replies as written, one after the other, and counts what it was asked."""

    def __init__(self, replies: Sequence[tuple[int, dict[str, str], bytes]]) -> None:
        self.replies = list(replies)
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                said = {"name": "a", "version": "1", "digest": "d", "form": "graph", "signature": served.SIGNATURE}
                self.give(200, {}, msgspec.json.encode(said))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append(self.path)
                status, headers, body = outer.replies.pop(0)
                if status:
                    self.give(status, headers, body)
                else:  # close without a word
                    self.close_connection = True

            def give(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def script(*replies: tuple[int, dict[str, str], bytes]) -> Iterator[Script]:
    made = Script(replies)
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


GOOD = (200, {}, msgspec.json.encode(ANSWERS[0]))
BUSY = (503, {"Retry-After": "0"}, b'{"error": "NotReady", "what": "the model is still being loaded", "fix": ""}')


@both
def test_a_busy_server_is_asked_again(ask: Ask) -> None:
    with script(BUSY, (429, {"Retry-After": "0"}, b"{}"), GOOD) as server:
        assert same(relabel(ask(server.url, ROWS[0])), ANSWERS[0])
        assert len(server.asked) == 3


def relabel(answer: dict[str, Any]) -> dict[str, Any]:
    return answer | {"probability": dict(zip(served.LABELS, answer["probability"], strict=True))}


@both
def test_a_server_that_stays_busy_is_given_up(ask: Ask) -> None:
    with script(*[(503, {"Retry-After": "0"}, BUSY[2])] * 3) as server:
        with pytest.raises(Busy, match="still being loaded") as caught:
            ask(server.url, ROWS[0], retries=2)
        assert caught.value.after == 0
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, ServerError), (504, TooSlow), (408, TooSlow), (413, Mistake), (404, NotThere), (403, Unauthorized)],
)
@both
def test_a_failure_is_typed_and_never_sent_again(ask: Ask, status: int, kind: type[Exception]) -> None:
    with script((status, {}, b'{"error": "E", "what": "it is so", "fix": "mend", "id": "77"}'), GOOD) as server:
        with pytest.raises(kind, match=rf"answered {status}: it is so .*77") as caught:
            ask(server.url, ROWS[0])
        assert type(caught.value) is kind
        assert len(server.asked) == 1


@both
def test_a_connection_that_breaks_under_the_request_is_not_sent_again(ask: Ask) -> None:
    with script((0, {}, b""), (0, {}, b""), GOOD) as server:
        # whether the server had worked on it, nobody knows; the first may have been a kept connection's end
        with pytest.raises(Unreachable, match="cannot be asked"):
            ask(server.url, ROWS[0])
        assert len(server.asked) <= 2


@both
def test_no_answer_in_time_is_too_slow(ask: Ask) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TooSlow, match="no answer in"):
            ask(f"http://127.0.0.1:{silent.getsockname()[1]}", ROWS[0], timeout=0.2)


@both
def test_what_is_no_anyport_server_is_said(ask: Ask) -> None:
    with script((200, {}, b"<html>")) as server, pytest.raises(ServerError, match="200 and no JSON: b'<html>'"):
        ask(server.url, ROWS[0])
    with pytest.raises(Mistake, match="is not a URL"):
        anyport.connect("localhost:8080")


def test_waiting_grows_obeys_and_ends() -> None:
    assert 0.1 <= client.wait(Unreachable("x"), 0) <= 0.2
    assert 0.8 <= client.wait(Unreachable("x"), 3) <= 1.6
    assert client.wait(Busy("x", after=7.0), 0) == 7.0
    assert client.wait(Busy("x", after=1e6), 0) == client.wait(Unreachable("x"), 40) == client.PATIENCE


def test_one_model_is_shared_by_threads(live: Up) -> None:
    with anyport.connect(live.url) as model:
        wrong: list[int] = []

        def work(start: int) -> None:
            for i in range(start, len(ROWS), 4):
                if model.predict(ROWS[i])["prediction"] != ANSWERS[i]["prediction"]:
                    wrong.append(i)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_a_context_is_used_for_https(live: Up) -> None:
    with pytest.raises(Unreachable, match="SSL"):
        anyport.connect(live.url.replace("http:", "https:"), context=ssl.create_default_context(), retries=0)
