"""TLS: the server's certificate, and where clients must show one, whose."""

from __future__ import annotations

import logging
import ssl

from anyport.errors import Mistake
from anyport.serve.settings import Settings

log = logging.getLogger("anyport.serve")


def context(settings: Settings) -> ssl.SSLContext | None:
    """The context of every connection, or None for plain HTTP. TLS 1.2 and newer. Mistake where a file is no good."""
    if settings.tls_cert is None:
        for name in ("tls_key", "tls_key_password_file", "tls_ca_file"):
            if getattr(settings, name) is not None:
                option = "--" + name.replace("_", "-")
                raise Mistake(f"{option} without --tls-cert", fix="name the certificate too")
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    load(made, settings)
    return made


def load(made: ssl.SSLContext, settings: Settings) -> None:
    """Read the files, into a context that may be in use: handshakes from now on see them. Authorities are only ever
    added. Mistake where one is no good; nothing has changed then."""
    cert, key, ca = settings.tls_cert, settings.tls_key, settings.tls_ca_file
    assert cert is not None
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for one in (trial, made):
        password = secret(settings)
        try:
            # without a password OpenSSL would ask for one on the terminal
            one.load_cert_chain(cert, key, password=password if password is not None else b"")
        except (OSError, ValueError) as error:
            raise Mistake(
                f"the certificate {cert}{f' with the key {key}' if key else ''} cannot be used: {error}",
                fix="--tls-cert is a PEM chain, --tls-key its private key, --tls-key-password-file the key's password",
            ) from error
        if ca is not None:
            try:
                one.load_verify_locations(ca)
            except OSError as error:
                raise Mistake(f"the authorities {ca} cannot be used: {error}", fix="--tls-ca-file is PEM") from error
            one.verify_mode = ssl.CERT_REQUIRED


def secret(settings: Settings) -> bytes | None:
    """The private key's password."""
    file = settings.tls_key_password_file
    if file is None:
        return None
    try:
        return file.read_bytes().strip()
    except OSError as error:
        raise Mistake(f"the password cannot be read: {file}: {error.strerror}") from error


def again(made: ssl.SSLContext, settings: Settings) -> None:
    """`load` while serving: files that are no good are logged, and what was loaded stays."""
    try:
        load(made, settings)
    except Mistake as error:
        log.error("the certificate stays as it was: %s", error.what)
        return
    log.warning("the certificate was read again from %s", settings.tls_cert)
