"""A bus in memory. It passes the same suite as the real one (`tests/referee/test_bus.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from types import TracebackType

from services.chassis.bus import Delivery, Follower, Framer
from services.chassis.clock import SYSTEM, Clock
from services.chassis.tasks import BoundedQueue, Overflow, QueueClosedError


class MemoryServer:
    """What several `MemoryBus` share; `away` is the fault knob."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self.clock = clock
        self.away = False
        self.values: dict[str, tuple[bytes, float]] = {}
        self.listeners: list[MemorySubscription] = []


class MemoryBus:
    """`LatestValues` and `Channels` over a `MemoryServer`."""

    def __init__(self, server: MemoryServer | None = None) -> None:
        self.server = server or MemoryServer()
        self._framer = Framer()

    async def __aenter__(self) -> MemoryBus:
        """Nothing to start."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to stop."""

    async def put_many(self, values: Mapping[str, bytes], *, ttl_ms: int) -> bool:
        """Set every key."""
        await asyncio.sleep(0)
        if self.server.away:
            return False
        lapse = self.server.clock.monotonic() + ttl_ms / 1e3
        self.server.values.update({key: (value, lapse) for key, value in values.items()})
        return True

    async def get(self, key: str) -> bytes | None:
        """Return a value, or None for a miss."""
        return (await self.get_many([key])).get(key)

    async def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        """Return the values of those keys that have one."""
        await asyncio.sleep(0)
        if self.server.away:
            return {}
        now = self.server.clock.monotonic()
        held = {key: self.server.values[key] for key in keys if key in self.server.values}
        return {key: value for key, (value, lapse) in held.items() if lapse > now}

    def publish(self, channel: str, payload: bytes) -> bool:
        """Hand a message to whoever listens."""
        frame = self._framer.frame(channel, payload)
        if frame is None:
            return False
        if not self.server.away:
            for listener in tuple(self.server.listeners):
                listener.take(channel, frame)
        return True

    def subscribe(self, channels: Collection[str], *, buffer_max: int) -> MemorySubscription:
        """Listen to channels."""
        return MemorySubscription(self.server, channels, buffer_max)


class MemorySubscription:
    """A reader of channels."""

    def __init__(self, server: MemoryServer, channels: Collection[str], buffer_max: int) -> None:
        self._server = server
        self._wanted = set(channels)
        self._frames: BoundedQueue[tuple[str, bytes]] = BoundedQueue("memory", buffer_max, Overflow.DROP_OLDEST)
        self._follower = Follower()

    @property
    def dropped(self) -> int:
        """Return how many deliveries were dropped because nobody read them."""
        return self._frames.dropped

    def take(self, channel: str, frame: bytes) -> None:
        """Get one message from the server."""
        if channel in self._wanted:
            self._frames.put((channel, frame))

    async def __aenter__(self) -> MemorySubscription:
        """Begin to listen."""
        self._server.listeners.append(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End listening."""
        self._server.listeners.remove(self)
        self._frames.close()

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        """Yield deliveries in order."""
        while True:
            try:
                channel, frame = await self._frames.get()
            except QueueClosedError:
                return
            delivery = self._follower.read(channel, frame) if channel in self._wanted else None
            if delivery is not None:
                yield delivery

    async def ready(self) -> None:
        """Return at once."""

    def add(self, channels: Collection[str]) -> None:
        """Listen to further channels."""
        self._wanted.update(channels)

    def remove(self, channels: Collection[str]) -> None:
        """Listen to these channels no more."""
        self._wanted.difference_update(channels)
        self._follower.forget(channels)
