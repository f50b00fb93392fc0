"""The only time in the house.

Code that needs the time takes a `Clock`; pure code takes `now` as an argument. So a test can hold time still, and no
module but this one reads a clock or sleeps (ruff's banned-api rule). Wall time (`now`, `time_ns`) is for what people
and venues see and may jump; `monotonic` is for measuring and waiting and never does. The two are never mixed.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What tells the time and waits."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""

    def time_ns(self) -> int:
        """Return the wall time in nanoseconds since 1970-01-01 UTC."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes back."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds since the same arbitrary start; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait for at least `seconds`; zero or less gives other tasks one turn."""


class SystemClock:
    """The clock of the machine."""

    __slots__ = ()

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return datetime.now(UTC)

    def time_ns(self) -> int:
        """Return the wall time in nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes back."""
        return time.monotonic()

    def monotonic_ns(self) -> int:
        """Return nanoseconds since the same arbitrary start; never goes back."""
        return time.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        """Wait for at least `seconds`; zero or less gives other tasks one turn."""
        await asyncio.sleep(max(0.0, seconds))


SYSTEM = SystemClock()
"""The one instance a process needs; it has no state."""
