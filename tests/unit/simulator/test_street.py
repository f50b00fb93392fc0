"""Users and the crowd in one market: no published book is crossed, deltas add up, everyone sees users' trades."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from services.simulator.exchange.values import Wanted
from services.simulator.street import now_us
from tests.unit.simulator.clients import Stage


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage(seed=17)


def exchange_of(stage: Stage, venue: str) -> Any:
    face = stage.hyperliquid if venue == "hyperliquid" else stage.lighter
    return face.private


def quote(stage: Stage, venue: str, market: str, rng: Random, account: int) -> None:
    """Rest an order somewhere around the touch, as a maker would; the wallet takes what crosses."""
    private, instrument = exchange_of(stage, venue), stage.market.venues[venue][market]  # type: ignore[index]
    bid, ask = private.exchange.touch(market)
    tick = instrument.tick(bid)
    buy = rng.random() < 0.5
    price = (bid if buy else ask) + rng.randrange(-3, 2) * tick * (1 if buy else -1)
    size = max(1, instrument.book.best_bid()[1] // 4)
    wanted = Wanted(
        market=market, buy=buy, price=price - price % tick, size=size, tif=rng.choice(["gtc", "alo", "ioc"])
    )
    private.exchange.place(account, wanted, now_us(stage.market))
    private.flush()


@pytest.mark.parametrize(("venue", "market"), [("hyperliquid", "BTC"), ("hyperliquid", "SOL"), ("lighter", "1")])
def test_books_are_never_crossed_while_users_quote_and_the_market_moves(stage: Stage, venue: str, market: str) -> None:
    rng, private = Random(f"{venue}{market}"), exchange_of(stage, venue)
    instrument = stage.market.venues[venue][market]  # type: ignore[index]
    for number in (1, 2):
        private.exchange.open_account(number)
        private.exchange.deposit(number, 10**13, now_us(stage.market))
    before = len(private.records.of(1).trades)
    for step in range(120):
        quote(stage, venue, market, rng, 1 + step % 2)
        stage.run(50)
        bids, asks = instrument.book.bid_levels(), instrument.book.ask_levels()
        assert bids[0][0] < asks[0][0], step
        assert [price for price, _ in bids] == sorted({price for price, _ in bids}, reverse=True)
        audit = private.exchange.audit()
        assert (audit["money"], audit["sizes"]) == (0, {})
    trades = list(private.records.of(1).trades)[before:]
    assert any(not party.taker and trade.taker is None for trade, party in trades), "the crowd never took"
    assert any(party.taker for _, party in trades)
    public = {item.id for item in instrument.trades}
    assert {trade.id for trade, _ in trades[-3:]} <= public
    shown = sum(instrument.book.bids.own.values()) + sum(instrument.book.asks.own.values())
    accounts = private.exchange.state.accounts.values()
    mine = [o.left for a in accounts for o in a.orders.values() if o.wanted.market == market and o.status == "open"]
    assert shown == sum(mine)
    for number in (1, 2):
        private.exchange.cancel_all(number, now_us(stage.market))
    assert not instrument.book.bids.own
    assert not instrument.book.asks.own


def test_lighters_deltas_add_up_to_the_book_that_users_quote_in(stage: Stage) -> None:
    rng, ear = Random(3), stage.join("lighter", number=7)
    (snapshot,) = stage.follow(ear, "order_book/1")
    book = {side: {row["price"]: row["size"] for row in snapshot["order_book"][side]} for side in ("bids", "asks")}
    private = stage.lighter.private
    private.exchange.open_account(9)
    private.exchange.deposit(9, 10**13, now_us(stage.market))
    for _ in range(60):
        quote(stage, "lighter", "1", rng, 9)
        stage.run(50)
    private.exchange.cancel_all(9, now_us(stage.market))
    stage.run(60)
    for frame in ear.heard():
        if frame["type"] == "update/order_book":
            for side in ("bids", "asks"):
                for row in frame["order_book"][side]:
                    if float(row["size"]):
                        book[side][row["price"]] = row["size"]
                    else:
                        book[side].pop(row["price"], None)
    true = stage.follow(stage.join("lighter", number=8), "order_book/1")[0]["order_book"]
    assert book == {side: {row["price"]: row["size"] for row in true[side]} for side in ("bids", "asks")}
