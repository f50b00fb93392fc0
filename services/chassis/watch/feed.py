"""Values that must all arrive: one shared ring, walked by every stream at its own pace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from services.chassis.clock import Clock
from services.chassis.watch.hub import STREAMS_MAX, Entry, Framing, Hub, WatchRequest


class Feed(Hub):
    """Values that must all arrive: one shared ring, walked by every stream at its own pace."""

    def __init__(
        self,
        *,
        kind: str,
        epoch: int,
        framing: Framing,
        clock: Clock,
        entries_max: int,
        streams_max: int = STREAMS_MAX,
    ) -> None:
        super().__init__(kind=kind, epoch=epoch, framing=framing, clock=clock, streams_max=streams_max)
        self._entries_max = entries_max
        self._entries: list[Entry] = []
        self._base = 0
        self._sequences: dict[str, int] = {}
        self._kept_from: dict[str, int] = {}

    def put(self, key: str, sequence: int, payload: bytes) -> Entry:
        """Publish the next value of `key`. Its `sequence` is one more than the last of that key."""
        return self._append(key, sequence, payload, self.framing.value(self.cursor(self.position + 1), payload))

    def _append(self, key: str, sequence: int, payload: bytes, message: bytes) -> Entry:
        self.position += 1
        entry = Entry(self.position, key, sequence, payload, message)
        self._entries.append(entry)
        self._sequences[key] = sequence
        if len(self._entries) >= 2 * self._entries_max:
            gone, self._entries = self._entries[: self._entries_max], self._entries[self._entries_max :]
            self._base += len(gone)
            for old in gone:
                self._kept_from[old.key] = old.sequence + 1
        for subscription in self._by_key.get(key, ()):
            subscription.wake()
        for subscription in self._all:
            subscription.wake()
        return entry

    def tell(self, key: str, write: Callable[[str], bytes]) -> None:
        """Send a message of another kind, written for its cursor, in line with the values of `key`."""
        self._append(key, self._sequences.get(key, 0), b"", write(self.cursor(self.position + 1)))

    def earliest_position(self) -> int:
        """Return the earliest position a stream can be resumed from."""
        return self._base

    async def stream(self, request: WatchRequest, *, replay: Iterable[Entry] = ()) -> AsyncIterator[bytes]:
        """Yield the messages of one stream; `replay` is sent first where there is no cursor."""
        start = self.parse_cursor(request.cursor) if request.cursor else None
        if start is not None and start < self._base:
            raise self.expired(f"only the last {len(self._entries)} changes are kept")
        subscription = self.attach(request.keys, tell_gaps=True)
        keys, framing, clock = request.keys, self.framing, self.clock
        try:
            position = self.position if start is None else start
            seen = dict(self._sequences)
            if start is None:
                for entry in replay:
                    yield entry.message
            else:
                for old in self._entries[start - self._base :]:
                    seen[old.key] = min(seen[old.key], old.sequence - 1)
                while position < self.position and position >= self._base:
                    entry = self._entries[position - self._base]
                    position += 1
                    if keys is None or entry.key in keys:
                        seen[entry.key] = entry.sequence
                        yield entry.message
            yield framing.live(self.cursor(position), clock.time_ns())
            subscription.last_sent_s = clock.monotonic()
            while self.end is None:
                if position < self._base:
                    for key, first, last in self._lost(seen, keys):
                        yield framing.gap(self.cursor(self._base), key, first, last)
                        seen[key] = last
                    position = self._base
                sent = False
                while self._base <= position < self.position:
                    entry = self._entries[position - self._base]
                    position += 1
                    if keys is None or entry.key in keys:
                        seen[entry.key] = entry.sequence
                        sent = True
                        yield entry.message
                if sent:
                    subscription.last_sent_s = clock.monotonic()
                elif self.heartbeat_due(subscription):
                    yield framing.heartbeat(self.cursor(position), clock.time_ns())
                    subscription.last_sent_s = clock.monotonic()
                if position == self.position and self.end is None:
                    await subscription.wait()
            yield self.end_message(position)
        finally:
            self.detach(subscription)

    def recent(self, keys: frozenset[str] | None, count: int) -> list[Entry]:
        """Return at most `count` entries of each of `keys`, oldest first."""
        found: list[Entry] = []
        counts: dict[str, int] = {}
        for entry in reversed(self._entries):
            if entry.payload and (keys is None or entry.key in keys) and counts.get(entry.key, 0) < count:
                counts[entry.key] = counts.get(entry.key, 0) + 1
                found.append(entry)
                if keys is not None and len(found) >= count * len(keys):
                    break
        found.reverse()
        return found

    def _lost(self, seen: dict[str, int], keys: frozenset[str] | None) -> list[tuple[str, int, int]]:
        """Return (key, first, last) of what a stream that stands before the ring has lost."""
        return [
            (key, seen.get(key, 0) + 1, kept_from - 1)
            for key, kept_from in self._kept_from.items()
            if (keys is None or key in keys) and kept_from - 1 > seen.get(key, 0)
        ]
