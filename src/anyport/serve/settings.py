"""Settings: everything that can be said about a server; the one declaration behind the command line's options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a server runs. Each field is an option of `anyport serve`: `max_body` is --max-body.

    Raises msgspec.ValidationError where a value is not of its type or out of its range.
    """

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="0 takes a free one and says which")] = 8080
    workers: Annotated[int, Meta(ge=1, le=256, description="processes, forked after the models are loaded")] = 1
    threads: Annotated[int, Meta(ge=1, le=256, description="threads of one run of a graph")] = 1
    api_key_file: Annotated[
        Path | None, Meta(description="one key a line; requests then need X-API-Key or Authorization: Bearer")
    ] = None
    admin_key_file: Annotated[
        Path | None, Meta(description="one key a line; opens /admin, where models are changed while they are served")
    ] = None
    max_body: Annotated[int, Meta(ge=1, description="bytes; larger bodies are answered 413")] = 16 << 20
