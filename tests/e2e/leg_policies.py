"""Orders of which one leg is refused or falls short; collected by `test_quoted_costs`, in whose books they trade."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

from google.protobuf.duration_pb2 import Duration
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import leg_pb2, order_pb2
from perpmesh.type.v1 import order_type_pb2, refusal_pb2, side_pb2, time_in_force_pb2
from perpmesh.vault.v1 import account_pb2, vault_service_pb2

from tests.support.trading_desk import ENDED, WAIT_S, Book, Desk, State, number_of, story
from tests.support.waiting import until

D = Decimal
BTC = "BTC-PERP"
MARKET = order_type_pb2.ORDER_TYPE_MARKET
LIMIT = order_type_pb2.ORDER_TYPE_LIMIT
BUY, SELL = side_pb2.SIDE_BUY, side_pb2.SIDE_SELL
REST = time_in_force_pb2.TIME_IN_FORCE_GOOD_TILL_CANCELED
Leg = leg_pb2.Leg
BOOK: Book = {
    "hyperliquid": (
        [("83990", "0.2"), ("83980", "0.1"), ("83960", "1")], [("84000", "0.1"), ("84020", "0.2"), ("84040", "1")],
    ),
    "lighter": (
        [("83960", "0.2"), ("83940", "0.3"), ("83900", "1")], [("84030", "0.15"), ("84050", "0.3"), ("84100", "1")],
    ),
}  # fmt: skip
"""A purchase of 0.4 splits."""
MARK = "84000"


@contextlib.asynccontextmanager
async def refused_at(desk: Desk, venue: str) -> AsyncIterator[None]:
    """Have the vault refuse every order at a venue that opens anything, by a limit that no plan knows of: the day's."""
    owner = desk.owners[venue]

    async def limited(**limits: Any) -> None:
        request = vault_service_pb2.SetTradingLimitsRequest(
            account_id=owner.account_id, limits=account_pb2.TradingLimits(**limits)
        )
        await owner.vault.SetTradingLimits(request, metadata=desk.metadata)

    await limited(max_day_notional="1")
    try:
        yield
    finally:
        await limited()


async def begin(desk: Desk) -> None:
    """Have the books scripted and no position, so that what is bought can be sold reduce-only."""
    await desk.script("BTC", BOOK, MARK)
    close = pb.ClosePositionRequest(request_id=str(uuid.uuid4()), market=BTC)
    closes = (await desk.execution.ClosePosition(close, metadata=desk.metadata)).orders
    for one in closes:
        await desk.ended(one.order_id)
    if closes:
        await desk.script("BTC", BOOK, MARK)


async def over(desk: Desk, order_id: str) -> order_pb2.Order:
    """Return an order that has ended, with every leg of it compared with its venue's own journal."""
    order = await desk.ended(order_id)
    for venue in {leg.venue for leg in order.legs}:
        legs = [leg for leg in order.legs if leg.venue == venue]
        notional, _ = await desk.journal(venue, {number_of(leg.venue_client_id) for leg in legs})
        told = sum(D(leg.average_price) * D(leg.filled_size) for leg in legs if D(leg.filled_size))
        assert (notional == 0) == (told == 0), story(order)
    fills = await desk.fills(order_id)
    assert sum(D(one.size) for one in fills) == sum(D(leg.filled_size) for leg in order.legs), story(order)
    return order


async def placed(desk: Desk, policy: int, size: str = "0.4") -> order_pb2.Order:
    """Return an order that split over both venues, and of which Lighter's leg was denied."""
    for _ in range(4):
        await begin(desk)
        order = await over(
            desk, (await desk.place(market=BTC, side=BUY, size=size, type=MARKET, leg_policy=policy)).order_id
        )
        entries = {leg.venue: leg for leg in order.legs if leg.role == Leg.ROLE_ENTRY}
        if len(entries) == 2 and entries["hyperliquid"].filled_size == entries["hyperliquid"].size:
            return order
    raise AssertionError(story(order))


