"""Settings: everything that can be said about a server; the one declaration behind the command line's options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Place = Annotated[str, Meta(pattern=r"^/[^{}?#\s]*$")]
"""A path that a route may have."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a server runs. Each field is an option of `anyport serve`: `max_body` is --max-body.

    Raises msgspec.ValidationError where a value is not of its type or out of its range.
    """

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="0 takes a free one and says which")] = 8080
    grpc_port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)] | None,
        Meta(description="also serve the Open Inference Protocol over gRPC, on this port; 0 takes a free one"),
    ] = None
    workers: Annotated[int, Meta(ge=1, le=256, description="processes, forked after the models are loaded")] = 1
    threads: Annotated[int, Meta(ge=1, le=256, description="threads of one run of a graph")] = 1
    api_key_file: Annotated[
        Path | None, Meta(description="one key a line; requests then need X-API-Key or Authorization: Bearer")
    ] = None
    watch_rows: Annotated[
        int, Meta(ge=0, le=100_000, description="rows a second and worker that drift is measured on; 0 for none")
    ] = 100
    drift_window: Annotated[int, Meta(ge=12, description="seconds of which the drift is told")] = 3600
    max_body: Annotated[int, Meta(ge=1, description="bytes; larger bodies are answered 413")] = 16 << 20
    contract: Annotated[
        Literal["sagemaker"] | None, Meta(description="/models becomes SageMaker's multi-model API")
    ] = None
    predict_route: Annotated[
        Place | None, Meta(description="one more path that answers as Vertex AI's containers do")
    ] = None
    health_route: Annotated[Place | None, Meta(description="one more path for probes, as Vertex AI has it")] = None
