"""What the door counts, as metrics and log lines."""

from __future__ import annotations

from collections.abc import Callable

from services.chassis.metrics import METRICS, Metrics
from services.chassis.telemetry import Log, log
from services.domain.errors import DomainError
from services.stream.model.topic import Kind


class DoorMeasures:
    """`services.stream.ports.Measures` on the chassis."""

    def __init__(self, metrics: Metrics = METRICS, target: Log = log) -> None:
        self._log = target
        self._metrics = metrics
        self._connections = metrics.gauge("perpmesh_stream_connections", "Open WebSockets.")
        self._subjects = metrics.gauge("perpmesh_stream_subjects", "Topics followed at market_data.")
        self._frames = metrics.counter("perpmesh_stream_frames_total", "Frames handed to sockets.")
        self._bytes = metrics.counter("perpmesh_stream_bytes_total", "Bytes handed to sockets.")
        self._refused = metrics.counter("perpmesh_stream_refused_total", "Frames and topics refused.", ("reason",))
        self._ended = metrics.counter("perpmesh_stream_ended_total", "WebSockets ended by the door.", ("reason",))
        self._cut = metrics.counter(
            "perpmesh_stream_interrupted_total", "Streams of market_data that were cut.", ("kind", "reason")
        )

    def watch(self, stalls: Callable[[], tuple[int, float]]) -> None:
        """Show how many sockets take nothing, and for how long."""
        self._metrics.gauge("perpmesh_stream_stalled", "WebSockets that take nothing now.").set_function(
            lambda: float(stalls()[0])
        )
        worst = self._metrics.gauge("perpmesh_stream_lag_seconds", "How long the slowest has taken nothing.", ("kind",))
        worst.labels("sockets").set_function(lambda: stalls()[1])

    def connections(self, count: int) -> None:
        """Set how many sockets are open."""
        self._connections.set(count)

    def subjects(self, count: int) -> None:
        """Set how many subjects are followed upstream."""
        self._subjects.set(count)

    def sent(self, frames: int, size_bytes: int) -> None:
        """Count frames handed to a socket."""
        self._frames.inc(frames)
        self._bytes.inc(size_bytes)

    def refused(self, error: DomainError) -> None:
        """Count a frame or topic that was refused."""
        self._refused.labels(error.reason.value).inc()

    def ended(self, reason: str) -> None:
        """Count a connection that the door ended."""
        self._ended.labels(reason).inc()
        self._log.event("stream.ended", reason=reason)

    def interrupted(self, kind: Kind, error: DomainError) -> None:
        """Count a Watch stream that was cut off."""
        self._cut.labels(kind.value, error.reason.value).inc()
        self._log.warning("stream.interrupted", kind=kind.value, reason=error.reason.value, message=error.message)

    def fault(self, error: Exception) -> None:
        """Report a fault of ours."""
        self._log.error("stream.fault", error=error)