async def test_what_one_venue_refused_is_routed_to_the_other(desk: Desk) -> None:
    async with refused_at(desk, "lighter"):
        order = await placed(desk, order_pb2.LEG_POLICY_REROUTE)
    assert order.state == State.STATE_DONE, story(order)
    assert order.filled_size == order.size == "0.4"
    denied = next(leg for leg in order.legs if leg.state == Leg.STATE_DENIED)
    (again,) = [leg for leg in order.legs if leg.role == Leg.ROLE_REROUTE]
    assert (again.venue, again.size, again.state) == ("hyperliquid", denied.size, Leg.STATE_FILLED)
    assert D(again.limit_price) <= max(D(leg.limit_price) for leg in order.legs[:2]), "within the order's own limit"
    result = order.policy_result
    assert result.policy == order.leg_policy == order_pb2.LEG_POLICY_REROUTE
    assert (result.leg_id, result.missing_size, list(result.added_leg_ids)) == (
        denied.leg_id, denied.size, [again.leg_id],
    )  # fmt: skip
    assert "routed again to hyperliquid" in order.explanation
    report = (
        await desk.execution.GetExecutionReport(
            pb.GetExecutionReportRequest(order_id=order.order_id), metadata=desk.metadata
        )
    ).report
    assert report.complete
    assert sum(D(one.amount) for one in report.attributions) == D(report.difference)


async def test_what_the_other_venue_filled_is_traded_back(desk: Desk) -> None:
    async with refused_at(desk, "lighter"):
        order = await placed(desk, order_pb2.LEG_POLICY_UNWIND)
    assert order.state == State.STATE_ABORTED, story(order)
    assert order.filled_size == "0"
    entry = next(leg for leg in order.legs if leg.role == Leg.ROLE_ENTRY and D(leg.filled_size))
    backs = [leg for leg in order.legs if leg.role == Leg.ROLE_UNWIND]
    assert {(leg.venue, leg.side, leg.reduce_only) for leg in backs} == {(entry.venue, SELL, True)}
    assert sum(D(leg.filled_size) for leg in backs) == D(entry.filled_size)
    fills = await desk.fills(order.order_id)
    signs = {BUY: 1, SELL: -1}
    paid = sum(signs[one.side] * D(one.price) * D(one.size) for one in fills)
    fees = sum(D(one.total_cost) for one in fills if one.leg_id != entry.leg_id)
    assert D(order.policy_result.unwind_cost) == paid + fees
    assert list(order.policy_result.added_leg_ids) == [leg.leg_id for leg in backs]


async def test_the_others_stand_where_nothing_else_is_wished(desk: Desk) -> None:
    async with refused_at(desk, "lighter"):
        order = await placed(desk, order_pb2.LEG_POLICY_UNSPECIFIED)
    assert (order.state, order.leg_policy) == (State.STATE_PARTIALLY_DONE, order_pb2.LEG_POLICY_KEEP), story(order)
    assert not order.HasField("policy_result")


def side(venue: str, side: int, size: str = "0.1", **fields: Any) -> pb.PlaceHedgedOrderRequest.HedgeLeg:
    return pb.PlaceHedgedOrderRequest.HedgeLeg(
        market=BTC, venue=venue, side=side_pb2.Side.Name(side), size=size, **fields  # type: ignore[arg-type]
    )  # fmt: skip


async def hedged(desk: Desk, *legs: pb.PlaceHedgedOrderRequest.HedgeLeg, **rule: Any) -> order_pb2.Order:
    """Place a hedged order, twice as clients do whose answer was lost."""
    request = pb.PlaceHedgedOrderRequest(request_id=str(uuid.uuid4()), legs=legs, rollback=order_pb2.Rollback(**rule))
    first = (await desk.execution.PlaceHedgedOrder(request, metadata=desk.metadata)).order
    again = (await desk.execution.PlaceHedgedOrder(request, metadata=desk.metadata)).order
    assert again.order_id == first.order_id
    return first


async def test_two_sides_are_sent_at_once_and_both_fill(desk: Desk) -> None:
    for _ in range(4):
        await begin(desk)
        order = await hedged(desk, side("hyperliquid", BUY), side("lighter", SELL))
        order = await over(desk, order.order_id)
        if order.state == State.STATE_DONE:
            break
    assert order.state == State.STATE_DONE, story(order)
    assert [(leg.role, leg.side, leg.filled_size) for leg in order.legs] == [
        (Leg.ROLE_HEDGE, BUY, "0.1"), (Leg.ROLE_HEDGE, SELL, "0.1"),
    ]  # fmt: skip
    assert (order.market, order.side, order.size) == (BTC, BUY, "0.1")
    assert order.rollback.patience.seconds == 10
    assert order.rollback.action == order_pb2.Rollback.ACTION_UNWIND


