"""Which media type an Accept header asks for, of those that can be written (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from anyport.serve.reply import Problem

WEIGHT = re.compile(rb"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)


def chosen(accept: bytes, offered: Sequence[bytes], mirrored: bytes) -> bytes:
    """The offered type with the greatest weight; `mirrored` where it is as good as any, else the first offered.

    Nothing said is */*. Problem 406 where nothing offered is acceptable, 400 where a weight is none.
    """
    if not accept.strip():
        return mirrored
    said = ranges(accept)
    weights = {kind: weight(kind, said) for kind in offered}
    best = max(weights.values(), default=0.0)
    if best == 0:
        text = accept.decode("latin-1")
        listed = ", ".join(kind.decode() for kind in offered)
        raise Problem(406, "NotAcceptable", f"an answer cannot be written as {text}", f"Accept one of: {listed}")
    return mirrored if weights.get(mirrored) == best else next(kind for kind in offered if weights[kind] == best)


def ranges(accept: bytes) -> dict[bytes, float]:
    """Media range → weight. Parameters other than q do not tell ours apart."""
    found = {}
    for one in accept.split(b","):
        kind, *parameters = (part.strip().lower() for part in one.split(b";"))
        if not kind:
            continue
        found[kind] = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition(b"=")
            if name.strip() != b"q":
                continue
            if WEIGHT.fullmatch(value.strip()) is None:
                shown = value.decode("latin-1")
                raise Problem(400, "BadAccept", f"Accept: q={shown} is no weight", "write a number from 0 to 1")
            found[kind] = float(value)
    return found


def weight(kind: bytes, said: dict[bytes, float]) -> float:
    """The weight of a type: that of the most specific range that holds it."""
    for one in (kind, kind.partition(b"/")[0] + b"/*", b"*/*"):
        if one in said:
            return said[one]
    return 0.0
