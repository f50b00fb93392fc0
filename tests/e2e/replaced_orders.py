"""Orders that get new terms: tests of `test_trading_control`, in whose mesh they run, and what they share."""

# ruff: noqa: ASYNC110 - what is awaited is in other processes

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import aiohttp
import grpc
import pytest
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import order_pb2
from perpmesh.type.v1 import order_type_pb2, side_pb2
from perpmesh.vault.v1 import account_pb2, vault_service_pb2

from tests.e2e.test_trading import State, Trader, mid
from tests.support.mesh import Mesh

BUY = side_pb2.SIDE_BUY
LIMIT = order_type_pb2.ORDER_TYPE_LIMIT
VENUES = ("hyperliquid", "lighter")


async def low(edge: grpc.aio.Channel, percent: int = 95) -> str:
    """Return a price at which an order rests."""
    return str(int(await mid(edge)) * percent // 100 // 10 * 10)


async def rests(trader: Trader, edge: grpc.aio.Channel, venue: str) -> order_pb2.Order:
    """Return an order that rests at a venue."""
    price = await low(edge)
    placed = await trader.place_surely(side=BUY, size="0.01", type=LIMIT, limit_price=price, venue=venue)
    return await until(trader, placed.order_id, lambda one: one.legs[0].state == one.legs[0].STATE_OPEN)


async def until(trader: Trader, order_id: str, good: Callable[[order_pb2.Order], bool]) -> order_pb2.Order:
    """Wait until an order stands as wanted."""
    order = await trader.get(order_id)
    try:
        async with asyncio.timeout(60):
            while not good(order := await trader.get(order_id)):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"it stands otherwise: {order}") from None
    return order


def new_terms(order: order_pb2.Order, **fields: Any) -> pb.ReplaceOrderRequest:
    return pb.ReplaceOrderRequest(**{"order_id": order.order_id, "request_id": str(uuid.uuid4()), **fields})


async def replaced_surely(trader: Trader, request: pb.ReplaceOrderRequest) -> order_pb2.Order:
    """Replace an order as a client does on a busy machine: the same request again, until it is answered."""
    async with asyncio.timeout(60):
        while True:
            try:
                return (await trader.execution.ReplaceOrder(request, metadata=trader.metadata)).order
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.2)


def live(order: order_pb2.Order) -> list[str]:
    """Return the venue's ids of the legs that are open."""
    return [leg.venue_order_id for leg in order.legs if leg.state in (leg.STATE_OPEN, leg.STATE_PARTIALLY_FILLED)]


@pytest.mark.parametrize("venue", VENUES)
async def test_an_order_is_replaced_by_a_leg_that_follows_and_never_fills_more_than_was_wished(
    trader: Trader, edge: grpc.aio.Channel, mesh: Mesh, venue: str
) -> None:
    order = await rests(trader, edge, venue)
    request = new_terms(order, limit_price=await low(edge, 94))
    replaced = await replaced_surely(trader, request)
    assert replaced.version > order.version
    moved = await until(trader, order.order_id, lambda one: len(one.legs) == 2 and len(live(one)) == 1)
    assert (moved.limit_price, moved.size, moved.state) == (request.limit_price, "0.01", State.STATE_RUNNING)
    assert moved.legs[0].state == moved.legs[0].STATE_CANCELED
    again = await replaced_surely(trader, request)
    assert len(again.legs) == 2, "the same request changes it once"
    late = new_terms(order, size="0.03", expected_version=1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.execution.ReplaceOrder(late, metadata=trader.metadata)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    off = new_terms(order, limit_price=f"{request.limit_price}.123456")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.execution.ReplaceOrder(off, metadata=trader.metadata)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    crossing = str(int(await mid(edge)) * 102 // 100 // 10 * 10)
    url = f"{mesh.url}/v1/orders/{order.order_id}:replace"
    async with aiohttp.ClientSession() as http:
        body = {"requestId": str(uuid.uuid4()), "size": "0.02", "limitPrice": crossing}
        async with http.post(url, json=body, headers=dict(trader.metadata)) as answer:
            assert answer.status == 200, await answer.text()
    done = await trader.ended(order.order_id)
    assert (done.state, done.filled_size, done.size) == (State.STATE_DONE, "0.02", "0.02"), done
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.execution.ReplaceOrder(new_terms(order, size="0.03"), metadata=trader.metadata)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_cancel_ends_a_replacement_and_a_smaller_size_than_is_filled_ends_the_order(
    trader: Trader, edge: grpc.aio.Channel
) -> None:
    placed = await trader.place_surely(side=BUY, size="0.01", type=LIMIT, limit_price=await low(edge), venue="lighter")
    at_once = new_terms(placed, limit_price=await low(edge, 93))
    await replaced_surely(trader, at_once)  # it may not even be sent yet
    order = await until(trader, placed.order_id, lambda one: len(one.legs) == 2 and len(live(one)) == 1)
    assert order.limit_price == at_once.limit_price
    request = new_terms(order, size="0.02", limit_price=await low(edge, 94))
    await replaced_surely(trader, request)
    await trader.execution.CancelOrder(pb.CancelOrderRequest(order_id=order.order_id), metadata=trader.metadata)
    ended = await trader.ended(order.order_id)
    assert ended.state == State.STATE_CANCELED
    assert not live(ended)


async def test_terms_that_the_vault_would_not_sign_leave_the_order_as_it_is(
    trader: Trader, edge: grpc.aio.Channel
) -> None:
    order = await rests(trader, edge, "hyperliquid")
    owner = trader.owners["hyperliquid"]
    asked = vault_service_pb2.SetTradingLimitsRequest(
        account_id=owner.account_id, limits=account_pb2.TradingLimits(max_order_notional="2000")
    )
    await owner.vault.SetTradingLimits(asked, metadata=trader.metadata)
    wish = new_terms(order, size="0.05")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await replaced_surely(trader, wish)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "the order stands as it is" in (caught.value.details() or "")
    stands = await trader.get(order.order_id)
    assert (len(live(stands)), len(stands.legs), stands.size) == (1, 1, "0.01")
    asked.limits.Clear()
    await owner.vault.SetTradingLimits(asked, metadata=trader.metadata)
    await replaced_surely(trader, wish)  # the same wish passes where it is allowed by now
    moved = await until(trader, order.order_id, lambda one: len(one.legs) == 2 and len(live(one)) == 1)
    assert moved.size == "0.05"
    await trader.execution.CancelOrder(pb.CancelOrderRequest(order_id=order.order_id), metadata=trader.metadata)
    await trader.ended(order.order_id)