async def test_a_side_that_finds_nobody_has_the_other_rolled_back(desk: Desk) -> None:
    order = await lonely(desk, order_pb2.Rollback.ACTION_UNWIND)
    assert order.state == State.STATE_ABORTED, story(order)
    assert order.filled_size == "0"
    backs = [leg for leg in order.legs if leg.role == Leg.ROLE_UNWIND]
    assert {(leg.venue, leg.side, leg.reduce_only) for leg in backs} == {("hyperliquid", SELL, True)}
    assert sum(D(leg.filled_size) for leg in backs) == D("0.1")
    assert order.policy_result.leg_id == order.legs[1].leg_id
    assert D(order.policy_result.missing_size) == D("0.1")
    assert D(order.policy_result.unwind_cost) > 0


async def test_a_side_that_stands_alone_is_kept_where_the_rule_says_so(desk: Desk) -> None:
    order = await lonely(desk, order_pb2.Rollback.ACTION_KEEP)
    assert (order.state, order.filled_size) == (State.STATE_PARTIALLY_DONE, "0.1"), story(order)
    assert "0.1 of BTC-PERP at hyperliquid is kept unhedged" in order.explanation
    assert order.policy_result.policy == order_pb2.LEG_POLICY_KEEP


async def lonely(desk: Desk, action: int) -> order_pb2.Order:
    """Return an order whose first side filled, and whose second found nobody at its price."""
    for _ in range(4):
        await begin(desk)
        legs = side("hyperliquid", BUY), side("lighter", SELL, limit_price="83970")
        order = await over(desk, (await hedged(desk, *legs, action=action)).order_id)
        if D(order.legs[0].filled_size) == D("0.1"):
            return order
    raise AssertionError(story(order))


async def test_a_side_that_would_be_refused_is_known_before_the_other_is_sent(desk: Desk) -> None:
    await begin(desk)
    async with refused_at(desk, "lighter"):
        order = await hedged(desk, side("hyperliquid", BUY), side("lighter", SELL))
    assert (order.state, len(order.legs)) == (State.STATE_DENIED, 0), story(order)
    assert order.refusal.reason == refusal_pb2.REFUSAL_REASON_TRADING_LIMIT
    assert order.refusal.field.startswith("legs[1]")


async def test_a_side_follows_the_fills_of_one_that_rests(desk: Desk, other: Desk) -> None:
    await begin(desk)
    lead = side("lighter", BUY, "0.1", limit_price="83990", time_in_force=REST)
    rule = {"action": order_pb2.Rollback.ACTION_UNWIND, "patience": Duration(seconds=60)}
    order = await hedged(desk, lead, side("hyperliquid", SELL, "0.1"), **rule)
    assert order.legs[1].state == Leg.STATE_HELD
    await until(
        lambda: desk.get(order.order_id), lambda one: one.legs[0].state == Leg.STATE_OPEN, timeout_s=WAIT_S,
        why="the lead rests",
    )  # fmt: skip
    filled = D(0)
    for size in ("0.04", "0.06"):
        filled += await sold(other, size)
        told = await until(
            lambda: desk.get(order.order_id),
            lambda one: one.state in ENDED or hedge_of(one) == filled,  # noqa: B023
            timeout_s=WAIT_S,
            why=f"{filled} of the lead is hedged",
        )
        assert hedge_of(told) == filled, story(told)
    done = await over(desk, order.order_id)
    assert (done.state, done.filled_size) == (State.STATE_DONE, "0.1"), story(done)
    follows = [leg for leg in done.legs if leg.venue == "hyperliquid"]
    assert sum(D(leg.filled_size) for leg in follows) == D("0.1")


def hedge_of(order: order_pb2.Order) -> Decimal:
    """Return how much of the side that follows is filled."""
    return sum((D(leg.filled_size) for leg in order.legs if leg.venue == "hyperliquid"), D(0))


async def sold(other: Desk, size: str) -> Decimal:
    """Have somebody else sell at Lighter until a size is sold."""
    left = D(size)
    while left:
        wish = {"side": SELL, "size": str(left), "type": LIMIT, "limit_price": "83980", "venue": "lighter"}
        ioc = time_in_force_pb2.TIME_IN_FORCE_IMMEDIATE_OR_CANCEL
        order = await other.ended((await other.place(market=BTC, time_in_force=ioc, **wish)).order_id)
        left -= D(order.filled_size)
    return D(size)
