"""All that waits for one socket: answers first, then the topics in turn; and when it may go.

Collapsible changes go in batches: a first one after a quiet time at once, the next no sooner than the batch interval
after it, or than the subscription's own `min_interval`. Everything else goes at once.
"""

from __future__ import annotations

from collections import deque

from services.stream.model.frame import Frame
from services.stream.model.lane import Lane
from services.stream.model.limits import Limits

NOW = float("-inf")
"""Due already."""


class Outbox:
    """The frames that wait for one socket, bounded by `Limits`."""

    __slots__ = ("_batch_interval_s", "_batch_s", "_control", "_control_max", "_flush_bytes", "_pending", "_urgent")

    def __init__(self, limits: Limits) -> None:
        self._control: deque[Frame] = deque()
        self._control_max = limits.control_frames_max
        self._flush_bytes = limits.flush_bytes_max
        self._batch_interval_s = limits.batch_interval_s
        self._batch_s = NOW
        self._urgent: dict[Lane, None] = {}
        self._pending: dict[Lane, None] = {}

    @property
    def overflowing(self) -> bool:
        """Say whether the client asks on and on and does not read the answers."""
        return len(self._control) > self._control_max

    @property
    def empty(self) -> bool:
        """Say whether nothing waits."""
        return not (self._control or self._urgent or self._pending)

    def answer(self, item: Frame) -> None:
        """Add a frame that belongs to no lane."""
        self._control.append(item)

    def mark(self, lane: Lane) -> None:
        """Take note that something was put into a lane."""
        if lane.urgent:
            self._urgent[lane] = None
            self._pending.pop(lane, None)
        elif lane.pending:
            self._pending[lane] = None

    def forget(self, lane: Lane) -> None:
        """Leave a lane out from now on; what waits in it is not sent."""
        self._urgent.pop(lane, None)
        self._pending.pop(lane, None)

    def due(self) -> float | None:
        """Return when something may be sent, on the monotonic clock; `NOW` or None for at once or never."""
        if self._control or self._urgent:
            return NOW
        if not self._pending:
            return None
        return min(map(self._due_of, self._pending))

    def take(self, now: float) -> list[Frame]:
        """Give what may be sent at `now`, about `flush_bytes_max` at most; `due` then says whether more waits."""
        taken = list(self._control)
        self._control.clear()
        room = self._flush_bytes - sum(len(item.payload) for item in taken)
        ready = [lane for lane in self._pending if self._due_of(lane) <= now]
        for lane in (*self._urgent, *ready):
            if room <= 0:
                break
            if lane.interval_s is None and lane.pending:
                self._batch_s = now + self._batch_interval_s
            lane.last_s = now
            self.forget(lane)
            items = lane.take()
            taken += items
            room -= sum(len(item.payload) for item in items)
        return taken

    def _due_of(self, lane: Lane) -> float:
        return self._batch_s if lane.interval_s is None else lane.last_s + lane.interval_s
