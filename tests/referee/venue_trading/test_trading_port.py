"""The referee of `services.venues.trading.TradingVenue`: the same judgement of every adapter.

On the simulator, or unchanged on the testnets (`desks` says how); what needs a fault is skipped there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from services.chassis.clock import SYSTEM
from services.domain.feed import FeedState
from services.domain.market import HYPERLIQUID, LIGHTER, tick_at
from services.domain.refusal import RefusalReason
from services.venues.account import Liquidity, OrderRecord, OrderStatus
from services.venues.actions import (
    Cancel,
    MarginMode,
    Modify,
    OrderReference,
    OrderTerms,
    OrderType,
    ScheduleCancel,
    SetLeverage,
    Side,
    TimeInForce,
)
from services.venues.trading import (
    Accepted,
    FillsSeen,
    NonceFate,
    OrdersSeen,
    Outcome,
    Refused,
    Standing,
    StreamChanged,
    Unknown,
)
from tests.referee.venue_trading.desks import DEPOSIT, MARKET, TESTNET, Desk, desk_at, leave_nothing, of_kind, place

D = Decimal
WAIT_S = 8.0
needs_simulator = pytest.mark.skipif(TESTNET, reason="needs the simulator's own hands")


@pytest.fixture(params=[HYPERLIQUID, LIGHTER])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    async with desk_at(request.param) as made:
        yield made


def reference(terms: OrderTerms) -> OrderReference:
    return OrderReference(market=MARKET, venue_market_id=terms.venue_market_id, client_id=terms.client_id)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until `condition`, which events bring about."""
    for _ in range(round(WAIT_S / 0.02)):
        if condition():
            return
        await SYSTEM.sleep(0.02)
    raise AssertionError(f"not within {WAIT_S:g} s: {what}")


async def record_of(
    desk: Desk, terms: OrderTerms, right: Callable[[OrderRecord], bool] = lambda _: True
) -> OrderRecord:
    """Ask for an order by our id until the venue shows it as expected."""
    found = None
    for _ in range(40):
        found = await desk.venue.order(desk.account, reference(terms))
        if found is not None and right(found):
            return found
        await SYSTEM.sleep(0.1)
    raise AssertionError(f"the venue shows {found}")


def accepted(outcome: Outcome) -> Accepted:
    assert isinstance(outcome, Accepted), outcome
    return outcome


async def refused(desk: Desk, terms: OrderTerms) -> Refused:
    """Place an order that must not stand; return why, from the answer or, where that only queues, from the order."""
    signed = await desk.sign(place(terms))
    made = await desk.venue.submit(desk.account, signed)
    (outcome,) = made.outcomes
    if isinstance(outcome, Refused):
        return outcome
    for _ in range(40):
        (outcome,) = await desk.venue.trace(desk.account, signed)
        if isinstance(outcome, Refused):
            return outcome
        await SYSTEM.sleep(0.1)
    raise AssertionError(f"not refused: {outcome}")


async def test_an_order_is_rounded_rests_is_found_by_our_id_and_is_canceled_by_it(desk: Desk) -> None:
    bid, _ = await desk.best()
    wanted = (bid * D("0.95")).quantize(D("0.000001")) + D("0.000001")
    terms = desk.terms(Side.BUY, wanted, D("0.1234567"))
    assert terms.limit_price <= wanted
    assert terms.limit_price % tick_at(desk.listing, terms.limit_price) == 0
    assert terms.size <= D("0.1234567")
    made = await desk.send(place(terms))
    assert accepted(made.outcomes[0]).standing in (Standing.RESTING, Standing.QUEUED)
    assert made.nonce is NonceFate.USED
    record = await record_of(desk, terms, lambda r: r.status is OrderStatus.OPEN)
    assert (record.market, record.limit_price, record.size) == (MARKET, terms.limit_price, terms.size)
    assert (record.side, record.type, record.remaining) == (Side.BUY, OrderType.LIMIT, terms.size)
    assert [order.client_id for order in await desk.venue.open_orders(desk.account)] == [terms.client_id]
    done = await desk.send(Cancel(orders=(reference(terms),)))
    accepted(done.outcomes[0])
    await record_of(desk, terms, lambda r: r.status is OrderStatus.CANCELED)
    assert await desk.venue.open_orders(desk.account) == ()


