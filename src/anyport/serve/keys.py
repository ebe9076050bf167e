"""API keys: read from a file, one a line, again whenever it changes; compared in constant time."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from anyport.bundle import sha256_of
from anyport.errors import Mistake

KNOWN = 1024
"""Header values of which it is remembered that they were accepted."""
log = logging.getLogger("anyport.serve")


class Keys:
    """The keys a server accepts. Only their hashes stay in memory, and header values that were accepted of late."""

    def __init__(self, keys: list[str], path: Path | None = None) -> None:
        self.path = path
        self.seen = stamp(path) if path is not None else None
        self.take(keys)

    def take(self, keys: list[str]) -> None:
        """These keys, and no others, from now on."""
        self._hashes = [sha256_of(key.encode()).digest() for key in keys]
        # what the comparison below accepted is found by its salted hash: a wrong value learns nothing from the time
        self._known: dict[bytes, None] = {}

    def accept(self, given: bytes) -> bool:
        """Whether `given` is one of the keys. Every key is compared, so that time tells nothing."""
        import hmac  # loads OpenSSL; see sha256_of

        hashed = sha256_of(given).digest()
        found = False
        for known in self._hashes:
            found |= hmac.compare_digest(hashed, known)
        return found

    def allow(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether a request carries a key: `Authorization: Bearer KEY` or `X-API-Key: KEY`. Names are lower case."""
        for name, value in headers:
            if name == b"authorization" or name == b"x-api-key":
                if value in self._known:
                    return True
                key = value if name == b"x-api-key" else value[7:] if value[:7].lower() == b"bearer " else None
                if key is not None and self.accept(key.strip()):
                    if len(self._known) >= KNOWN:
                        self._known.clear()
                    self._known[value] = None
                    return True
        return False

    def refresh(self) -> None:
        """Read the file again where it has changed."""
        if self.path is not None and stamp(self.path) != self.seen:
            self.again()

    def again(self) -> None:
        """Read the file again. A broken one changes nothing and is logged, once until it changes."""
        if self.path is None:
            return
        self.seen = stamp(self.path)
        try:
            keys = lines(self.path)
        except Mistake as error:
            log.error("the API keys stay as they were: %s", error.what)
            return
        self.take(keys)
        log.warning("%d API keys were read from %s", len(keys), self.path)


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read(path: Path) -> Keys:
    """The keys in a file; Mistake where it has none."""
    return Keys(lines(path), path)


def lines(path: Path) -> list[str]:
    """One key a line; empty lines and lines that start with # are none. Mistake where there is no key."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise Mistake(f"the API keys cannot be read: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Mistake(f"the API keys cannot be read: {path} is not UTF-8: {error}") from error
    keys = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not keys:
        raise Mistake(f"{path} holds no API key", fix="write one key a line")
    return keys
