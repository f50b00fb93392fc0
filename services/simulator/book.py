"""A price-level book and the synthetic order flow that keeps it alive.

Prices and sizes are scaled integers (see `rules`). `Book` holds the levels and remembers which changed since they
were last taken, which is what a venue's delta feed sends. `Flow` is the crowd: it follows a fair value, trades
through the levels that the fair value has passed, keeps the touch filled and places, resizes and cancels elsewhere.
After every step the best bid is below the best ask.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from services.simulator.rules import TickRule, snap_down, snap_up

LEVELS_KEPT_MIN = 5
"""A side that trading alone would empty keeps this many levels."""


@dataclass(frozen=True, slots=True)
class Execution:
    """A piece of trading at one price; `buy` says that the aggressor bought.

    A trade in which a user took part carries its id and, as `tag`, who was in it; those of the crowd carry neither.
    """

    price: int
    size: int
    buy: bool
    id: int = 0
    tag: object = None


class Side:
    """One side of a book: the crowd's sizes by price, with the prices kept in ascending order.

    `own` is what users rest at a price. It is shown on top of the crowd's size and the crowd does not see it.
    """

    __slots__ = ("changed", "own", "prices", "sizes")

    def __init__(self) -> None:
        self.prices: list[int] = []
        self.sizes: dict[int, int] = {}
        self.changed: dict[int, int] = {}
        self.own: dict[int, int] = {}

    def show(self, price: int, size: int) -> None:
        """Make `size` what users rest at a price."""
        if size:
            self.own[price] = size
        else:
            self.own.pop(price, None)
        self.changed[price] = self.sizes.get(price, 0) + size

    def first(self, *, highest: bool) -> tuple[int, int] | None:
        """Return (price, shown size) of the best level, users included."""
        if not self.own:
            if not self.prices:
                return None
            price = self.prices[-1 if highest else 0]
            return price, self.sizes[price]
        found = (max if highest else min)(self.own)
        if self.prices:
            crowd = self.prices[-1 if highest else 0]
            found = max(found, crowd) if highest else min(found, crowd)
        return found, self.sizes.get(found, 0) + self.own.get(found, 0)

    def shown(self, limit: int | None, *, highest: bool) -> list[tuple[int, int]]:
        """Return (price, shown size) of the best `limit` levels, users included."""
        prices: list[int]
        if self.own:
            prices = sorted(self.own.keys() | self.sizes.keys(), reverse=highest)[:limit]
            return [(price, self.sizes.get(price, 0) + self.own.get(price, 0)) for price in prices]
        if highest:
            prices = self.prices[::-1] if limit is None else self.prices[: -limit - 1 : -1]
        else:
            prices = self.prices[:limit]
        return [(price, self.sizes[price]) for price in prices]

    def set(self, price: int, size: int) -> None:
        """Make the size at a price `size`; zero removes the level."""
        old = self.sizes.get(price)
        if size <= 0:
            if old is None:
                return
            del self.sizes[price]
            del self.prices[bisect_left(self.prices, price)]
            self.changed[price] = self.own.get(price, 0)
            return
        if old is None:
            insort(self.prices, price)
        self.sizes[price] = size
        self.changed[price] = size + self.own.get(price, 0)

    def clear(self) -> None:
        """Remove every level."""
        for price in self.prices:
            self.changed[price] = self.own.get(price, 0)
        self.prices.clear()
        self.sizes.clear()


class Book:
    """Both sides of one market on one venue."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = Side()
        self.asks = Side()

    def best_bid(self) -> tuple[int, int] | None:
        """Return (price, size) of the highest bid."""
        return self.bids.first(highest=True)

    def best_ask(self) -> tuple[int, int] | None:
        """Return (price, size) of the lowest ask."""
        return self.asks.first(highest=False)

    def bid_levels(self, limit: int | None = None) -> list[tuple[int, int]]:
        """Return (price, size) of the best `limit` bids, highest first."""
        return self.bids.shown(limit, highest=True)

    def ask_levels(self, limit: int | None = None) -> list[tuple[int, int]]:
        """Return (price, size) of the best `limit` asks, lowest first."""
        return self.asks.shown(limit, highest=False)

    def take_changes(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return and forget what changed on either side: new absolute sizes by price, zero for a removed level."""
        bids, asks = self.bids.changed, self.asks.changed
        self.bids.changed, self.asks.changed = {}, {}
        return bids, asks

    def replace(self, bids: Iterable[tuple[int, int]], asks: Iterable[tuple[int, int]]) -> None:
        """Make the book exactly these levels. Raises ValueError when they cross."""
        new_bids, new_asks = dict(bids), dict(asks)
        if new_bids and new_asks and max(new_bids) >= min(new_asks):
            raise ValueError(f"bids up to {max(new_bids)} cross asks from {min(new_asks)}; a book must not cross")
        for side, levels in ((self.bids, new_bids), (self.asks, new_asks)):
            for price in list(side.prices):
                if price not in levels:
                    side.set(price, 0)
            for price, size in levels.items():
                if side.sizes.get(price) != size:
                    side.set(price, size)

    def take(self, buy: bool, size: int, *, keep: int = 0) -> list[Execution]:
        """Trade up to `size` against the best levels, leaving at least `keep` levels on that side."""
        side = self.asks if buy else self.bids
        done: list[Execution] = []
        while size > 0 and len(side.prices) > keep:
            price = side.prices[0 if buy else -1]
            here = side.sizes[price]
            taken = min(size, here)
            side.set(price, here - taken)
            done.append(Execution(price, taken, buy))
            size -= taken
        return done


class Flow:
    """The seeded crowd of one book."""

    __slots__ = ("_book", "_far", "_levels", "_min_size", "_near", "_rng", "_size_scale", "_tick")

    def __init__(
        self,
        book: Book,
        rng: Random,
        tick: TickRule,
        *,
        price: int,
        levels: int,
        typical_size: int,
        min_size: int,
    ) -> None:
        """Take the book to drive; `levels` per side are aimed at, `typical_size` is that of an order at the touch."""
        self._book = book
        self._rng = rng
        self._tick = tick
        self._levels = levels
        self._size_scale = max(typical_size, min_size)
        self._min_size = min_size
        self._near = max(3.0 * tick(price), price * 0.00012)
        self._far = max(1.2 * levels * tick(price), price * 0.008)

    def fill(self, fair: float) -> None:
        """Build the book from nothing around a fair value."""
        limits = self._limits(fair)
        for buy, side in ((True, self._book.bids), (False, self._book.asks)):
            for _ in range(self._levels * 3):
                if len(side.prices) >= self._levels:
                    break
                self._place(limits, buy=buy)
        self._fill_touch(limits, self._tick(int(fair)))
        self._book.take_changes()

    def step(self, fair: float, operations: int) -> list[Execution]:
        """Move the book to a fair value with about `operations` changes; return the trading it took."""
        limits = self._limits(fair)
        trades = self._cross(limits)
        self._fill_touch(limits, self._tick(int(fair)))
        for _ in range(operations):
            self._operate(limits, buy=self._rng.random() < 0.5)
        return trades

    def trade(self, buy: bool, notional_factor: float) -> list[Execution]:
        """Let a taker of random size hit the touch."""
        size = max(self._min_size, int(self._size_scale * self._rng.lognormvariate(-1.0, 1.0) * notional_factor))
        return self._book.take(buy, size, keep=LEVELS_KEPT_MIN)

    def _limits(self, fair: float) -> tuple[int, int]:
        """Return the highest price a bid may have and the lowest an ask may have."""
        quarter = 0.25 * self._tick(int(fair))
        bid = snap_down(max(1, int(fair - quarter)), self._tick)
        return bid, max(bid + 1, snap_up(int(fair + quarter) + 1, self._tick))

    def _cross(self, limits: tuple[int, int]) -> list[Execution]:
        """Remove the levels which the fair value has passed: the first few by trading, the rest by cancelling."""
        bid_limit, ask_limit = limits
        trades: list[Execution] = []
        bids, asks = self._book.bids, self._book.asks
        for price in bids.prices[bisect_right(bids.prices, bid_limit) :][::-1]:
            if len(trades) < 3 and self._rng.random() < 0.5:
                trades.append(Execution(price, bids.sizes[price], buy=False))
            bids.set(price, 0)
        for price in asks.prices[: bisect_left(asks.prices, ask_limit)]:
            if len(trades) < 3 and self._rng.random() < 0.5:
                trades.append(Execution(price, asks.sizes[price], buy=True))
            asks.set(price, 0)
        return trades

    def _fill_touch(self, limits: tuple[int, int], tick: int) -> None:
        """See that either side begins within a few ticks of the fair value and has enough levels."""
        bid_limit, ask_limit = limits
        bids, asks = self._book.bids, self._book.asks
        reach = max(1.5 * tick, self._near * 0.08)
        if not bids.prices or bids.prices[-1] < bid_limit - reach:
            bids.set(bid_limit, self._size(0.0))
        if not asks.prices or asks.prices[0] > ask_limit + reach:
            asks.set(ask_limit, self._size(0.0))
        for buy, side in ((True, bids), (False, asks)):
            for _ in range(3 * LEVELS_KEPT_MIN):
                if len(side.prices) >= LEVELS_KEPT_MIN:
                    break
                self._place(limits, buy=buy)

    def _distance(self) -> float:
        draw = self._rng.random()
        scale = self._near if draw < 0.45 else self._near * 12 if draw < 0.75 else self._far
        return self._rng.expovariate(1.0) * scale

    def _size(self, distance: float) -> int:
        depth = 1.0 + min(6.0, distance / self._near * 0.1)
        return max(self._min_size, int(self._size_scale * depth * self._rng.lognormvariate(-0.5, 1.2)))

    def _place(self, limits: tuple[int, int], buy: bool) -> None:
        distance = self._distance()
        if buy:
            self._book.bids.set(snap_down(max(1, limits[0] - int(distance)), self._tick), self._size(distance))
        else:
            self._book.asks.set(snap_up(limits[1] + int(distance), self._tick), self._size(distance))

    def _operate(self, limits: tuple[int, int], buy: bool) -> None:
        """Place, resize or cancel one level, so that the number of levels stays near its aim."""
        side = self._book.bids if buy else self._book.asks
        count = len(side.prices)
        if count > LEVELS_KEPT_MIN and self._rng.random() < 0.45 * count / self._levels:
            near = self._rng.random() < 0.7
            offset = min(count - 1, int(self._rng.expovariate(1.0) * (count * (0.02 if near else 0.5))))
            side.set(side.prices[-1 - offset if buy else offset], 0)
            return
        self._place(limits, buy)
