"""A clock that moves only when a test says so."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_START_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z


class ManualClock:
    """A `services.chassis.clock.Clock` whose time stands still until `advance` is called.

    Wall and monotonic time move together; `jump_wall` moves the wall clock alone, as a time server may.
    """

    def __init__(self, *, time_ns: int = _START_NS, monotonic_ns: int = 1_000_000_000) -> None:
        self._wall_ns = time_ns
        self._mono_ns = monotonic_ns
        self._order = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._slept = asyncio.Event()

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC, cut to microseconds."""
        return _EPOCH + timedelta(microseconds=self._wall_ns // 1_000)

    def time_ns(self) -> int:
        """Return the wall time in nanoseconds since 1970."""
        return self._wall_ns

    def monotonic(self) -> float:
        """Return the monotonic time in seconds."""
        return self._mono_ns / 1e9

    def monotonic_ns(self) -> int:
        """Return the monotonic time in nanoseconds."""
        return self._mono_ns

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has advanced the clock by `seconds`; zero or less only gives up the turn."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self._order += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._mono_ns + round(seconds * 1e9), self._order, future))
        self._slept.set()
        await future

    @property
    def sleepers(self) -> int:
        """Return how many tasks are asleep on this clock."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def wait_for_sleepers(self, count: int = 1) -> None:
        """Return once at least `count` tasks sleep on this clock."""
        while self.sleepers < count:
            self._slept.clear()
            await self._slept.wait()

    def jump_wall(self, seconds: float) -> None:
        """Move the wall clock alone; nobody wakes."""
        self._wall_ns += round(seconds * 1e9)

    async def advance(self, seconds: float) -> None:
        """Move both clocks on, waking each sleeper at its own moment, and let the woken run until they rest."""
        end = self._mono_ns + round(seconds * 1e9)
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self._move_to(due)
            future.set_result(None)
            await settle()
        self._move_to(end)
        await settle()

    def _move_to(self, mono_ns: int) -> None:
        step = max(0, mono_ns - self._mono_ns)
        self._mono_ns += step
        self._wall_ns += step


async def settle(turns: int = 20) -> None:
    """Give every ready task `turns` turns of the loop; enough for chains that await no I/O."""
    for _ in range(turns):
        await asyncio.sleep(0)
