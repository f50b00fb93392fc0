"""Orders through the edge to both simulated venues, and what is told of them."""

# ruff: noqa: ASYNC110 - what is awaited is in other processes

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import leg_pb2, order_pb2, report_pb2
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from perpmesh.marketdata.v1 import market_data_service_pb2
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from perpmesh.type.v1 import order_type_pb2, side_pb2, time_in_force_pb2
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub
from perpmesh_client.errors import PerpmeshError
from perpmesh_client.quotes import Quotes

from tests.e2e.conditional_orders import (
    test_a_stop_limit_rests_at_its_limit_once_triggered,
    test_a_stop_waits_for_the_mark_price_and_trades_then,
    test_a_trigger_that_cannot_be_is_refused_with_what_would_pass,
    test_an_immediate_order_has_no_time,
    test_an_order_at_rest_is_canceled_at_once_however_long_it_rested,
    test_an_order_ends_when_its_time_has_come_and_says_so,
    test_exits_grow_with_what_their_entry_fills,
    test_lighter_ends_its_orders_itself,
    test_of_two_exits_one_trades_and_the_other_is_canceled,
)
from tests.e2e.sliced_orders import (
    test_an_order_in_slices_is_paused_resumed_survives_a_death_and_ends_truthfully,
    test_only_an_order_in_slices_is_paused,
    test_slices_that_could_not_pass_are_denied_with_what_would,
)
from tests.support.auth import bearer, sign_in
from tests.support.mesh import Mesh, running_mesh
from tests.support.vault import Owner, own
from tests.support.wallet import Wallet

pytestmark = pytest.mark.asyncio(loop_scope="module")
BTC = "BTC-PERP"
__all__ = [
    "test_a_stop_limit_rests_at_its_limit_once_triggered",
    "test_a_stop_waits_for_the_mark_price_and_trades_then",
    "test_a_trigger_that_cannot_be_is_refused_with_what_would_pass",
    "test_an_immediate_order_has_no_time",
    "test_an_order_at_rest_is_canceled_at_once_however_long_it_rested",
    "test_an_order_ends_when_its_time_has_come_and_says_so",
    "test_an_order_in_slices_is_paused_resumed_survives_a_death_and_ends_truthfully",
    "test_exits_grow_with_what_their_entry_fills",
    "test_lighter_ends_its_orders_itself",
    "test_of_two_exits_one_trades_and_the_other_is_canceled",
    "test_only_an_order_in_slices_is_paused",
    "test_slices_that_could_not_pass_are_denied_with_what_would",
]
"""Tests of other modules that share this one's mesh."""
State = order_pb2.Order
ENDED = (State.STATE_DONE, State.STATE_PARTIALLY_DONE, State.STATE_CANCELED, State.STATE_REJECTED, State.STATE_DENIED,
         State.STATE_FAILED, State.STATE_EXPIRED)  # fmt: skip


@dataclass
class Trader:
    """A signed-in user with accounts at both venues that can trade."""

    mesh: Mesh
    execution: Any
    metadata: tuple[tuple[str, str], ...]
    owners: dict[str, Owner]

    async def place(self, **fields: Any) -> order_pb2.Order:
        request = pb.PlaceOrderRequest(**{"request_id": str(uuid.uuid4()), "market": BTC, **fields})
        return (await self.execution.PlaceOrder(request, metadata=self.metadata)).order

    async def preview(self, **fields: Any) -> pb.PreviewOrderResponse:
        order = pb.PlaceOrderRequest(**{"request_id": str(uuid.uuid4()), "market": BTC, **fields})
        seen: pb.PreviewOrderResponse = await self.execution.PreviewOrder(
            pb.PreviewOrderRequest(order=order), metadata=self.metadata
        )
        return seen

    async def report(self, order_id: str) -> report_pb2.ExecutionReport:
        request = pb.GetExecutionReportRequest(order_id=order_id)
        return (await self.execution.GetExecutionReport(request, metadata=self.metadata)).report

    async def place_surely(self, **fields: Any) -> order_pb2.Order:
        """Place an order as a client does whose server may die: the same request again, until it is answered."""
        request_id = str(uuid.uuid4())
        async with asyncio.timeout(60):
            while True:
                try:
                    return await self.place(request_id=request_id, **fields)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    await asyncio.sleep(0.2)

    async def cancel(self, order_id: str) -> None:
        await self.execution.CancelOrder(pb.CancelOrderRequest(order_id=order_id), metadata=self.metadata)

    async def get(self, order_id: str) -> order_pb2.Order:
        return (await self.execution.GetOrder(pb.GetOrderRequest(order_id=order_id), metadata=self.metadata)).order

    async def get_surely(self, order_id: str) -> order_pb2.Order:
        """Get an order as a client does whose server may die."""
        async with asyncio.timeout(60):
            while True:
                try:
                    return await self.get(order_id)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                        raise
                    await asyncio.sleep(0.2)

    async def ended(self, order_id: str, timeout_s: float = 40.0) -> order_pb2.Order:
        async with asyncio.timeout(timeout_s):
            while (order := await self.get_surely(order_id)).state not in ENDED:
                await asyncio.sleep(0.05)
        return order

    async def until_open(self, order_id: str) -> order_pb2.Order:
        """Wait until the venue has taken an order's first leg."""
        async with asyncio.timeout(30):
            while (order := await self.get_surely(order_id)).legs[0].state != leg_pb2.Leg.STATE_OPEN:
                await asyncio.sleep(0.05)
        return order

    async def until(self, order_id: str, state: int) -> order_pb2.Order:
        async with asyncio.timeout(30):
            while (order := await self.get_surely(order_id)).state != state or not all(
                leg.acknowledge_time.seconds for leg in order.legs
            ):
                await asyncio.sleep(0.05)
        return order


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh() -> AsyncIterator[Mesh]:
    settings = {"simulator_seed": 71, "ip_requests_per_s": 100_000, "simulator_lighter_requests_max": 0}
    async with running_mesh(**settings) as running:
        async with Quotes(running.edge) as quotes, asyncio.timeout(60):
            while not await _quoted(quotes):
                await asyncio.sleep(0.2)
        yield running


