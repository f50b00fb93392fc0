"""Orders that wait for a time or a price, through the edge; collected by `test_trading`, whose mesh they share."""

# ruff: noqa: ASYNC110 - what is awaited is in other processes

from __future__ import annotations

import asyncio
import json
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.execution.v1 import leg_pb2, order_pb2, report_pb2
from perpmesh.marketdata.v1 import market_data_service_pb2
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from perpmesh.type.v1 import order_type_pb2, refusal_pb2, side_pb2

from tests.support import witness
from tests.support.mesh import Mesh

if TYPE_CHECKING:
    from tests.e2e.test_trading import Trader

ETH = "ETH-PERP"
State = order_pb2.Order
LegState = leg_pb2.Leg
VENUES = ("hyperliquid", "lighter")


async def middle(edge: grpc.aio.Channel, market: str = ETH) -> Decimal:
    """Return the price between the best bid and ask in whole dollars, once every venue's mark is near it again."""
    asked = market_data_service_pb2.GetPriceRequest(market=market)
    while True:
        price = (await MarketDataServiceStub(edge).GetPrice(asked)).price
        mid = ((Decimal(price.best_bid.price) + Decimal(price.best_ask.price)) / 2).quantize(Decimal(1))
        marks = [Decimal(one.mark_price or 0) for one in price.venues]
        if all(abs(mark - mid) * 50 < mid for mark in marks):
            return mid
        await asyncio.sleep(0.1)


def later(seconds: float) -> Timestamp:
    """Return a time from now on."""
    stamp = Timestamp()
    stamp.FromMilliseconds(int((time.time() + seconds) * 1_000))
    return stamp


def resting(price: Decimal, venue: str, **fields: Any) -> dict[str, Any]:
    """Return an order to buy far below the market."""
    return {
        "market": ETH, "side": side_pb2.SIDE_BUY, "size": "0.05", "type": order_type_pb2.ORDER_TYPE_LIMIT,
        "limit_price": str((price * Decimal("0.8")).quantize(Decimal(1))), "venue": venue, **fields,
    }  # fmt: skip


async def test_an_order_ends_when_its_time_has_come_and_says_so(trader: Trader, edge: grpc.aio.Channel) -> None:
    until = later(3)
    placed = await trader.place(**resting(await middle(edge), "hyperliquid", expire_time=until))
    assert placed.expire_time == until
    await trader.until(placed.order_id, State.STATE_RUNNING)
    order = await trader.ended(placed.order_id)
    assert order.state == State.STATE_EXPIRED, order
    assert order.legs[0].state == LegState.STATE_EXPIRED
    assert order.legs[0].evidence != LegState.EVIDENCE_NOT_SENT, "it was there, and the venue told of its end"
    assert order.finish_time.ToMilliseconds() >= until.ToMilliseconds(), order
    assert not order.HasField("cancel_time"), "nobody asked for it"


async def test_lighter_ends_its_orders_itself(trader: Trader, edge: grpc.aio.Channel) -> None:
    price, until = await middle(edge), later(900)
    soon = await trader.place(**resting(price, "lighter", expire_time=later(60)))
    assert soon.state == State.STATE_DENIED
    assert (soon.refusal.reason, soon.refusal.field) == (refusal_pb2.REFUSAL_REASON_EXPIRED, "expire_time")
    passing = Timestamp()
    passing.FromJsonString(soon.refusal.passing_value)
    again = await trader.place(**resting(price, "lighter", expire_time=passing))
    assert again.state != State.STATE_DENIED, "what is said to pass does"
    placed = await trader.place(**resting(price, "lighter", expire_time=until))
    order = await trader.until(placed.order_id, State.STATE_RUNNING)
    (sent,) = await witness.received(trader.mesh, "lighter", f'"ClientOrderIndex":{order.legs[0].venue_client_id},')
    assert json.loads(sent)["OrderExpiry"] == until.ToMilliseconds()
    for one in (placed, again):
        await trader.cancel(one.order_id)
        assert (await trader.ended(one.order_id)).state == State.STATE_CANCELED


