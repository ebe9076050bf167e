"""Signatures: Ed25519 over the bytes of bundle.json, which hold the hash of every other member."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec

from anyport.bundle import read
from anyport.errors import BadBundle, Mistake, Untrusted, need

PRIVATE, PUBLIC = "anyport.key", "anyport.pub"


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """bundle.sig. `openssl pkeyutl -verify -rawin` checks the same bytes."""

    algorithm: str
    key: str
    """First 16 hex digits of the sha256 of the raw public key."""
    signature: str
    """Base64 of the 64 bytes."""


def keygen(folder: Path) -> tuple[Path, Path]:
    """Make a key pair: (anyport.key, for its owner's eyes, and anyport.pub). Never replaces one that is there."""
    ed25519, form = need("cryptography.hazmat.primitives.asymmetric.ed25519"), _forms()
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (PRIVATE, PUBLIC):
        if (folder / name).exists():
            raise Mistake(f"{folder / name} exists; a key once lost cannot be made again", fix="choose another folder")
    # Created with these rights, not given them after: no moment in which another user may open it.
    with os.fdopen(os.open(folder / PRIVATE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    (folder / PUBLIC).write_bytes(public)
    return folder / PRIVATE, folder / PUBLIC


def sign(path: Path, private_key: Path) -> str:
    """Sign the bundle folder at `path`, after verifying it; gives the key id. Signing again replaces the signature."""
    if not path.is_dir():
        raise Mistake(f"{path} is not a folder: sign the bundle's folder, then make the archive of it")
    key = _load(private_key, private=True)
    bundle = read(path)
    signature = base64.b64encode(key.sign((bundle.path / "bundle.json").read_bytes())).decode()
    signed = Signed("ed25519", key_id(key.public_key()), signature)
    work = bundle.path / ".bundle.sig"
    work.write_bytes(msgspec.json.format(msgspec.json.encode(signed)) + b"\n")
    os.replace(work, bundle.path / "bundle.sig")
    return signed.key


def verify(path: Path, public_key: Path) -> str:
    """The id of the key that signed the bundle, when it is this one's and nothing was changed since.

    Raises Untrusted for a bundle that is unsigned or signed by another key, BadBundle for a changed one.
    """
    key = _load(public_key, private=False)
    bundle = read(path)
    file = bundle.path / "bundle.sig"
    if not file.is_file():
        raise Untrusted(f"{path} is not signed", fix=f"anyport sign {path} --key {PRIVATE}")
    try:
        signed = msgspec.json.decode(file.read_bytes(), type=Signed)
        signature = base64.b64decode(signed.signature, validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise BadBundle(f"{path}: bundle.sig is damaged: {error}") from error
    if signed.algorithm != "ed25519":
        raise BadBundle(f"{path}: bundle.sig is of algorithm {signed.algorithm!r}; this anyport knows ed25519")
    mine = key_id(key)
    if signed.key != mine:
        raise Untrusted(f"{path} is signed by key {signed.key}, and {public_key} is key {mine}")
    try:
        key.verify(signature, (bundle.path / "bundle.json").read_bytes())
    except need("cryptography.exceptions").InvalidSignature as error:
        raise BadBundle(f"{path}: bundle.json was changed after key {mine} signed it") from error
    return mine


def key_id(key: Any) -> str:
    """Of a public key."""
    form = _forms()
    return hashlib.sha256(key.public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)).hexdigest()[:16]


def _forms() -> Any:
    return need("cryptography.hazmat.primitives.serialization")


def _load(path: Path, *, private: bool) -> Any:
    """The key in a PEM file."""
    form = _forms()
    ed25519 = need("cryptography.hazmat.primitives.asymmetric.ed25519")
    kind = "private" if private else "public"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Mistake(f"the {kind} key {path} cannot be read: {error.strerror}", fix="anyport keygen") from error
    try:
        key = form.load_pem_private_key(data, None) if private else form.load_pem_public_key(data)
    except (ValueError, TypeError, need("cryptography.exceptions").UnsupportedAlgorithm) as error:
        raise Mistake(f"{path} does not hold a {kind} key in PEM without a password: {error}") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey):
        raise Mistake(f"{path} holds a key of another kind than Ed25519", fix="anyport keygen")
    return key
