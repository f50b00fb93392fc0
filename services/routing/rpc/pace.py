"""When the frames of many streams are made: in step, spread over their interval, and a few in each turn of the loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

GOLDEN: Final = 0.6180339887498949
"""Multiples of the golden ratio, their wholes dropped, are as evenly spread as can be, however many there are."""
TURN_MAX: Final = 4
"""Frames made in one turn of the loop; about a millisecond."""


class Turns:
    """Lets a few frames be made in each turn of the loop, in the order in which they were due.

    Without it, a room that has more frames due than it can make would make all of them before it looks at its
    connections again: books would grow old, and new calls would wait for seconds.
    """

    def __init__(self, turn_max: int = TURN_MAX) -> None:
        self._turn_max = turn_max
        self._made = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait until a frame may be made."""
        loop = asyncio.get_running_loop()
        if self._made >= self._turn_max:
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiting.append(waiter)
            await waiter
            return
        if not self._made:
            loop.call_soon(self._end)
        self._made += 1

    def _end(self) -> None:
        """Begin the next turn: it is for those that wait first."""
        self._made = 0
        while self._waiting and self._made < self._turn_max:
            waiter = self._waiting.popleft()
            if not waiter.done():  # a stream that ended meanwhile
                waiter.set_result(None)
                self._made += 1
        if self._made:
            asyncio.get_running_loop().call_soon(self._end)


def phase_s(opened: int, within_s: float) -> float:
    """Return by how much the n-th stream is moved, so that those opened together are not due together."""
    return within_s * (opened * GOLDEN % 1)


def next_due_s(due_s: float, interval_s: float, now_s: float) -> float:
    """Return when the next frame is due: in step with the last, unless that came so late that two come at once."""
    return due_s + interval_s if now_s - due_s < interval_s / 2 else now_s + interval_s