async def test_an_order_at_rest_is_canceled_at_once_however_long_it_rested(
    trader: Trader, edge: grpc.aio.Channel
) -> None:
    price = await middle(edge)
    placed = [await trader.place(**resting(price, venue)) for venue in VENUES]
    for one in placed:
        await trader.until(one.order_id, State.STATE_RUNNING)
    await calm(trader.mesh, [one.order_id for one in placed])
    for one in placed:
        await trader.cancel(one.order_id)
    for one in placed:
        assert (await trader.ended(one.order_id)).state == State.STATE_CANCELED


async def calm(mesh: Mesh, order_ids: list[str]) -> None:
    """Wait until a worker has looked at every leg and sees no need to look again soon."""
    database = await asyncpg.connect(mesh.about["postgres_url"])
    try:
        async with asyncio.timeout(60):
            while await database.fetchval(
                "SELECT count(*) FROM execution.legs WHERE order_id = ANY($1::uuid[]) "
                "AND NOT coalesce(due_time > now() + interval '20 s', false)",
                order_ids,
            ):
                await asyncio.sleep(0.05)
    finally:
        await database.close()


async def test_an_immediate_order_has_no_time(trader: Trader) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.place(
            market=ETH, side=side_pb2.SIDE_BUY, size="0.05", type=order_type_pb2.ORDER_TYPE_MARKET,
            expire_time=later(900),
        )  # fmt: skip
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def holds(trader: Trader, venue: str, size: str = "0.1") -> None:
    """Buy at a venue."""
    placed = await trader.place(
        market=ETH, side=side_pb2.SIDE_BUY, size=size, type=order_type_pb2.ORDER_TYPE_MARKET, venue=venue
    )
    assert (await trader.ended(placed.order_id)).state == State.STATE_DONE


def waiting(kind: str, trigger: Decimal, venue: str, **fields: Any) -> dict[str, Any]:
    """Return an order that sells once the mark price has reached a trigger."""
    return {
        "market": ETH, "side": side_pb2.SIDE_SELL, "size": "0.1", "venue": venue, "reduce_only": True,
        "type": order_type_pb2.OrderType.Value(f"ORDER_TYPE_{kind}"),
        "trigger_price": str(trigger.quantize(Decimal(1))), **fields,
    }  # fmt: skip


async def triggered(trader: Trader, order_id: str) -> order_pb2.Order:
    """Wait until a venue has told that an order's trigger was reached."""
    async with asyncio.timeout(40):
        while not (order := await trader.get_surely(order_id)).legs[0].HasField("trigger_time"):
            await asyncio.sleep(0.05)
    return order


@pytest.mark.parametrize("venue", VENUES)
async def test_a_stop_waits_for_the_mark_price_and_trades_then(
    trader: Trader, edge: grpc.aio.Channel, venue: str
) -> None:
    await holds(trader, venue)
    price = await middle(edge)
    stop = await trader.place(**waiting("STOP_MARKET", price * Decimal("0.95"), venue))
    profit = await trader.place(**waiting("TAKE_PROFIT_MARKET", price * Decimal("1.05"), venue))
    for one in (stop, profit):
        order = await trader.until(one.order_id, State.STATE_RUNNING)
        assert order.explanation.startswith("It waits for the mark price to reach"), order
        assert not order.legs[0].HasField("trigger_time")
    try:
        await witness.set_mark(trader.mesh, "ETH", price * Decimal("0.94"), (venue,))
        order = await trader.ended(stop.order_id)
    finally:
        await witness.let_go(trader.mesh, "ETH")
    assert (order.state, order.filled_size) == (State.STATE_DONE, "0.1"), order
    assert order.legs[0].HasField("trigger_time")
    assert Decimal(order.average_price) > price * Decimal("0.9"), "it took what rested, whatever its worst price was"
    await trader.cancel(profit.order_id)
    assert (await trader.ended(profit.order_id)).state == State.STATE_CANCELED


