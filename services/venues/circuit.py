"""The circuit breaker of one endpoint of a venue, as the port shows it.

Joins the chassis' machine, which takes the time, with the clock, and turns its state into `BreakerStatus`.
"""

from __future__ import annotations

from typing import Final

from services.chassis.breaker import Breaker, BreakerPolicy, State, Transition
from services.chassis.clock import Clock
from services.chassis.telemetry import log
from services.venues.port import BreakerStatus

REST: Final = "rest"
SOCKET: Final = "ws"

REST_POLICY: Final = BreakerPolicy(failures_max=5, window_s=30.0, open_s=5.0)
SOCKET_POLICY: Final = BreakerPolicy(failures_max=5, window_s=30.0, open_s=1.0)
"""Short, so that a book is fresh soon after a line heals; the session's own backoff grows with the outage."""


class Circuit:
    """The breaker of one endpoint (`rest` or `ws`) of one venue. What `link` and `rest` ask as their `Breaker`."""

    def __init__(self, venue: str, endpoint: str, *, clock: Clock, policy: BreakerPolicy | None = None) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._change_time_ns = clock.time_ns()
        self._last_failure = ""
        if policy is None:
            policy = REST_POLICY if endpoint == REST else SOCKET_POLICY
        self._breaker = Breaker(f"{venue}.{endpoint}", policy, on_transition=self._changed)

    def allow(self) -> bool:
        """Whether an attempt may be made now; report how it went with `success`, `failure` or `forget`."""
        return self._breaker.allow(self._clock.monotonic())

    def success(self) -> None:
        """The endpoint is well."""
        self._breaker.success(self._clock.monotonic())

    def failure(self, reason: str) -> None:
        """The endpoint failed."""
        self._last_failure = reason[:300]
        self._breaker.failure(self._clock.monotonic(), reason)

    def forget(self) -> None:
        """The attempt ended without saying anything of the endpoint."""
        self._breaker.forget(self._clock.monotonic())

    def retry_after_s(self) -> float:
        """How long until an attempt may be made."""
        return self._breaker.retry_after(self._clock.monotonic())

    def is_closed(self) -> bool:
        """Whether the endpoint is held to be well, so that no attempt is a probe."""
        return self._breaker.state(self._clock.monotonic()) is State.CLOSED

    def status(self) -> BreakerStatus:
        """Return how it stands."""
        now = self._clock.monotonic()
        state = self._breaker.state(now)
        retry_time_ns = 0
        if state is State.OPEN:
            retry_time_ns = self._clock.time_ns() + round(self._breaker.retry_after(now) * 1e9)
        return BreakerStatus(
            endpoint=self.endpoint,
            state=state.value,
            failure_count=self._breaker.recent_failures(now),
            change_time_ns=self._change_time_ns,
            retry_time_ns=retry_time_ns,
            last_failure=self._last_failure,
        )

    def _changed(self, name: str, transition: Transition) -> None:
        self._change_time_ns = self._clock.time_ns()
        log.event(
            "venue.breaker",
            breaker=name,
            before=transition.before.value,
            after=transition.after.value,
            why=transition.why,
        )
