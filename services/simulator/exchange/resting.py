"""The users' resting orders of one market: by price, then by time."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from services.simulator.exchange.terms import Terms
from services.simulator.exchange.values import Order


class Queue:
    """One side. Orders at a price stand in order of arrival; removal takes constant time."""

    __slots__ = ("_buy", "levels", "prices", "totals")

    def __init__(self, buy: bool) -> None:
        self._buy = buy
        self.prices: list[int] = []
        self.levels: dict[int, dict[int, Order]] = {}
        self.totals: dict[int, int] = {}

    def best(self) -> int | None:
        """Return the best price, None when empty."""
        if not self.prices:
            return None
        return self.prices[-1] if self._buy else self.prices[0]

    def first(self) -> Order | None:
        """Return the order that trades first."""
        best = self.best()
        return None if best is None else next(iter(self.levels[best].values()))

    def add(self, order: Order) -> int:
        """Put an order behind all others at its price; return the level's new total."""
        if order.price not in self.levels:
            insort(self.prices, order.price)
            self.levels[order.price] = {}
            self.totals[order.price] = 0
        self.levels[order.price][order.oid] = order
        self.totals[order.price] += order.left
        return self.totals[order.price]

    def shrink(self, price: int, size: int) -> int:
        """Count a fill or a reduction of an order that stays; return the level's new total."""
        self.totals[price] -= size
        return self.totals[price]

    def remove(self, order: Order, left: int) -> int:
        """Take an order out of which `left` is still counted; return the level's new total."""
        level = self.levels[order.price]
        del level[order.oid]
        total = self.totals[order.price] - left
        if level:
            self.totals[order.price] = total
            return total
        del self.levels[order.price], self.totals[order.price]
        del self.prices[bisect_left(self.prices, order.price)]
        return 0


@dataclass(slots=True)
class Market:
    """A market's rules and its users' orders; `pending` holds triggers that have not fired."""

    terms: Terms
    bids: Queue = field(default_factory=lambda: Queue(True))
    asks: Queue = field(default_factory=lambda: Queue(False))
    pending: dict[int, Order] = field(default_factory=dict)
    holders: set[int] = field(default_factory=set)
    count: int = 0

    def queue(self, buy: bool) -> Queue:
        """Return the side on which such an order rests."""
        return self.bids if buy else self.asks
