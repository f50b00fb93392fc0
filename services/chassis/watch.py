"""Server streams: the present, a mark, changes, heartbeats, gaps, resumption, and an end that is said.

Two kinds. `Latest` collapses: a slow reader gets the newest value of each key and the numbers of those it missed.
`Feed` is lossless within a bound: every reader walks one shared ring, and one that falls off its end is told what it
lost. Either way a reader costs the same few hundred bytes however slow it is, and nobody else anything.

A value is serialized and framed once, by its publisher, and the same bytes go to every stream. Streams are woken by
their publisher, not by timers; one ticker per hub finds those that owe a heartbeat.

Cursors name a position in the hub's one line of changes: `<kind><epoch>-<position>`. The epoch changes with every
start, so a cursor from before it is recognized and refused with what is available.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from services.chassis.clock import Clock
from services.domain.errors import DomainError, Reason

HEARTBEAT_S: Final = 15.0
"""Silence on a stream after which it says that it is alive."""
TICK_S: Final = 1.0
"""How often a hub looks for streams that owe a heartbeat."""
HISTORY_MAX: Final = 65_536
"""How many changes back a `Latest` stream can be resumed; 24 bytes and three integers each."""
STREAMS_MAX: Final = 10_000
"""How many streams one hub serves; the next is refused with LIMIT_REACHED."""


class Framing(Protocol):
    """How one Watch call's messages are written. `cursor` names the position after the message."""

    def value(self, cursor: str, payload: bytes) -> bytes:
        """One value."""
        ...

    def values(self, cursor: str, payloads: list[bytes]) -> bytes:
        """Several values in one message."""
        ...

    def live(self, cursor: str, now_ns: int) -> bytes:
        """The present has been sent."""
        ...

    def heartbeat(self, cursor: str, now_ns: int) -> bytes:
        """Nothing else happened."""
        ...

    def gap(self, cursor: str, key: str, first: int, last: int) -> bytes:
        """The values of `key` numbered `first` to `last` were lost to this stream."""
        ...

    def end(self, cursor: str, reason: Reason, message: str) -> bytes:
        """The server ends the stream."""
        ...


class Entry:
    """One change: where it stands in the line, what it is of, its number within its key, and its bytes."""

    __slots__ = ("key", "message", "payload", "position", "sequence")

    def __init__(self, position: int, key: str, sequence: int, payload: bytes, message: bytes) -> None:
        self.position = position
        self.key = key
        self.sequence = sequence
        self.payload = payload
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRequest:
    """What a caller asked of a stream. `keys` None means all keys, those to come included."""

    keys: frozenset[str] | None
    cursor: str = ""
    min_interval_s: float = 0.0
    batch_size: int = 1


