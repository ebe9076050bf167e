"""API keys: read from a file, one a line; compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from anyport.errors import Mistake


class Keys:
    """The keys a server accepts. Only their hashes stay in memory."""

    def __init__(self, keys: list[str]) -> None:
        self._hashes = [hashlib.sha256(key.encode()).digest() for key in keys]

    def accept(self, given: bytes) -> bool:
        """Whether `given` is one of the keys. Every key is compared, so that time tells nothing."""
        hashed = hashlib.sha256(given).digest()
        found = False
        for known in self._hashes:
            found |= hmac.compare_digest(hashed, known)
        return found

    def allow(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether a request carries a key: `Authorization: Bearer KEY` or `X-API-Key: KEY`. Names are lower case."""
        for name, value in headers:
            if name == b"authorization" and value[:7].lower() == b"bearer " and self.accept(value[7:].strip()):
                return True
            if name == b"x-api-key" and self.accept(value.strip()):
                return True
        return False


def read(path: Path) -> Keys:
    """The keys in a file; empty lines and lines that start with # are none."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise Mistake(f"the API keys cannot be read: {path}: {error.strerror}") from error
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise Mistake(f"{path} holds no API key", fix="write one key a line")
    return Keys(keys)
