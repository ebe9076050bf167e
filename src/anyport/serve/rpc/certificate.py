"""gRPC's own TLS: the same files as HTTPS, read again at the same signal."""

from __future__ import annotations

import ssl
from typing import Any

from anyport.errors import Mistake
from anyport.serve import tls
from anyport.serve.settings import Settings


def check(settings: Settings) -> None:
    """Mistake where the settings ask gRPC for what it cannot do: its OpenSSL asks nobody for a password."""
    if settings.tls_key_password_file is not None:
        raise Mistake(
            "--tls-key-password-file with --grpc-port: gRPC reads no encrypted private key",
            fix=f"decrypt it: openssl pkey -in {settings.tls_key or settings.tls_cert} -out plain.pem; chmod 600 "
            "plain.pem; --tls-key plain.pem",
        )


class Certificate:
    """What the next handshake shows; an object of grpc, which is never changed, only replaced."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.current = read(settings)

    def again(self) -> None:
        """Read the files again; where they are no good, the HTTP side has said so, and nothing changes."""
        try:
            self.current = read(self.settings)
        except Mistake:
            return

    def credentials(self) -> Any:
        """grpc.ServerCredentials that ask for the files at each handshake."""
        import grpc

        wants_theirs = self.settings.tls_ca_file is not None
        return grpc.dynamic_ssl_server_credentials(self.current, lambda: self.current, wants_theirs)


def read(settings: Settings) -> Any:
    """grpc.ServerCertificateConfiguration of the settings' files. Mistake where HTTPS would not take them."""
    import grpc

    tls.load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), settings)
    assert settings.tls_cert is not None
    chain = settings.tls_cert.read_bytes()
    key = settings.tls_key.read_bytes() if settings.tls_key else chain
    theirs = settings.tls_ca_file.read_bytes() if settings.tls_ca_file else None
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=theirs)
