"""OpenTelemetry: one server span a request, with the caller's trace as its parent, and one below it for each step."""

from __future__ import annotations

import time
from time import perf_counter
from typing import TYPE_CHECKING, Any

from anyport.errors import need
from anyport.serve.note import Note

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span
    from opentelemetry.sdk.trace.export import SpanExporter

STEPS = (("decode", "started", "decoded"), ("queue", "decoded", "running"), ("run", "running", "ran"),
         ("encode", "encoding", "encoded"))  # fmt: skip
"""A step's name, and the times of the Note between which it lies."""


class Tracing:
    """Makes spans of requests. Names are those of
    https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span (1.23 and later)."""

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self.tracer = provider.get_tracer("anyport.serve")
        self.spans: dict[Note, Span] = {}
        self.apart = time.time_ns() - int(perf_counter() * 1e9)

    def at(self, seconds: float) -> int:
        """perf_counter's time as nanoseconds since 1970."""
        return self.apart + int(seconds * 1e9)

    def begin(self, note: Note) -> None:
        """A request has come. The sampler decides here whether it is traced; by default as its parent was."""
        from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

        context = None
        if note.parent is not None:
            flags = TraceFlags(TraceFlags.SAMPLED if note.parent.sampled else TraceFlags.DEFAULT)
            above = SpanContext(
                int(note.parent.trace, 16), int(note.parent.span, 16), is_remote=True, trace_flags=flags
            )
            context = set_span_in_context(NonRecordingSpan(above))
        span = self.tracer.start_span(
            note.method, context, kind=SpanKind.SERVER, start_time=self.at(note.started),
            attributes={"http.request.method": note.method, "url.path": note.path, "url.scheme": note.scheme},
        )  # fmt: skip
        made = span.get_span_context()
        note.trace, note.span = f"{made.trace_id:032x}", f"{made.span_id:016x}"
        if span.is_recording():
            self.spans[note] = span

    def end(self, note: Note, now: float) -> None:
        """A request was answered."""
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        span = self.spans.pop(note, None)
        if span is None:
            return
        if note.route:
            span.update_name(f"{note.method} {note.route}")
            span.set_attribute("http.route", note.route)
        span.set_attributes({"http.response.status_code": note.status, "http.response.body.size": note.bytes})
        if note.client:
            span.set_attribute("client.address", note.client)
        if note.model:
            span.set_attributes(
                {"anyport.model.name": note.model, "anyport.model.version": note.version, "anyport.rows": note.rows}
            )
        if note.batch:
            span.set_attribute("anyport.batch.rows", note.batch)
        if note.status >= 500:
            span.set_attribute("error.type", str(note.status))
            span.set_status(Status(StatusCode.ERROR))
        inside = set_span_in_context(span)
        for name, first, last in STEPS:
            start, stop = getattr(note, first), getattr(note, last)
            if start and stop:
                self.tracer.start_span(name, inside, start_time=self.at(start)).end(self.at(stop))
        span.end(self.at(now))

    def close(self) -> None:
        """Send what is left."""
        self.provider.shutdown()


def tracing(exporter: SpanExporter | None = None) -> Tracing:
    """Traces sent by OTLP over HTTP to where OTEL_EXPORTER_OTLP_ENDPOINT says, or to `exporter` at once.

    OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and OTEL_TRACES_SAMPLER count too. The exporter has a thread, so this
    belongs after a fork.
    """
    need("opentelemetry.sdk")
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

    provider = TracerProvider(resource=Resource.create(), shutdown_on_exit=False)
    if exporter is None:
        need("opentelemetry.exporter.otlp.proto.http")
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    else:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider)
