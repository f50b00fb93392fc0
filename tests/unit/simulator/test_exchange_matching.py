"""The exchange beside a naive engine over random commands; money and sizes conserved to the last unit.

`PERPMESH_EXCHANGE_COMMANDS=100000` runs the long comparison; CI runs 5,000 a venue.
"""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest

from services.simulator.exchange.core import Exchange
from services.simulator.exchange.terms import (
    Fraction,
    HyperliquidRules,
    LighterRules,
    Setting,
    Terms,
    fraction_tier,
    leverage_tiers,
)
from services.simulator.exchange.values import Traded, Wanted
from tests.support.naive_exchange import NaiveExchange
from tests.support.street import HandStreet

COMMANDS = int(os.environ.get("PERPMESH_EXCHANGE_COMMANDS", "5000"))
DOLLAR = 1_000_000
OPEN_MAX = 150


def terms(venue: str, market: str = "M", **changes: Any) -> Terms:
    tiers = leverage_tiers(((0, 40), (150_000_000, 20))) if venue == "hyperliquid" else fraction_tier(200, 120, 80)
    default = Setting(False, Fraction(1, 20) if venue == "hyperliquid" else Fraction(500, 10_000))
    facts: dict[str, Any] = {
        "market": market, "asset": 1, "pool": "", "price_decimals": 1, "size_decimals": 5, "tick": lambda _price: 1,
        "tiers": tiers, "default": default, "min_quote": 0,
    }  # fmt: skip
    return Terms(**facts | changes)


def exchange(venue: str, *rows: Terms) -> tuple[Exchange, HandStreet]:
    street = HandStreet()
    rules = HyperliquidRules() if venue == "hyperliquid" else LighterRules()
    return Exchange(rules, street, rows or (terms(venue),), seed=1), street


def balanced(subject: Exchange) -> None:
    audit = subject.audit()
    assert (audit["money"], audit["sizes"]) == (0, {}), audit


class Pair:
    """The subject and the reference, given the same commands."""

    def __init__(self, venue: str, seed: int) -> None:
        self.rng = Random(seed)
        self.subject, self.street = exchange(venue)
        self.subject.state.margin_free = True
        rates = (450, 150) if venue == "hyperliquid" else (280, 40)
        self.naive = NaiveExchange(venue, *rates)
        self.street.marks["M"] = 1000
        self.venue = venue
        self.now = 0
        self.oids: dict[int, int] = {}
        self.count = 0
        for number in range(1, 7):
            self.subject.open_account(number, tier="premium" if venue == "lighter" else "")

    def step(self) -> None:
        self.now += 1000
        rng = self.rng
        draw = rng.random()
        full = len(self.oids) >= OPEN_MAX
        if draw < 0.6 and not full:
            self.place()
        elif (draw < 0.7 or full) and self.oids:
            number = rng.choice(list(self.oids))
            gone = self.subject.cancel(self.order(number).account, self.oids[number], self.now)
            assert (gone is not None) == self.naive.cancel(number)
        elif draw < 0.76 and self.venue == "lighter" and self.oids:
            self.change()
        elif draw < 0.93:
            self.move_crowd()
        else:
            price, size, buy = rng.randrange(996, 1005), rng.randrange(1, 40), rng.random() < 0.5
            self.subject.moved("M", self.now, [(price, size, buy)])
            self.naive.crowd_trades(buy, price, size)

    def order(self, number: int) -> Any:
        return next(o for a in self.subject.state.accounts.values() for o in a.orders.values()
                    if o.oid == self.oids[number])  # fmt: skip

    def place(self) -> None:
        rng = self.rng
        self.count += 1
        kind = "market" if self.venue == "lighter" and rng.random() < 0.15 else "limit"
        tif = "ioc" if kind == "market" else rng.choice(["gtc", "gtc", "gtc", "alo", "ioc"])
        buy, size = rng.random() < 0.5, rng.randrange(1, 60)
        price = 1000 + (rng.randrange(-25, 6) if buy else rng.randrange(-5, 26))
        how: dict[str, Any] = {"reduce_only": rng.random() < 0.2, "kind": kind, "tif": tif}
        account = rng.randrange(1, 7)
        wanted = Wanted(market="M", buy=buy, price=price, size=size, **how)
        outcome = self.subject.place(account, wanted, self.now)
        assert outcome.order is not None
        self.oids[self.count] = outcome.order.oid
        accepted = self.naive.place(self.count, account, buy=buy, price=price, size=size, **how)
        assert (outcome.order.status != "rejected") == accepted

    def change(self) -> None:
        number = self.rng.choice(list(self.oids))
        order = self.order(number)
        size, price = self.rng.randrange(1, 80), self.rng.randrange(990, 1011)
        self.subject.change(order, self.now, size=size, price=price)
        self.naive.change(number, size, price)

    def move_crowd(self) -> None:
        """Set a few levels so that the crowd itself never crosses, then let it meet the users."""
        rng = self.rng
        for _ in range(rng.randrange(1, 4)):
            buy = rng.random() < 0.5
            mine, others = self.street.levels["M"][buy], self.street.levels["M"][not buy]
            size = rng.choice([0, 0, rng.randrange(1, 90)])
            price = 1000 + (rng.randrange(-25, 4) if buy else rng.randrange(-3, 26))
            if others and (price >= min(others) if buy else price <= max(others)):
                continue
            for levels in (mine, self.naive.crowd[buy]):
                if size:
                    levels[price] = size
                else:
                    levels.pop(price, None)
        self.subject.moved("M", self.now)
        self.naive.settle_crossing()

    def compare(self) -> None:
        names = {oid: number for number, oid in self.oids.items()}
        trades = [event.trade for event in self.subject.take_events() if isinstance(event, Traded)]
        mine = [
            (t.price, t.size, t.taker and names.get(t.taker.oid, self.count), t.maker and names[t.maker.oid])
            for t in trades
        ]
        assert mine == self.naive.trades
        self.naive.trades.clear()
        open_now = {}
        for account in self.subject.state.accounts.values():
            for order in account.orders.values():
                open_now[names[order.oid]] = (order.price, order.left, order.filled)
            assert account.size("M") == self.naive.sizes.get(account.number, 0)
            assert account.cash[""] == self.naive.cash.get(account.number, 0)
        assert open_now == {o.id: (o.price, o.left, o.filled) for o in self.naive.orders}
        self.oids = {number: oid for number, oid in self.oids.items() if number in open_now}
        resting: dict[tuple[str, bool, int], int] = {}
        for order in self.naive.orders:
            key = ("M", order.buy, order.price)
            resting[key] = resting.get(key, 0) + order.left
        assert {key: size for key, size in self.street.shown.items() if size} == resting
        assert self.street.levels["M"] == self.naive.crowd


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
def test_matching_equals_the_naive_engine_and_conserves_money_and_sizes(venue: str) -> None:
    pair = Pair(venue, seed=20261122)
    for number in range(COMMANDS):
        pair.step()
        try:
            pair.compare()
        except AssertionError:
            print(f"seed 20261122, command {number}")
            raise
        if number % 50 == 0:
            balanced(pair.subject)
    balanced(pair.subject)
    assert pair.count > COMMANDS // 3
