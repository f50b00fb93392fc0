"""Margin, funding, triggers, groups and liquidation of the exchange; equity conserved to the last unit throughout."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from services.simulator.exchange import risk
from services.simulator.exchange.core import Exchange, leverage
from services.simulator.exchange.terms import Fraction, Setting
from services.simulator.exchange.values import Funded, Liquidated, OrderChanged, Surcharge, Traded, Wanted
from tests.support.street import HandStreet
from tests.unit.simulator.test_exchange_matching import DOLLAR, balanced, exchange, terms

NOW = 1_795_348_802_000_000
MARK = 841_430
"""84,143.0 in units of 0.1; a size of 100,000 is one coin, so price times size is in 1e-6 dollars."""


def stage(venue: str, deposit: int = 10_000) -> tuple[Exchange, HandStreet]:
    subject, street = exchange(venue, terms(venue, min_quote=10 * DOLLAR))
    street.marks["M"] = MARK
    street.levels["M"] = {True: {MARK - 10: 10**7, MARK - 20: 10**8}, False: {MARK + 10: 10**7, MARK + 20: 10**8}}
    for number in (1, 2):
        subject.open_account(number, tier="premium" if venue == "lighter" else "")
        subject.deposit(number, deposit * DOLLAR, NOW)
    return subject, street


def order(buy: bool, size: int, price: int = 0, **more: Any) -> Wanted:
    price = price or (MARK + 100 if buy else MARK - 100)
    return Wanted(market="M", buy=buy, price=price, size=size, **{"tif": "ioc"} | more)


def statuses(subject: Exchange, oid: int) -> list[tuple[str, str]]:
    return [(e.order.status, e.order.reason) for e in subject.take_events()
            if isinstance(e, OrderChanged) and e.order.oid == oid]  # fmt: skip


def test_a_hyperliquid_fee_and_a_builders_fee_are_cut_apart() -> None:
    subject, street = stage("hyperliquid")
    street.levels["M"][False] = {332_090: 10**6}
    street.marks["M"] = 332_090
    subject.place(1, order(True, 73_000, 340_000, surcharge=Surcharge(9, 100, 100)), NOW)
    (party,) = next(e.trade for e in subject.take_events() if isinstance(e, Traded)).parties()
    notional = 332_090 * 73_000
    assert (party.fee, party.surcharge) == (notional * 450 // DOLLAR, notional * 100 // DOLLAR)
    balanced(subject)


def test_isolated_collateral_is_the_initial_margin_less_the_fee() -> None:
    """A captured account: HYPE 2 @ 37.829, 10x, fee 0.034046: rawUsd -68.126246."""
    subject, street = exchange("hyperliquid", terms("hyperliquid", price_decimals=4, size_decimals=2))
    street.marks["M"] = 378_290
    street.levels["M"][False] = {378_290: 10**6}
    account = subject.open_account(1)
    subject.deposit(1, 100 * DOLLAR, NOW)
    subject.set_leverage(1, "M", leverage(10, isolated=True), NOW)
    subject.place(1, order(True, 200, 400_000), NOW)
    fee = 75_658_000 * 450 // DOLLAR
    assert account.positions["M"].raw == 7_565_800 - fee - 75_658_000
    street.marks["M"] = 378_260
    assert risk.isolated_standing(subject.state, account, "M").value == 7_565_800 - fee - 6_000
    balanced(subject)


def test_withdrawable_and_maintenance_are_those_of_captured_accounts() -> None:
    subject, street = exchange("hyperliquid", terms("hyperliquid", tick=lambda _p: 1))
    account = subject.open_account(1)
    street.marks["M"] = 4_766_235
    account.position("M").size, account.position("M").entry = 10, 47_662_350
    account.cash[""] = 179_007_426 - 47_662_350
    assert risk.withdrawable(subject.state, account, "") == 174_241_191
    assert risk.standing(subject.state, account, "").initial == 2_383_117
    assert risk.standing(subject.state, account, "").maintenance == 595_779


def test_a_lighter_liquidation_price_is_that_of_a_captured_account() -> None:
    subject, street = exchange("lighter", terms("lighter", price_decimals=2, size_decimals=4))
    account = subject.open_account(1)
    account.position("M").size, street.marks["M"] = 180_193, 301_369
    notional = 180_193 * 301_369
    value = 15_298_072_264
    account.cash[""] = value - notional
    found = risk.liquidation_price(subject.state, account, "M")
    assert found is not None
    assert abs(found / 100 - (notional - value) / (180_193 * 0.988) / 100) < 1e-9


def test_an_order_without_margin_is_refused_and_one_that_reduces_never_is() -> None:
    subject, street = stage("hyperliquid", 100)
    assert subject.place(1, order(True, 100_000), NOW).reason == "margin"
    assert subject.place(1, order(True, 2_000), NOW).reason == ""
    street.marks["M"] = MARK - 30_000
    assert subject.place(1, order(False, 2_000, 1), NOW).reason == ""
    balanced(subject)


def test_resting_orders_hold_margin_on_hyperliquid_and_none_on_lighter() -> None:
    subject, _ = stage("hyperliquid", 1000)
    free = risk.available(subject.state, subject.state.accounts[1], "")
    assert subject.place(1, order(True, 10_000, MARK - 1000, tif="gtc"), NOW).reason == ""
    held = free - risk.available(subject.state, subject.state.accounts[1], "")
    assert held == MARK * 10_000 // 20
    assert subject.place(1, order(True, 15_000, MARK - 1000, tif="gtc"), NOW).reason == "margin"
    other, _ = stage("lighter", 1000)
    for _ in range(3):
        assert other.place(1, order(True, 10_000, MARK - 1000, tif="gtc"), NOW).reason == ""


def test_reduce_only_is_refused_without_a_position_and_shrunk_to_it() -> None:
    subject, _ = stage("hyperliquid")
    assert subject.place(1, order(False, 1_000, reduce_only=True), NOW).reason == "reduce_only"
    subject.place(1, order(True, 5_000), NOW)
    assert subject.place(1, order(True, 1_000, reduce_only=True), NOW).reason == "reduce_only"
    resting = subject.place(1, order(False, 9_000, MARK + 500, reduce_only=True, tif="gtc"), NOW).order
    assert resting is not None
    assert (resting.left, resting.wanted.size) == (5_000, 9_000)
    subject.place(1, order(False, 2_000), NOW)
    assert resting.left == 3_000
    subject.take_events()
    subject.place(1, order(False, 3_000), NOW)
    assert statuses(subject, resting.oid) == [("canceled", "reduce_only")]


def test_a_trigger_fires_at_the_mark_and_its_sibling_goes_when_it_fills() -> None:
    subject, street = stage("hyperliquid")
    subject.place(1, order(True, 5_000), NOW)
    stop = order(False, 0, MARK - 5_000, kind="stop", trigger=MARK - 1_000, reduce_only=True, tied=True, tif="gtc")
    take = order(False, 0, MARK - 5_000, kind="take", trigger=MARK + 1_000, reduce_only=True, tied=True, tif="gtc")
    pair = [item.order for item in subject.place_group(1, [stop, take], "tied", NOW)]
    subject.marked(NOW)
    street.marks["M"] = MARK + 1_000
    subject.take_events()
    subject.marked(NOW + 1)
    assert pair[0] is not None
    assert pair[1] is not None
    events = subject.take_events()
    rows = [(e.order.oid, e.order.status, e.order.reason) for e in events if isinstance(e, OrderChanged)]
    assert rows == [
        (pair[1].oid, "triggered", ""), (pair[1].oid, "filled", ""), (pair[0].oid, "canceled", "sibling"),
    ]  # fmt: skip
    assert subject.state.accounts[1].size("M") == 0
    balanced(subject)


@pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
def test_children_wait_for_the_parent_and_go_with_it(venue: str) -> None:
    subject, _ = stage(venue)
    parent = order(True, 5_000, MARK - 50, tif="gtc")
    child = order(False, 0, MARK - 9_000, kind="stop", trigger=MARK - 5_000, reduce_only=True, tif="gtc")
    first, second = [item.order for item in subject.place_group(1, [parent, child], "parent", NOW)]
    assert first is not None
    assert second is not None
    assert second.status == "waiting"
    subject.moved("M", NOW, [(MARK - 60, 5_000, False)])
    assert (first.status, second.status, second.left) == ("filled", "pending", 5_000)
    first, second = [item.order for item in subject.place_group(1, [parent, child], "parent", NOW)]
    assert first is not None
    assert second is not None
    subject.cancel(1, first.oid, NOW)
    assert (second.status, second.reason) == ("canceled", "parent")


def test_funding_moves_between_users_and_the_crowd_keeps_the_rest() -> None:
    subject, street = stage("hyperliquid")
    subject.place(1, order(True, 7_001), NOW)
    subject.place(2, order(False, 3_003), NOW)
    subject.take_events()
    subject.settle_hour("M", 125_000, NOW)
    paid = [(e.account, e.amount) for e in subject.take_events() if isinstance(e, Funded)]
    assert paid == [(1, -(7_001 * MARK * 125_000 // 10**10)), (2, 3_003 * MARK * 125_000 // 10**10)]
    balanced(subject)
    assert street.trades


@pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
def test_an_account_below_maintenance_is_liquidated_and_nothing_is_lost(venue: str) -> None:
    subject, street = stage(venue, 1_000)
    subject.place(1, order(True, 20_000, MARK + 100), NOW)
    resting = subject.place(1, order(True, 100, MARK - 40_000, tif="gtc"), NOW).order
    assert resting is not None
    fall = MARK - 42_000
    street.marks["M"] = fall
    street.levels["M"] = {True: {fall - 5: 10**8}, False: {fall + 5: 10**8}}
    subject.take_events()
    subject.marked(NOW + 1)
    events = subject.take_events()
    assert any(isinstance(e, Liquidated) for e in events)
    assert any(isinstance(e, Traded) and e.trade.liquidated == 1 for e in events)
    assert (resting.status, resting.reason) == ("canceled", "liquidation")
    account = subject.state.accounts[1]
    now = risk.standing(subject.state, account, "")
    assert now.value >= now.maintenance
    balanced(subject)


@pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
def test_what_the_fund_does_not_take_over_is_closed_against_the_most_leveraged_winner(venue: str) -> None:
    subject, street = stage(venue, 1_000)
    for number in (3, 4):
        subject.open_account(number, tier="premium" if venue == "lighter" else "")
        subject.deposit(number, (4_000 if number == 3 else 900) * DOLLAR, NOW)
    for number in (3, 4):
        subject.place(number, order(False, 15_000), NOW)
    subject.place(1, order(True, 20_000), NOW)
    subject.state.fund_open = False
    fall = MARK - 60_000  # 1,200 dollars of a long that has 1,000
    street.marks["M"] = fall
    street.levels["M"] = {True: {fall - 5: 10**8}, False: {fall + 5: 10**8}}
    subject.take_events()
    subject.marked(NOW + 1)
    trades = [event.trade for event in subject.take_events() if isinstance(event, Traded)]
    assert [(one.method, one.liquidated, one.size) for one in trades] == [
        ("deleverage", 1, 15_000), ("deleverage", 1, 5_000),
    ]  # fmt: skip
    assert [one.maker.account for one in trades if one.maker is not None] == [4, 3]
    assert all(one.maker is not None and one.maker.closed_pnl > 0 and one.maker.fee == 0 for one in trades)
    sizes = [subject.state.accounts[number].size("M") for number in (1, 3, 4)]
    assert sizes == [0, -10_000, 0]
    left = sum(subject.state.accounts[1].cash.values())
    assert abs(left) <= 20_000 * 2, "it was closed where it is worth nothing, up to a unit of the price"
    assert subject.state.treasury.insurance_sizes["M"] == 0
    balanced(subject)
    assert subject.deleverage("M", 10**6, NOW + 2) == [3]  # a stranger's, of whom nobody else holds the other side
    assert subject.state.accounts[3].size("M") == 0
    balanced(subject)


def test_a_twap_trades_in_slices_and_a_schedule_cancels_everything() -> None:
    subject, _ = stage("hyperliquid")
    twap = subject.begin_twap(1, order(True, 11_000), 5, False, NOW)
    for second in range(0, 330, 10):
        subject.marked(NOW + second * 1_000_000)
    assert (twap.executed, twap.status) == (11_000, "finished")
    resting = subject.place(1, order(True, 1_000, MARK - 500, tif="gtc"), NOW + 400_000_000).order
    assert resting is not None
    subject.schedule_cancel(1, NOW + 410_000_000)
    subject.marked(NOW + 409_000_000)
    assert resting.status == "open"
    subject.marked(NOW + 410_000_000)
    assert (resting.status, resting.reason) == ("canceled", "scheduled")


def random_step(subject: Exchange, street: HandStreet, rng: Random, venue: str, now: int) -> None:
    """Do something at random: anything an account or the world can do."""
    market, account = rng.choice(["M", "N"]), rng.randrange(1, 9)
    mark, draw, size = street.marks[market], rng.random(), int(10 ** rng.uniform(2.5, 5.3))
    buy = rng.random() < 0.5
    near = max(1, mark + rng.randrange(-400, 401))
    if draw < 0.45:
        kind = rng.choice(["limit", "limit", "limit", "stop", "take", "stop_limit"])
        subject.place(account, Wanted(
            market=market, buy=buy, price=near, size=size, tif=rng.choice(["gtc", "ioc", "alo"]), kind=kind,
            reduce_only=rng.random() < 0.3, trigger=max(1, mark + rng.randrange(-900, 901)) if kind != "limit" else 0,
            surcharge=rng.choice([None, Surcharge(77, 50, 20)]), expiry_ms=rng.choice([0, now // 1000 + 5_000]),
            self_trade=rng.choice(["maker", "taker", "both", "reduce"]), by_master=rng.random() < 0.2,
        ), now)  # fmt: skip
    elif draw < 0.52 and (orders := list(subject.state.accounts[account].orders)):
        subject.cancel(account, rng.choice(orders), now)
    elif draw < 0.56 and venue == "lighter":
        resting = [o for o in subject.state.accounts[account].orders.values() if o.status == "open"]
        if resting:
            subject.change(rng.choice(resting), now, size=size, price=near)
    elif draw < 0.6:
        half = Wanted(market=market, buy=not buy, price=near, size=0, kind="stop", trigger=near, reduce_only=True)
        subject.place_group(account, [Wanted(market=market, buy=buy, price=near, size=size), half, half],
                            rng.choice(["parent", "parent_pair"]), now)  # fmt: skip
    elif draw < 0.64:
        times = rng.choice([1, 3, 10, 20, 40])
        per = Fraction(1, times) if venue == "hyperliquid" else Fraction(10_000 // min(times, 40), 10_000)
        subject.set_leverage(account, market, Setting(rng.random() < 0.5, per), now)
    elif draw < 0.67:
        subject.move_margin(account, market, rng.randrange(-50, 51) * DOLLAR, now)
    elif draw < 0.69:
        subject.transfer(account, rng.randrange(1, 9), rng.randrange(1, 90) * DOLLAR, now, pools=("", ""), kind="x")
    elif draw < 0.7:
        subject.withdraw(account, rng.randrange(1, 50) * DOLLAR, DOLLAR, now)
    elif draw < 0.71:
        subject.begin_twap(account, Wanted(market=market, buy=buy, price=0, size=size), 5, True, now)
    elif draw < 0.73:
        subject.schedule_cancel(account, rng.choice([0, now + 3_000_000]))
    elif draw < 0.75:
        subject.settle_hour(market, rng.randrange(-400_000, 400_001), now)
    elif draw < 0.76:
        subject.deposit(account, 300 * DOLLAR, now)
    else:
        moved = max(1_000, int(mark * (1 + rng.gauss(0, 0.004))))
        street.marks[market] = moved
        spread = rng.randrange(1, 30)
        street.levels[market] = {
            True: {moved - spread - i * 7: rng.randrange(1, 10**5) for i in range(5)},
            False: {moved + spread + i * 7: rng.randrange(1, 10**5) for i in range(5)},
        }
        subject.moved(market, now, [(moved, rng.randrange(1, 10**4), buy)])
        subject.marked(now)


@pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
def test_money_and_sizes_are_conserved_through_everything_that_can_happen(venue: str) -> None:
    rng = Random(f"{venue}:7")
    pool = "other" if venue == "hyperliquid" else ""
    subject, street = exchange(venue, terms(venue, "M"), terms(venue, "N", pool=pool))
    for market in ("M", "N"):
        street.marks[market] = MARK
    for number in range(1, 9):
        subject.open_account(number, master=number // 2, tier="premium" if venue == "lighter" else "")
        subject.deposit(number, 1_000 * DOLLAR, NOW)
        if venue == "hyperliquid":
            subject.deposit(number, 1_000 * DOLLAR, NOW, "other")
    liquidated = traded = deleveraged = 0
    for step in range(6_000):
        subject.state.fund_open = step % 1_000 < 500
        random_step(subject, street, rng, venue, NOW + step * 100_000)
        if step % 500 == 499:
            subject.deleverage("M", 20_000 if step % 1_000 == 999 else -20_000, NOW + step * 100_000)
        for event in subject.take_events():
            liquidated += isinstance(event, Liquidated)
            traded += isinstance(event, Traded)
            deleveraged += isinstance(event, Traded) and event.trade.method == "deleverage"
        balanced(subject)
    assert liquidated > 5
    assert deleveraged
    assert traded > 1_000
    for account in subject.state.accounts.values():
        for (market, buy), size in account.resting.items():
            mine = [o for o in account.orders.values() if o.status == "open" and o.wanted.market == market]
            assert size == sum(o.left for o in mine if o.wanted.buy == buy and not o.wanted.reduce_only)