async def test_a_market_order_fills_and_history_position_and_fee_agree(desk: Desk) -> None:
    since_ms = SYSTEM.time_ns() // 1_000_000 - 5_000
    terms = await desk.taking(Side.BUY, "0.25")
    made = await desk.send(place(terms))
    accepted(made.outcomes[0])
    await record_of(desk, terms, lambda r: r.status is OrderStatus.FILLED)
    fills = [f for f in await desk.venue.fills(desk.account, since_ms=since_ms) if f.client_id == terms.client_id]
    assert sum(f.size for f in fills) == terms.size
    assert all(f.price <= terms.limit_price and f.liquidity is Liquidity.TAKER for f in fills)
    assert len({f.fill_id for f in fills}) == len(fills)
    state = await desk.venue.state(desk.account)
    (position,) = [p for p in state.positions if p.market == MARKET]
    assert position.size == terms.size
    worth = sum((f.price * f.size for f in fills), D(0))
    assert abs(position.entry_price * position.size - worth) < D("0.01")
    fees = await desk.venue.fees(desk.account)
    paid = sum((f.fee for f in fills), D(0))
    assert abs(paid - worth * fees.taker) <= D("0.000001") * len(fills)
    close = await desk.taking(Side.SELL, "0.25", reduce_only=True)
    accepted((await desk.send(place(close))).outcomes[0])
    await record_of(desk, close, lambda r: r.status is OrderStatus.FILLED)
    assert not [p for p in (await desk.venue.state(desk.account)).positions if p.market == MARKET]


async def test_an_order_is_modified_in_place_of_itself(desk: Desk) -> None:
    terms = await desk.far()
    accepted((await desk.send(place(terms))).outcomes[0])
    before = await record_of(desk, terms, lambda r: r.status is OrderStatus.OPEN)
    lower = desk.terms(Side.BUY, terms.limit_price * D("0.99"), D("0.2"), tif=TimeInForce.POST_ONLY)
    lower = replace(lower, client_id=terms.client_id)
    by_id = OrderReference(market=MARKET, venue_market_id=terms.venue_market_id, order_id=before.order_id)
    made = await desk.send(Modify(order=by_id, terms=lower))
    accepted(made.outcomes[0])
    after = await record_of(desk, lower, lambda r: r.limit_price == lower.limit_price)
    assert (after.status, after.size) == (OrderStatus.OPEN, lower.size)
    assert len(await desk.venue.open_orders(desk.account)) == 1


async def test_batches_and_everything_are_canceled(desk: Desk) -> None:
    placed = []
    for side in (Side.BUY, Side.SELL, Side.BUY, Side.SELL):
        terms = await desk.far(side)
        accepted((await desk.send(place(terms))).outcomes[0])
        placed.append(await record_of(desk, terms, lambda r: r.status is OrderStatus.OPEN))
    first_two = Cancel(
        orders=tuple(
            OrderReference(market=MARKET, venue_market_id=desk.listing.venue_market_id, order_id=r.order_id)
            for r in placed[:2]
        )
    )
    for part in desk.venue.split(first_two):
        assert all(isinstance(outcome, Accepted) for outcome in (await desk.send(part)).outcomes)
    await _open_count(desk, 2)
    for part in await desk.venue.plan_cancel_all(desk.account):
        assert all(isinstance(outcome, Accepted) for outcome in (await desk.send(part)).outcomes)
    await _open_count(desk, 0)


