"""Cross-origin requests: which pages' scripts may ask, and what they may send and read (https://fetch.spec.whatwg.org)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from anyport.serve.reply import Headers

EXPOSED = b"x-request-id, retry-after, www-authenticate, allow"
SENT = b"content-type, content-encoding, authorization, x-api-key, x-request-id, traceparent, tracestate"
"""Request headers that a page may send where it does not say which."""
AGE = b"600"
"""Seconds a browser may remember a preflight."""


def allowed(origin: bytes | None, origins: Sequence[str]) -> Headers:
    """What an answer to a page of this origin carries; nothing for other origins. Credentials (cookies) stay off."""
    if origin is None or not origins:
        return ()
    if "*" in origins:
        return ((b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", EXPOSED))
    vary = (b"vary", b"origin")
    if origin.decode("latin-1") not in origins:
        return (vary,)
    return ((b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED), vary)


def preflight(headers: Mapping[bytes, bytes], methods: Iterable[str], origins: Sequence[str]) -> Headers | None:
    """What the answer to a preflight carries beside `allowed`, which every answer does; None where it is none."""
    origin = headers.get(b"origin")
    if not origins or origin is None or b"access-control-request-method" not in headers:
        return None
    if not any(name == b"access-control-allow-origin" for name, _ in allowed(origin, origins)):
        return ()
    return (
        (b"access-control-allow-methods", ", ".join(methods).encode()),
        (b"access-control-allow-headers", headers.get(b"access-control-request-headers", SENT)),
        (b"access-control-max-age", AGE),
    )
