"""Values that replace each other: a slow reader gets the newest of each key, and the numbers of those it missed.

A stream has a queue of a few values, so that two changes within one turn of the loop both arrive. When it is full, only
the newest of each key stays, and what was dropped is told as a gap before the next value of that key.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Final

from services.chassis.clock import Clock
from services.chassis.watch.hub import STREAMS_MAX, Entry, Framing, Hub, Subscription, WatchRequest

QUEUE_MAX: Final = 16
"""How many values may wait for a stream before older ones of a key give way; more where more keys have changed."""
HISTORY_MAX: Final = 65_536
"""How many changes back a stream can be resumed; 24 bytes and three integers each."""


class Latest(Hub):
    """Values that replace each other: a stream sends the newest of each key, never an older one after a newer."""

    def __init__(
        self,
        *,
        kind: str,
        epoch: int,
        framing: Framing,
        clock: Clock,
        streams_max: int = STREAMS_MAX,
        history_max: int = HISTORY_MAX,
        queue_max: int = QUEUE_MAX,
    ) -> None:
        super().__init__(kind=kind, epoch=epoch, framing=framing, clock=clock, streams_max=streams_max)
        self._queue_max = queue_max
        self._latest: dict[str, Entry] = {}
        self._history: deque[tuple[int, str, int]] = deque(maxlen=history_max)

    def put(self, key: str, sequence: int, payload: bytes) -> Entry:
        """Publish the newest value of `key`. Its `sequence` is one more than the last of that key."""
        self.position = position = self.position + 1
        message = self.framing.value(self.cursor(position), payload)
        entry = Entry(position, key, sequence, payload, message)
        self._latest[key] = entry
        self._history.append((position, key, sequence))
        streams = self._by_key.get(key)
        if streams:
            self._offer(streams, entry)
        if self._all:
            self._offer(self._all, entry)
        return entry

    def get(self, key: str) -> Entry | None:
        """Return the newest value of `key`, or None."""
        return self._latest.get(key)

    def earliest_position(self) -> int:
        """Return the earliest position a stream can be resumed from."""
        return self._history[0][0] - 1 if self._history else self.position

    async def stream(self, request: WatchRequest) -> AsyncIterator[bytes]:
        """Yield the messages of one stream. Raises `DomainError` before the first one, never after."""
        start = self.parse_cursor(request.cursor) if request.cursor else None
        if start is not None and start < self.earliest_position():
            raise self.expired(f"only the last {len(self._history)} changes are kept")
        subscription = self.attach(request.keys, tell_gaps=request.min_interval_s <= 0)
        framing, clock = self.framing, self.clock
        try:
            self._load_present(subscription, start)
            position = start or 0
            present = self.position
            for message, reached in self._drain(subscription, position, request.batch_size):
                yield message
                position = reached
            position = present
            yield framing.live(self.cursor(position), clock.time_ns())
            subscription.last_sent_s = clock.monotonic()
            held_until_s = subscription.last_sent_s + request.min_interval_s
            paced, batch_size = request.min_interval_s > 0, request.batch_size
            while self.end is None:
                if paced and (held_s := held_until_s - clock.monotonic()) > 0:
                    await subscription.hold(clock, held_s)
                elif not subscription.pending:
                    await subscription.wait()
                if subscription.pending and (not paced or held_until_s <= clock.monotonic()):
                    pending = subscription.pending
                    if len(pending) == 1 and batch_size <= 1 and not subscription.lost:  # a fast reader's every message
                        subscription.pending, position = [], pending[0].position
                        yield pending[0].message
                    else:
                        for message, reached in self._drain(subscription, position, batch_size):
                            yield message
                            position = reached
                    subscription.last_sent_s = clock.monotonic()
                    held_until_s = subscription.last_sent_s + request.min_interval_s
                elif self.end is None and self.heartbeat_due(subscription):
                    yield framing.heartbeat(self.cursor(position), clock.time_ns())
                    subscription.last_sent_s = clock.monotonic()
            yield self.end_message(position)
        finally:
            self.detach(subscription)

    def _load_present(self, subscription: Subscription, start: int | None) -> None:
        """Make pending what the stream has not seen: the newest of every key, or of those changed since `start`."""
        keys = subscription.keys
        if start is None:
            entries: Iterable[Entry] = (
                self._latest.values() if keys is None else [self._latest[key] for key in keys if key in self._latest]
            )
            subscription.pending = sorted(entries, key=_position)
            return
        first_missed: dict[str, int] = {}
        for position, key, sequence in reversed(self._history):
            if position <= start:
                break
            if keys is None or key in keys:
                first_missed[key] = sequence
        subscription.pending = sorted((self._latest[key] for key in first_missed), key=_position)
        if subscription.tell_gaps:
            subscription.lost = {
                key: first for key, first in first_missed.items() if first < self._latest[key].sequence
            }

    def _drain(self, subscription: Subscription, position: int, batch_size: int) -> Iterable[tuple[bytes, int]]:
        """Yield each message that is due, with the position after it; what arrives meanwhile waits."""
        entries, subscription.pending = subscription.pending, []
        lost, subscription.lost = subscription.lost, {}
        if not subscription.tell_gaps:
            entries, _ = _newest(entries)
        subscription.room = self._queue_max
        if batch_size <= 1:
            for entry in entries:
                if lost and entry.key in lost:
                    first = lost.pop(entry.key)
                    yield self.framing.gap(self.cursor(position), entry.key, first, entry.sequence - 1), position
                position = entry.position
                yield entry.message, position
            return
        for key, first in lost.items():
            last = next(entry.sequence for entry in entries if entry.key == key) - 1
            yield self.framing.gap(self.cursor(position), key, first, last), position
        entries, _ = _newest(entries)
        for start in range(0, len(entries), batch_size):
            batch = entries[start : start + batch_size]
            position = batch[-1].position
            yield self.framing.values(self.cursor(position), [entry.payload for entry in batch]), position

    def _offer(self, streams: Iterable[Subscription], entry: Entry) -> None:
        """Queue `entry` for each stream and wake those that wait; a full queue keeps the newest of each key."""
        for subscription in streams:
            pending = subscription.pending
            pending.append(entry)
            if len(pending) > subscription.room:
                self._collapse(subscription)
            waiter = subscription.waiter
            if waiter is not None:
                subscription.waiter = None
                if not waiter.done():
                    waiter.set_result(None)

    def _collapse(self, subscription: Subscription) -> None:
        subscription.pending, dropped = _newest(subscription.pending)
        self.collapsed += len(dropped)
        subscription.room = max(self._queue_max, 2 * len(subscription.pending))
        if subscription.tell_gaps:
            for entry in dropped:
                subscription.lost.setdefault(entry.key, entry.sequence)


def _position(entry: Entry) -> int:
    return entry.position


def _newest(entries: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Return the newest entry of each key in order of position, and those that gave way, oldest first."""
    newest = {entry.key: entry for entry in entries}
    if len(newest) == len(entries):
        return entries, []
    kept = sorted(newest.values(), key=_position)
    return kept, [entry for entry in entries if newest[entry.key] is not entry]