async def _open_count(desk: Desk, count: int) -> None:
    found: tuple[OrderRecord, ...] = ()
    for _ in range(40):
        found = await desk.venue.open_orders(desk.account)
        if len(found) == count:
            return
        await SYSTEM.sleep(0.1)
    raise AssertionError(f"{len(found)} orders are open, not {count}: {found}")


async def test_leverage_is_set_and_seen(desk: Desk) -> None:
    action = SetLeverage(
        market=MARKET, venue_market_id=desk.listing.venue_market_id, leverage=5, margin_mode=MarginMode.CROSS
    )
    signed = await desk.sign(action)
    accepted((await desk.settled(signed))[0])
    terms = await desk.taking(Side.BUY)
    accepted((await desk.send(place(terms))).outcomes[0])
    await record_of(desk, terms, lambda r: r.status is OrderStatus.FILLED)
    (position,) = [p for p in (await desk.venue.state(desk.account)).positions if p.market == MARKET]
    assert (round(position.leverage), position.margin_mode) == (5, MarginMode.CROSS)
    high = replace(action, leverage=desk.listing.max_leverage + 1)
    made = await desk.send(high)
    (outcome,) = made.outcomes
    if isinstance(outcome, Accepted):
        (outcome,) = await desk.settled(await desk.sign(high))
    assert isinstance(outcome, Refused)
    assert outcome.refusal.reason is RefusalReason.LEVERAGE
    assert outcome.refusal.passing_value == str(desk.listing.max_leverage)
    await leave_nothing(desk)
    assert not [p for p in (await desk.venue.state(desk.account)).positions if p.market == MARKET]


async def test_the_dead_mans_switch_is_armed_and_disarmed(desk: Desk) -> None:
    ahead_ms = 60_000 if desk.name == HYPERLIQUID else 360_000
    when = SYSTEM.time_ns() // 1_000_000 + ahead_ms
    for action in (ScheduleCancel(cancel_time_ms=when), ScheduleCancel()):
        (outcome,) = (await desk.send(action)).outcomes
        if TESTNET and isinstance(outcome, Refused) and outcome.refusal.venue_message:
            pytest.skip(f"an account that has traded too little has no such switch: {outcome.refusal.venue_message}")
        accepted(outcome)


@needs_simulator
async def test_identical_bytes_sent_twice_make_one_order(desk: Desk) -> None:
    terms = await desk.far()
    signed = await desk.sign(place(terms))
    accepted((await desk.venue.submit(desk.account, signed)).outcomes[0])
    await record_of(desk, terms, lambda r: r.status is OrderStatus.OPEN)
    again = await desk.venue.submit(desk.account, signed, again=True)
    assert isinstance(again.outcomes[0], Unknown)
    (outcome,) = await desk.venue.trace(desk.account, signed)
    accepted(outcome)
    assert len(await desk.venue.open_orders(desk.account)) == 1


@needs_simulator
async def test_a_lost_answer_is_unknown_until_the_venue_is_asked(desk: Desk) -> None:
    assert desk.simulator is not None
    terms = await desk.far()
    signed = await desk.sign(place(terms))
    await desk.simulator.fault("ack_lost", venue=desk.name, count=1)
    made = await desk.venue.submit(desk.account, signed)
    assert isinstance(made.outcomes[0], Unknown), made
    assert made.nonce is NonceFate.UNKNOWN
    await desk.simulator.clear_faults()
    outcome: Outcome = made.outcomes[0]
    for _ in range(40):
        (outcome,) = await desk.venue.trace(desk.account, signed)
        if not isinstance(outcome, Unknown):
            break
        await SYSTEM.sleep(0.1)
    assert accepted(outcome).order_id
    assert len(await desk.venue.open_orders(desk.account)) == 1


