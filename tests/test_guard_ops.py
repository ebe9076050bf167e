"""Keys that reload, TLS, CORS, logs, traces and the end of a server."""

from __future__ import annotations

import datetime
import http.server
import io
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import served
from certified import certificates
from guarded import ANSWERS, MODEL, ROWS, answers, request, same, until, up

from anyport.errors import Mistake
from anyport.serve import keys, note, tls, trace
from anyport.serve.app import App
from anyport.serve.settings import Settings

SRC = Path(__file__).resolve().parents[1] / "src"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.bundle(tmp_path_factory.mktemp("ops") / "homes", MODEL)


@contextmanager
def process(*argv: str | Path, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m anyport.serve` and the URL it announces."""
    command = [sys.executable, "-m", "anyport.serve", *map(str, argv), "--port", "0", "--json"]
    given = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", **env}
    with subprocess.Popen(command, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            line = child.stdout.readline()
            assert line, child.stderr.read()
            yield child, json.loads(line)["url"]
        finally:
            child.kill()


def port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def ask(where: int, body: Any, path: str = "/predict", extra: str = "", *, method: str = "POST") -> Any:
    with socket.create_connection(("127.0.0.1", where), timeout=10) as sock:
        sock.sendall(request(body, path, extra, method=method))
        return answers(sock, 1)[0]


# keys


def test_keys_change_with_their_file_and_a_broken_one_changes_nothing(
    homes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text("old\n")
    with up(homes, asked=keys.read(file)) as running:

        def status(key: str) -> int:
            return running.ask(ROWS[0], extra=f"X-API-Key: {key}\r\n").status

        assert (status("old"), status("old"), status("new")) == (200, 200, 401)
        file.write_text("new\nnewer\n")
        until(lambda: status("new") == 200, 3)
        assert (status("old"), status("newer")) == (401, 200), "a removed key is no longer remembered"
        file.write_text("# nobody\n")
        until(lambda: "stay as they were" in caplog.text, 3)
        file.unlink()
        until(lambda: "No such file" in caplog.text, 3)
        assert (status("new"), status("old")) == (200, 401)


def test_sighup_reads_keys_again_in_every_worker(homes: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("aaa\n")
    then = os.stat(file)
    with process(homes, "--workers", "2", "--api-key-file", file) as (child, url):
        assert ask(port(url), ROWS[0], extra="X-API-Key: aaa\r\n").status == 200
        with file.open("r+") as opened:  # the same size, time and inode: only the signal tells
            opened.write("bbb\n")
        os.utime(file, ns=(then.st_atime_ns, then.st_mtime_ns))
        time.sleep(1.2)
        assert ask(port(url), ROWS[0], extra="X-API-Key: bbb\r\n").status == 401
        child.send_signal(signal.SIGHUP)
        until(lambda: [ask(port(url), ROWS[0], extra="X-API-Key: bbb\r\n").status for _ in range(12)] == [200] * 12)
        assert ask(port(url), ROWS[0], extra="X-API-Key: aaa\r\n").status == 401
        child.terminate()
        assert child.wait(5) == 0


# TLS


def secured(where: int, folder: Path, own: str = "") -> ssl.SSLSocket:
    """A verified connection, with a certificate of one's own where named."""
    trusting = ssl.create_default_context(cafile=folder / "ca.pem")
    if own:
        trusting.load_cert_chain(folder / f"{own}.pem", folder / f"{own}.key")
    raw = socket.create_connection(("127.0.0.1", where), timeout=10)
    try:
        return trusting.wrap_socket(raw, server_hostname="localhost")
    except BaseException:
        raw.close()
        raise


def test_https_on_both_paths_refusals_and_too_many_connections(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates(tmp_path, "server", password=b"swordfish")
    (tmp_path / "password").write_text("swordfish\n")
    options = {
        "tls_cert": tmp_path / "server.pem", "tls_key": tmp_path / "server.key",
        "tls_key_password_file": tmp_path / "password", "max_connections": 2,
    }  # fmt: skip
    with up(homes, **options) as running:
        with secured(running.port, tmp_path) as sock:
            assert sock.version() in ("TLSv1.2", "TLSv1.3")
            sock.sendall(request(ROWS[:40]) + request({}))
            first, second = answers(sock, 2)
            assert first.status == 200
            assert second.status == 422
            with secured(running.port, tmp_path), secured(running.port, tmp_path) as third:
                assert answers(third, 1)[0].status == 503
            monkeypatch.setattr(App, "reply", None)
            sock.sendall(request(ROWS[0]))
            assert same(answers(sock, 1)[0].json, ANSWERS[0])
            sock.sendall(request(ROWS[0], "/" + "x" * 10_000))
            assert answers(sock, 1)[0].status == 414
        with running.open() as plain:
            plain.sendall(request(ROWS[0]))
            try:
                assert not plain.recv(100).startswith(b"HTTP/")
            except ConnectionResetError:
                return


def test_a_server_with_authorities_wants_a_certificate_of_theirs(homes: Path, tmp_path: Path) -> None:
    certificates(tmp_path, "server")
    certificates(tmp_path, "client")
    (tmp_path / "other").mkdir()
    certificates(tmp_path / "other", "client")
    options = {
        "tls_cert": tmp_path / "server.pem", "tls_key": tmp_path / "server.key", "tls_ca_file": tmp_path / "ca.pem"
    }  # fmt: skip
    with up(homes, **options) as running:
        with secured(running.port, tmp_path, "client") as sock:
            sock.sendall(request(ROWS[0]))
            assert same(answers(sock, 1)[0].json, ANSWERS[0])
        for stranger in (tmp_path / "other" / "client", None):
            trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
            if stranger is not None:
                trusting.load_cert_chain(f"{stranger}.pem", f"{stranger}.key")
            with running.open() as raw, pytest.raises(OSError):
                shut_out(trusting, raw)


def shut_out(trusting: ssl.SSLContext, raw: socket.socket) -> None:
    """OSError where the server ends the connection: TLS 1.3 tells the client only when it reads."""
    with trusting.wrap_socket(raw, server_hostname="localhost") as sock:
        sock.sendall(request(ROWS[0]))
        if not sock.recv(100):
            raise OSError("closed")


def test_sighup_reads_the_certificate_again_and_keeps_it_where_the_new_one_is_broken(
    homes: Path, tmp_path: Path
) -> None:
    certificates(tmp_path, "server")
    with process(homes, "--tls-cert", tmp_path / "server.pem", "--tls-key", tmp_path / "server.key") as (child, url):
        assert url.startswith("https://")

        def serial() -> int:
            with secured(port(url), tmp_path) as sock:
                found = sock.getpeercert()
                assert found
                return int(str(found["serialNumber"]), 16)

        before = serial()
        (tmp_path / "server.pem").write_text("broken")
        child.send_signal(signal.SIGHUP)
        assert child.stderr is not None
        assert "the certificate stays as it was" in child.stderr.readline()
        assert serial() == before
        certificates(tmp_path, "server")
        child.send_signal(signal.SIGHUP)
        until(lambda: serial() != before)


def test_certificates_that_are_no_good_are_named_before_anything_starts(tmp_path: Path) -> None:
    certificates(tmp_path, "server", password=b"swordfish")
    certificates(tmp_path, "other")
    cert = tmp_path / "server.pem"
    for wrong, says in (
        ({"tls_key": cert}, "--tls-key without --tls-cert"),
        ({"tls_cert": tmp_path / "none.pem"}, "none.pem"),
        ({"tls_cert": cert, "tls_key": tmp_path / "other.key"}, "other.key"),
        ({"tls_cert": cert, "tls_key": tmp_path / "server.key"}, "password"),
        ({"tls_cert": tmp_path / "other.pem", "tls_key": tmp_path / "other.key", "tls_ca_file": tmp_path / "other.key"},
         "authorities"),
    ):  # fmt: skip
        with pytest.raises(Mistake, match=re.escape(says)):
            tls.context(Settings(**wrong))


# CORS


def test_pages_of_named_origins_may_ask_on_both_paths(homes: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("k\n")
    mine, key = "https://app.example.org", "X-API-Key: k\r\n"
    with up(homes, cors_origins=(mine,), asked=keys.read(tmp_path / "keys")) as running:
        for path in ("/predict", "/models/homes/predict", "/metrics", "/readyz"):
            asked = f"Origin: {mine}\r\nAccess-Control-Request-Method: POST\r\n"
            got = running.ask(None, path, asked + "Access-Control-Request-Headers: x-api-key\r\n", method="OPTIONS")
            assert got.status == 200
            assert got.headers["access-control-allow-origin"] == mine
            assert got.headers["access-control-allow-headers"] == "x-api-key"
            assert got.headers["access-control-allow-methods"]
            assert "access-control-allow-credentials" not in got.headers
        for body, status in ((ROWS[0], 200), ({}, 422)):
            got = running.ask(body, extra=f"{key}Origin: {mine}\r\n")
            assert (got.status, got.headers["access-control-allow-origin"]) == (status, mine)
            assert "x-request-id" in got.headers["access-control-expose-headers"]
            assert "origin" in got.headers["vary"]
            assert (
                "access-control-allow-origin" not in running.ask(body, extra=f"{key}Origin: https://evil\r\n").headers
            )
        got = running.ask(ROWS[0], extra=f"Origin: {mine}\r\n")
        assert (got.status, got.headers["access-control-allow-origin"]) == (401, mine)
        assert running.ask(None, "/predict", method="OPTIONS").status == 401
    with up(homes, cors_origins=("*",)) as running:
        assert running.ask(ROWS[0], extra="Origin: null\r\n").headers["access-control-allow-origin"] == "*"
        assert running.ask(None, "/predict", method="OPTIONS").status == 405
    with up(homes) as running:
        got = running.ask(
            None, "/predict", f"Origin: {mine}\r\nAccess-Control-Request-Method: POST\r\n", method="OPTIONS"
        )
        assert got.status == 405
        assert not [name for name in got.headers if name.startswith("access-control")]


# logs


def test_request_ids_are_echoed_to_their_own_request(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with up(homes) as running:
        assert running.ask({}, extra="X-Request-ID: cold-1\r\n").headers["x-request-id"] == "cold-1"
        for bad in ("x" * 129, "two words", "\x7f", "é"):
            assert "x-request-id" not in running.ask(ROWS[0], extra=f"X-Request-ID: {bad}\r\n").headers
        monkeypatch.setattr(App, "reply", None)
        ids = ["", "a", "", "b" * 128, "", ""]
        with running.open() as sock:
            for _ in range(2):
                sock.sendall(
                    b"".join(request(ROWS[i], extra=f"X-Request-ID: {n}\r\n" if n else "") for i, n in enumerate(ids))
                )
                got = answers(sock, len(ids))
                assert [one.headers.get("x-request-id", "") for one in got] == ids
                assert all(same(one.json, ANSWERS[i]) for i, one in enumerate(got))


def test_every_request_is_one_json_object_and_so_is_every_failure(homes: Path) -> None:
    argv = (homes, "--access-log", "--log-format", "json")
    with process(*argv) as (child, url):
        ask(port(url), ROWS[:3], extra=f"X-Request-ID: mine\r\ntraceparent: {PARENT}01\r\n")
        ask(port(url), {"age": 1}, "/predict?partial=maybe&secret=1")
        ask(port(url), {"columns": {k: [v] * 2 for k, v in ROWS[0].items()}}, "/models/homes/predict")
        ask(port(url), None, "/li%0avez", "traceparent: 00-zz\r\n", method="GET")
        child.terminate()
        assert child.wait(5) == 0
        assert child.stderr is not None
        hot, bad, cold, none = map(json.loads, child.stderr.read().splitlines())
    assert (hot["id"], hot["trace"], hot["span"]) == ("mine", PARENT[3:35], PARENT[36:52])
    assert (hot["method"], hot["path"], hot["status"], hot["rows"], hot["model"]) == (
        "POST",
        "/predict",
        200,
        3,
        "homes",
    )
    assert hot["client"] == "127.0.0.1"
    assert hot["version"] == cold["version"] != ""
    assert hot["bytes"] > 100
    assert 0 < hot["ms"] < 5000
    assert abs(datetime.datetime.fromisoformat(hot["time"]).timestamp() - time.time()) < 60
    assert (bad["status"], bad["path"]) == (400, "/predict")
    assert (cold["status"], cold["rows"], cold["model"]) == (200, 2, "homes")
    assert (none["status"], none["path"]) == (404, "/li%0avez")
    assert "trace" not in none
    assert len({one["id"] for one in (hot, bad, cold, none)}) == 4


def test_a_failure_is_logged_with_its_id_trace_and_traceback(homes: Path) -> None:
    import logging

    from anyport.serve import logs

    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logs.Objects())
    log = logging.getLogger("anyport.serve")
    log.addHandler(handler)
    try:
        with up(homes) as running:

            def broken(*_: Any) -> Any:
                raise RuntimeError("cannot divide by cheese")

            assert running.model.hot is not None
            running.model.hot._run = broken
            running.model.predictor.predict = broken  # type: ignore[union-attr,method-assign]
            extra = f"X-Request-ID: %s\r\ntraceparent: {PARENT}00\r\n"
            long = {"columns": {k: [v] * 2000 for k, v in ROWS[0].items()}}
            got = [
                running.ask(ROWS[0], extra=extra % "hot"), running.ask(long, extra=extra % "thread"),
                running.ask(ROWS * 1, "/predict", extra % "cold"), running.ask(ROWS[0]),
            ]  # fmt: skip
    finally:
        log.removeHandler(handler)
    assert [one.status for one in got] == [500] * 4
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [one["id"] for one in found] == ["hot", "thread", "cold", got[3].json["id"]]
    assert [one.json["id"] for one in got] == [one["id"] for one in found]
    for one in found[:3]:
        assert one["trace"] == PARENT[3:35]
        assert "cannot divide by cheese" in one["traceback"]
        assert one["level"] == "error"


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (PARENT + "01", True), (PARENT + "00", True), ("01-" + PARENT[3:] + "01-more", True),
        (PARENT + "01-more", False), ("ff-" + PARENT[3:] + "01", False), (PARENT.upper() + "01", False),
        ("00-" + "0" * 32 + PARENT[35:] + "01", False), (PARENT[:36] + "0" * 16 + "-01", False), ("", False),
    ],
)  # fmt: skip
def test_a_traceparent_is_taken_only_where_it_is_one(value: str, good: bool) -> None:
    found = note.parent(value.encode())
    assert (found is not None) == good
    if found is not None:
        assert (found.trace, found.span, found.sampled) == (PARENT[3:35], PARENT[36:52], value[53:55] == "01")


# traces


def test_a_request_is_a_server_span_with_its_steps_below(homes: Path) -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace import SpanKind, StatusCode

    memory = InMemorySpanExporter()
    with up(homes, otel=True) as running:
        running.app.tracing = trace.tracing(memory)
        assert same(running.ask(ROWS[0], extra=f"traceparent: {PARENT}01\r\n").json, ANSWERS[0])
        running.model.off = True
        running.app.ticks.clear()
        assert running.ask(ROWS[:3], "/models/homes/predict", f"traceparent: {PARENT}01\r\n").status == 200
        assert running.ask(ROWS[0], extra=f"traceparent: {PARENT}00\r\n").status == 200, "its caller is not traced"
        assert running.ask({}, extra="traceparent: nonsense\r\n").status == 422
        running.model.predictor.predict = lambda batch: 1 / 0  # type: ignore[union-attr,method-assign,assignment,return-value]
        assert running.ask(ROWS[0]).status == 500
        until(lambda: len([s for s in memory.get_finished_spans() if s.kind == SpanKind.SERVER]) == 4)
        running.app.tracing.close()
    spans = memory.get_finished_spans()
    one, three, bad, failed = [span for span in spans if span.kind == SpanKind.SERVER]
    for span in (one, three):
        assert span.parent is not None
        assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" == PARENT[3:52]
        below = [s for s in spans if s.parent is not None and s.parent.span_id == span.context.span_id]
        assert [s.name for s in below] == ["decode", "queue", "run", "encode"]
        ends = [t for s in below for t in (s.start_time, s.end_time)]
        assert ends == sorted(ends)
        assert span.start_time <= ends[0]
        assert ends[-1] <= span.end_time
    assert three.name == "POST /models/{name}/predict"
    said = dict(three.attributes or {})
    assert said["http.request.method"] == "POST"
    assert said["http.route"] == "/models/{name}/predict"
    assert said["http.response.status_code"] == 200
    assert (said["anyport.model.name"], said["anyport.rows"], said["anyport.batch.rows"]) == ("homes", 3, 3)
    assert bad.parent is None
    assert bad.status.status_code == StatusCode.UNSET, "the caller's fault is no error of the server's"
    assert failed.status.status_code == StatusCode.ERROR
    assert dict(failed.attributes or {})["error.type"] == "500"


class Collector(http.server.BaseHTTPRequestHandler):
    """An OTLP receiver."""

    got: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        self.got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nobody asked."""


def test_traces_of_every_worker_reach_a_collector(homes: Path) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    Collector.got = []
    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    try:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_address[1]}",
            "OTEL_SERVICE_NAME": "houses",
        }
        with process(homes, "--otel", "--workers", "2", **env) as (child, url):
            for row in ROWS[:10]:
                assert ask(port(url), row, extra=f"traceparent: {PARENT}01\r\n").status == 200
            child.terminate()
            assert child.wait(10) == 0
    finally:
        collector.shutdown()
        thread.join(10)
        collector.server_close()
    names: list[str] = []
    for path, body in Collector.got:
        assert path == "/v1/traces"
        sent = ExportTraceServiceRequest.FromString(body)
        for resource in sent.resource_spans:
            said = {a.key: a.value.string_value for a in resource.resource.attributes}
            assert said["service.name"] == "houses"
            for span in (s for scope in resource.scope_spans for s in scope.spans):
                assert span.trace_id.hex() == PARENT[3:35]
                names.append(span.name)
    assert names.count("POST /predict") == 10
    assert names.count("run") == 10


def test_without_otel_nothing_of_it_is_imported(homes: Path) -> None:
    code = (
        "import os, signal, sys; from anyport import serve; from anyport.serve.settings import Settings\n"
        "serve.announce = lambda *a, **k: os.kill(os.getpid(), signal.SIGTERM)\n"
        f"serve.run([{str(homes)!r}], Settings(port=0))\n"
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SRC)},
                          capture_output=True, text=True, timeout=30, check=True)  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


# the end


def test_a_stop_with_notice_says_so_first_and_serves_on(homes: Path) -> None:
    with process(homes, "--drain-delay", "1") as (child, url):
        assert ask(port(url), None, "/readyz", method="GET").status == 200
        child.terminate()
        told = time.monotonic()
        until(lambda: ask(port(url), None, "/readyz", method="GET").status == 503, 0.8)
        assert ask(port(url), None, "/livez", method="GET").status == 200
        assert same(ask(port(url), ROWS[0]).json, ANSWERS[0])
        assert child.wait(5) == 0
        assert 1 <= time.monotonic() - told < 2.5


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_idle_server_stops_at_once(homes: Path, workers: str) -> None:
    with (
        process(homes, "--workers", workers) as (child, url),
        socket.create_connection(("127.0.0.1", port(url)), timeout=10) as idle,
    ):
        idle.sendall(request(ROWS[0]))
        assert answers(idle, 1)[0].status == 200
        before = time.monotonic()
        child.terminate()
        assert child.wait(5) == 0
        assert time.monotonic() - before < 3  # 0.2 s on a quiet machine; without a thought for idle ones it is 20


def test_a_second_signal_stops_at_once(homes: Path) -> None:
    with process(homes, "--drain-delay", "30") as (child, url):
        child.terminate()
        until(lambda: ask(port(url), None, "/readyz", method="GET").status == 503)
        child.terminate()
        assert child.wait(2) == 128 + signal.SIGTERM


def test_a_terminals_ctrl_c_reaches_parent_and_workers_and_drains_once(homes: Path) -> None:
    with process(homes, "--workers", "2") as (child, url):
        pids = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        assert len(pids) == 2
        with socket.create_connection(("127.0.0.1", port(url)), timeout=10) as half:
            text = request(ROWS[0])
            half.sendall(text[:-20])
            time.sleep(0.1)
            for pid in (child.pid, *map(int, pids)):
                os.kill(pid, signal.SIGINT)
            time.sleep(0.3)
            half.sendall(text[-20:])
            assert same(answers(half, 1)[0].json, ANSWERS[0])
        assert child.wait(5) == 0