@pytest.mark.parametrize("venue", VENUES)
async def test_a_stop_limit_rests_at_its_limit_once_triggered(
    trader: Trader, edge: grpc.aio.Channel, venue: str
) -> None:
    await holds(trader, venue)
    price = await middle(edge)
    limit = str((price * Decimal("1.1")).quantize(Decimal(1)))
    placed = await trader.place(**waiting("STOP_LIMIT", price * Decimal("0.95"), venue, limit_price=limit))
    await trader.until(placed.order_id, State.STATE_RUNNING)
    try:
        await witness.set_mark(trader.mesh, "ETH", price * Decimal("0.94"), (venue,))
        order = await triggered(trader, placed.order_id)
    finally:
        await witness.let_go(trader.mesh, "ETH")
    assert order.state == State.STATE_RUNNING
    assert not order.explanation.startswith("It waits")
    await trader.cancel(placed.order_id)
    assert (await trader.ended(placed.order_id)).state == State.STATE_CANCELED


async def test_a_trigger_that_cannot_be_is_refused_with_what_would_pass(trader: Trader, edge: grpc.aio.Channel) -> None:
    price = await middle(edge)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.place(**waiting("STOP_MARKET", price * Decimal("0.95"), "lighter", reduce_only=False))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    seen = await trader.preview(**waiting("STOP_MARKET", price * Decimal("0.95"), "lighter"))
    assert (seen.passes, [leg.venue for leg in seen.legs]) == (True, ["lighter"]), seen
    anywhere = waiting("STOP_MARKET", price * Decimal("0.95"), "")
    off = waiting("STOP_MARKET", price, "hyperliquid")
    off["trigger_price"] = f"{price}.123456"
    early = {**resting(price, "lighter"), "expire_time": later(60)}
    for fields, name in ((anywhere, "venue"), (off, "trigger_price"), (early, "expire_time")):
        denied = await trader.place(**fields)
        assert (denied.state, denied.refusal.field) == (State.STATE_DENIED, name)
        seen = await trader.preview(**fields)
        assert (seen.passes, [one.field for one in seen.refusals]) == (False, [name]), "a look says the same"
    assert seen.refusals[0].passing_value, "with a time that passes"
    fired = await trader.place(**waiting("STOP_MARKET", price * Decimal("1.05"), "hyperliquid"))
    order = await trader.ended(fired.order_id)
    assert order.state == State.STATE_REJECTED, order
    assert order.refusal.reason == refusal_pb2.REFUSAL_REASON_TRIGGER_WRONG_SIDE
    if order.refusal.passing_value:  # the stream may have said no first, and in a word
        assert Decimal(order.refusal.passing_value) < price * Decimal("1.05")


def exits(price: Decimal) -> dict[str, Any]:
    """Return a take-profit and a stop, each 5 % from a price."""
    up, down = (str((price * Decimal(share)).quantize(Decimal(1))) for share in ("1.05", "0.95"))
    return {"take_profit": order_pb2.Exit(trigger_price=up), "stop_loss": order_pb2.Exit(trigger_price=down)}


def of(order: order_pb2.Order, role: int) -> list[leg_pb2.Leg]:
    """Return the legs of an order that are for something."""
    return [leg for leg in order.legs if leg.role == role]


