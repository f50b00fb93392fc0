"""Orders in slices, through the edge; collected by `test_trading`, whose mesh they share."""

# ruff: noqa: ASYNC110 - what is awaited is in other processes

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import leg_pb2, order_pb2
from perpmesh.type.v1 import order_type_pb2, refusal_pb2, side_pb2

if TYPE_CHECKING:
    from tests.e2e.test_trading import Trader

State = order_pb2.Order


def sliced(size: str, *, interval_s: int = 10, duration_s: int = 60, **fields: Any) -> dict[str, Any]:
    """Return an order to buy in slices."""
    twap = order_pb2.Twap(duration=Duration(seconds=duration_s), slice_interval=Duration(seconds=interval_s))
    return {"side": side_pb2.SIDE_BUY, "size": size, "type": order_type_pb2.ORDER_TYPE_TWAP, "twap": twap, **fields}


async def until(trader: Trader, order_id: str, good: Callable[[order_pb2.Order], bool]) -> order_pb2.Order:
    """Wait until an order stands as wanted."""
    async with asyncio.timeout(60):
        while not good(order := await trader.get_surely(order_id)):
            await asyncio.sleep(0.1)
    return order


async def test_an_order_in_slices_is_paused_resumed_survives_a_death_and_ends_truthfully(trader: Trader) -> None:
    placed = await trader.place(**sliced("0.07"))
    assert (placed.type, placed.twap_progress.slice_count) == (order_type_pb2.ORDER_TYPE_TWAP, 7)
    order = await until(trader, placed.order_id, lambda one: Decimal(one.filled_size) > 0)
    assert order.state == State.STATE_RUNNING
    for _ in range(2):  # a paused order is answered as it is
        request = pb.PauseOrderRequest(order_id=placed.order_id)
        paused = (await trader.execution.PauseOrder(request, metadata=trader.metadata)).order
        assert paused.state == State.STATE_PAUSED
        assert not paused.twap_progress.HasField("next_slice_time")
    sent = paused.twap_progress.sent_slice_count
    assert sent >= 1
    killed = trader.mesh.kill("execution", signal.SIGKILL)
    await trader.mesh.restarted("execution", than=killed)
    order = await until(trader, placed.order_id, lambda one: one.state == State.STATE_PAUSED)
    resume = pb.ResumeOrderRequest(order_id=placed.order_id)
    order = (await trader.execution.ResumeOrder(resume, metadata=trader.metadata)).order
    assert order.twap_progress.HasField("next_slice_time")
    assert order.expire_time.ToMilliseconds() > placed.expire_time.ToMilliseconds(), "its end moved by the pause"
    await until(trader, placed.order_id, lambda one: one.twap_progress.sent_slice_count > sent)
    killed = trader.mesh.kill("execution", signal.SIGKILL)
    await trader.mesh.restarted("execution", than=killed)
    await until(trader, placed.order_id, lambda one: all(leg.state in ENDED_LEGS for leg in one.legs))
    await trader.cancel(placed.order_id)
    order = await trader.ended(placed.order_id)
    assert order.state == State.STATE_PARTIALLY_DONE, order
    assert {leg.role for leg in order.legs} == {leg_pb2.Leg.ROLE_SLICE}
    numbers = {leg.slice_number for leg in order.legs}
    assert len(numbers) == order.twap_progress.sent_slice_count > sent
    fills = await trader.execution.ListFills(pb.ListFillsRequest(order_id=order.order_id), metadata=trader.metadata)
    assert sum(Decimal(one.size) for one in fills.fills) == Decimal(order.filled_size)
    assert Decimal(order.filled_size) <= max(numbers) * Decimal("0.01"), "never ahead of its schedule"
    report = await trader.report(order.order_id)
    assert (report.complete, report.filled_size) == (True, order.filled_size), report
    assert all(Decimal(leg.quoted_size) > 0 for leg in report.legs), "each slice has a plan of its own"
    assert Decimal(report.quoted_size) == sum(Decimal(leg.quoted_size) for leg in report.legs)
    assert sum(Decimal(one.amount) for one in report.attributions) == Decimal(report.difference)
    assert abs(Decimal(report.difference_bps)) < 200, "measured from the mid price at its arrival"


ENDED_LEGS = (leg_pb2.Leg.STATE_FILLED, leg_pb2.Leg.STATE_CANCELED, leg_pb2.Leg.STATE_EXPIRED,
              leg_pb2.Leg.STATE_REJECTED, leg_pb2.Leg.STATE_DENIED, leg_pb2.Leg.STATE_FAILED)  # fmt: skip


async def test_slices_that_could_not_pass_are_denied_with_what_would(trader: Trader) -> None:
    small = await trader.place(**sliced("0.0007", venue="hyperliquid"))
    assert (small.state, small.type) == (State.STATE_DENIED, order_type_pb2.ORDER_TYPE_TWAP)
    assert small.refusal.field == "size"
    seen = await trader.preview(**sliced("0.0007", venue="hyperliquid"))
    assert [(one.field, one.reason) for one in seen.refusals] == [("size", small.refusal.reason)], "as a look says"
    seen = await trader.preview(**sliced(small.refusal.passing_value, venue="hyperliquid"))
    assert (seen.passes, len(seen.legs), seen.expected_cost) == (True, 0, ""), seen
    fits = await trader.place(**sliced(small.refusal.passing_value, venue="hyperliquid"))
    assert fits.state != State.STATE_DENIED, "what is said to pass does"
    await trader.cancel(fits.order_id)
    many = await trader.place(**sliced("1", duration_s=7 * 86_400))
    assert (many.refusal.reason, many.refusal.field) == (
        refusal_pb2.REFUSAL_REASON_NOT_SUPPORTED, "twap.slice_interval",
    )  # fmt: skip
    few = await trader.place(**sliced("1", duration_s=7 * 86_400, interval_s=int(many.refusal.passing_value[:-1])))
    assert few.state != State.STATE_DENIED, few
    await trader.cancel(few.order_id)
    for one in (fits, few):
        assert (await trader.ended(one.order_id)).state in (
            State.STATE_CANCELED, State.STATE_PARTIALLY_DONE, State.STATE_REJECTED,
        )  # fmt: skip


async def test_only_an_order_in_slices_is_paused(trader: Trader) -> None:
    placed = await trader.place(
        side=side_pb2.SIDE_BUY, size="0.01", type=order_type_pb2.ORDER_TYPE_MARKET, venue="hyperliquid"
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.execution.PauseOrder(pb.PauseOrderRequest(order_id=placed.order_id), metadata=trader.metadata)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    await trader.ended(placed.order_id)
