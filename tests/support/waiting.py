"""Waiting for what announces itself to nobody: the one place of the tests that looks again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
LOOK_S = 0.05
TURN_S = 0.02
STALE_MAX_S = 3.6
"""How soon after a line falls silent its prices must be stale: 3 s after the last that came, and on a busy machine what
was on its way may be read half a second late."""


async def until(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool], *, timeout_s: float, why: str) -> T:
    """Look until `holds` is true of what is seen, and return it; fail with `why` when the time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = await look()
        if holds(seen):
            return seen
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {why}; the last was {seen!r:.2000}"
        await asyncio.sleep(LOOK_S)


async def took(condition: Callable[[], bool], within_s: float, why: Callable[[], str]) -> float:
    """Return how many seconds `condition` took to hold; fail with `why` when it took longer than `within_s`.

    Time for which the machine did not let this process run is not counted: what is measured runs in it too.
    """
    passed, last = 0.0, time.monotonic()
    while not condition():
        assert passed < within_s, f"not within {within_s} s: {why()}"
        await asyncio.sleep(TURN_S)
        now = time.monotonic()
        passed, last = passed + min(now - last, 3 * TURN_S), now
    return passed
