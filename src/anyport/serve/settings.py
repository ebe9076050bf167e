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
        Path | None,
        Meta(description="one key a line; requests then need X-API-Key or Authorization: Bearer; read again on change"),
    ] = None
    admin_key_file: Annotated[
        Path | None, Meta(description="one key a line; opens /admin, where models are changed while they are served")
    ] = None
    watch_rows: Annotated[
        int, Meta(ge=0, le=100_000, description="rows a second and worker that drift is measured on; 0 for none")
    ] = 100
    drift_window: Annotated[int, Meta(ge=12, description="seconds of which the drift is told")] = 3600
    contract: Annotated[
        Literal["sagemaker"] | None, Meta(description="/models becomes SageMaker's multi-model API")
    ] = None
    predict_route: Annotated[
        Place | None, Meta(description="one more path that answers as Vertex AI's containers do")
    ] = None
    health_route: Annotated[Place | None, Meta(description="one more path for probes, as Vertex AI has it")] = None
    max_body: Annotated[int, Meta(ge=1, description="bytes, as sent and inflated; larger bodies: 413")] = 16 << 20
    max_head: Annotated[int, Meta(ge=256, description="bytes of a request's headers; more: 431")] = 32 << 10
    max_url: Annotated[int, Meta(ge=16, description="bytes of a request's URL; more: 414")] = 8 << 10
    max_connections: Annotated[int, Meta(ge=1, description="open at once in one worker; more: 503")] = 16384
    max_queue: Annotated[int, Meta(ge=1, description="requests waiting for one slow model; more: 429")] = 1024
    timeout: Annotated[float, Meta(gt=0, description="seconds a model may take; then 504")] = 60.0
    read_timeout: Annotated[
        int, Meta(ge=1, description="seconds a request may take to arrive, 1 more for every 4 KiB of body; then 408")
    ] = 30
    keep_alive: Annotated[int, Meta(ge=1, description="seconds an idle connection is kept")] = 75
    drain_delay: Annotated[
        float, Meta(ge=0, description="seconds after SIGTERM in which /readyz says 503 and all is still answered")
    ] = 0.0
    compress_from: Annotated[
        int, Meta(ge=0, description="bytes of an answer from which on it is gzipped for clients that take it; 0: never")
    ] = 1024
    unique_keys: Annotated[
        bool, Meta(description="refuse JSON objects with one key twice on the short cut too (about 1 ns a byte)")
    ] = True
    tls_cert: Annotated[Path | None, Meta(description="PEM certificate chain: serves HTTPS; SIGHUP reads it again")] = (
        None
    )
    tls_key: Annotated[Path | None, Meta(description="its PEM private key, where it is not in the same file")] = None
    tls_key_password_file: Annotated[Path | None, Meta(description="holds the private key's password")] = None
    tls_ca_file: Annotated[
        Path | None, Meta(description="PEM authorities: clients must show a certificate of theirs")
    ] = None
    cors_origins: Annotated[
        tuple[str, ...], Meta(description="origin whose pages may ask, such as https://app.example.org; * for all")
    ] = ()
    log_dir: Annotated[
        Path | None,
        Meta(description="folder for a log of requests and answers as Parquet; none without it (extra: arrow)"),
    ] = None
    log_sample: Annotated[float, Meta(ge=0, le=1, description="share of the requests that are in it")] = 1.0
    log_rows: Annotated[int, Meta(ge=1, description="rows of one of its files at most")] = 100_000
    log_seconds: Annotated[float, Meta(gt=0, description="after which a file is finished, however small")] = 300.0
    log_columns: Annotated[
        tuple[str, ...], Meta(description="an input that is in it, repeatable; all without it; answers always are")
    ] = ()
    log_format: Annotated[Literal["text", "json"], Meta(description="how the log on stderr is written")] = "text"
    access_log: Annotated[bool, Meta(description="one line a request")] = False
    otel: Annotated[
        bool, Meta(description="OpenTelemetry traces, sent where the OTEL_… variables say (extra: otel)")
    ] = False
