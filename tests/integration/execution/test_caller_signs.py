"""Orders that their callers sign: checked before they are sent, given back unsigned, canceled by a signature."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import leg_pb2, order_pb2
from perpmesh.type.v1 import order_type_pb2, side_pb2

from services.domain.errors import Reason
from tests.support.auth import refusal
from tests.support.callers import MINE, Caller, by_sdk, caller_of
from tests.support.execution_room import Brittle, Trader, brittle
from tests.support.signers import ApiKey
from tests.support.vault import MARKET, middle, new_id
from tests.support.vault_room import Client
from tests.support.wallet import Wallet

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOTH = pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
State, Leg = order_pb2.Order, leg_pb2.Leg
LIMIT, BUY = order_type_pb2.ORDER_TYPE_LIMIT, side_pb2.SIDE_BUY


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Brittle, Client]]:
    async with brittle(tmp_path_factory.mktemp("callers"), lighter_delays=False) as made:
        yield made


async def new_caller(house: tuple[Brittle, Client], venue: str, **fields: Any) -> Caller:
    """Return somebody with an account at a venue, and a key of ours there unless its custody is the caller's."""
    room, vault = house
    owner = await vault.owner(venue, **fields)
    await (owner.fund() if fields else owner.ready())
    owner.account = (await owner.get()).account
    price = int(await middle(room.ground.http, room.ground.face(venue), venue))
    return await caller_of(Trader(room, owner, venue, price), vault)


