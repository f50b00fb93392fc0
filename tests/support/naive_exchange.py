"""A naive matching engine: the reference that the simulator's exchange is compared with.

It keeps one flat list of orders and scans it for everything, has no margin and no triggers, and was written from the
rules in the docstring of `services/simulator/exchange`, not from its code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class NaiveOrder:
    id: int
    account: int
    buy: bool
    price: int
    left: int
    total: int
    reduce_only: bool
    kind: str
    tif: str
    rank: int
    filled: int = 0
    quote: int = 0


@dataclass
class NaiveExchange:
    """One market. `venue` decides whether resting reduce-only orders shrink and what is refused at once."""

    venue: str
    taker_rate: int
    maker_rate: int
    crowd: dict[bool, dict[int, int]] = field(default_factory=lambda: {True: {}, False: {}})
    orders: list[NaiveOrder] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)
    cash: dict[int, int] = field(default_factory=dict)
    trades: list[tuple[Any, ...]] = field(default_factory=list)
    clock: int = 0

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def best_maker(self, buy: bool) -> tuple[int, NaiveOrder | None] | None:
        """Return what a taker on this side meets first: price, and the user's order or None for the crowd."""
        rows: list[tuple[int, int, int, NaiveOrder | None]] = []
        for price in self.crowd[not buy]:
            rows.append((price if buy else -price, 0, 0, None))
        for order in self.orders:
            if order.buy != buy:
                rows.append((order.price if buy else -order.price, 1, order.rank, order))
        if not rows:
            return None
        key, _, _, order = min(rows, key=lambda row: row[:3])
        return abs(key), order

    def room(self, account: int, buy: bool) -> int:
        held = self.sizes.get(account, 0)
        return abs(held) if held and (held < 0) == buy else 0

    def pay(self, account: int, buy: bool, price: int, size: int, rate: int) -> None:
        self.sizes[account] = self.sizes.get(account, 0) + (size if buy else -size)
        fee = price * size * rate // 1_000_000
        self.cash[account] = self.cash.get(account, 0) + (-price * size if buy else price * size) - fee

    def trade(self, taker: NaiveOrder | None, maker: NaiveOrder | None, price: int, size: int) -> None:
        self.trades.append((price, size, None if taker is None else taker.id, None if maker is None else maker.id))
        for order, rate in ((taker, self.taker_rate), (maker, self.maker_rate)):
            if order is not None:
                self.pay(order.account, order.buy, price, size, rate)
                order.left -= size
                order.filled += size
                order.quote += price * size
        if maker is not None and maker.left == 0:
            self.orders.remove(maker)

    def admits(self, order: NaiveOrder, price: int, size: int) -> bool:
        if order.kind == "market":
            after, bound = order.quote + price * size, order.price * (order.filled + size)
            return after <= bound if order.buy else after >= bound
        return price <= order.price if order.buy else price >= order.price

    def run(self, order: NaiveOrder) -> bool:
        """Trade as far as it goes; False when the order must not rest."""
        while order.left:
            found = self.best_maker(order.buy)
            if found is None:
                return True
            price, maker = found
            there = self.crowd[not order.buy][price] if maker is None else maker.left
            if not self.admits(order, price, min(order.left, there)):
                return order.kind != "market"
            if maker is not None and maker.reduce_only and not self.room(maker.account, maker.buy):
                self.orders.remove(maker)
                continue
            if maker is not None and maker.account == order.account:
                self.orders.remove(maker)
                continue
            size = min(order.left, there)
            if order.reduce_only:
                size = min(size, self.room(order.account, order.buy))
                if not size:
                    return False
            if maker is not None and maker.reduce_only:
                size = min(size, self.room(maker.account, maker.buy))
            if maker is None:
                self.eat(not order.buy, price, size)
            self.trade(order, maker, price, size)
        return True

    def eat(self, side: bool, price: int, size: int) -> None:
        self.crowd[side][price] -= size
        if not self.crowd[side][price]:
            del self.crowd[side][price]

    def shrink(self) -> None:
        if self.venue != "hyperliquid":
            return
        for order in list(self.orders):
            if order.reduce_only:
                order.left = min(order.left, self.room(order.account, order.buy))
                if not order.left:
                    self.orders.remove(order)

    def place(self, number: int, account: int, *, buy: bool, price: int, size: int, **how: Any) -> bool:
        """Place an order; False when it was refused."""
        order = NaiveOrder(
            number, account, buy, price, size, size, how["reduce_only"], how["kind"], how["tif"], self.tick()
        )
        found = self.best_maker(buy)
        touches = found is not None and (found[0] <= price if buy else found[0] >= price)
        if order.reduce_only and not self.room(account, buy):
            return False
        if order.tif == "ioc" and not touches and self.venue == "hyperliquid":
            return False
        if order.tif == "alo" and touches:
            return False
        if order.reduce_only and self.venue == "hyperliquid":
            order.left = min(order.left, self.room(account, buy))
        if self.run(order) and order.left and order.tif != "ioc":
            self.orders.append(order)
        self.shrink()
        return True

    def cancel(self, number: int) -> bool:
        for order in self.orders:
            if order.id == number:
                self.orders.remove(order)
                return True
        return False

    def change(self, number: int, size: int, price: int) -> None:
        order = next((item for item in self.orders if item.id == number), None)
        if order is None:
            return
        self.orders.remove(order)
        order.price, order.total, order.left = price, size, max(0, size - order.filled)
        order.rank = self.tick()
        found = self.best_maker(order.buy)
        touches = found is not None and (found[0] <= price if order.buy else found[0] >= price)
        if order.left and not (order.tif == "alo" and touches) and self.run(order) and order.left:
            self.orders.append(order)

    def crowd_trades(self, buy: bool, price: int, size: int) -> None:
        """A taker of the crowd has traded at a price: users with strictly better prices came first."""
        while size:
            better = [o for o in self.orders if o.buy != buy and (o.price < price if buy else o.price > price)]
            if not better:
                break
            maker = min(better, key=lambda o: (o.price if buy else -o.price, o.rank))
            size -= self.hit(maker, size)
        self.settle_crossing()

    def hit(self, maker: NaiveOrder, size: int) -> int:
        size = min(size, maker.left)
        if maker.reduce_only:
            size = min(size, self.room(maker.account, maker.buy))
        if not size:
            self.orders.remove(maker)
            return 0
        self.trade(None, maker, maker.price, size)
        return size

    def settle_crossing(self) -> None:
        """The crowd trades through users it has come onto."""
        for side in (True, False):
            while True:
                mine = [o for o in self.orders if o.buy == side]
                theirs = self.crowd[not side]
                if not mine or not theirs:
                    break
                maker = min(mine, key=lambda o: (-o.price if side else o.price, o.rank))
                level = min(theirs) if side else max(theirs)
                if not (level <= maker.price if side else level >= maker.price):
                    break
                done = self.hit(maker, theirs[level])
                if done:
                    self.eat(not side, level, done)
        self.shrink()
