"""Wakes connections whose next batch has become due: one sleeper for all of them, however many there are.

Time is cut into ticks, so a batch may come a tick late and never early.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable

from services.stream.app.connection import Connection
from services.stream.ports import Clock


class Pacer:
    """Keeps who is due when."""

    def __init__(self, clock: Clock, tick_s: float, flush: Callable[[Iterable[Connection]], None]) -> None:
        self._clock = clock
        self._tick_s = tick_s
        self._flush = flush
        self._heap: list[tuple[float, int, Connection]] = []
        self._count = 0
        self._wake = asyncio.Event()

    def schedule(self, connection: Connection, due_s: float) -> None:
        """Flush a connection once `due_s` has come, unless it will be flushed sooner anyway."""
        if connection.scheduled is not None and connection.scheduled <= due_s:
            return
        connection.scheduled = due_s
        self._count += 1
        heapq.heappush(self._heap, (due_s, self._count, connection))
        self._wake.set()

    async def run(self) -> None:
        """Wake connections for ever."""
        while True:
            if not self._heap:
                self._wake.clear()
                await self._wake.wait()
            await self._clock.sleep(self._tick_s)
            now = self._clock.monotonic()
            ready: dict[Connection, None] = {}
            while self._heap and self._heap[0][0] <= now:
                due_s, _, connection = heapq.heappop(self._heap)
                if connection.scheduled == due_s:
                    connection.scheduled = None
                    ready[connection] = None
            if ready:
                self._flush(ready)