class Subscription:
    """One open stream, as its hub sees it."""

    __slots__ = ("held", "keys", "last_sent_s", "lost", "pending", "tell_gaps", "waiter")

    def __init__(self, keys: frozenset[str] | None, *, tell_gaps: bool, now_s: float) -> None:
        self.keys = keys
        self.pending: dict[str, Entry] = {}
        self.lost: dict[str, int] = {}
        self.tell_gaps = tell_gaps
        self.waiter: asyncio.Future[None] | None = None
        self.held: asyncio.Future[None] | None = None
        self.last_sent_s = now_s

    def wake(self) -> None:
        """Let the stream look for work, whether it waits for a value or for its own interval to pass."""
        for future in (self.waiter, self.held):
            if future is not None and not future.done():
                future.set_result(None)
        self.waiter = None

    async def wait(self) -> None:
        """Sleep until woken. The caller checks for work before, without awaiting between."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiter = waiter
        try:
            await waiter
        finally:
            self.waiter = None

    async def hold(self, clock: Clock, seconds: float) -> None:
        """Sleep for `seconds` whatever is published, unless woken by the hub itself."""
        self.held = asyncio.get_running_loop().create_future()
        timer = asyncio.ensure_future(clock.sleep(seconds))
        try:
            await asyncio.wait({timer, self.held}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            self.held = None


class Hub:
    """What the kinds share: the line of changes, the open streams, cursors, heartbeats and the end."""

    def __init__(
        self, *, kind: str, epoch: int, framing: Framing, clock: Clock, streams_max: int = STREAMS_MAX
    ) -> None:
        self._kind = kind
        self._epoch = epoch
        self.framing = framing
        self.clock = clock
        self._streams_max = streams_max
        self._by_key: dict[str, set[Subscription]] = {}
        self._all: set[Subscription] = set()
        self._open: set[Subscription] = set()
        self.position = 0
        self.end: tuple[Reason, str] | None = None

    @property
    def stream_count(self) -> int:
        """How many streams are open."""
        return len(self._open)

    def cursor(self, position: int) -> str:
        """Return the cursor that names `position`."""
        return f"{self._kind}{self._epoch:x}-{position:x}"

    def parse_cursor(self, cursor: str) -> int:
        """Return the position a cursor names. Raises CURSOR_INVALID, or CURSOR_EXPIRED for one of an earlier start."""
        kind, rest = cursor[:1], cursor[1:]
        epoch_text, dash, position_text = rest.partition("-")
        try:
            epoch, position = int(epoch_text, 16), int(position_text, 16)
        except ValueError:
            epoch, position = -1, -1
        if kind != self._kind or not dash or position < 0 or epoch < 0:
            raise DomainError(
                Reason.CURSOR_INVALID,
                "cursor: this is no cursor of this call; send one exactly as received, or none",
                metadata={"field": "cursor"},
            )
        if epoch != self._epoch:
            raise self.expired("it was made before this service started")
        if position > self.position:
            raise DomainError(
                Reason.CURSOR_INVALID,
                "cursor: it names a position that has not been reached; send one exactly as received, or none",
                metadata={"field": "cursor"},
            )
        return position

    def earliest_position(self) -> int:
        """Return the earliest position a stream can be resumed from."""
        return self.position

    def expired(self, why: str) -> DomainError:
        """Return the refusal of a cursor that is too old, naming what is available."""
        earliest = self.cursor(self.earliest_position())
        latest = self.cursor(self.position)
        return DomainError(
            Reason.CURSOR_EXPIRED,
            f"cursor: it is too old, {why}; the earliest that can be resumed is {earliest}, the latest {latest};"
            " without a cursor the stream starts with the present",
            metadata={"field": "cursor", "earliest_cursor": earliest, "latest_cursor": latest},
        )

    def attach(self, keys: frozenset[str] | None, *, tell_gaps: bool) -> Subscription:
        """Open a stream. Raises LIMIT_REACHED at the bound and DRAINING after the end."""
        if self.end is not None:
            raise DomainError(self.end[0], self.end[1])
        if len(self._open) >= self._streams_max:
            raise DomainError(
                Reason.LIMIT_REACHED,
                f"this service holds {self._streams_max} streams of this call, all it takes; try again later",
                metadata={"limit": "streams", "allowed": str(self._streams_max)},
                retry_after_s=5.0,
            )
        subscription = Subscription(keys, tell_gaps=tell_gaps, now_s=self.clock.monotonic())
        self._open.add(subscription)
        if keys is None:
            self._all.add(subscription)
        else:
            for key in keys:
                self._by_key.setdefault(key, set()).add(subscription)
        return subscription

    def detach(self, subscription: Subscription) -> None:
        """Close a stream. Safe to call twice."""
        self._open.discard(subscription)
        self._all.discard(subscription)
        for key in subscription.keys or ():
            streams = self._by_key.get(key)
            if streams is not None:
                streams.discard(subscription)
                if not streams:
                    del self._by_key[key]

    def watched(self, key: str) -> bool:
        """Return whether any open stream names `key`."""
        return key in self._by_key

    def close(self, reason: Reason, message: str) -> None:
        """End every stream with a last message, and refuse new ones."""
        self.end = (reason, message)
        for subscription in list(self._open):
            subscription.wake()

    async def tick_forever(self) -> None:
        """Wake the streams that owe a heartbeat, until canceled."""
        while True:
            await self.clock.sleep(TICK_S)
            self.wake_silent()

    def wake_silent(self) -> None:
        """Wake the streams that owe a heartbeat."""
        due_s = self.clock.monotonic() - HEARTBEAT_S
        for subscription in list(self._open):
            if subscription.last_sent_s <= due_s:
                subscription.wake()

    def heartbeat_due(self, subscription: Subscription) -> bool:
        """Return whether `subscription` has been silent long enough."""
        return self.clock.monotonic() - subscription.last_sent_s >= HEARTBEAT_S

    def end_message(self, position: int) -> bytes:
        """Return the last message of a stream that stands at `position`."""
        assert self.end is not None
        return self.framing.end(self.cursor(position), *self.end)


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
    ) -> None:
        super().__init__(kind=kind, epoch=epoch, framing=framing, clock=clock, streams_max=streams_max)
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
            _offer(streams, key, entry)
        if self._all:
            _offer(self._all, key, entry)
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
            while self.end is None:
                held_s = held_until_s - clock.monotonic()
                if held_s > 0:
                    await subscription.hold(clock, held_s)
                elif not subscription.pending:
                    await subscription.wait()
                if subscription.pending and held_until_s <= clock.monotonic():
                    for message, reached in self._drain(subscription, position, request.batch_size):
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
            subscription.pending = {entry.key: entry for entry in sorted(entries, key=lambda one: one.position)}
            return
        first_missed: dict[str, int] = {}
        for position, key, sequence in reversed(self._history):
            if position <= start:
                break
            if keys is None or key in keys:
                first_missed[key] = sequence
        missed = sorted((self._latest[key] for key in first_missed), key=lambda one: one.position)
        subscription.pending = {entry.key: entry for entry in missed}
        if subscription.tell_gaps:
            subscription.lost = {
                key: first for key, first in first_missed.items() if first < self._latest[key].sequence
            }

    def _drain(self, subscription: Subscription, position: int, batch_size: int) -> Iterable[tuple[bytes, int]]:
        """Yield each message that is due, with the position after it; what arrives meanwhile waits."""
        pending, subscription.pending = subscription.pending, {}
        lost = subscription.lost
        if lost:
            subscription.lost = {}
            for key, first in lost.items():
                last = pending[key].sequence - 1
                yield self.framing.gap(self.cursor(position), key, first, last), position
        if batch_size <= 1:
            for entry in pending.values():
                yield entry.message, entry.position
            return
        entries = list(pending.values())
        for start in range(0, len(entries), batch_size):
            batch = entries[start : start + batch_size]
            position = batch[-1].position
            yield self.framing.values(self.cursor(position), [entry.payload for entry in batch]), position


def _offer(streams: Iterable[Subscription], key: str, entry: Entry) -> None:
    """Put `entry` at the end of what each stream has to send, in place of an unsent older one."""
    for subscription in streams:
        pending = subscription.pending
        replaced = pending.pop(key, None)
        if replaced is not None and subscription.tell_gaps:
            subscription.lost.setdefault(key, replaced.sequence)
        pending[key] = entry
        waiter = subscription.waiter
        if waiter is not None:
            subscription.waiter = None
            if not waiter.done():
                waiter.set_result(None)


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
