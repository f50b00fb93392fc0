"""What the kinds of stream share: the line of changes, the open streams, cursors, heartbeats and the end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

from services.chassis.clock import Clock
from services.domain.errors import DomainError, FieldViolation, Reason

HEARTBEAT_S: Final = 15.0
"""Silence on a stream after which it says that it is alive."""
TICK_S: Final = 1.0
"""How often a hub looks for streams that owe a heartbeat."""
STREAMS_MAX: Final = 10_000
"""How many streams one hub serves; the next is refused with LIMIT_REACHED."""

_NOT_OURS: Final = "this is no cursor of this call; send one exactly as received, or none"
_AHEAD: Final = "it names a position that has not been reached; send one exactly as received, or none"


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

    __slots__ = ("held", "keys", "last_sent_s", "lost", "pending", "room", "tell_gaps", "waiter")

    def __init__(self, keys: frozenset[str] | None, *, tell_gaps: bool, now_s: float) -> None:
        self.keys = keys
        self.pending: list[Entry] = []
        self.room = 0
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
        self.waiter = waiter = asyncio.get_running_loop().create_future()
        await waiter  # whoever wakes it takes it away; a canceled one is done, and is passed over

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
        self.collapsed = 0
        """How many values gave way to a newer one before a stream had sent them."""
        self.end: tuple[Reason, str] | None = None

    def lag_s(self) -> float:
        """Return for how long the slowest stream has had something to send and sent nothing; 0 where none has."""
        now_s = self.clock.monotonic()
        waiting = [now_s - one.last_sent_s for one in self._open if one.pending and one.held is None]
        return max(waiting, default=0.0)

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
                f"cursor: {_NOT_OURS}",
                metadata={"field": "cursor"},
                fields=(FieldViolation("cursor", _NOT_OURS),),
            )
        if epoch != self._epoch:
            raise self.expired("it was made before this service started")
        if position > self.position:
            raise DomainError(
                Reason.CURSOR_INVALID,
                f"cursor: {_AHEAD}",
                metadata={"field": "cursor"},
                fields=(FieldViolation("cursor", _AHEAD),),
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
