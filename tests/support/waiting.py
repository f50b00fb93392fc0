"""Waiting for what announces itself to nobody: the one place of the tests that looks again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
LOOK_S = 0.05


async def until(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool], *, timeout_s: float, why: str) -> T:
    """Look until `holds` is true of what is seen, and return it; fail with `why` when the time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = await look()
        if holds(seen):
            return seen
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {why}; the last was {seen!r:.2000}"
        await asyncio.sleep(LOOK_S)
