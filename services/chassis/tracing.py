"""Traces over OpenTelemetry: spans of calls, of what they ask of other rooms, and of every statement to PostgreSQL.

Off unless an endpoint is set, and then nothing of it is imported. The trace of a caller goes on (W3C `traceparent`), so
that Envoy, rooms and database stand in one trace. Spans leave in batches from a thread; a collector that is away costs
spans and no call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from services.chassis.config import ConfigError, setting

STATEMENT_CHARS_MAX = 500


@dataclass(frozen=True, kw_only=True)
class TraceConfig:
    """Where traces go."""

    endpoint: str = setting(
        "PERPMESH_TRACES_ENDPOINT",
        "Where traces go: an OpenTelemetry collector's gRPC port, as host:port; absent for none.",
        default="",
    )
    ratio: float = setting(
        "PERPMESH_TRACES_RATIO",
        "The share of calls that are traced, where the caller has not decided.",
        default=0.1,
        minimum=0,
        maximum=1,
    )

    def __post_init__(self) -> None:
        """Refuse what is no address."""
        host, _, port = self.endpoint.rpartition(":")
        if self.endpoint and not (host and port.isascii() and port.isdigit() and "/" not in self.endpoint):
            raise ValueError(f"PERPMESH_TRACES_ENDPOINT must be host:port, not {self.endpoint!r}: correct it.")


class Tracing:
    """The spans of one process; `on` is false until `start`, and then every method does nothing."""

    def __init__(self) -> None:
        self.on = False
        self._tracer: Any = None
        self._provider: Any = None

    def start(self, room: str, config: TraceConfig, *, exporter: Any = None) -> None:
        """Begin to export, where an endpoint is configured. Raises ConfigError without the libraries."""
        if not config.endpoint and exporter is None:
            return
        try:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        except ImportError:
            raise ConfigError(
                "Traces need the packages of OpenTelemetry: run `make setup`, or unset PERPMESH_TRACES_ENDPOINT."
            ) from None
        sampler = ParentBased(TraceIdRatioBased(config.ratio))
        resource = Resource.create({"service.name": room, "service.namespace": "perpmesh"})
        self._provider = TracerProvider(sampler=sampler, resource=resource)
        target = exporter or OTLPSpanExporter(endpoint=config.endpoint, insecure=True, timeout=2)
        self._provider.add_span_processor(BatchSpanProcessor(target, schedule_delay_millis=500))
        self._tracer = self._provider.get_tracer("perpmesh")
        self.on = True

    def stop(self) -> None:
        """Send what waits, for two seconds at most."""
        if self._provider is not None:
            self._provider.force_flush(2_000)
            self._provider.shutdown()
            self._provider, self.on = None, False

    def serve(self, method: str, metadata: Iterable[tuple[str, Any]]) -> Span | None:
        """Begin the span of a call that is served, within its caller's trace; None while traces are off."""
        if not self.on:
            return None
        from opentelemetry import propagate, trace

        carrier = {key: value for key, value in metadata if key in ("traceparent", "tracestate")}
        parent = propagate.extract(carrier)
        return Span(self._tracer.start_span(method, context=parent, kind=trace.SpanKind.SERVER))

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that let another room go on with the trace."""
        if not self.on:
            return ()
        from opentelemetry import propagate

        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return tuple(carrier.items())

    @contextlib.contextmanager
    def statements(self, connection: Any) -> Iterator[None]:
        """Make a span of every statement that a connection runs within a block."""
        if not self.on:
            yield
            return
        with connection.query_logger(self._statement()):
            yield

    def _statement(self) -> Callable[[Any], None]:
        from opentelemetry import context, trace

        around = context.get_current()
        if not trace.get_current_span(around).get_span_context().trace_flags.sampled:
            return lambda _: None

        def note(query: Any) -> None:
            end_ns = _time_ns()
            span = self._tracer.start_span(
                "postgres",
                context=around,
                kind=trace.SpanKind.CLIENT,
                start_time=end_ns - int(query.elapsed * 1e9),
                attributes={"db.system": "postgresql", "db.statement": query.query[:STATEMENT_CHARS_MAX]},
            )
            if query.exception is not None:
                span.record_exception(query.exception)
            span.end(end_ns)

        return note


class Span:
    """The span of one call, current in its task from the moment it is made."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Any) -> None:
        from opentelemetry import context, trace

        self._span = span
        self._token = context.attach(trace.set_span_in_context(span))

    def end(self, code: str, **facts: str) -> None:
        """End it with the call's code and what is known of it."""
        from opentelemetry import context, trace

        self._span.set_attribute("rpc.grpc.status", code)
        for name, value in facts.items():
            if value:
                self._span.set_attribute(f"perpmesh.{name}", value)
        if code not in ("OK", "CANCELLED"):
            self._span.set_status(trace.Status(trace.StatusCode.ERROR, code))
        with contextlib.suppress(ValueError):  # a stream's generator may end in another context
            context.detach(self._token)
        self._span.end()


def _time_ns() -> int:
    from services.chassis.clock import SYSTEM

    return SYSTEM.time_ns()


TRACING = Tracing()
"""The traces of this process."""
