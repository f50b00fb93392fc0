"""Random refusals: what a refusal says would pass is sent again, and passes. 12 a venue, or PERPMESH_REFUSALS of them.

The market stands still, so that what passed when the venue was asked passes when it is sent.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest

from services.chassis.clock import SYSTEM
from services.domain.decimals import Price, Size
from services.domain.market import HYPERLIQUID, LIGHTER
from services.domain.refusal import Refusal, RefusalReason
from services.venues.actions import MarginMode, OrderTerms, OrderType, SetLeverage, Side, TimeInForce
from services.venues.trading import Accepted, Outcome, Refused, Standing
from tests.referee.venue_trading.desks import MARKET, TESTNET, Desk, desk_at, place

pytestmark = [
    pytest.mark.skipif(TESTNET, reason="needs a market that stands still"),
    pytest.mark.timeout(3_600),
]
COUNT = int(os.environ.get("PERPMESH_REFUSALS", "12"))
SEED = 20261122
D = Decimal


@pytest.fixture(params=[HYPERLIQUID, LIGHTER])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    async with desk_at(request.param, frozen=True, hyperliquid_ack_ms=0, lighter_delays=False) as made:
        yield made


def unrounded(desk: Desk, side: Side, price: Decimal, size: Decimal, **more: object) -> OrderTerms:
    plain: dict[str, object] = {"type": OrderType.LIMIT, "time_in_force": TimeInForce.GOOD_TILL_CANCELED}
    return OrderTerms(
        market=MARKET,
        venue_market_id=desk.listing.venue_market_id,
        side=side,
        size=Size(size),
        limit_price=Price(price),
        client_id=desk.client_id(),
        **(plain | more),  # type: ignore[arg-type]
    )


def wrong(desk: Desk, rng: random.Random, bid: Decimal, ask: Decimal) -> tuple[str, OrderTerms]:
    """Return an order that the venue refuses, and the kind of its fault."""
    side = rng.choice((Side.BUY, Side.SELL))
    own, other = (bid, ask) if side is Side.BUY else (ask, bid)
    away = D(1) - side.sign * D(rng.randrange(10, 60)) / 1000
    lot = desk.listing.lot
    kinds = ["small", "crosses", "misses", "reduces", "margin"]
    kinds += ["trigger", "tick", "figures", "lot", "zero", "band"] if desk.name == HYPERLIQUID else ["near"]
    kind = rng.choice(kinds)
    size = D("0.1")
    if kind == "small":
        return kind, desk.terms(side, own * away, lot * rng.randrange(1, 10))
    if kind == "crosses":
        through = other * (1 + side.sign * D(rng.randrange(0, 40)) / 10_000)
        return kind, desk.terms(side, through, size, tif=TimeInForce.POST_ONLY)
    if kind == "misses":
        return kind, desk.terms(side, own * away, size, tif=TimeInForce.IMMEDIATE_OR_CANCEL)
    if kind == "reduces":
        return kind, desk.terms(side, own * away, size, reduce_only=True)
    if kind == "margin":
        return kind, desk.terms(side, own * away, D(rng.randrange(900, 1_200)))
    if kind == "trigger":
        fires = D(1) + side.sign * D(rng.randrange(10, 50)) / 1000  # a take-profit that has fired already
        price = desk.terms(side, own * fires, size).limit_price
        worst = own * (fires + side.sign * D("0.05"))
        return kind, desk.terms(
            side, worst, size, kind=OrderType.TAKE_PROFIT_MARKET, trigger_price=price, reduce_only=False
        )
    if kind == "tick":
        return kind, unrounded(desk, side, (own * away).quantize(D("0.01")) + D("0.013"), size)
    if kind == "figures":
        return kind, unrounded(desk, side, (own * away).quantize(D("0.1")) + D("0.01"), size)
    if kind == "lot":
        return kind, unrounded(desk, side, desk.terms(side, own * away, size).limit_price, size + lot / 10)
    if kind == "zero":
        return kind, unrounded(desk, side, desk.terms(side, own * away, size).limit_price, size / 10_000_000)
    if kind == "band":
        far = own * D("0.02") if side is Side.BUY else own * D("2.5")
        return kind, desk.terms(side, far, D(20))
    through = other * (1 + side.sign * D(rng.randrange(60, 90)) / 100)
    return kind, desk.terms(side, through, size)


async def outcome_of(desk: Desk, terms: OrderTerms) -> Outcome:
    """Send an order, and wait until it is evident what became of it."""
    signed = await desk.sign(place(terms))
    made = await desk.venue.submit(desk.account, signed)
    outcome = made.outcomes[0]
    for _ in range(60):
        if isinstance(outcome, Refused) or (isinstance(outcome, Accepted) and outcome.standing is not Standing.QUEUED):
            return outcome
        (outcome,) = await desk.venue.trace(desk.account, signed)
        await SYSTEM.sleep(0.05)
    return outcome


def corrected(terms: OrderTerms, refusal: Refusal, desk: Desk) -> OrderTerms:
    value, name = refusal.passing_value, refusal.field
    terms = replace(terms, client_id=desk.client_id())
    if name == "size":
        return replace(terms, size=Size(D(value)))
    if name == "limit_price":
        return replace(terms, limit_price=Price(D(value)))
    if name == "trigger_price":
        return replace(terms, trigger_price=Price(D(value)))
    if name == "reduce_only":
        return replace(terms, reduce_only=False)
    raise AssertionError(f"{name} is no field of an order: {refusal}")


async def clean(desk: Desk) -> None:
    """Leave nothing open."""
    if await desk.venue.open_orders(desk.account):
        for action in await desk.venue.plan_cancel_all(desk.account):
            await desk.send(action)
    for _ in range(40):
        if not await desk.venue.open_orders(desk.account):
            break
        await SYSTEM.sleep(0.05)
    for position in (await desk.venue.state(desk.account)).positions:
        side = Side.SELL if position.size > 0 else Side.BUY
        await outcome_of(desk, await desk.taking(side, str(abs(position.size)), reduce_only=True))


async def test_what_a_refusal_says_would_pass_passes(desk: Desk) -> None:
    rng = random.Random(SEED)
    passed: Counter[str] = Counter()
    failures: list[str] = []
    not_refused: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    while sum(passed.values()) + len(failures) < COUNT:
        bid, ask = await desk.best()
        kind, terms = wrong(desk, rng, bid, ask)
        outcome = await outcome_of(desk, terms)
        if not isinstance(outcome, Refused):
            not_refused[kind] += 1
            await clean(desk)
            assert not_refused[kind] < 20, f"{kind} is not refused: {terms} {outcome}"
            continue
        refusal = outcome.refusal
        reasons[refusal.reason.value] += 1
        if not refusal.passing_value:
            failures.append(f"{kind}: nothing taught: {refusal}")
            continue
        again = await outcome_of(desk, corrected(terms, refusal, desk))
        if isinstance(again, Accepted):
            passed[kind] += 1
        else:
            failures.append(f"{kind}: {refusal.field}={refusal.passing_value} did not pass: {terms} {refusal} {again}")
        await clean(desk)
    print(f"{desk.name}: seed {SEED}, passed {dict(passed)}, reasons {dict(reasons)}, not refused {dict(not_refused)}")
    assert failures == [], "\n".join(failures[:10])


async def test_a_leverage_beyond_the_markets_teaches_its_largest(desk: Desk) -> None:
    rng = random.Random(SEED)
    for _ in range(3):
        action = SetLeverage(
            market=MARKET,
            venue_market_id=desk.listing.venue_market_id,
            leverage=desk.listing.max_leverage + rng.randrange(1, 30),
            margin_mode=MarginMode.CROSS,
        )
        (outcome,) = await desk.settled(await desk.sign(action))
        if isinstance(outcome, Accepted):
            raise AssertionError("not refused")
        signed = await desk.sign(action)
        made = await desk.venue.submit(desk.account, signed)
        (outcome,) = made.outcomes
        if not isinstance(outcome, Refused):
            (outcome,) = await desk.settled(await desk.sign(action))
        assert isinstance(outcome, Refused)
        assert outcome.refusal.reason is RefusalReason.LEVERAGE
        passing = replace(action, leverage=int(outcome.refusal.passing_value))
        (outcome,) = await desk.settled(await desk.sign(passing))
        assert isinstance(outcome, Accepted)
