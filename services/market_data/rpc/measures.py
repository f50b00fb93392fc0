"""The room's own figures among the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.chassis.clock import Clock
from services.chassis.metrics import METRICS
from services.domain.feed import FeedState
from services.market_data.app.backfill import Backfill
from services.market_data.app.engine import Engine
from services.market_data.app.recorder import Recorder
from services.market_data.rpc.publisher import StreamPublisher

_COUNTS = ("frames", "bad_frames", "gaps", "resyncs", "refused_subscriptions")


class Feeds(Collector):
    """How each venue's feed stands, read from its status at the moment of the question."""

    def __init__(self, engine: Engine, publisher: StreamPublisher, clock: Clock) -> None:
        self._engine = engine
        self._publisher = publisher
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Yield every figure."""
        live = GaugeMetricFamily("perpmesh_feed_live", "Whether a venue's feed is LIVE.", labels=["venue"])
        age = GaugeMetricFamily(
            "perpmesh_feed_age_seconds",
            "Age of the last frame of a connection to a venue.",
            labels=["venue", "connection"],
        )
        again = CounterMetricFamily(
            "perpmesh_feed_reconnects", "Reconnects of a connection to a venue.", labels=["venue", "connection"]
        )
        counts = {
            name: CounterMetricFamily(f"perpmesh_feed_{name}", f"Of a venue's feed: {name}.", labels=["venue"])
            for name in _COUNTS
        }
        breakers = GaugeMetricFamily(
            "perpmesh_breaker_open", "Whether the circuit breaker of an endpoint is open.", labels=["venue", "endpoint"]
        )
        limits = GaugeMetricFamily(
            "perpmesh_venue_limit_used_ratio", "Share of a venue's limit in use.", labels=["venue", "limit"]
        )
        now_ns = self._clock.time_ns()
        for name, venue in self._engine.venues.items():
            status = venue.status()
            live.add_metric([name], float(status.state is FeedState.LIVE))
            for one in status.connections:
                if one.last_frame_time_ns:
                    age.add_metric([name, one.name], max(0, now_ns - one.last_frame_time_ns) / 1e9)
                again.add_metric([name, one.name], one.reconnect_count)
            for what, family in counts.items():
                family.add_metric([name], getattr(status.counts, what))
            for breaker in status.breakers:
                breakers.add_metric([name, breaker.endpoint], float(breaker.state != "closed"))
            for limit in status.limits:
                limits.add_metric([name, limit.name], limit.used / limit.allowed if limit.allowed else 0.0)
        collapsed = CounterMetricFamily(
            "perpmesh_stream_collapsed",
            "Values that gave way to a newer one before a stream had sent them.",
            labels=["kind"],
        )
        for kind, count in self._publisher.collapsed().items():
            collapsed.add_metric([kind], count)
        yield from (live, age, again, *counts.values(), breakers, limits, collapsed)


def measure(engine: Engine, publisher: StreamPublisher, lost_writes: Callable[[], int], clock: Clock) -> None:
    """Show the room's own figures among the metrics."""
    streams = METRICS.gauge("perpmesh_streams", "Open streams.", ("kind",))
    lag = METRICS.gauge(
        "perpmesh_stream_lag_seconds",
        "How long the slowest stream has had something to send and sent nothing.",
        ("kind",),
    )
    for kind in publisher.stream_counts():
        streams.labels(kind).set_function(lambda kind=kind: float(publisher.stream_counts()[kind]))  # type: ignore[misc]
        lag.labels(kind).set_function(lambda kind=kind: publisher.lag_s(kind))  # type: ignore[misc]
    markets = METRICS.gauge("perpmesh_markets", "Markets known.")
    markets.set_function(lambda: float(len(engine.markets)))
    lost = METRICS.gauge("perpmesh_price_cache_writes_lost", "Prices not cached because Valkey was away.")
    lost.set_function(lambda: float(lost_writes()))
    dropped = METRICS.gauge("perpmesh_events_dropped", "Events refused because the room was behind.", ("venue",))
    waiting = METRICS.gauge("perpmesh_intake_events", "Events of a venue that wait for the next round.", ("venue",))
    METRICS.registry.register(Feeds(engine, publisher, clock))
    for name in engine.venues:
        waiting.labels(name).set_function(lambda name=name: float(engine.intake.waiting(name)))  # type: ignore[misc]
        dropped.labels(name).set_function(lambda name=name: float(engine.intake.dropped[name]))  # type: ignore[misc]


def measure_history(recorder: Recorder, backfills: list[Backfill]) -> None:
    """Show how recording goes among the metrics."""
    late = METRICS.gauge("perpmesh_candle_trades_late", "Trades that came after their candle was closed.", ("venue",))
    held = METRICS.gauge("perpmesh_candles_waiting", "Markets whose candles wait for a repair by REST.", ("venue",))
    asked = METRICS.gauge("perpmesh_backfill", "What was asked of a venue's past since the start.", ("venue", "what"))
    for backfill in backfills:
        name, counts = backfill.name, backfill.counts
        late.labels(name).set_function(lambda name=name: float(recorder.late(name)))  # type: ignore[misc]
        held.labels(name).set_function(lambda name=name: float(recorder.waiting(name)))  # type: ignore[misc]
        for what in ("candles", "funding", "failed"):
            read = lambda what=what, counts=counts: float(getattr(counts, what))  # noqa: E731
            asked.labels(name, what).set_function(read)
