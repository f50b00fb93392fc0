"""All that the market data room asks of the world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.market_data.model.market import Market
from services.market_data.model.trade_log import NumberedTrade
from services.venues.port import Venue, VenueStatus

__all__ = ["Clock", "Publisher", "Venue"]


class Clock(Protocol):
    """Time, and waiting for it."""

    def time_ns(self) -> int:
        """Return nanoseconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Publisher(Protocol):
    """Where changes go. Every method is synchronous and bounded: a slow reader is its own problem."""

    def prices(self, markets: Sequence[Market], now_ns: int) -> None:
        """These markets show something new."""
        ...

    def book_changes(self, markets: Sequence[Market], now_ns: int) -> None:
        """The books of these markets may have changed."""
        ...

    def trades(self, market: Market, trades: Sequence[NumberedTrade]) -> None:
        """These trades were printed."""
        ...

    def trades_lost(self, market: Market, venue: str, reason: str) -> None:
        """Trades of `market` at `venue` may have been missed, by no count that is known."""
        ...

    def fundings(self, markets: Sequence[Market], now_ns: int) -> None:
        """The funding of these markets may have changed."""
        ...

    def venue(self, status: VenueStatus, *, market_count: int, counts: tuple[int, int, int]) -> None:
        """A venue's feed stands differently. `counts` are audits, differences they found, and events dropped."""
        ...