async def opened(trader: Trader, order_id: str, role: int, sizes: list[str]) -> order_pb2.Order:
    """Wait until a venue has taken exits of these sizes."""
    async with asyncio.timeout(40):
        while True:
            order = await trader.get_surely(order_id)
            if [leg.size for leg in of(order, role) if leg.state == LegState.STATE_OPEN] == sizes:
                return order
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("venue", VENUES)
async def test_of_two_exits_one_trades_and_the_other_is_canceled(
    trader: Trader, edge: grpc.aio.Channel, venue: str
) -> None:
    price = await middle(edge)
    placed = await trader.place(
        market=ETH, side=side_pb2.SIDE_BUY, size="0.1", type=order_type_pb2.ORDER_TYPE_MARKET, venue=venue,
        **exits(price),
    )  # fmt: skip
    assert {leg.state for leg in placed.legs if leg.role != LegState.ROLE_ENTRY} == {LegState.STATE_HELD}
    for role in (LegState.ROLE_TAKE_PROFIT, LegState.ROLE_STOP_LOSS):
        order = await opened(trader, placed.order_id, role, ["0.1"])
    assert (order.state, order.filled_size) == (State.STATE_RUNNING, "0.1")
    try:
        await witness.set_mark(trader.mesh, "ETH", price * Decimal("1.06"), (venue,))
        order = await trader.ended(placed.order_id)
    finally:
        await witness.let_go(trader.mesh, "ETH")
    assert (order.state, order.filled_size) == (State.STATE_DONE, "0.1"), order
    (profit,), (stop,) = of(order, LegState.ROLE_TAKE_PROFIT), of(order, LegState.ROLE_STOP_LOSS)
    assert (profit.state, profit.filled_size) == (LegState.STATE_FILLED, "0.1")
    assert (stop.state, stop.filled_size) == (LegState.STATE_CANCELED, "0")
    report = await trader.report(order.order_id)
    assert (report.complete, report.filled_size) == (True, "0.1"), report
    assert [leg.quoted_size for leg in report.legs] == ["0.1", "0", "0"], "exits are beyond the plan"
    assert sum(Decimal(one.amount) for one in report.attributions) == Decimal(report.difference)
    (policy,) = (one for one in report.attributions if one.cause == report_pb2.Attribution.CAUSE_POLICY)
    traded = next(leg for leg in report.legs if leg.leg_id == profit.leg_id)
    beyond = (Decimal(profit.trigger_price) - Decimal(traded.achieved_price)) * Decimal("0.1")  # the book had not moved
    assert Decimal(traded.lines[0].achieved_amount) == pytest.approx(beyond, abs=Decimal("0.000001"))
    assert Decimal(policy.amount) == sum(Decimal(one.achieved_amount) for one in traded.lines), "and its fees"


@pytest.mark.parametrize("venue", VENUES)
async def test_exits_grow_with_what_their_entry_fills(trader: Trader, edge: grpc.aio.Channel, venue: str) -> None:
    price = await middle(edge)
    try:
        await witness.set_book(trader.mesh, venue, "ETH", bids=[(price - 20, 50)], asks=[(price + 20, 50)])
        placed = await trader.place(
            market=ETH, side=side_pb2.SIDE_BUY, size="0.1", type=order_type_pb2.ORDER_TYPE_LIMIT,
            limit_price=str(price - 10), venue=venue, **exits(price),
        )  # fmt: skip
        await trader.until_open(placed.order_id)
        await witness.sell(trader.mesh, venue, "ETH", "0.04")
        await opened(trader, placed.order_id, LegState.ROLE_STOP_LOSS, ["0.04"])
        await witness.sell(trader.mesh, venue, "ETH", "0.06")
        for role in (LegState.ROLE_TAKE_PROFIT, LegState.ROLE_STOP_LOSS):
            order = await opened(trader, placed.order_id, role, ["0.04", "0.06"])
    finally:
        await witness.let_go(trader.mesh, "ETH")
    assert (order.state, order.filled_size) == (State.STATE_RUNNING, "0.1")
    await trader.cancel(placed.order_id)
    order = await trader.ended(placed.order_id)
    assert order.state == State.STATE_DONE, "its entry was filled whole"
    assert {leg.state for leg in order.legs if leg.role != LegState.ROLE_ENTRY} == {LegState.STATE_CANCELED}