async def _quoted(quotes: Quotes) -> bool:
    """Say whether both venues' books are there."""
    try:
        quote = await quotes.quote(BTC, "buy", "1")
    except PerpmeshError:
        return False
    return len(quote.book_versions) == 2


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def edge(mesh: Mesh) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        yield channel


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def trader(mesh: Mesh, edge: grpc.aio.Channel) -> Trader:
    return await new_trader(mesh, edge)


async def new_trader(
    mesh: Mesh, edge: grpc.aio.Channel, venues: tuple[str, ...] = ("hyperliquid", "lighter")
) -> Trader:
    wallet = Wallet()
    token = (await sign_in(AuthServiceStub(edge), wallet)).access_token
    owners = {}
    for venue in venues:
        owner = await own(VaultServiceStub(edge), wallet, token, venue, default=True)
        await owner.ready()
        owners[venue] = owner
    return Trader(mesh, ExecutionServiceStub(edge), bearer(token), owners)


async def mid(edge: grpc.aio.Channel) -> Decimal:
    answer = await MarketDataServiceStub(edge).GetPrice(market_data_service_pb2.GetPriceRequest(market=BTC))
    return (Decimal(answer.price.best_bid.price) + Decimal(answer.price.best_ask.price)) / 2


async def test_a_market_order_at_each_venue_is_filled_and_every_fill_is_told(trader: Trader) -> None:
    for venue in trader.owners:
        placed = await trader.place(
            side=side_pb2.SIDE_BUY, size="0.01", type=order_type_pb2.ORDER_TYPE_MARKET, venue=venue
        )
        order = await trader.ended(placed.order_id)
        assert order.state == State.STATE_DONE, order
        assert order.filled_size == "0.01"
        assert [leg.venue for leg in order.legs] == [venue]
        fills = await trader.execution.ListFills(pb.ListFillsRequest(order_id=order.order_id), metadata=trader.metadata)
        assert sum(Decimal(one.size) for one in fills.fills) == Decimal("0.01")
        assert all(one.costs for one in fills.fills)


async def test_a_routed_order_that_splits_is_filled_at_both_venues(trader: Trader, edge: grpc.aio.Channel) -> None:
    placed = await trader.place(side=side_pb2.SIDE_SELL, size="0.02", type=order_type_pb2.ORDER_TYPE_MARKET)
    order = await trader.ended(placed.order_id)
    assert order.state == State.STATE_DONE, order
    assert order.quote_id
    assert sum(Decimal(leg.filled_size) for leg in order.legs) == Decimal(order.filled_size) == Decimal("0.02")


async def test_the_same_request_is_one_order_and_other_content_is_refused(trader: Trader) -> None:
    request_id = str(uuid.uuid4())
    wish = {"side": side_pb2.SIDE_BUY, "size": "0.01", "type": order_type_pb2.ORDER_TYPE_MARKET, "venue": "hyperliquid"}
    twins = await asyncio.gather(*(trader.place(request_id=request_id, **wish) for _ in range(20)))
    assert len({order.order_id for order in twins}) == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.place(request_id=request_id, **{**wish, "size": "0.02"})
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    order = await trader.ended(twins[0].order_id)
    fills = await trader.execution.ListFills(pb.ListFillsRequest(order_id=order.order_id), metadata=trader.metadata)
    assert sum(Decimal(one.size) for one in fills.fills) == Decimal("0.01"), "one order reached the venue"


@pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
async def test_a_resting_order_opens_and_is_canceled(trader: Trader, edge: grpc.aio.Channel, venue: str) -> None:
    price = str(int(await mid(edge) * Decimal("0.97")) // 10 * 10)
    placed = await trader.place(
        side=side_pb2.SIDE_BUY, size="0.01", type=order_type_pb2.ORDER_TYPE_LIMIT, limit_price=price, venue=venue,
        time_in_force=time_in_force_pb2.TIME_IN_FORCE_GOOD_TILL_CANCELED,
    )  # fmt: skip
    await trader.until(placed.order_id, State.STATE_RUNNING)
    active = await trader.execution.ListOrders(pb.ListOrdersRequest(active_only=True), metadata=trader.metadata)
    assert placed.order_id in {one.order_id for one in active.orders}
    await trader.execution.CancelOrder(pb.CancelOrderRequest(order_id=placed.order_id), metadata=trader.metadata)
    order = await trader.ended(placed.order_id)
    assert order.state == State.STATE_CANCELED, order
    again = await trader.execution.CancelOrder(
        pb.CancelOrderRequest(order_id=placed.order_id), metadata=trader.metadata
    )
    assert again.order.state == State.STATE_CANCELED, "an order that has ended is answered as it is"


async def test_an_order_that_rests_and_is_left_alone_is_canceled_at_once(
    trader: Trader, mesh: Mesh, edge: grpc.aio.Channel
) -> None:
    price = str(int(await mid(edge) * Decimal("0.97")) // 10 * 10)
    placed = await trader.place(
        side=side_pb2.SIDE_BUY, size="0.01", type=order_type_pb2.ORDER_TYPE_LIMIT, limit_price=price, venue="lighter",
        time_in_force=time_in_force_pb2.TIME_IN_FORCE_GOOD_TILL_CANCELED,
    )  # fmt: skip
    await trader.until(placed.order_id, State.STATE_RUNNING)
    database = await asyncpg.connect(mesh.about["postgres_url"])
    calm = "SELECT due_time > now() + interval '90 s' FROM execution.legs WHERE order_id = $1"
    async with asyncio.timeout(60):
        while not await database.fetchval(calm, uuid.UUID(placed.order_id)):
            await asyncio.sleep(0.1)
    await database.close()
    await trader.execution.CancelOrder(pb.CancelOrderRequest(order_id=placed.order_id), metadata=trader.metadata)
    assert (await trader.ended(placed.order_id)).state == State.STATE_CANCELED


async def test_a_stream_tells_every_change_of_an_order_once_and_resumes(trader: Trader) -> None:
    stream = trader.execution.WatchOrders(pb.WatchOrdersRequest(), metadata=trader.metadata)
    async with asyncio.timeout(30):
        while (await stream.read()).WhichOneof("event") != "live":
            pass
        placed = await trader.place(
            side=side_pb2.SIDE_BUY, size="0.01", type=order_type_pb2.ORDER_TYPE_MARKET, venue="lighter"
        )
        seen, cursor = [], ""
        while not seen or seen[-1].state not in ENDED:
            message = await stream.read()
            if message.HasField("order") and message.order.order_id == placed.order_id:
                seen.append(message.order)
                cursor = cursor or message.cursor
        stream.cancel()
        versions = [order.version for order in seen]
        assert versions == list(range(1, len(versions) + 1)), "every state, in its order, none twice"
        again = trader.execution.WatchOrders(pb.WatchOrdersRequest(cursor=cursor), metadata=trader.metadata)
        resumed = []
        while len(resumed) < len(seen) - 1:
            message = await again.read()
            if message.HasField("order") and message.order.order_id == placed.order_id:
                resumed.append(message.order.version)
        again.cancel()
    assert resumed == versions[1:]


async def test_what_cannot_be_traded_is_denied_with_what_would_pass(trader: Trader) -> None:
    small = await trader.place(side=side_pb2.SIDE_BUY, size="0.00001", type=order_type_pb2.ORDER_TYPE_MARKET)
    assert small.state == State.STATE_DENIED
    assert small.refusal.passing_value
    off = await trader.place(
        side=side_pb2.SIDE_BUY,
        size="0.01",
        type=order_type_pb2.ORDER_TYPE_LIMIT,
        limit_price="50000.123456",
        venue="lighter",
    )
    assert off.state == State.STATE_DENIED
    assert off.refusal.field == "limit_price"
    assert Decimal(off.refusal.passing_value) <= Decimal("50000.123456")


async def test_another_user_sees_nothing_of_it(trader: Trader, mesh: Mesh, edge: grpc.aio.Channel) -> None:
    other = await new_trader(mesh, edge, ())
    listed = await trader.execution.ListOrders(pb.ListOrdersRequest(page_size=1), metadata=trader.metadata)
    order_id = listed.orders[0].order_id
    for request, call in (
        (pb.GetOrderRequest(order_id=order_id), "GetOrder"),
        (pb.CancelOrderRequest(order_id=order_id), "CancelOrder"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(other.execution, call)(request, metadata=other.metadata)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert not (await other.execution.ListOrders(pb.ListOrdersRequest(), metadata=other.metadata)).orders
    token = listed.next_page_token
    with pytest.raises(grpc.aio.AioRpcError):
        await other.execution.ListOrders(pb.ListOrdersRequest(page_size=1, page_token=token), metadata=other.metadata)


async def test_orders_survive_a_room_that_is_killed_while_they_are_sent(trader: Trader, mesh: Mesh) -> None:
    placed = []
    for turn in range(6):
        venue = ("hyperliquid", "lighter")[turn % 2]
        placed.append(
            await trader.place_surely(
                side=side_pb2.SIDE_BUY, size="0.01", type=order_type_pb2.ORDER_TYPE_MARKET, venue=venue
            )
        )
        if turn in (1, 4):
            killed = mesh.kill("execution", signal.SIGKILL)
            await mesh.restarted("execution", than=killed)
    for one in placed:
        order = await trader.ended(one.order_id, 90)
        fills = await trader.execution.ListFills(pb.ListFillsRequest(order_id=order.order_id), metadata=trader.metadata)
        filled = sum(Decimal(fill.size) for fill in fills.fills)
        if order.state == State.STATE_EXPIRED:  # its bytes existed, were surely not sent, and are not sent late
            assert [leg.evidence for leg in order.legs] == [leg_pb2.Leg.EVIDENCE_NOT_SENT]
            assert filled == 0
        else:
            assert (order.state, filled) == (State.STATE_DONE, Decimal("0.01")), "none lost, none doubled"


async def test_positions_are_closed_whole_and_never_opened(trader: Trader) -> None:
    for venue in ("hyperliquid", "lighter"):
        bought = await trader.place_surely(
            side=side_pb2.SIDE_BUY, size="0.01", type=order_type_pb2.ORDER_TYPE_MARKET, venue=venue
        )
        assert (await trader.ended(bought.order_id)).state == State.STATE_DONE
    request = pb.ClosePositionRequest(request_id=str(uuid.uuid4()), market=BTC)
    closing = (await trader.execution.ClosePosition(request, metadata=trader.metadata)).orders
    again = (await trader.execution.ClosePosition(request, metadata=trader.metadata)).orders
    assert [one.order_id for one in again] == [one.order_id for one in closing]
    for order in closing:
        assert order.reduce_only
        ended = await trader.ended(order.order_id)
        assert ended.state == State.STATE_DONE, ended
    assert sorted({leg.venue for order in closing for leg in order.legs}) == ["hyperliquid", "lighter"]
    fresh = pb.ClosePositionRequest(request_id=str(uuid.uuid4()), market=BTC)
    assert not (await trader.execution.ClosePosition(fresh, metadata=trader.metadata)).orders, "the venues hold nothing"
    other = pb.ClosePositionRequest(request_id=request.request_id, market="ETH-PERP")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.execution.ClosePosition(other, metadata=trader.metadata)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_part_of_a_position_is_closed_where_it_is_plain_which(trader: Trader) -> None:
    for venue in ("hyperliquid", "lighter"):
        await trader.ended(
            (
                await trader.place_surely(
                    side=side_pb2.SIDE_BUY, size="0.02", type=order_type_pb2.ORDER_TYPE_MARKET, venue=venue
                )
            ).order_id
        )
    part = pb.ClosePositionRequest(request_id=str(uuid.uuid4()), market=BTC, size="0.005")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.execution.ClosePosition(part, metadata=trader.metadata)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    part.venue = "lighter"
    (order,) = (await trader.execution.ClosePosition(part, metadata=trader.metadata)).orders
    ended = await trader.ended(order.order_id)
    assert (ended.state, ended.filled_size) == (State.STATE_DONE, "0.005")
    rest = pb.ClosePositionRequest(request_id=str(uuid.uuid4()), market=BTC)
    for order in (await trader.execution.ClosePosition(rest, metadata=trader.metadata)).orders:
        assert (await trader.ended(order.order_id)).state == State.STATE_DONE
