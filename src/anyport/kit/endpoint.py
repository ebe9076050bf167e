"""An anyport server somewhere: how it is reached, and whether it serves this very bundle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from anyport.bundle import Bundle
from anyport.client import HttpPredictor
from anyport.errors import Missing, Mistake


class Live(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server that runs somewhere: `--live url=https://… api_key_file=PATH`."""

    url: str
    """Of what stands before /predict."""
    api_key_file: str = ""
    """A file whose first line is the key, so that it is on no command line."""


class Answering(msgspec.Struct, frozen=True):
    """Who answers, as GET /readyz says."""

    server: str
    version: str
    pid: int


@contextmanager
def reached(live: Live, bundle: Bundle) -> Iterator[tuple[HttpPredictor, Answering]]:
    """The user's own server, asked for this very model. Mistake where it serves another, or the key is unreadable."""
    with HttpPredictor(live.url, bundle.signature, api_key=key(live)) as predictor:
        yield predictor, serving(predictor, bundle)


def key(live: Live) -> str | None:
    """The API key that a server wants, or None. Mistake where its file cannot be read."""
    if not live.api_key_file:
        return None
    try:
        return Path(live.api_key_file).read_text("utf-8").split("\n")[0].strip()
    except OSError as error:
        raise Mistake(f"the API key cannot be read: {live.api_key_file}: {error.strerror}") from error


def serving(predictor: HttpPredictor, bundle: Bundle) -> Answering:
    """Who answers, in its own words; from then on the predictor asks for exactly this bundle.

    Raises Missing where no anyport server answers, Mistake where it serves other bundles.
    """
    status, said = predictor.get("/readyz")
    if not isinstance(said, dict) or "models" not in said:
        raise Missing(f"{predictor.url} is no anyport server: GET /readyz answered {status}")
    for model in said["models"]:
        if model["digest"] == bundle.digest:
            predictor.ask_for(model["name"], model["version"])
            return msgspec.convert(said, Answering)
    served = ", ".join(f"{m['name']} {m['digest'][:12]}" for m in said["models"])
    raise Mistake(
        f"{predictor.url} does not serve {bundle.name} {bundle.digest[:12]}; it serves {served}",
        fix="deploy this artefact there, or check the one that was deployed",
    )