def low(caller: Caller, **fields: Any) -> pb.PrepareOrderRequest:
    """Return the wish for an order that rests."""
    price = str(caller.trader.price * 90 // 100)
    return caller.wish(side=BUY, size="0.01", type=LIMIT, limit_price=price, **fields)


async def told(caller: Caller, method: str, request: Any) -> Any:
    """Return why a call is refused."""
    return await refusal(caller.ask(method, request))


@BOTH
async def test_what_is_submitted_must_be_what_was_prepared_by_the_key_that_was_named(
    house: tuple[Brittle, Client], venue: str
) -> None:
    caller = await new_caller(house, venue)
    made = await caller.prepare(low(caller))
    order, (signable,) = made.order, made.signables
    assert (order.state, order.caller_signed) == (State.STATE_PLANNED, True)
    assert order.legs[0].state == Leg.STATE_PREPARED
    assert "waits for your signature" in order.explanation
    assert signable.explanation == f"Buy 0.01 {MARKET} at {venue}, at worst at {order.legs[0].limit_price} USD."

    stranger = Caller(caller.trader, ApiKey(5))
    wrong = stranger.sign(signable)
    if venue == "hyperliquid":
        wrong.signature = by_sdk(signable, Wallet().secret)
    bad = await told(caller, "SubmitOrder", pb.SubmitOrderRequest(order_id=order.order_id, signatures=[wrong]))
    assert bad.reason is Reason.FIELD_INVALID
    assert "signature is not taken" in bad.message
    assert (await caller.trader.get(order.order_id)).state == State.STATE_PLANNED

    other = await caller.trader.place(side=BUY, size="0.01", type=LIMIT, limit_price=str(caller.trader.price // 2))
    lost = pb.SubmitOrderRequest(order_id=other.order_id, signatures=[caller.sign(signable)])
    assert (await told(caller, "SubmitOrder", lost)).reason is Reason.STATE_FORBIDS, "ours sign that order"
    strange = pb.SubmitOrderRequest(order_id=order.order_id, signatures=[caller.sign(signable)])
    strange.signatures[0].leg_id = str(uuid.uuid4())
    assert "no leg of this order" in (await told(caller, "SubmitOrder", strange)).message

    await caller.submit(order.order_id, made.signables)
    placed = await caller.trader.until(order.order_id, lambda one: bool(one.legs[0].venue_order_id))
    assert placed.legs[0].send_count == 1
    terms = pb.ReplaceOrderRequest(order_id=order.order_id, request_id=new_id(), limit_price="1000")
    assert (await told(caller, "ReplaceOrder", terms)).reason is Reason.STATE_FORBIDS
    again = await caller.ask("PrepareOrder", _same(caller, order))
    assert (again.order.order_id, list(again.signables)) == (order.order_id, []), "nothing waits any more"
    for one in (order.order_id, other.order_id):
        await caller.trader.cancel(one)
        assert (await caller.trader.ended(one)).state == State.STATE_CANCELED
    await caller.trader.compare()


def _same(caller: Caller, order: order_pb2.Order) -> pb.PrepareOrderRequest:
    wish = low(caller)
    wish.order.request_id = order.request_id
    return wish


@BOTH
async def test_an_order_that_nobody_signs_ends_and_gives_its_nonce_back(
    house: tuple[Brittle, Client], venue: str
) -> None:
    caller = await new_caller(house, venue)
    made = await caller.prepare(low(caller))
    left_s = made.signables[0].expire_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert 240 < left_s.total_seconds() <= 300
    if venue == "lighter":  # its next nonce is out, and no other action of the key can be prepared before it is back
        held = pb.PrepareOrderRequest.FromString(low(caller).SerializeToString())
        assert (await told(caller, "PrepareOrder", held)).reason is Reason.LIMIT_REACHED
        caller.trader.placed.append((await _by_request(caller, held.order.request_id)).order_id)
    await _let_pass(house[0], made.order.order_id)
    ended = await caller.trader.ended(made.order.order_id)
    assert (ended.state, ended.legs[0].evidence) == (State.STATE_EXPIRED, Leg.EVIDENCE_NOT_SENT)
    late = pb.SubmitOrderRequest(order_id=made.order.order_id, signatures=[caller.sign(one) for one in made.signables])
    assert (await caller.ask("SubmitOrder", late)).order.state == State.STATE_EXPIRED, "it is answered as it is"
    if venue == "lighter":
        made = await caller.ask("PrepareOrder", held)
    else:
        made = await caller.prepare(low(caller))
    await caller.submit(made.order.order_id, made.signables)
    await caller.trader.until(made.order.order_id, lambda one: bool(one.legs[0].venue_order_id))
    await caller.trader.cancel(made.order.order_id)
    assert (await caller.trader.ended(made.order.order_id)).state == State.STATE_CANCELED
    await caller.trader.compare()


async def _by_request(caller: Caller, request_id: str) -> order_pb2.Order:
    listed = await caller.ask("ListOrders", pb.ListOrdersRequest(request_id=request_id))
    return listed.orders[0]  # type: ignore[no-any-return]


async def _let_pass(room: Brittle, order_id: str) -> None:
    """Let the time to sign an order's present actions pass."""
    connection = await asyncpg.connect(room.ground.postgres.url())
    await connection.execute(
        "UPDATE execution.legs SET sign_by = now(), due_time = now() WHERE order_id = $1", uuid.UUID(order_id)
    )
    # Another version is what the room reads an order anew for that it knows.
    await connection.execute(
        "UPDATE execution.orders SET version = version + 1 WHERE order_id = $1", uuid.UUID(order_id)
    )
    await connection.close()


async def test_a_cancel_where_no_key_of_ours_works_is_signed_by_its_caller(house: tuple[Brittle, Client]) -> None:
    caller = await new_caller(house, "hyperliquid", custody=MINE)
    made = await caller.prepare(low(caller))
    await caller.submit(made.order.order_id, made.signables)
    order_id = made.order.order_id
    await caller.trader.until(order_id, lambda one: one.legs[0].state == Leg.STATE_OPEN)
    cancel = pb.CancelOrderRequest(order_id=order_id)
    asked = await _cancel(caller, cancel)
    assert "cancel waits for your signature" in asked.order.explanation
    assert list((await caller.ask("CancelOrder", cancel)).signables) == list(asked.signables)
    await _let_pass(house[0], order_id)
    second = await _cancel(caller, cancel, after=asked.signables[0].nonce)
    house[0].room.kill()
    await house[0].room.gone()
    await caller.submit(order_id, second.signables)
    ended = await caller.trader.ended(order_id)
    assert ended.state == State.STATE_CANCELED
    assert await caller.ask("CancelOrder", cancel) == pb.CancelOrderResponse(order=ended)
    await caller.trader.compare()


async def _cancel(caller: Caller, request: pb.CancelOrderRequest, after: int = 0) -> pb.CancelOrderResponse:
    """Ask for a cancel until there is something new to sign."""
    async with asyncio.timeout(60):
        while True:
            asked: pb.CancelOrderResponse = await caller.ask("CancelOrder", request)
            if asked.signables and asked.signables[0].nonce > after:
                return asked
            await asyncio.sleep(0.05)


async def test_an_unsigned_order_is_canceled_at_once_and_what_cannot_be_signed_is_said(
    house: tuple[Brittle, Client],
) -> None:
    caller = await new_caller(house, "hyperliquid", custody=MINE)
    made = await caller.prepare(low(caller))
    await caller.trader.cancel(made.order.order_id)
    ended = await caller.trader.ended(made.order.order_id)
    assert (ended.state, ended.submit_time.seconds) == (State.STATE_CANCELED, 0)

    until = low(caller)
    until.order.expire_time.FromDatetime(datetime.now(UTC).replace(year=2100))
    denied = await caller.ask("PrepareOrder", until)
    assert (denied.order.state, list(denied.signables)) == (State.STATE_DENIED, [])
    assert "no key there to take it down" in denied.order.refusal.message
    exits = low(caller, stop_loss=order_pb2.Exit(trigger_price="1000"))
    assert "order.stop_loss" in (await told(caller, "PrepareOrder", exits)).message
    named = low(caller)
    named.signers[0].signer_address = ""
    assert "signer_address" in (await told(caller, "PrepareOrder", named)).message
    foreign = low(caller)
    foreign.signers[0].account_id = str(uuid.uuid4())
    assert (await told(caller, "PrepareOrder", foreign)).reason is Reason.RESOURCE_UNKNOWN
    beyond = low(caller)
    beyond.order.limit_price = str(caller.trader.price * 2)
    denied = await caller.ask("PrepareOrder", beyond)
    assert denied.order.state == State.STATE_DENIED, "the vault's limits hold for what callers sign, too"

    reader = await new_caller(house, "lighter", custody=MINE)
    denied = await reader.ask("PrepareOrder", low(reader))
    assert "only to a key of the account" in denied.order.refusal.message


async def test_prepared_orders_are_their_owners_alone(house: tuple[Brittle, Client]) -> None:
    caller = await new_caller(house, "hyperliquid")
    other = await new_caller(house, "hyperliquid")
    made = await caller.prepare(low(caller))
    signatures = [caller.sign(one) for one in made.signables]
    for request in (
        pb.SubmitOrderRequest(order_id=made.order.order_id, signatures=signatures),
        pb.CancelOrderRequest(order_id=made.order.order_id),
    ):
        method = type(request).__name__.removesuffix("Request")
        assert (await told(other, method, request)).reason is Reason.RESOURCE_UNKNOWN
    with pytest.raises(grpc.aio.AioRpcError):
        await other.ask("PrepareOrder", low(caller))
    await caller.trader.cancel(made.order.order_id)
    await caller.trader.ended(made.order.order_id)
