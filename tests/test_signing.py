"""Signatures over a bundle: who signed it, and that nothing changed since."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess

import pytest

from anyport.bundle import Manifest, Tolerance, read, seal
from anyport.errors import BadBundle, Mistake, Untrusted
from anyport.kit.archive import tar_gz
from anyport.signature import Field, Signature
from anyport.signing import keygen, sign, verify


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "m.anyport"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"model")
    signature = Signature(inputs=(Field(name="a", dtype="float64"),), outputs=(Field(name="p", dtype="float64"),))
    seal(folder, Manifest(protocol=1, name="m", framework="x", form="graph", signature=signature,
                          tolerance=Tolerance(), files={}))  # fmt: skip
    return folder


def test_a_signed_bundle_verifies_also_as_an_archive(bundle, tmp_path):
    private, public = keygen(tmp_path / "keys")
    key = sign(bundle, private)
    assert verify(bundle, public) == key
    assert verify(tar_gz(bundle, tmp_path / "m.tar.gz"), public) == key
    assert read(bundle).name == "m"
    assert sign(bundle, private) == key


def test_the_private_key_is_its_owners_alone_and_is_never_replaced(tmp_path):
    private, _ = keygen(tmp_path)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes()
    with pytest.raises(Mistake, match="exists"):
        keygen(tmp_path)
    assert private.read_bytes() == before


def test_unsigned_other_key_and_changed_are_told_apart(bundle, tmp_path):
    private, public = keygen(tmp_path / "keys")
    other_private, other_public = keygen(tmp_path / "others")
    with pytest.raises(Untrusted, match="is not signed"):
        verify(bundle, public)
    sign(bundle, private)
    with pytest.raises(Untrusted, match="is signed by key"):
        verify(bundle, other_public)
    (bundle / "model.bin").write_bytes(b"other")
    with pytest.raises(BadBundle, match=r"model\.bin was changed"):
        verify(bundle, public)
    seal(bundle, read_manifest(bundle))
    with pytest.raises(BadBundle, match=r"bundle\.json was changed after key"):
        verify(bundle, public)
    sign(bundle, other_private)
    with pytest.raises(Untrusted):
        verify(bundle, public)


def read_manifest(folder):
    import msgspec

    return msgspec.json.decode((folder / "bundle.json").read_bytes(), type=Manifest)


def test_a_changed_bundle_is_not_signed(bundle, tmp_path):
    private, _ = keygen(tmp_path / "keys")
    (bundle / "model.bin").write_bytes(b"other")
    with pytest.raises(BadBundle, match="changed"):
        sign(bundle, private)
    assert not (bundle / "bundle.sig").exists()


@pytest.mark.parametrize("text", [
    "", "{}", '{"algorithm":"rsa","key":"k","signature":""}', '{"algorithm":"ed25519","key":"k","signature":"*"}',
])  # fmt: skip
def test_a_damaged_signature_is_a_bad_bundle(bundle, tmp_path, text):
    _, public = keygen(tmp_path / "keys")
    (bundle / "bundle.sig").write_text(text)
    with pytest.raises(BadBundle, match=r"bundle\.sig is"):
        verify(bundle, public)


def test_files_that_hold_no_key_are_mistakes(bundle, tmp_path):
    private, public = keygen(tmp_path / "keys")
    (tmp_path / "noise").write_text("no key")
    for wrong in (tmp_path / "noise", tmp_path / "absent", public):
        with pytest.raises(Mistake, match="key"):
            sign(bundle, wrong)
    with pytest.raises(Mistake, match="public key"):
        verify(bundle, private)
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    pem = (
        generate_private_key(SECP256R1())
        .public_key()
        .public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "ec.pub").write_bytes(pem)
    with pytest.raises(Mistake, match="another kind than Ed25519"):
        verify(bundle, tmp_path / "ec.pub")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on PATH")
def test_openssl_verifies_the_same_bytes(bundle, tmp_path):
    import base64
    import json

    private, public = keygen(tmp_path / "keys")
    sign(bundle, private)
    (tmp_path / "raw").write_bytes(base64.b64decode(json.loads((bundle / "bundle.sig").read_text())["signature"]))
    line = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin",
            "-in", str(bundle / "bundle.json"), "-sigfile", str(tmp_path / "raw")]  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert "Verified Successfully" in done.stdout + done.stderr
    assert os.path.getsize(tmp_path / "raw") == 64
