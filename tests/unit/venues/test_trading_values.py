"""Rounding, budgets, tokens: the small machines of trading, each on its own."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from services.domain.decimals import Price, Size, rounding
from services.domain.market import Listing, Status, tick_at
from services.venues.actions import ActionError, OrderTerms, OrderType, Side, TimeInForce
from services.venues.budget import Allotment, Allowance, Budget, Seats
from services.venues.hyperliquid.budgets import action_weight, answer_weight, info_weight
from services.venues.lighter.tokens import Tokens, VenueToken
from services.venues.port import VenueError
from services.venues.rounding import price_above, price_below, round_terms, size_for, size_within
from services.venues.trading import AccountRef
from tests.support.clock import ManualClock

D = Decimal


def listing(*, price_decimals: int = 2, figures: int = 5, size_decimals: int = 4) -> Listing:
    return Listing(
        market="ETH-PERP", venue="hyperliquid", symbol="ETH", venue_market_id=1, quote="USDC",
        price_decimals=price_decimals, price_significant_figures=figures, size_decimals=size_decimals, min_size=None,
        min_notional=None, max_leverage=20, leverage_tiers=(), maker_fee=D(0), taker_fee=D(0),  # type: ignore[arg-type]
        funding_interval_s=3600, status=Status.ACTIVE,
    )  # fmt: skip


def terms(side: Side, price: str, size: str, trigger: str | None = None) -> OrderTerms:
    return OrderTerms(
        market="ETH-PERP",
        venue_market_id=0,
        side=side,
        size=Size(D(size)),
        limit_price=Price(D(price)),
        type=OrderType.LIMIT if trigger is None else OrderType.STOP_LIMIT,
        time_in_force=TimeInForce.GOOD_TILL_CANCELED,
        client_id="1",
        trigger_price=None if trigger is None else Price(D(trigger)),
    )


def test_rounding_is_never_worse_for_the_owner_and_always_on_the_grid() -> None:
    rng = random.Random(5)
    for _ in range(3_000):
        at = listing(price_decimals=rng.randrange(0, 7), figures=rng.choice((0, 5)), size_decimals=rng.randrange(0, 6))
        price = D(rng.randrange(1, 10**9)).scaleb(-rng.randrange(0, 7))
        size = D(rng.randrange(1, 10**9)).scaleb(-rng.randrange(0, 9))
        side = rng.choice((Side.BUY, Side.SELL))
        try:
            found = round_terms(at, terms(side, str(price), str(size), str(price)))
        except ActionError:
            continue
        assert (found.limit_price <= price) if side is Side.BUY else (found.limit_price >= price)
        assert found.trigger_price == found.limit_price
        assert 0 < found.size <= size
        assert found.venue_market_id == 1
        again = round_terms(at, found)
        assert (again.limit_price, again.size) == (found.limit_price, found.size)
        with rounding():
            assert found.limit_price % tick_at(at, found.limit_price) == 0
        below, above = price_below(at, found.limit_price), price_above(at, found.limit_price)
        assert below < found.limit_price < above
        least = size_for(at, D(10), found.limit_price)
        assert least * found.limit_price >= 10 > (least - at.lot) * found.limit_price
        assert size_within(at, D(10), found.limit_price) * found.limit_price <= 10


def test_an_order_that_rounds_to_nothing_is_refused_by_its_field() -> None:
    with pytest.raises(ActionError) as error:
        round_terms(listing(), terms(Side.BUY, "100", "0.00001"))
    assert error.value.field == "size"
    with pytest.raises(ActionError) as error:
        round_terms(listing(), terms(Side.BUY, "0.001", "1"))
    assert error.value.field == "limit_price"


def test_the_venues_weights_are_counted_as_its_page_says() -> None:
    assert (info_weight("orderStatus"), info_weight("userRole"), info_weight("userFills")) == (2, 60, 20)
    assert (action_weight(1), action_weight(39), action_weight(40), action_weight(80)) == (1, 1, 2, 3)
    assert (answer_weight("userFills", 59), answer_weight("openOrders", 500)) == (2, 0)


def test_an_addresss_requests_run_out_for_orders_before_cancels_and_then_drip() -> None:
    allotment = Allotment(drip_s=10)
    assert allotment.free_at_ns(5, 1_000_000) == 5  # nothing is known yet
    allotment.observe(used=9_999, cap=10_000)
    assert allotment.free_at_ns(0, 1) == 0
    allotment.spend(0, 1)
    assert allotment.free_at_ns(0, 1) == 0  # the first beyond goes at once
    allotment.spend(0, 1)
    assert allotment.free_at_ns(1, 1) == 10_000_000_000
    assert allotment.free_at_ns(1, 1, cancel=True) == 1
    allotment.earn(10)
    assert allotment.free_at_ns(1, 1) == 1


def test_seats_are_taken_once_and_given_back() -> None:
    seats = Seats(2)
    assert seats.take("a")
    assert seats.take("a")
    assert seats.take("b")
    assert not seats.take("c")
    seats.give_back("a")
    assert seats.take("c")
    assert seats.used == 2


def test_a_charge_after_the_fact_holds_back_what_follows() -> None:
    budget = Budget(Allowance(units=100, seconds=60))
    budget.take(0, 20)
    budget.charge(1, 90)
    assert not budget.take(2, 1)
    assert budget.used(2) == (110, 100)
    assert budget.free_at_ns(2, 1) > 2
    assert budget.take(60_000_000_002, 1)


ACCOUNT = AccountRef(account_id="a", index=7)


async def test_a_token_is_renewed_before_it_lapses_and_kept_while_renewing_fails() -> None:
    clock, made, fails = ManualClock(), [], False

    async def source(_: AccountRef) -> VenueToken:
        if fails:
            raise VenueError("the vault is away")
        made.append(clock.time_ns() / 1e9 + 1_000)
        return VenueToken(f"t{len(made)}", made[-1])

    tokens = Tokens(source, clock)
    assert (await tokens.get(ACCOUNT)).text == "t1"
    assert 890 < await tokens.renew_in_s(ACCOUNT) <= 900
    await clock.advance(899)
    assert (await tokens.get(ACCOUNT)).text == "t1"
    await clock.advance(2)
    fails = True
    assert (await tokens.get(ACCOUNT)).text == "t1"
    fails = False
    assert (await tokens.get(ACCOUNT)).text == "t2"
    fails = True
    await clock.advance(1_001)
    with pytest.raises(VenueError):
        await tokens.get(ACCOUNT)
    tokens.forget(ACCOUNT)
    fails = False
    assert (await tokens.get(ACCOUNT)).text == "t3"
    assert "t3" not in repr(await tokens.get(ACCOUNT))
