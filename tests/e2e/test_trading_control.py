"""The kill switch, what is stuck, and what is set and kept at accounts, at both simulated venues."""

# ruff: noqa: ASYNC110 - what is awaited is in other processes

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from perpmesh.execution.v1 import cancel_all_switch_pb2, halt_pb2, leverage_setting_pb2, operator_service_pb2, order_pb2
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1.operator_service_pb2_grpc import OperatorServiceStub
from perpmesh.type.v1 import margin_mode_pb2, order_type_pb2, refusal_pb2, side_pb2

from tests.e2e.replaced_orders import (
    low,
    rests,
    test_a_cancel_ends_a_replacement_and_a_smaller_size_than_is_filled_ends_the_order,
    test_an_order_is_replaced_by_a_leg_that_follows_and_never_fills_more_than_was_wished,
    test_terms_that_the_vault_would_not_sign_leave_the_order_as_it_is,
    until,
)
from tests.e2e.test_trading import BTC, Trader, mid, new_trader
from tests.support.mesh import Mesh, running_mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")
__all__ = [
    "test_a_cancel_ends_a_replacement_and_a_smaller_size_than_is_filled_ends_the_order",
    "test_an_order_is_replaced_by_a_leg_that_follows_and_never_fills_more_than_was_wished",
    "test_terms_that_the_vault_would_not_sign_leave_the_order_as_it_is",
]
"""Tests of another module that share this one's mesh."""
State = order_pb2.Order
VENUES = ("hyperliquid", "lighter")
LIMIT = order_type_pb2.ORDER_TYPE_LIMIT
BUY = side_pb2.SIDE_BUY
Switch = cancel_all_switch_pb2.CancelAllSwitch
Setting = leverage_setting_pb2.LeverageSetting
CROSS, ISOLATED = margin_mode_pb2.MARGIN_MODE_CROSS, margin_mode_pb2.MARGIN_MODE_ISOLATED


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh() -> AsyncIterator[Mesh]:
    settings = {
        "simulator_seed": 72, "ip_requests_per_s": 100_000, "simulator_lighter_requests_max": 0,
        "execution_retry_undecided": "max_attempts=1", "execution_retry_venue_away": "max_attempts=1",
    }  # fmt: skip
    async with running_mesh(**settings) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def edge(mesh: Mesh) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        yield channel


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def trader(mesh: Mesh, edge: grpc.aio.Channel) -> Trader:
    async with asyncio.timeout(60):
        while True:
            try:
                await mid(edge)
                break
            except (grpc.aio.AioRpcError, ArithmeticError):
                await asyncio.sleep(0.2)
    return await new_trader(mesh, edge)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def operator(mesh: Mesh) -> AsyncIterator[Any]:
    async with mesh.channel("execution", part="portfolio") as channel:
        yield OperatorServiceStub(channel)


def scope(**what: Any) -> halt_pb2.HaltScope:
    return halt_pb2.HaltScope(**what)


