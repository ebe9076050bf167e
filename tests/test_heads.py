"""A remembered head changes no answer: what may differ behind it is judged again."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import served
from test_serve import ANSWERS, MODEL, ROWS, up

from anyport.serve import keys
from anyport.serve.protocol import Head, HotProtocol


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.bundle(tmp_path_factory.mktemp("heads") / "homes", MODEL)


@pytest.fixture
def hits(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each request that met a remembered head was taken."""
    found: list[bool] = []
    real = HotProtocol.again

    def again(self: HotProtocol, head: Head, body: bytes) -> bool:
        found.append(real(self, head, body))
        return found[-1]

    monkeypatch.setattr(HotProtocol, "again", again)
    return found


def request(body: bytes, *lines: str) -> bytes:
    head = ["POST /predict HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, *lines, "", ""]).encode() + body


def asked(port: int, data: bytes) -> tuple[int, Any]:
    """Status and JSON of one exchange on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        one.sendall(data)
        reader = one.makefile("rb")
        status = int(reader.readline().split()[1])
        if status == 100:
            reader.readline()
            status = int(reader.readline().split()[1])
        length = 0
        while (line := reader.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return status, json.loads(reader.read(length))


def padded(row: Any, size: int = 200) -> bytes:
    return json.dumps(row).encode().ljust(size)


def test_different_rows_behind_one_head_get_their_own_answers(homes: Path, hits: list[bool]) -> None:
    with up(homes) as running:
        for row, answer in list(zip(ROWS, ANSWERS, strict=True))[:40]:
            status, got = asked(running.port, request(padded(row)))
            assert status == 200
            assert got["prediction"] == answer["prediction"]
            assert got["probability"] == pytest.approx(answer["probability"], abs=1e-9)
    assert hits.count(True) > 30


def test_a_bad_row_behind_a_remembered_head_is_refused(homes: Path, hits: list[bool]) -> None:
    with up(homes) as running:
        for _ in range(3):
            assert asked(running.port, request(padded(ROWS[0])))[0] == 200
        assert asked(running.port, request(padded({**ROWS[0], "rooms": "many"})))[0] == 422
        assert asked(running.port, request(padded(ROWS[0])[:-1] + b"}"))[0] == 400
        assert asked(running.port, request(padded(ROWS[0])))[0] == 200
    assert any(hits)
    assert False in hits


def test_a_key_that_is_taken_back_opens_nothing(homes: Path, hits: list[bool]) -> None:
    with up(homes, keys=keys.Keys(["first"])) as running:
        with_key = request(padded(ROWS[0]), "X-API-Key: first")
        for _ in range(5):
            assert asked(running.port, with_key)[0] == 200
        assert any(hits)
        running.app.site.keys = keys.Keys(["second"])
        assert asked(running.port, with_key)[0] == 401


def test_only_one_whole_plain_request_is_remembered(homes: Path, hits: list[bool]) -> None:
    body = padded(ROWS[0])
    chunked = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunked += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    with up(homes) as running:
        for data in (chunked, request(body, "Connection: close"), request(body, "Expect: 100-continue")) * 2:
            asked(running.port, data)
        assert not running.app.heads
    assert not hits
