"""The circuit breaker: stop asking an endpoint that keeps failing, and find out gently whether it is back.

CLOSED lets calls through and counts failures within a sliding window; at the threshold it opens. OPEN refuses at once
for the open time. HALF_OPEN lets a few probes through: all succeed and it closes, one fails and it opens again. The
machine is pure and takes `now` (monotonic seconds); `guard` is the thin asynchronous part. Sharing the state between
replicas goes through `BreakerStore`, which has no implementation yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.chassis.clock import Clock
from services.domain.errors import DomainError, Reason

TRANSITIONS_MAX = 32


class State(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    """Calls go through."""
    OPEN = "open"
    """Calls are refused at once."""
    HALF_OPEN = "half_open"
    """A few probes go through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """What opens and closes a breaker."""

    failures_max: int = 5
    """Failures within the window that open it."""
    window_s: float = 30.0
    """How far back failures count."""
    open_s: float = 10.0
    """How long it stays open before it tries."""
    probes: int = 1
    """How many probes must succeed to close it, and how many may be under way at once."""
    probe_timeout_s: float = 30.0
    """A probe that reported nothing for so long counts as failed, so that a lost one cannot block for ever."""

    def __post_init__(self) -> None:
        """Refuse a policy that could never open or never close."""
        if min(self.failures_max, self.probes) < 1 or min(self.window_s, self.open_s, self.probe_timeout_s) <= 0:
            raise ValueError("a breaker needs failures_max and probes of at least 1, and times above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of a breaker's state."""

    at: float
    """When, in monotonic seconds."""
    before: State
    after: State
    why: str


class BreakerStore(Protocol):
    """Where replicas share what they know of an endpoint; the breaker works alone when it is away."""

    async def publish(self, name: str, transition: Transition) -> None:
        """Tell the others of a transition."""

    async def latest(self, name: str) -> State | None:
        """Return the state that others report, if any."""


class Breaker:
    """The machine of one endpoint. Ask `allow` before a call and report `success` or `failure` after it."""

    def __init__(
        self,
        name: str,
        policy: BreakerPolicy | None = None,
        *,
        on_transition: Callable[[str, Transition], None] = lambda _name, _transition: None,
    ) -> None:
        self.name = name
        self.policy = policy or BreakerPolicy()
        self._on_transition = on_transition
        self._state = State.CLOSED
        self._since = 0.0
        self._failures: deque[float] = deque(maxlen=self.policy.failures_max)
        self._transitions: deque[Transition] = deque(maxlen=TRANSITIONS_MAX)
        self._probes_out: deque[float] = deque()
        self._probes_good = 0

    @property
    def transitions(self) -> tuple[Transition, ...]:
        """Return the latest transitions, oldest first (at most 32)."""
        return tuple(self._transitions)

    @property
    def since(self) -> float:
        """Return when the present state began, in monotonic seconds; 0 when it never changed."""
        return self._since

    def state(self, now: float) -> State:
        """Return the state, moving from OPEN to HALF_OPEN when its time has come."""
        if self._state is State.OPEN and now - self._since >= self.policy.open_s:
            self._move(State.HALF_OPEN, now, "the open time is over")
        elif self._probes_out and now - self._probes_out[0] >= self.policy.probe_timeout_s:
            self._move(State.OPEN, now, "a probe never reported")
        return self._state

    def recent_failures(self, now: float) -> int:
        """Return how many failures lie within the window."""
        while self._failures and now - self._failures[0] > self.policy.window_s:
            self._failures.popleft()
        return len(self._failures)

    def allow(self, now: float) -> bool:
        """Say whether a call may be made now; in HALF_OPEN a yes takes one of the probes."""
        state = self.state(now)
        if state is State.CLOSED:
            return True
        if state is State.OPEN or len(self._probes_out) + self._probes_good >= self.policy.probes:
            return False
        self._probes_out.append(now)
        return True

    def retry_after(self, now: float) -> float:
        """Return in how many seconds asking may make sense again; zero when it does now."""
        if self.state(now) is State.OPEN:
            return max(0.0, self._since + self.policy.open_s - now)
        return 0.0

    def success(self, now: float) -> None:
        """Report a call that worked."""
        if self.state(now) is State.HALF_OPEN:
            self._probe_back()
            self._probes_good += 1
            if self._probes_good >= self.policy.probes:
                self._failures.clear()
                self._move(State.CLOSED, now, "the probes succeeded")

    def failure(self, now: float, why: str = "") -> None:
        """Report a call that failed in a way that speaks of the endpoint (not a refusal of the request)."""
        state = self.state(now)
        if state is State.HALF_OPEN:
            self._move(State.OPEN, now, f"a probe failed: {why}" if why else "a probe failed")
        elif state is State.CLOSED:
            self._failures.append(now)
            if self.recent_failures(now) >= self.policy.failures_max:
                count = f"{self.policy.failures_max} failures within {self.policy.window_s:g} s"
                self._move(State.OPEN, now, f"{count}: {why}" if why else count)

    def forget(self, now: float) -> None:
        """Report a call that ended without saying anything of the endpoint, such as a canceled one."""
        if self.state(now) is State.HALF_OPEN:
            self._probe_back()

    def _probe_back(self) -> None:
        if self._probes_out:
            self._probes_out.popleft()

    def _move(self, after: State, now: float, why: str) -> None:
        transition = Transition(at=now, before=self._state, after=after, why=why[:200])
        self._state = after
        self._since = now
        self._probes_out.clear()
        self._probes_good = 0
        self._transitions.append(transition)
        self._on_transition(self.name, transition)


@asynccontextmanager
async def guard(
    breaker: Breaker,
    clock: Clock,
    *,
    speaks_of_endpoint: Callable[[Exception], bool] = lambda _: True,
    reason: Reason = Reason.PEER_UNAVAILABLE,
) -> AsyncIterator[None]:
    """Guard one call: refuse with `reason` while open, else report how the block ended.

    `speaks_of_endpoint` says whether an exception is the endpoint's fault; another one counts as an answer, since a
    refusal proves that the endpoint is there.
    """
    now = clock.monotonic()
    if not breaker.allow(now):
        wait_s = breaker.retry_after(now)
        raise DomainError(
            reason,
            f"{breaker.name} kept failing and is not asked for now.",
            metadata={"breaker": breaker.name, "state": breaker.state(now).value},
            retry_after_s=wait_s or None,
        )
    try:
        yield
    except Exception as error:
        if speaks_of_endpoint(error):
            breaker.failure(clock.monotonic(), repr(error)[:120])
        else:
            breaker.success(clock.monotonic())
        raise
    except BaseException:
        breaker.forget(clock.monotonic())
        raise
    breaker.success(clock.monotonic())
