"""The recent trades of each market, numbered without a hole, bounded.

Venues repeat trades after a reconnect; a trade is known by venue and id, remembered as long as the trade is kept. What
arrives late keeps the number of its arrival: numbers tell the order in which the room learned of trades.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from services.domain.feed import Trade

TRADES_PER_MARKET_MAX: Final = 2_000
"""How many trades of a market are kept; the oldest go first."""


@dataclass(frozen=True, slots=True)
class NumberedTrade:
    """A trade with its number within the market."""

    sequence: int
    trade: Trade


class TradeLog:
    """The trades of one market."""

    __slots__ = ("_known", "_trades", "sequence")

    def __init__(self, *, first_sequence: int = 0) -> None:
        self._trades: deque[NumberedTrade] = deque()
        self._known: set[tuple[str, str]] = set()
        self.sequence = first_sequence

    def add(self, trade: Trade) -> NumberedTrade | None:
        """Number and keep a trade; None when it is known already.

        One that another replica numbered keeps that number. A new one under an old number means that the numbering
        began anew there, and so it does here.
        """
        key = (trade.venue, trade.trade_id)
        if key in self._known:
            return None
        self._known.add(key)
        self.sequence = trade.sequence or self.sequence + 1
        numbered = NumberedTrade(self.sequence, trade)
        self._trades.append(numbered)
        if len(self._trades) > TRADES_PER_MARKET_MAX:
            gone = self._trades.popleft().trade
            self._known.discard((gone.venue, gone.trade_id))
        return numbered

    def __len__(self) -> int:
        """Return how many trades are kept."""
        return len(self._trades)

    @property
    def earliest_sequence(self) -> int:
        """The lowest number still kept; zero when there is none."""
        return self._trades[0].sequence if self._trades else 0

    def newest(
        self, count: int, *, first: int = 0, last: int = 0, venues: frozenset[str] = frozenset()
    ) -> list[NumberedTrade]:
        """Return at most `count` trades, newest first, numbered from `first` to `last` where those are not zero."""
        found: list[NumberedTrade] = []
        for numbered in reversed(self._trades):
            if last and numbered.sequence > last:
                continue
            if (first and numbered.sequence < first) or len(found) >= count:
                break
            if not venues or numbered.trade.venue in venues:
                found.append(numbered)
        return found
