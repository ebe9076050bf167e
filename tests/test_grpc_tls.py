"""TLS on the gRPC port: as secret as HTTP, with the same files."""

from __future__ import annotations

import signal
from pathlib import Path

import grpc
import pytest
import served
from certified import certificates
from guarded import until
from serving import Process, process

from anyport import serve
from anyport.errors import Mistake
from anyport.serve.settings import Settings

READY = "/inference.GRPCInferenceService/ServerReady"


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.bundle(tmp_path_factory.mktemp("tls") / "homes", served.fitted())


def ready(running: Process, trusted: grpc.ChannelCredentials | None) -> bool:
    """Whether the server says that it is ready; False where no connection comes about."""
    where = f"localhost:{running.grpc.rsplit(':', 1)[1]}"
    with grpc.secure_channel(where, trusted) if trusted else grpc.insecure_channel(where) as channel:
        try:
            return bool(channel.unary_unary(READY)(b"", timeout=5) == b"\x08\x01")
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False


def trusting(folder: Path, own: str = "") -> grpc.ChannelCredentials:
    """Trust in the folder's authority, with a certificate of one's own where named."""
    files = [f"{own}.key", f"{own}.pem"] if own else []
    return grpc.ssl_channel_credentials(*((folder / name).read_bytes() for name in ("ca.pem", *files)))


def test_it_is_tls_where_http_is_and_shows_the_new_certificate_after_sighup(homes: Path, tmp_path: Path) -> None:
    certificates(tmp_path, "server")
    files = ("--tls-cert", tmp_path / "server.pem", "--tls-key", tmp_path / "server.key")
    with process(homes, *files) as running:
        assert ready(running, trusting(tmp_path))
        assert not ready(running, None), "in plain text"
        before = trusting(tmp_path)
        (tmp_path / "ca.pem").unlink()
        certificates(tmp_path, "server")
        after = trusting(tmp_path)
        assert ready(running, before)
        assert not ready(running, after)
        running.child.send_signal(signal.SIGHUP)
        until(lambda: ready(running, after), 20)
        (tmp_path / "server.pem").write_text("broken")
        running.child.send_signal(signal.SIGHUP)
        until(lambda: "stays as it was" in said(running), 20)
        assert ready(running, after)


def said(running: Process) -> str:
    running.log.seek(0)
    return running.log.read()


def test_with_authorities_it_wants_a_certificate_of_theirs(homes: Path, tmp_path: Path) -> None:
    for name in ("server", "client"):
        certificates(tmp_path, name)
    (tmp_path / "other").mkdir()
    certificates(tmp_path / "other", "client")
    (tmp_path / "other" / "ca.pem").write_bytes((tmp_path / "ca.pem").read_bytes())
    files = ("--tls-cert", tmp_path / "server.pem", "--tls-key", tmp_path / "server.key")
    with process(homes, *files, "--tls-ca-file", tmp_path / "ca.pem") as running:
        assert ready(running, trusting(tmp_path, "client"))
        assert not ready(running, trusting(tmp_path))
        assert not ready(running, trusting(tmp_path / "other", "client"))


def test_it_says_that_it_reads_no_encrypted_key(homes: Path, tmp_path: Path) -> None:
    certificates(tmp_path, "server", password=b"swordfish")
    (tmp_path / "password").write_text("swordfish")
    settings = Settings(
        port=0, grpc_port=0, tls_cert=tmp_path / "server.pem", tls_key=tmp_path / "server.key",
        tls_key_password_file=tmp_path / "password",
    )  # fmt: skip
    with pytest.raises(Mistake, match="gRPC reads no encrypted private key") as refused:
        serve.run([homes], settings=settings)
    assert refused.value.fix is not None
    assert "openssl pkey" in refused.value.fix
