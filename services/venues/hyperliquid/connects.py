"""The venue's limit of new connections, counting those it accepted.

A session spends its budget when it begins to connect. While the venue is away, or its circuit breaker is open, those
attempts reach nobody; counted, they would use up the minute, and the venue's return would find us waiting.
"""

from __future__ import annotations

from typing import Final

from services.venues.budget import Allowance, Budget
from services.venues.hyperliquid.plan import CONNECTS_ALLOWED_PER_MINUTE

AT_ONCE: Final = 4
"""Attempts that may be under way, uncounted, when the last free place is taken."""


class Connects(Budget):
    """A budget of connections: an attempt needs a free place and takes none; `accepted` takes it."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(Allowance(units=CONNECTS_ALLOWED_PER_MINUTE, seconds=60, reserve=AT_ONCE))

    def take(self, now_ns: int, units: int = 1, *, urgent: bool = False) -> bool:
        """Whether an attempt may be made now."""
        return self.free_at_ns(now_ns, units, urgent=urgent) <= now_ns

    def accepted(self, now_ns: int) -> None:
        """The venue accepted a connection."""
        super().take(now_ns, urgent=True)
