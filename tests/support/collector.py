"""An OpenTelemetry collector for tests: keeps every span it is sent."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One span."""

    service: str
    name: str
    trace: bytes
    id: bytes
    parent: bytes
    attributes: dict[str, str]


@dataclass(slots=True)
class Collector:
    """What was sent."""

    port: int = 0
    spans: list[Seen] = field(default_factory=list)

    def traces(self) -> dict[bytes, list[Seen]]:
        """Return the spans of every trace."""
        found: dict[bytes, list[Seen]] = {}
        for span in self.spans:
            found.setdefault(span.trace, []).append(span)
        return found


class _Servicer(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            about = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._collector.spans.append(
                        Seen(
                            service=about.get("service.name", ""),
                            name=span.name,
                            trace=span.trace_id,
                            id=span.span_id,
                            parent=span.parent_span_id,
                            attributes={one.key: one.value.string_value for one in span.attributes},
                        )
                    )
        return trace_service_pb2.ExportTraceServiceResponse()


@contextlib.asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """Collect for the time of a block."""
    found = Collector()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Servicer(found), server)  # type: ignore[no-untyped-call]
    found.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield found
    finally:
        await server.stop(0)
