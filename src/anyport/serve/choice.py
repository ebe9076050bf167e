"""Choice: the versions of one name, and which of them a request that names none is answered by."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from urllib.parse import quote, unquote

from anyport.serve.model import Served

HEADER = b"anyport-version"
"""In a request: the version that is to answer. In an answer: the version that did, where there are several."""
DRAWN = b":version"
"""protocol.py's note of what it has drawn, for ASGI: no client can send a name with a colon."""


class Choice:
    """The versions of one name, in the plan's order, and their shares, which sum to 1."""

    def __init__(self, versions: Sequence[Served], weights: Mapping[str, float]) -> None:
        self.versions = {model.version: model for model in versions}
        self.labels = {label(model.version): model for model in versions}
        weighted = [model for model in versions if weights[model.version] > 0]
        self._weighted = {label(model.version) for model in weighted}
        self._models = tuple(weighted)
        self._ends = list(accumulate(weights[model.version] for model in weighted))[:-1]

    @property
    def lead(self) -> Served:
        """The first version that has traffic."""
        return self._models[0]

    @property
    def names(self) -> list[str]:
        """The versions as the header names them."""
        return [name.decode() for name in self.labels]

    def draw(self) -> Served:
        """One of the versions with a weight, by weight."""
        if not self._ends:
            return self._models[0]
        return self._models[bisect_right(self._ends, random.random())]

    def pick(self, headers: Mapping[bytes, bytes]) -> Served | None:
        """The version that the headers name, or one that is drawn. None where there is none of that name."""
        named = headers.get(HEADER)
        if named is not None:
            return self.versions.get(unquote(named.decode("latin-1")))
        drawn = headers.get(DRAWN)
        return self.labels[drawn] if drawn in self._weighted else self.draw()

    def label(self) -> None:
        """Have answers say which version they are, where there are several."""
        for model in self.versions.values():
            model.shows = ((HEADER, label(model.version)),) if len(self.versions) > 1 else ()


def label(version: str) -> bytes:
    """A version as a header's value: percent-encoded, which changes nothing in ordinary ones."""
    return quote(version, safe="").encode()
