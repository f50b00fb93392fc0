"""The bounded door between a venue's sockets and the room.

Events wait in one queue per venue. When it is full, the event is refused and counted, and the venue resyncs the book it
belonged to: memory stays bounded, and nothing wrong is ever shown as current.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from services.domain.feed import Event

QUEUE_EVENTS_MAX: Final = 20_000
"""Events of one venue that may wait: about ten seconds of both venues' busiest markets."""


class Intake:
    """What has arrived and was not yet taken, by venue."""

    def __init__(self, *, queue_events_max: int = QUEUE_EVENTS_MAX) -> None:
        self._queue_events_max = queue_events_max
        self._queues: dict[str, deque[Event]] = {}
        self._arrived = asyncio.Event()
        self._is_set = False
        self.dropped: dict[str, int] = {}

    def open(self, venue: str) -> None:
        """Make the queue of a venue, or of another line; they are taken in the order in which they were made."""
        self._queues[venue] = deque()
        self.dropped[venue] = 0

    def emit(self, event: Event) -> bool:
        """Take one event without waiting; False when the venue's queue is full."""
        return self.put(event.venue, event)

    def put(self, line: str, event: Event) -> bool:
        """Take one event into a queue that need not be its venue's; False when that is full."""
        queue = self._queues[line]
        if len(queue) >= self._queue_events_max:
            self.dropped[line] += 1
            return False
        queue.append(event)
        if not self._is_set:
            self._is_set = True
            self._arrived.set()
        return True

    def waiting(self, line: str) -> int:
        """Return how many events of a queue wait."""
        return len(self._queues[line])

    async def arrived(self) -> None:
        """Wait until there is something to take."""
        await self._arrived.wait()

    def take(self) -> list[Event]:
        """Return all that waits, venue by venue, each in order of arrival."""
        self._arrived.clear()
        self._is_set = False
        taken: list[Event] = []
        for queue in self._queues.values():
            if queue:
                taken.extend(queue)
                queue.clear()
        return taken