async def test_bytes_that_expired_unsent_are_proven_dead_and_refused_when_they_come(desk: Desk) -> None:
    """On Lighter the library gives every transaction ten minutes, so there the proof is left to `test_tracing`."""
    if desk.name == LIGHTER:
        pytest.skip("a transaction of Lighter's lives 599 s")
    terms = await desk.far()
    signed = await desk.sign(place(terms), expires_ms=200)
    assert isinstance((await desk.venue.trace(desk.account, signed))[0], Unknown)
    await SYSTEM.sleep(5.5)
    (outcome,) = await desk.venue.trace(desk.account, signed)
    assert isinstance(outcome, Refused)
    assert outcome.refusal.reason is RefusalReason.NEVER_LANDED
    late = await desk.venue.submit(desk.account, signed)
    assert isinstance(late.outcomes[0], Refused)
    assert late.outcomes[0].refusal.reason is RefusalReason.EXPIRED
    assert await desk.venue.open_orders(desk.account) == ()


@needs_simulator
async def test_refusals_say_what_would_pass_and_it_passes(desk: Desk) -> None:
    bid, ask = await desk.best()
    small = desk.terms(Side.BUY, bid * D("0.95"), desk.listing.lot)
    why = await refused(desk, small)
    assert why.refusal.reason in (RefusalReason.NOTIONAL_TOO_SMALL, RefusalReason.SIZE_TOO_SMALL)
    assert why.refusal.field == "size"
    larger = desk.terms(Side.BUY, bid * D("0.95"), D(why.refusal.passing_value))
    accepted((await desk.settled(await desk.sign(place(larger))))[0])
    crossing = desk.terms(Side.BUY, ask * D("1.001"), D("0.1"), tif=TimeInForce.POST_ONLY)
    why = await refused(desk, crossing)
    assert why.refusal.reason is RefusalReason.POST_ONLY_CROSSED
    assert D(why.refusal.passing_value) < ask * D("1.001")
    reducing = desk.terms(Side.SELL, ask * D("1.02"), D("0.1"), reduce_only=True)
    why = await refused(desk, reducing)
    assert why.refusal.reason is RefusalReason.REDUCE_ONLY
    assert why.refusal.passing_value == "false"


async def test_the_stream_tells_each_order_and_fill_once(desk: Desk) -> None:
    watching = asyncio.create_task(desk.venue.watch(desk.account, desk.emit))
    try:
        await until(lambda: _is_live(desk), "the stream is live")
        resting = await desk.far()
        accepted((await desk.send(place(resting))).outcomes[0])
        await until(lambda: resting.client_id in _open_ids(desk), "the resting order is told")
        accepted((await desk.send(Cancel(orders=(reference(resting),)))).outcomes[0])
        await until(lambda: _last(desk, resting) is OrderStatus.CANCELED, "its cancellation is told")
        taking = await desk.taking(Side.BUY)
        accepted((await desk.send(place(taking))).outcomes[0])
        await until(lambda: _filled(desk) == taking.size, "its fills are told")
        await SYSTEM.sleep(0.5)
        assert _filled(desk) == taking.size
        ids = [fill.fill_id for event in of_kind(desk.events, FillsSeen) for fill in event.fills]
        assert len(ids) == len(set(ids))
    finally:
        watching.cancel()
        await asyncio.wait((watching,))