@pytest.mark.parametrize("venue", VENUES)
async def test_a_halted_venue_takes_cancels_and_closes_and_nothing_new(
    trader: Trader, edge: grpc.aio.Channel, operator: Any, venue: str
) -> None:
    bought = await trader.place_surely(
        side=BUY, size="0.01", type=LIMIT, limit_price=str(int(await mid(edge)) * 102 // 100 // 10 * 10), venue=venue
    )
    assert (await trader.ended(bought.order_id)).state == State.STATE_DONE
    rest = await rests(trader, edge, venue)
    halt = operator_service_pb2.HaltTradingRequest(
        scope=scope(venue=venue), reason="Prices are odd there.", operator="ann"
    )
    begun = await operator.HaltTrading(halt)
    assert begun.halt.scope.venue == venue
    again = await operator.HaltTrading(halt)
    assert again.halt.halt_id == begun.halt.halt_id
    try:
        denied = await trader.place(side=BUY, size="0.01", type=LIMIT, limit_price=await low(edge), venue=venue)
        assert denied.state == State.STATE_DENIED
        assert denied.refusal.reason == refusal_pb2.REFUSAL_REASON_HALTED
        assert "Prices are odd there." in denied.refusal.message
        await trader.execution.CancelOrder(pb.CancelOrderRequest(order_id=rest.order_id), metadata=trader.metadata)
        assert (await trader.ended(rest.order_id)).state == State.STATE_CANCELED
        close = pb.ClosePositionRequest(request_id=str(uuid.uuid4()), market=BTC, venue=venue)
        (closing,) = (await trader.execution.ClosePosition(close, metadata=trader.metadata)).orders
        assert (await trader.ended(closing.order_id)).state == State.STATE_DONE
        other = next(one for one in VENUES if one != venue)
        assert (await rests(trader, edge, other)).state == State.STATE_RUNNING, "the other venue is not halted"
    finally:
        resume = operator_service_pb2.ResumeTradingRequest(scope=scope(venue=venue), operator="ben")
        assert not (await operator.ResumeTrading(resume)).halts_in_force
    assert (await rests(trader, edge, venue)).state == State.STATE_RUNNING


async def test_a_halt_that_cancels_leaves_nothing_open_and_outlives_a_killed_room(
    trader: Trader, edge: grpc.aio.Channel, mesh: Mesh, operator: Any
) -> None:
    resting = [await rests(trader, edge, venue) for venue in VENUES]
    everything = scope(everything=halt_pb2.HaltScope.Everything())
    halt = operator_service_pb2.HaltTradingRequest(
        scope=everything, reason="A drill.", operator="ann", cancel_open_orders=True
    )
    await operator.HaltTrading(halt)
    killed = mesh.kill("execution")
    await mesh.restarted("execution", than=killed)
    denied = await trader.place_surely(side=BUY, size="0.01", type=LIMIT, limit_price=await low(edge), venue="lighter")
    assert denied.refusal.reason == refusal_pb2.REFUSAL_REASON_HALTED, denied
    for one in resting:
        assert (await trader.ended(one.order_id)).state == State.STATE_CANCELED
    async with mesh.channel("execution", part="portfolio") as channel:
        resume = operator_service_pb2.ResumeTradingRequest(scope=everything, operator="ann")
        assert not (await OperatorServiceStub(channel).ResumeTrading(resume)).halts_in_force


async def test_what_cannot_be_done_is_listed_with_why_until_it_is_done(
    trader: Trader, edge: grpc.aio.Channel, mesh: Mesh, operator: Any
) -> None:
    control = f"http://{mesh.address('simulator.control')}/control/faults"
    price = await low(edge)
    wanted = operator_service_pb2.ListStuckWorkRequest(venue="hyperliquid")
    async with aiohttp.ClientSession() as http:
        fault = {"kind": "http_status", "venue": "hyperliquid", "channel": "/exchange", "params": {"status": 503}}
        async with http.post(control, json=fault) as answer:
            assert answer.status < 300, await answer.text()
        placed = await trader.place(side=BUY, size="0.01", type=LIMIT, limit_price=price, venue="hyperliquid")
        async with asyncio.timeout(60):
            while not (works := [one for one in await stuck(operator, wanted) if one.order_id == placed.order_id]):
                await asyncio.sleep(0.1)
        (work,) = works
        assert work.attempt_count >= 1
        assert work.last_error
        assert work.advice
        assert work.first_attempt_time.seconds <= work.last_attempt_time.seconds
        async with http.delete(control) as answer:
            assert answer.status < 300
    order = await until(
        trader, placed.order_id, lambda one: one.state in (State.STATE_RUNNING, State.STATE_FAILED) and
        one.legs[0].state != one.legs[0].STATE_SUBMITTED,
    )  # fmt: skip
    assert order.legs[0].send_count >= 1
    async with asyncio.timeout(60):
        while placed.order_id in {one.order_id for one in await stuck(operator, wanted)}:
            await asyncio.sleep(0.1)


async def stuck(operator: Any, wanted: operator_service_pb2.ListStuckWorkRequest) -> list[Any]:
    return list((await operator.ListStuckWork(wanted)).works)


def leverage(trader: Trader, venue: str, **fields: Any) -> pb.SetLeverageRequest:
    return pb.SetLeverageRequest(**{"account_id": trader.owners[venue].account_id, "market": BTC, **fields})


async def set_leverage(trader: Trader, request: pb.SetLeverageRequest) -> leverage_setting_pb2.LeverageSetting:
    """Set a leverage as a client does whose server may die: until it is answered and known."""
    async with asyncio.timeout(90):
        while True:
            try:
                answer = await trader.execution.SetLeverage(request, metadata=trader.metadata, timeout=20)
                if answer.setting.state != Setting.STATE_UNKNOWN:
                    return answer.setting
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("venue", VENUES)
async def test_leverage_is_what_the_venue_then_holds(trader: Trader, mesh: Mesh, venue: str) -> None:
    first = await set_leverage(trader, leverage(trader, venue, leverage=7, margin_mode=CROSS))
    assert (first.state, first.leverage, first.margin_mode) == (Setting.STATE_CONFIRMED, 7, CROSS)
    request = leverage(trader, venue, leverage=4, margin_mode=ISOLATED, request_id=str(uuid.uuid4()))
    set_once = await set_leverage(trader, request)
    assert (set_once.state, set_once.leverage, set_once.margin_mode) == (Setting.STATE_CONFIRMED, 4, ISOLATED)
    kept = await set_leverage(trader, leverage(trader, venue, leverage=5))
    assert (kept.leverage, kept.margin_mode) == (5, ISOLATED), "a mode that is not named stays"
    again = await set_leverage(trader, request)
    assert (again.state, again.leverage) == (Setting.STATE_CONFIRMED, 5), "it was set once; the venue holds another"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await set_leverage(trader, leverage(trader, venue, leverage=6, request_id=request.request_id))
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    over = await set_leverage(trader, leverage(trader, venue, leverage=200))
    assert (over.state, over.leverage) == (Setting.STATE_REFUSED, 5)
    assert over.refusal.reason == refusal_pb2.REFUSAL_REASON_LEVERAGE
    assert 5 < int(over.refusal.passing_value) < 200
    odd = await set_leverage(trader, leverage(trader, venue, market="NOSUCH-PERP", leverage=2))
    assert odd.refusal.reason == refusal_pb2.REFUSAL_REASON_MARKET_NOT_LISTED
    url = f"{mesh.url}/v1/accounts/{trader.owners[venue].account_id}:setLeverage"
    async with aiohttp.ClientSession() as http:
        told = {"state": ""}
        while told["state"] != "STATE_CONFIRMED":  # a venue that is slow, or a budget that is used up, is asked again
            body = {"market": BTC, "leverage": 7, "marginMode": "MARGIN_MODE_CROSS", "requestId": str(uuid.uuid4())}
            async with http.post(url, json=body, headers=dict(trader.metadata)) as answer:
                told = (await answer.json())["setting"]
    assert (told["state"], told["leverage"], told["venue"]) == ("STATE_CONFIRMED", 7, venue)


async def test_a_leverage_whose_answer_was_lost_is_found_out_by_a_room_that_was_killed(
    trader: Trader, mesh: Mesh
) -> None:
    venue = "lighter"  # where a nonce that is not settled would hold up all others
    control = f"http://{mesh.address('simulator.control')}/control/faults"
    async with aiohttp.ClientSession() as http:
        async with http.post(control, json={"kind": "ack_lost", "venue": venue, "count": 1}) as answer:
            assert answer.status < 300
        request = leverage(trader, venue, leverage=9, request_id=str(uuid.uuid4()))
        calling = asyncio.create_task(set_leverage(trader, request))
        async with asyncio.timeout(90):
            while not await injected(http, control, venue):
                await asyncio.sleep(0.02)
        killed = mesh.kill("execution")
        await mesh.restarted("execution", than=killed)
        told = await calling
        assert (told.state, told.leverage) == (Setting.STATE_CONFIRMED, 9)
        async with http.delete(control):
            pass
    more = await set_leverage(trader, leverage(trader, venue, leverage=7))
    assert (more.state, more.leverage) == (Setting.STATE_CONFIRMED, 7), "its nonce holds nothing up"


async def injected(http: aiohttp.ClientSession, control: str, venue: str) -> bool:
    """Say whether an acknowledgement was lost at a venue."""
    async with http.get(control) as answer:
        return any((one["kind"], one["venue"]) == ("ack_lost", venue) for one in (await answer.json())["injected"])


def arm(trader: Trader, venue: str, seconds: int | None = None, **fields: Any) -> pb.ArmCancelAllRequest:
    request = pb.ArmCancelAllRequest(account_ids=[trader.owners[venue].account_id], disarm=seconds is None, **fields)
    if seconds is not None:
        request.delay.seconds = seconds
    return request


async def armed(trader: Trader, request: pb.ArmCancelAllRequest) -> cancel_all_switch_pb2.CancelAllSwitch:
    async with asyncio.timeout(60):
        while True:
            (one,) = (await trader.execution.ArmCancelAll(request, metadata=trader.metadata)).switches
            if one.state != Switch.STATE_UNKNOWN:
                return one
            await asyncio.sleep(0.5)


async def test_hyperliquid_keeps_a_switch_from_a_million_of_volume_on_and_cancels_when_it_fires(
    trader: Trader, edge: grpc.aio.Channel, mesh: Mesh
) -> None:
    refused = await armed(trader, arm(trader, "hyperliquid", 10))
    assert (refused.state, refused.keeper) == (Switch.STATE_REFUSED, Switch.KEEPER_UNSPECIFIED)
    assert "1000000" in refused.refusal.venue_message
    url = f"http://{mesh.address('simulator.control')}/control/accounts"
    address = trader.owners["hyperliquid"].wallet.address
    body = {"venue": "hyperliquid", "address": address, "volume": "2000000"}
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
        assert answer.status < 300, await answer.text()
    order = await rests(trader, edge, "hyperliquid")
    far = await armed(trader, arm(trader, "hyperliquid", 3_600))
    assert (far.state, far.keeper, far.cancels_foreign_orders) == (Switch.STATE_ARMED, Switch.KEEPER_VENUE, True)
    assert (far.min_delay.seconds, far.HasField("max_delay"), far.remaining_triggers) == (5, False, 10)
    off = await armed(trader, arm(trader, "hyperliquid"))
    assert (off.state, off.HasField("cancel_time")) == (Switch.STATE_DISARMED, False)
    near = await armed(trader, arm(trader, "hyperliquid", 5))
    assert near.state == Switch.STATE_ARMED
    ended = await trader.ended(order.order_id)
    assert ended.state == State.STATE_CANCELED, "the venue fired it"
    async with asyncio.timeout(150):
        while (await armed(trader, arm(trader, "hyperliquid", 3_600))).remaining_triggers != 9:
            await asyncio.sleep(0.2)
    await armed(trader, arm(trader, "hyperliquid"))


async def test_lighter_takes_minutes_and_what_it_cannot_we_keep_if_that_is_allowed(
    trader: Trader, edge: grpc.aio.Channel, mesh: Mesh
) -> None:
    near = await armed(trader, arm(trader, "lighter", 6))
    assert (near.state, near.refusal.passing_value) == (Switch.STATE_REFUSED, "300s")
    by_venue = await armed(trader, arm(trader, "lighter", 300))
    assert (by_venue.state, by_venue.keeper) == (Switch.STATE_ARMED, Switch.KEEPER_VENUE)
    assert (by_venue.min_delay.seconds, by_venue.max_delay.seconds) == (300, 1_296_000)
    assert not by_venue.HasField("remaining_triggers")
    assert (await armed(trader, arm(trader, "lighter"))).state == Switch.STATE_DISARMED
    order = await rests(trader, edge, "lighter")
    by_us = await armed(trader, arm(trader, "lighter", 6, allow_mesh_keeper=True))
    assert (by_us.state, by_us.keeper, by_us.cancels_foreign_orders) == (
        Switch.STATE_ARMED, Switch.KEEPER_MESH, False,
    )  # fmt: skip
    killed = mesh.kill("execution")
    await mesh.restarted("execution", than=killed)
    async with asyncio.timeout(30):
        while await away(trader, order.order_id):
            await asyncio.sleep(0.1)
    assert (await trader.ended(order.order_id)).state == State.STATE_CANCELED, "it fires in the room that came after"


async def away(trader: Trader, order_id: str) -> bool:
    """Say whether the room does not answer yet."""
    try:
        await trader.get(order_id)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


async def test_budgets_and_usage_say_what_is_left(trader: Trader, mesh: Mesh) -> None:
    found: dict[tuple[str, str, str], Any] = {}
    actions = ("hyperliquid", "SCOPE_ACCOUNT", "actions")
    async with aiohttp.ClientSession() as http:
        async with asyncio.timeout(90):
            while actions not in found:  # the account's own count is asked for when the address's budget has room
                async with http.get(f"{mesh.url}/v1/venue-budgets", headers=dict(trader.metadata)) as answer:
                    found = {(one["venue"], one["scope"], one["name"]): one for one in (await answer.json())["budgets"]}
                await asyncio.sleep(0.2)
        assert {
            ("hyperliquid", "SCOPE_ADDRESS", "rest_weight"), actions,
            ("hyperliquid", "SCOPE_ADDRESS", "private_users"), ("lighter", "SCOPE_ADDRESS", "rest_requests"),
            ("lighter", "SCOPE_ACCOUNT", "sends"),
        } <= found.keys()  # fmt: skip
        assert list(found) == sorted(found, key=lambda key: (key[0], key[1] == "SCOPE_ACCOUNT", key[2]))
        assert 0 < int(found[actions]["remaining"]) < int(found[actions]["limit"])
        assert found[actions]["account_id"] == trader.owners["hyperliquid"].account_id
        async with http.get(f"{mesh.url}/v1/usage", headers=dict(trader.metadata)) as answer:
            usages = {one["name"]: one for one in (await answer.json())["usages"]}
    assert list(usages) == ["open_orders", "orders"]
    only = await trader.execution.GetVenueBudget(pb.GetVenueBudgetRequest(venue="lighter"), metadata=trader.metadata)
    assert {one.venue for one in only.budgets} == {"lighter"}


async def test_a_client_order_id_names_one_open_order(trader: Trader, edge: grpc.aio.Channel) -> None:
    wish = {
        "side": BUY, "size": "0.01", "type": LIMIT, "limit_price": await low(edge), "venue": "hyperliquid",
        "client_order_id": f"bot-{uuid.uuid4()}",
    }  # fmt: skip
    first = await trader.place_surely(**wish)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.place(**wish)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    await trader.execution.CancelOrder(pb.CancelOrderRequest(order_id=first.order_id), metadata=trader.metadata)
    await trader.ended(first.order_id)
    second = await trader.place(**wish)
    assert second.state != State.STATE_DENIED
    await trader.execution.CancelOrder(pb.CancelOrderRequest(order_id=second.order_id), metadata=trader.metadata)
