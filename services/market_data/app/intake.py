"""The bounded door between a venue's sockets and the room.

Events wait in one queue per venue. When it is full, the event is refused and counted, and the venue resyncs the book it
belonged to: memory stays bounded, and nothing wrong is ever shown as current.
"""

from __future__ import annotations

import asyncio
from typing import Final

from services.domain.feed import Event

QUEUE_EVENTS_MAX: Final = 20_000
"""Events of one venue that may wait: about ten seconds of both venues' busiest markets."""


class Intake:
    """What has arrived and was not yet taken, by venue."""

    def __init__(self, *, queue_events_max: int = QUEUE_EVENTS_MAX) -> None:
        self._queue_events_max = queue_events_max
        self._queues: dict[str, list[Event]] = {}
        self._arrived = asyncio.Event()
        self._is_set = False
        self.dropped: dict[str, int] = {}

    def open(self, venue: str) -> None:
        """Make the queue of a venue."""
        self._queues[venue] = []
        self.dropped[venue] = 0

    def emit(self, event: Event) -> bool:
        """Take one event without waiting; False when the venue's queue is full."""
        queue = self._queues[event.venue]
        if len(queue) >= self._queue_events_max:
            self.dropped[event.venue] += 1
            return False
        queue.append(event)
        if not self._is_set:
            self._is_set = True
            self._arrived.set()
        return True

    async def arrived(self) -> None:
        """Wait until there is something to take."""
        await self._arrived.wait()

    def take(self) -> list[Event]:
        """Return all that waits, venue by venue, each in order of arrival."""
        self._arrived.clear()
        self._is_set = False
        taken: list[Event] | None = None
        for venue, queue in self._queues.items():
            if queue:
                self._queues[venue] = []
                taken = queue if taken is None else taken + queue
        return taken if taken is not None else []