@needs_simulator
async def test_what_happens_while_the_stream_is_cut_is_told_once_after(desk: Desk) -> None:
    assert desk.simulator is not None
    watching = asyncio.create_task(desk.venue.watch(desk.account, desk.emit))
    try:
        await until(lambda: _is_live(desk), "the stream is live")
        resting = await desk.far()
        accepted((await desk.send(place(resting))).outcomes[0])
        await until(lambda: resting.client_id in _open_ids(desk), "the resting order is told")
        total = Decimal(0)
        for _ in range(3):
            await desk.simulator.fault("drop", venue=desk.name, duration_s=0.6)
            taking = await desk.taking(Side.BUY)
            accepted((await desk.send(place(taking))).outcomes[0])
            total += taking.size
            await desk.simulator.fault("close", venue=desk.name, count=20, duration_s=0.2)
            await SYSTEM.sleep(0.7)
        await desk.simulator.clear_faults()
        accepted((await desk.send(Cancel(orders=(reference(resting),)))).outcomes[0])
        await until(lambda: _filled(desk) == total, f"fills of {total} in all, not {_filled(desk)}")
        await until(lambda: _last(desk, resting) is OrderStatus.CANCELED, "the cancellation is told")
        ids = [fill.fill_id for event in of_kind(desk.events, FillsSeen) for fill in event.fills]
        assert len(ids) == len(set(ids))
        versions: dict[str, int] = {}
        for event in of_kind(desk.events, OrdersSeen):
            for order in event.orders:
                assert order.version >= versions.get(order.order_id, 0)
                versions[order.order_id] = order.version
    finally:
        watching.cancel()
        await asyncio.wait((watching,))


def _is_live(desk: Desk) -> bool:
    states = of_kind(desk.events, StreamChanged)
    return bool(states) and states[-1].state is FeedState.LIVE


def _orders(desk: Desk) -> list[OrderRecord]:
    return [order for event in of_kind(desk.events, OrdersSeen) for order in event.orders]


def _open_ids(desk: Desk) -> set[str]:
    return {order.client_id for order in _orders(desk) if not order.status.is_final}


def _last(desk: Desk, terms: OrderTerms) -> OrderStatus | None:
    states = [order.status for order in _orders(desk) if order.client_id == terms.client_id]
    return states[-1] if states else None


def _filled(desk: Desk) -> Decimal:
    fills = [fill for event in of_kind(desk.events, FillsSeen) for fill in event.fills]
    return sum((fill.size for fill in fills), Decimal(0))


@needs_simulator
async def test_money_that_comes_and_leaves_is_told_once_with_its_side_and_fee(desk: Desk) -> None:
    simulator, (deposit,) = desk.simulator, await desk.venue.transfers(desk.account, since_ms=0)
    assert simulator is not None
    assert (deposit.kind, deposit.wallet, deposit.asset, deposit.amount) == ("deposit", "", "USDC", D(DEPOSIT))
    me = desk.account.address if desk.name == HYPERLIQUID else str(desk.account.index)
    other = str((await simulator.fund(desk.name, "0x" + "77" * 20, "1"))["account"])
    before = (await desk.venue.state(desk.account)).margin.equity
    money: dict[str, Any] = {"venue": desk.name, "account": me}
    await simulator.call("POST", "accounts/money", money | {"usdc": "30", "fee": "1"})
    await simulator.call("POST", "accounts/money", money | {"usdc": "20", "to": other})
    await simulator.call("POST", "accounts/money", {"venue": desk.name, "account": other, "usdc": "5", "to": me})
    if desk.name == HYPERLIQUID:
        await simulator.call("POST", "accounts/money", money | {"usdc": "7", "to": me, "pools": ["", "spot"]})
    found = await desk.venue.transfers(desk.account, since_ms=0)
    mine = [(one.amount, one.wallet) for one in found if one != deposit]
    expected = [(D(-30), ""), (D(-20), ""), (D(5), "")]
    if desk.name == HYPERLIQUID:
        expected += [(D(-7), ""), (D(7), "spot")]
    assert sorted(mine) == sorted(expected)
    assert [one.time_ms for one in found] == sorted(one.time_ms for one in found)
    assert len({one.transfer_id for one in found}) == len(found)
    assert found == await desk.venue.transfers(desk.account, since_ms=0), "the same whenever it is asked for"
    since = [one for one in found if one.time_ms >= found[-1].time_ms]
    assert list(await desk.venue.transfers(desk.account, since_ms=found[-1].time_ms)) == since
    after = (await desk.venue.state(desk.account)).margin.equity
    assert after - before == sum(amount for amount, wallet in mine if not wallet)
