"""Prometheus metrics with a registry of our own.

Ask for a metric by name wherever it is used; the first asking makes it, later ones get the same. Label values must
come from small fixed sets (methods, venues, codes), never from what a caller sends, so that memory stays bounded. Hot
paths keep the result of `.labels(...)`, which costs more than counting does.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from services.chassis.clock import Clock

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
LOOP_LAG_PERIOD_S = 0.5


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._made: dict[str, Counter | Gauge | Histogram] = {}

    def counter(self, name: str, about: str, labels: Sequence[str] = ()) -> Counter:
        """Return the counter `name`, which only rises; its name ends in `_total`."""
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = Counter(name, about, labels, registry=self.registry)
        assert isinstance(made, Counter)
        return made

    def gauge(self, name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
        """Return the gauge `name`, which rises and falls."""
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = Gauge(name, about, labels, registry=self.registry)
        assert isinstance(made, Gauge)
        return made

    def histogram(
        self, name: str, about: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = LATENCY_BUCKETS_S
    ) -> Histogram:
        """Return the histogram `name`; by default its buckets are latencies in seconds."""
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = Histogram(name, about, labels, registry=self.registry, buckets=buckets)
        assert isinstance(made, Histogram)
        return made

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


METRICS = Metrics()
"""The metrics of this process; tests that count make a `Metrics` of their own."""


async def watch_loop_lag(clock: Clock, metrics: Metrics = METRICS, *, period_s: float = LOOP_LAG_PERIOD_S) -> None:
    """Measure for ever how late the event loop wakes a sleeper, in seconds: the last lag and the worst so far."""
    last = metrics.gauge("perpmesh_loop_lag_seconds", "How late the event loop woke its last sleeper.")
    worst = metrics.gauge("perpmesh_loop_lag_worst_seconds", "The worst lag of the event loop since the start.")
    most = 0.0
    while True:
        due = clock.monotonic() + period_s
        await clock.sleep(period_s)
        lag = max(0.0, clock.monotonic() - due)
        last.set(lag)
        if lag > most:
            most = lag
            worst.set(most)
