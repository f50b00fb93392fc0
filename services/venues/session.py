"""The reconnecting subscription as a pure machine, after h11: events in, actions out, no socket and no clock.

A driver (`link.py`) tells the machine what happened (`opened`, `frame`, `closed`, `tick`, ...), each with the monotonic
time, and does what the returned actions say, in their order. The machine holds everything that is easy to get wrong
about a venue's socket: when to connect and how long to wait, which subscriptions to send first under the venue's
message budget, what to do when one is not answered or refused, when silence means death, and how to find the one
subscription for which a venue closes the whole socket.

The lifecycle is one table, `lifecycle.TABLE`: (state, event) to state. Subscriptions have a lifecycle of their own
(`subscriptions.py`) inside the talking states and never change the session's, save that a closed socket loses them all.

Bounds: wanted subscriptions beyond `subscriptions_max` are not asked for and counted in `overflow_count`; leaving ones
beyond the same number make the session reconnect instead of unsubscribing. Source for the shape: h11's connection
object; for the rules: the venues' pages.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Final

from services.domain.feed import FeedState
from services.venues.budget import Budget
from services.venues.lifecycle import (
    NEVER,
    SOCKET,
    TABLE,
    TALKING,
    Action,
    Changed,
    Close,
    Connect,
    Kind,
    Lost,
    Refused,
    Send,
    SessionConfig,
    SessionCounts,
    State,
)
from services.venues.subscriptions import Ledger, Subscription


class Session:
    """One reconnecting, subscribing connection. Every method takes the monotonic time and returns what to do."""

    def __init__(self, config: SessionConfig, *, messages: Budget, connects: Budget, rng: random.Random) -> None:
        self._config = config
        self._messages = messages
        self._connects = connects
        self._rng = rng
        self._ledger = Ledger(config.subscriptions_max)
        self._state = State.IDLE
        self._since_ns = 0
        self._deadline_ns = NEVER
        self._last_frame_ns = 0
        self._ping_ns = NEVER
        self._paused_until_ns = 0
        self._attempt = 0
        self._down_since_ns: int | None = None
        self._opened_ns = 0
        self._frames_before = 0
        self._wait_s: float | None = None
        self._actions: list[Action] = []
        self.counts = SessionCounts()

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._state

    @property
    def overflow_count(self) -> int:
        """How many wanted subscriptions are beyond the venue's limit and not asked for."""
        return self._ledger.overflow_count

    @property
    def acked_count(self) -> int:
        """How many subscriptions the venue has answered and now delivers."""
        return self._ledger.acked_count

    def is_acked(self, key: str) -> bool:
        """Whether the venue has answered the subscription `key`, so that it is delivered."""
        return self._ledger.is_acked(key)

    # --- what happens -------------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> Sequence[Action]:
        """Begin to connect."""
        self._step(Kind.START, now_ns, "starting")
        return self._drain()

    def stop(self, now_ns: int) -> Sequence[Action]:
        """End for good."""
        self._step(Kind.STOP, now_ns, "stopped")
        return self._drain()

    def opened(self, now_ns: int) -> Sequence[Action]:
        """The socket is open."""
        self._step(Kind.OPENED, now_ns, "connected")
        if self._state is State.GREETING and not self._config.expects_greeting:
            self._step(Kind.GREETED, now_ns, "connected")
        return self._drain()

    def greeted(self, now_ns: int) -> Sequence[Action]:
        """The venue's greeting came."""
        self._step(Kind.GREETED, now_ns, "connected")
        return self._drain()

    def frame(self, now_ns: int) -> Sequence[Action]:
        """Any frame came, whatever it holds."""
        self.counts.frames += 1
        self._last_frame_ns = now_ns
        if self._state is State.OPEN:
            return _NOTHING
        self._step(Kind.FRAME, now_ns, "the venue answers again")
        return self._drain()

    def closed(self, reason: str, now_ns: int, *, wait_s: float | None = None) -> Sequence[Action]:
        """The socket is gone or never was. `wait_s` replaces the session's own backoff, as an open breaker may."""
        self._wait_s = wait_s
        self._step(Kind.CLOSED, now_ns, reason)
        return self._drain()

    def recycle(self, reason: str, now_ns: int) -> Sequence[Action]:
        """Close and connect again: the venue announced a restart, or the socket is in a state nothing else repairs."""
        self._step(Kind.RECYCLE, now_ns, reason)
        return self._drain()

    def tick(self, now_ns: int) -> Sequence[Action]:
        """Time has passed; call at `next_due_ns` at the latest, as often as wished."""
        if now_ns >= self._due_ns():
            self._step(Kind.TIMEOUT, now_ns, "")
        self._pump(now_ns)
        return self._drain()

    def next_due_ns(self, now_ns: int) -> int:
        """Return when `tick` has something to do, `NEVER` where nothing is pending."""
        due = self._due_ns()
        if self._state in TALKING:
            due = min(due, self._ping_ns, self._ledger.next_due_ns())
            ready = self._ledger.ready_ns(self._config.in_flight_max)
            if ready < NEVER:
                due = min(due, max(ready, self._paused_until_ns, self._messages.free_at_ns(now_ns, 2)))
        return due

    # --- what is wanted -----------------------------------------------------------------------------------------

    def want(self, subscriptions: Iterable[Subscription], now_ns: int) -> Sequence[Action]:
        """Replace what is wanted, most urgent first."""
        self._ledger.want(subscriptions, talking=self._state in TALKING)
        if self._ledger.leaving_count > self._config.subscriptions_max:
            self._step(Kind.RECYCLE, now_ns, "too many subscriptions to leave one by one")
        self._pump(now_ns)
        return self._drain()

    def acked(self, key: str, now_ns: int) -> Sequence[Action]:
        """The venue answered the subscription `key`."""
        self._ledger.acked(key)
        self._pump(now_ns)
        return self._drain()

    def refused(self, key: str, reason: str, now_ns: int, *, retry_s: float | None = None) -> Sequence[Action]:
        """The venue refused the subscription `key`; it is asked for again later, the others go on."""
        self._refuse(key, reason, self._config.refused_retry_s if retry_s is None else retry_s, now_ns)
        self._pump(now_ns)
        return self._drain()

    def renew(self, key: str, now_ns: int, *, again: bool = False) -> Sequence[Action]:
        """Leave and ask again, for a fresh snapshot. At once the first time, with growing waits when it repeats.

        Does nothing while the key is already being asked for, unless `again`: the venue answered, but not with what
        was asked.
        """
        if self._ledger.renew(key, now_ns, again=again):
            self.counts.renewals += 1
        self._pump(now_ns)
        return self._drain()

    def throttle(self, seconds: float, now_ns: int) -> Sequence[Action]:
        """The venue says we talk too much: ask for nothing more for `seconds`; unanswered asks count as not made."""
        self._paused_until_ns = max(self._paused_until_ns, now_ns + round(seconds * 1e9))
        self._ledger.unsend()
        return self._drain()

    def reply(self, text: str, now_ns: int) -> Sequence[Action]:
        """Send `text` now, as the answer to something the venue asked, if the budget's reserve allows it."""
        if self._state in SOCKET and self._state is not State.CONNECTING and self._messages.take(now_ns, urgent=True):
            self._actions.append(Send(text))
        return self._drain()

    # --- the lifecycle ------------------------------------------------------------------------------------------

    def _step(self, kind: Kind, now_ns: int, reason: str) -> None:
        before = self._state
        after = TABLE.get((before, kind))
        if after is None:
            return
        if after is State.CONNECTING and not self._connects.take(now_ns):
            self._deadline_ns = self._connects.free_at_ns(now_ns)
            return
        self._state, self._since_ns, self._deadline_ns = after, now_ns, NEVER
        if after is State.WAITING:
            self._enter_waiting(before, reason, now_ns)
        elif after is State.CONNECTING:
            timeout_s = self._config.open_timeout_s * 2 ** min(self._attempt // 4, 8)
            timeout_s = min(timeout_s, self._config.open_timeout_max_s)
            self._deadline_ns = now_ns + round(timeout_s * 1e9)
            self.counts.connects += 1
            self._actions.append(Connect(timeout_s))
        elif after is State.GREETING:
            self._opened_ns = self._last_frame_ns = now_ns
            self._frames_before = self.counts.frames
            self._deadline_ns = now_ns + round(self._config.open_timeout_s * 1e9)
        elif after is State.OPEN:
            self._enter_open(before, reason, now_ns)
        elif after is State.PROBING:
            self.counts.probes += 1
            self._deadline_ns = now_ns + round(self._config.probe_timeout_s * 1e9)
            self._ping(now_ns)
        elif after is State.SILENT:
            self._deadline_ns = now_ns + round(self._config.silence_give_up_s * 1e9)
            silent_s = (now_ns - self._last_frame_ns) / 1e9
            self._actions.append(Changed(FeedState.STALE, f"no frame for {silent_s:.1f} s and no answer to a ping"))
        else:  # CLOSING, STOPPED
            if before in SOCKET:
                self._actions.append(Close(reason or _TIMEOUT_REASONS.get(before, "timeout")))

    def _due_ns(self) -> int:
        """Return the deadline of the present state. An open socket's moves with every frame, so it is computed."""
        if self._state is State.OPEN:
            return self._last_frame_ns + round(self._config.probe_after_s * 1e9)
        return self._deadline_ns

    def _enter_open(self, before: State, reason: str, now_ns: int) -> None:
        if before is State.GREETING:
            self._last_frame_ns = now_ns
            self._ping_ns = now_ns + round(self._config.ping_interval_s * 1e9)
            self._down_since_ns = None
        if before is not State.PROBING:
            self._actions.append(Changed(FeedState.LIVE, reason))
        self._pump(now_ns)

    def _enter_waiting(self, before: State, reason: str, now_ns: int) -> None:
        if before is State.IDLE:
            self._deadline_ns = now_ns
            return
        config = self._config
        self.counts.closes += 1
        self._lose(before, reason, now_ns)
        if self._opened_ns and now_ns - self._opened_ns >= round(config.stable_after_s * 1e9):
            self._attempt = 0
        self._opened_ns = 0
        if self._down_since_ns is None:
            self._down_since_ns = now_ns
        outage_s = (now_ns - self._down_since_ns) / 1e9
        wait_s = config.backoff_first_s * 2 ** min(self._attempt, 16)
        wait_s = min(wait_s, max(config.backoff_floor_s, outage_s / 10), config.backoff_max_s)
        wait_s *= 0.5 + self._rng.random() / 2
        if self._wait_s is not None:
            wait_s = self._wait_s
        else:
            self._attempt += 1
        self._wait_s = None
        self._deadline_ns = now_ns + round(wait_s * 1e9)
        self._ping_ns = NEVER
        self._actions.append(Changed(FeedState.RECOVERING, f"{reason}; connecting again in {wait_s:.1f} s"))

    def _lose(self, before: State, reason: str, now_ns: int) -> None:
        """Take back every subscription; where the venue punishes one by closing, note who was being asked."""
        config = self._config
        if config.closes_on_bad_subscription and before in TALKING and self.counts.frames > self._frames_before:
            culprit = self._ledger.suspect(now_ns, round(config.suspect_window_s * 1e9))
            if culprit is not None:
                self.counts.quarantined += 1
                seconds = min(config.quarantine_s * 2 ** (culprit.quarantines - 1), 86_400.0)
                self._refuse(culprit.key, "the venue closes the connection when it is asked for", seconds, now_ns)
        lost = self._ledger.lose()
        if lost:
            self._actions.append(Lost(lost, reason))

    # --- talking ------------------------------------------------------------------------------------------------

    def _pump(self, now_ns: int) -> None:
        """Send what is due and affordable: a ping, then subscriptions by urgency, then what is to be left."""
        if self._state not in TALKING:
            return
        config = self._config
        if now_ns >= self._ping_ns:
            self._ping(now_ns)
        for key in self._ledger.overdue(now_ns, config.ack_attempts_max):
            self.counts.ack_timeouts += 1
            reason = f"the venue did not answer within {config.ack_timeout_s:g} s, {config.ack_attempts_max} times"
            self._refuse(key, reason, config.refused_retry_s, now_ns)
        self.counts.ack_timeouts += self._ledger.retry(now_ns)
        if now_ns < self._paused_until_ns:
            return
        ack_ns = now_ns + round(config.ack_timeout_s * 1e9)
        while self._ledger.ready_ns(config.in_flight_max) <= now_ns and self._messages.free_at_ns(now_ns, 2) <= now_ns:
            frames = self._ledger.next_frames(now_ns, ack_ns, config.in_flight_max)
            if not frames:
                break
            for text in frames:
                self._messages.take(now_ns)
                self._actions.append(Send(text))

    def _ping(self, now_ns: int) -> None:
        self._ping_ns = now_ns + round(self._config.ping_interval_s * 1e9)
        if self._messages.take(now_ns, urgent=True):
            self._actions.append(Send(self._config.ping))

    def _refuse(self, key: str, reason: str, retry_s: float, now_ns: int) -> None:
        if self._ledger.refuse(key, now_ns + round(retry_s * 1e9)):
            self.counts.refused += 1
            self._actions.append(Refused(key, reason, retry_s))

    def _drain(self) -> Sequence[Action]:
        if not self._actions:
            return _NOTHING
        actions, self._actions = self._actions, []
        return actions


_NOTHING: Final[tuple[Action, ...]] = ()
_TIMEOUT_REASONS: Final = {
    State.CONNECTING: "the venue did not accept the connection in time",
    State.GREETING: "the venue did not greet in time",
    State.SILENT: "the venue fell silent",
}
