"""Everything one venue's exchange remembers, and the small steps all of its parts share."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from services.simulator.chance import seeded
from services.simulator.exchange.account import Account
from services.simulator.exchange.resting import Market
from services.simulator.exchange.terms import Rules, Street, Terms
from services.simulator.exchange.treasury import Treasury
from services.simulator.exchange.values import Event, Order, OrderChanged, Reason, Status, Twap, copy_of

ORDER_SPACE = 1 << 48


class State:
    """The accounts, markets, money and counters of one venue; `events` gathers what a command brought about."""

    def __init__(self, rules: Rules, street: Street, terms: Iterable[Terms], seed: int) -> None:
        """Begin empty; `seed` decides ids and randomized slices only."""
        self.rules = rules
        self.street = street
        self.markets = {item.market: Market(item) for item in terms}
        self.accounts: dict[int, Account] = {}
        self.treasury = Treasury()
        self.events: list[Event] = []
        self.twaps: dict[int, Twap] = {}
        self.schedules: set[int] = set()
        self.expiries: list[tuple[int, int, Order]] = []
        self.ended: list[Order] = []
        self.touched: dict[tuple[int, str], None] = {}
        self.rng: Random = seeded(f"{seed}:exchange:{rules.name}")
        self.oids = 480_000_000_000 + self.rng.randrange(10**9)
        self.sequence = 0
        self.liquidations = 0
        self.fund_open = True
        """Whether the liquidator or the insurance fund takes positions over; where not, they are deleveraged."""
        self.margin_free = False
        """Set by tests that compare matching alone: no margin is asked for."""

    def terms(self, market: str) -> Terms:
        """Return a market's rules."""
        return self.markets[market].terms

    def next_oid(self, market: str, buy: bool) -> int:
        """Return a new order id. Lighter counts asks up and bids down within (market index + 1) x 2^48."""
        self.sequence += 1
        if self.rules.name == "hyperliquid":
            self.oids += 1 + self.rng.randrange(40)
            return self.oids
        place = self.markets[market]
        place.count += 1
        base = (place.terms.asset + 1) * ORDER_SPACE
        return base + (ORDER_SPACE - 1 - place.count if buy else place.count)

    def emit(self, event: Event) -> None:
        """Remember something that happened."""
        self.events.append(event)

    def take_events(self) -> list[Event]:
        """Return and forget what happened since the last time."""
        events, self.events = self.events, []
        return events

    def changed(self, order: Order, status: Status, reason: Reason, now_us: int) -> None:
        """Move an order to a status and tell."""
        order.status, order.reason, order.changed_us = status, reason, now_us
        if not order.live:
            self.forget(order)
            self.ended.append(order)
        self.emit(OrderChanged(copy_of(order), now_us))

    def remember(self, order: Order) -> None:
        """Make an order findable by its account, its id and its client id."""
        account = self.accounts[order.account]
        account.orders[order.oid] = order
        if order.wanted.client:
            account.clients[order.wanted.client] = order.oid

    def forget(self, order: Order) -> None:
        """Drop an order that is over."""
        account = self.accounts[order.account]
        account.orders.pop(order.oid, None)
        client = order.wanted.client
        if client and account.clients.get(client) == order.oid:
            del account.clients[client]

    def rest(self, order: Order) -> None:
        """Put an order into the book."""
        market = order.wanted.market
        total = self.markets[market].queue(order.wanted.buy).add(order)
        self.street.show(market, order.wanted.buy, order.price, total)
        if not order.wanted.reduce_only:
            self.accounts[order.account].resting[market, order.wanted.buy] += order.left

    def unrest(self, order: Order) -> None:
        """Take an order out of the book."""
        market = order.wanted.market
        total = self.markets[market].queue(order.wanted.buy).remove(order, order.left)
        self.street.show(market, order.wanted.buy, order.price, total)
        if not order.wanted.reduce_only:
            self.accounts[order.account].resting[market, order.wanted.buy] -= order.left

    def reduce_resting(self, order: Order, size: int) -> None:
        """Count that `size` of an order in the book is no longer there; `order.left` is lowered here."""
        market = order.wanted.market
        total = self.markets[market].queue(order.wanted.buy).shrink(order.price, size)
        order.left -= size
        self.street.show(market, order.wanted.buy, order.price, total)
        if not order.wanted.reduce_only:
            self.accounts[order.account].resting[market, order.wanted.buy] -= size

    def is_resting(self, order: Order) -> bool:
        """Say whether an order is in the book."""
        level = self.markets[order.wanted.market].queue(order.wanted.buy).levels.get(order.price)
        return level is not None and order.oid in level
