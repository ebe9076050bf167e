"""A software bill of materials as CycloneDX JSON: the model, and every package that is installed with it.

Format: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/. Without clock and chance: equal contents, equal bytes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

import anyport
from anyport.bundle import Bundle

NAMESPACE = uuid.UUID("6f1b8f4e-6f0e-5c53-9c3a-2f0f5f7c1a52")
"""Of the serial numbers, which are made of the contents."""


def document(bundle: Bundle, packages: Iterable[tuple[str, str]], licences: Mapping[str, str]) -> bytes:
    """The bill of an artefact: the bundle with the sha256 of its manifest, anyport, and (name, version) packages.

    `licences` maps a package's name to an SPDX expression; packages that it lacks go without.
    """
    listed = sorted(set(packages))
    model = {
        "type": "machine-learning-model", "bom-ref": f"model:{bundle.name}", "name": bundle.name,
        "version": bundle.version, "hashes": [{"alg": "SHA-256", "content": bundle.digest}],
        "description": f"a {bundle.manifest.framework} model in form {bundle.form}, packed by anyport",
    }  # fmt: skip
    parts = [package("anyport", anyport.__version__, "Apache-2.0")]
    parts += [package(name, version, licences.get(name, "")) for name, version in listed]
    refs = [part["bom-ref"] for part in (model, *parts)]
    body = {
        "metadata": {
            "component": {
                "type": "container", "bom-ref": "image", "name": bundle.name, "version": bundle.version,
            },
        },
        "components": [model, *parts],
        "dependencies": [{"ref": "image", "dependsOn": refs}, *({"ref": ref} for ref in refs)],
    }  # fmt: skip
    serial = uuid.uuid5(NAMESPACE, msgspec.json.encode(body).decode())
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", "version": 1}
    return msgspec.json.format(msgspec.json.encode(head | body)) + b"\n"


def package(name: str, version: str, licence: str) -> dict[str, Any]:
    """One package of PyPI, by its package URL (https://github.com/package-url/purl-spec)."""
    purl = f"pkg:pypi/{name}@{version}"
    said = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    return said | ({"licenses": [{"expression": licence}]} if licence else {})
