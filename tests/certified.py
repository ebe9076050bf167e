"""Certificates for the tests of TLS."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any


def certificates(folder: Path, name: str, *, password: bytes | None = None) -> None:
    """NAME.pem and NAME.key for localhost, signed by the ca.pem that is made with the first."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.UTC)

    def made(common: str, issuer: x509.Name | None, by: Any, *, ca: bool) -> tuple[Any, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
        builder = (
            x509.CertificateBuilder(subject_name=subject, issuer_name=issuer or subject, public_key=key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        )  # fmt: skip
        return builder.sign(by or key, hashes.SHA256()), key

    def pem(key: Any, locked: bytes | None = None) -> bytes:
        form = serialization.PrivateFormat.PKCS8
        how = serialization.BestAvailableEncryption(locked) if locked else serialization.NoEncryption()
        found: bytes = key.private_bytes(serialization.Encoding.PEM, form, how)
        return found

    if not (folder / "ca.pem").exists():
        cert, key = made("our authority", None, None, ca=True)
        (folder / "ca.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        (folder / "ca.key").write_bytes(pem(key))
    ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    cert, key = made(name, ca.subject, signer, ca=False)
    (folder / f"{name}.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(pem(key, password))
