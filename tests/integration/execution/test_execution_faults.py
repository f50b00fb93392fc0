"""The rows of the fault catalogue in which a venue, or what a mesh stands on, fails while orders live.

Each test says what the caller of the API sees meanwhile and at the end, and holds the end against the venue's own
journal. `docs/faults.md` lists them by the catalogue's names.
"""

# ruff: noqa: ASYNC110 - what is awaited is in other processes

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import leg_pb2, order_pb2
from perpmesh.type.v1 import order_type_pb2, refusal_pb2, side_pb2, time_in_force_pb2

from services.execution.app.choosing import REMEMBERED_NS
from tests.support.execution_room import Trader, brittle
from tests.support.faulty_house import WAIT_S, House, at_rest, operator, watching
from tests.support.valkey import PASSWORD
from tests.support.vault import MARKET

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]
BOTH = ("hyperliquid", "lighter")
State = order_pb2.Order
Leg = leg_pb2.Leg
LIMIT, MARKET_ORDER = order_type_pb2.ORDER_TYPE_LIMIT, order_type_pb2.ORDER_TYPE_MARKET
BUY, SELL = side_pb2.SIDE_BUY, side_pb2.SIDE_SELL
ASKED_BY = {"hyperliquid": ("/info",), "lighter": ("/api/v1/tx", "/api/v1/accountActiveOrders")}
"""Where a venue is asked what became of an order."""
PLACES = {"hyperliquid": "order", "lighter": "14"}
CANCELS = {"hyperliquid": "cancelByCloid", "lighter": "15"}
"""What a venue calls the placing of an order, and its canceling."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with brittle(tmp_path_factory.mktemp("faults"), lighter_delays=False) as (room, vault):
        yield House(room, vault)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def healed(house: House) -> AsyncIterator[None]:
    """Leave nothing broken to the test after."""
    yield
    await house.heal()


def resting(trader: Trader, share: int = 90) -> dict[str, Any]:
    """Return an order that rests, at a share of the price in per cent."""
    return {"side": BUY, "size": "0.01", "type": LIMIT, "limit_price": str(trader.price * share // 100)}


def crossing(trader: Trader, size: str = "0.01") -> dict[str, Any]:
    """Return an order that trades at once."""
    return {"side": BUY, "size": size, "type": LIMIT, "limit_price": str(trader.price * 102 // 100)}


def is_open(order: order_pb2.Order) -> bool:
    """Whether the venue holds an order, to the caller's knowledge."""
    return order.legs[0].state == Leg.STATE_OPEN


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    """Return the code and words that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


def sale(venue: str, size: str) -> dict[str, Any]:
    """Return the step in which the crowd sells to whoever bids most."""
    return {"do": "trade", "venue": venue, "side": "sell", "size": size}


async def test_without_routing_what_must_be_routed_is_refused_and_what_waits_at_one_venue_is_not(house: House) -> None:
    """There is no routing in this house. A market order says so, and nothing of it is kept."""
    trader = await house.trader("hyperliquid")
    request = pb.PlaceOrderRequest(
        request_id=str(uuid.uuid4()), market=MARKET, account_ids=[trader.owner.account_id], side=BUY, size="0.01",
        type=MARKET_ORDER,
    )  # fmt: skip
    metadata = trader.owner.metadata
    code, words = await refused(house.room.stub.PlaceOrder(request, metadata=metadata, timeout=30))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "routing" in words
    listed = await house.room.stub.ListOrders(pb.ListOrdersRequest(request_id=request.request_id), metadata=metadata)
    assert not listed.orders
    placed = await trader.place(**crossing(trader))
    assert (await trader.ended(placed.order_id)).state == State.STATE_DONE


async def test_without_the_vault_nothing_new_is_taken_in_and_what_was_is_done_when_it_is_back(house: House) -> None:
    """PlaceOrder says UNAVAILABLE, and nothing was done; look-ups answer; a cancel is kept until it can be signed."""
    trader = await house.trader("lighter")
    metadata = trader.owner.metadata
    rests = await trader.until_taken(**resting(trader))
    house.room.vault.kill()
    assert await house.room.vault.gone()
    try:
        request = pb.PlaceOrderRequest(
            request_id=str(uuid.uuid4()), market=MARKET, account_ids=[trader.owner.account_id], **resting(trader, 89)
        )
        await asyncio.sleep(REMEMBERED_NS / 1e9)  # until then a user's accounts are known without the vault
        code, words = await refused(house.room.stub.PlaceOrder(request, metadata=metadata, timeout=30))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "vault" in words
        assert "127.0.0.1" not in words, "where rooms are is nobody's business"
        wanted = pb.ListOrdersRequest(request_id=request.request_id)
        assert not (await house.room.stub.ListOrders(wanted, metadata=metadata)).orders, "nothing was done"
        await trader.cancel(rests.order_id)
        seen = await trader.get(rests.order_id)
        assert (seen.state, is_open(seen)) == (State.STATE_RUNNING, True), "it rests until its cancel has landed"
    finally:
        house.room.vault.start()
    assert (await trader.ended(rests.order_id)).state == State.STATE_CANCELED
    order = (await house.room.ask("PlaceOrder", request, metadata)).order
    trader.placed.append(order.order_id)
    await trader.until(order.order_id, is_open)
    await trader.cancel(order.order_id)
    await trader.compare()


async def test_a_database_that_is_restarted_loses_no_order_and_no_trade(house: House) -> None:
    """Meanwhile every call says UNAVAILABLE; the same request afterwards makes one order; trades are told once."""
    trader = await house.trader("lighter")
    database, metadata = house.room.ground.postgres, trader.owner.metadata
    low, high = ([[str(trader.price + far), "50"]] for far in (-100, 100))
    await house.script({"do": "set_book", "venue": trader.venue, "bids": low, "asks": high})
    try:
        bid = await trader.place(side=BUY, size="0.1", type=LIMIT, limit_price=str(trader.price - 50))
        await trader.until(bid.order_id, is_open)
        request = pb.PlaceOrderRequest(
            request_id=str(uuid.uuid4()), market=MARKET, account_ids=[trader.owner.account_id], **resting(trader)
        )
        lock = await asyncpg.connect(database.url())
        await lock.execute("BEGIN; LOCK TABLE execution.outbox IN ACCESS EXCLUSIVE MODE")
        under_way = asyncio.ensure_future(house.room.stub.PlaceOrder(request, metadata=metadata, timeout=30))
        async with asyncio.timeout(WAIT_S):
            while not await lock.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.02)
        database.stop()
        try:
            code, words = await refused(under_way)
            assert code is grpc.StatusCode.UNAVAILABLE, f"cut within its transaction: {code} {words}"
            code, _ = await refused(house.room.stub.PlaceOrder(request, metadata=metadata, timeout=30))
            assert code is grpc.StatusCode.UNAVAILABLE
            get = pb.GetOrderRequest(order_id=bid.order_id)
            code, _ = await refused(house.room.stub.GetOrder(get, metadata=metadata, timeout=30))
            assert code is grpc.StatusCode.UNAVAILABLE
            await house.script(sale(trader.venue, "0.04"))
        finally:
            database.start()
        order = (await house.room.ask("PlaceOrder", request, metadata)).order
        again = (await house.room.ask("PlaceOrder", request, metadata)).order
        assert again.order_id == order.order_id
        trader.placed.append(order.order_id)
        part = await trader.until(bid.order_id, lambda one: one.filled_size != "0")
        assert part.filled_size == "0.04", "what was traded while it was away"
        for one in (bid, order):
            await trader.cancel(one.order_id)
        assert (await trader.ended(bid.order_id)).state == State.STATE_PARTIALLY_DONE
        assert (await trader.ended(order.order_id)).state == State.STATE_CANCELED
    finally:
        await house.script({"do": "flow", "enabled": True, "venue": trader.venue})
    await trader.compare()


async def test_a_valkey_that_is_emptied_and_killed_costs_no_order_and_no_message(house: House) -> None:
    """Orders are placed, filled and told all the time: it is only ever told what the record holds."""
    trader, bus = await house.trader("lighter"), house.room.ground.valkey
    async with watching(trader) as told:
        reader, writer = await asyncio.open_connection("127.0.0.1", bus.port)
        writer.write(f"AUTH {PASSWORD}\r\nFLUSHALL\r\n".encode())
        assert (await reader.readline(), await reader.readline()) == (b"+OK\r\n", b"+OK\r\n")
        writer.close()
        emptied = await trader.place(**crossing(trader))
        assert (await trader.ended(emptied.order_id)).state == State.STATE_DONE
        bus.kill()
        try:
            without = await trader.place(**crossing(trader))
            assert (await trader.ended(without.order_id)).state == State.STATE_DONE
        finally:
            bus.start()
        back = await trader.place(**crossing(trader))
        assert (await trader.ended(back.order_id)).state == State.STATE_DONE
        async with asyncio.timeout(WAIT_S):
            while not all(State.STATE_DONE in told.of(one.order_id) for one in (emptied, without, back)):
                await asyncio.sleep(0.02)
    await trader.compare()


async def test_a_stream_that_is_cut_during_a_fill_tells_each_trade_once_when_it_is_back(house: House) -> None:
    """While it is away the caller still learns of trades, since resting orders are looked up; nothing comes twice."""
    traders = [await house.trader(venue) for venue in BOTH]
    books = [{"bids": [[str(one.price - 100), "50"]], "asks": [[str(one.price + 100), "50"]]} for one in traders]
    await house.script(*({"do": "set_book", "venue": at, **book} for at, book in zip(BOTH, books, strict=True)))
    try:
        placed = []
        for trader in traders:
            bid = await trader.place(side=BUY, size="0.1", type=LIMIT, limit_price=str(trader.price - 50))
            await trader.until(bid.order_id, is_open)
            placed.append(bid.order_id)
        for order_id in placed:
            await at_rest(house, order_id)
        for venue in BOTH:
            await house.fault("http_status", venue=venue, channel="ws", params={"status": 503})
            await house.fault("close", venue=venue)
        await house.script(*(sale(venue, "0.04") for venue in BOTH))
        for trader, order_id in zip(traders, placed, strict=True):
            part = await trader.until(order_id, lambda one: one.filled_size != "0")
            assert (part.filled_size, part.legs[0].state) == ("0.04", Leg.STATE_PARTIALLY_FILLED)
            assert part.update_time.seconds - part.submit_time.seconds < 60, "not when it is looked at anyway"
        await house.heal()
        await house.script(*(sale(venue, "0.06") for venue in BOTH))
        for trader, order_id in zip(traders, placed, strict=True):
            done = await trader.ended(order_id)
            assert (done.state, done.filled_size) == (State.STATE_DONE, "0.1")
            assert await trader.fills(order_id) == Decimal("0.1")
            await trader.compare()
    finally:
        await house.script(*({"do": "flow", "enabled": True, "venue": venue} for venue in BOTH))


SPOILS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "502": ("ack_error", {"status": 502, "text": "<html>bad gateway</html>"}, BOTH),
    "200-err": ("ack_error", {"status": 200, "text": "Internal error"}, ("hyperliquid",)),
    "lost": ("ack_lost", {}, BOTH),
}
"""What a venue answers that has acted on an order, and which venues do."""


@pytest.mark.parametrize(
    ("venue", "spoil"), [(venue, name) for name, (_, _, venues) in SPOILS.items() for venue in venues]
)
async def test_an_answer_that_is_not_true_is_unknown_and_never_a_refusal(house: House, venue: str, spoil: str) -> None:
    """The caller sees SUBMIT_UNKNOWN with the time by which it is proven, is kept from doubling it, then the truth."""
    trader = await house.trader(venue)
    kind, params, _ = SPOILS[spoil]
    async with watching(trader) as told:
        await house.fault("private", venue=venue)
        for path in ASKED_BY[venue]:
            await house.fault("http_status", venue=venue, channel=path, params={"status": 503})
        await house.fault(kind, venue=venue, market=PLACES[venue], count=1, params=params)
        placed = await trader.place(**resting(trader))
        unknown = await trader.until(placed.order_id, lambda one: one.state == State.STATE_SUBMIT_UNKNOWN)
        assert unknown.legs[0].state == Leg.STATE_SUBMIT_UNKNOWN
        assert unknown.legs[0].resolve_time.seconds > unknown.legs[0].submit_time.seconds
        twin = await trader.place(**resting(trader))
        assert (twin.state, twin.refusal.reason) == (State.STATE_DENIED, refusal_pb2.REFUSAL_REASON_OUTCOME_UNKNOWN)
        assert placed.order_id in twin.refusal.message, "the one that is out is named"
        await house.heal()
        stands = await trader.until(placed.order_id, is_open)
        assert stands.state == State.STATE_RUNNING
        await trader.cancel(placed.order_id)
        assert (await trader.ended(placed.order_id)).state == State.STATE_CANCELED
    assert not {State.STATE_REJECTED, State.STATE_FAILED, State.STATE_EXPIRED} & set(told.of(placed.order_id))
    await trader.compare()


@pytest.mark.parametrize("venue", BOTH)
async def test_a_cancel_whose_answer_is_lost_is_followed_and_the_account_goes_on(house: House, venue: str) -> None:
    """The order is canceled, once; what was signed for it holds up no order after it."""
    trader = await house.trader(venue)
    placed = await trader.until_taken(**resting(trader))
    await house.fault("private", venue=venue)
    await house.fault("ack_lost", venue=venue, market=CANCELS[venue], count=1)
    await trader.cancel(placed.order_id)
    assert (await trader.ended(placed.order_id)).state == State.STATE_CANCELED
    await house.heal()
    after = await trader.until_taken(**resting(trader))
    await trader.cancel(after.order_id)
    assert (await trader.ended(after.order_id)).state == State.STATE_CANCELED
    await trader.compare()


async def test_a_halt_stops_what_was_taken_in_and_not_sent(house: House) -> None:
    """An order that waits for a nonce is never sent once its venue is halted, and says why; afterwards others go."""
    trader = await house.trader("lighter")
    await house.fault("private", venue="lighter")
    for path in ASKED_BY["lighter"]:
        await house.fault("http_status", venue="lighter", channel=path, params={"status": 503})
    await house.fault("ack_lost", venue="lighter", market=PLACES["lighter"], count=1)
    first = await trader.place(**resting(trader))
    await trader.until(first.order_id, lambda one: one.state == State.STATE_SUBMIT_UNKNOWN)
    waiting = await trader.place(**{**resting(trader), "size": "0.02"})
    assert waiting.state == State.STATE_PLANNED
    await operator(house, "halt", "venue:lighter", "A drill.")
    try:
        await house.heal()
        denied = await trader.ended(waiting.order_id)
        (leg,) = denied.legs
        assert (denied.state, leg.evidence) == (State.STATE_DENIED, Leg.EVIDENCE_NOT_SENT), denied
        assert leg.refusal.reason == refusal_pb2.REFUSAL_REASON_HALTED
        await trader.cancel(first.order_id)
        assert (await trader.ended(first.order_id)).state == State.STATE_CANCELED, "cancels go on"
    finally:
        await operator(house, "resume", "venue:lighter")
    after = await trader.until_taken(**resting(trader))
    await trader.cancel(after.order_id)
    assert (await trader.ended(after.order_id)).state == State.STATE_CANCELED
    await trader.compare()


async def test_an_order_that_never_reached_a_venue_in_maintenance_is_proven_dead(house: House) -> None:
    """Hyperliquid's bytes live for ten seconds: after them, and a look-up that knows nothing, the order has failed."""
    trader = await house.trader("hyperliquid")
    await house.fault("maintenance", venue="hyperliquid")
    placed = await trader.place(**resting(trader))
    failed = await trader.ended(placed.order_id)
    (leg,) = failed.legs
    assert (failed.state, leg.state, leg.evidence) == (State.STATE_FAILED, Leg.STATE_FAILED, Leg.EVIDENCE_EXPIRY)
    assert leg.refusal.reason == refusal_pb2.REFUSAL_REASON_NEVER_LANDED, leg
    assert failed.finish_time.seconds >= leg.create_time.seconds + 9, "not before its bytes had expired"
    assert leg.send_count <= 3, "the identical bytes, and not without end"
    await trader.compare()


@pytest.mark.parametrize("venue", BOTH)
async def test_a_venue_in_maintenance_is_waited_for_and_gets_the_order_once(house: House, venue: str) -> None:
    """Whether a 503 was acted on is not known, and the caller sees that; the identical bytes land when they may."""
    trader = await house.trader(venue)
    await house.fault("maintenance", venue=venue)
    placed = await trader.place(**resting(trader))
    unknown = await trader.until(placed.order_id, lambda one: one.state == State.STATE_SUBMIT_UNKNOWN)
    assert unknown.legs[0].resolve_time.seconds, "by then it is proven"
    await house.heal()
    stands = await trader.until(placed.order_id, is_open)
    assert stands.legs[0].send_count > 1, "identical bytes, again"
    await trader.cancel(placed.order_id)
    assert (await trader.ended(placed.order_id)).state == State.STATE_CANCELED
    await trader.compare()


async def test_a_venue_that_takes_post_only_orders_alone_refuses_in_its_own_words(house: House) -> None:
    """Hyperliquid after an upgrade: a refusal that is one, at once, with what would pass."""
    trader = await house.trader("hyperliquid")
    await house.fault("maintenance", venue="hyperliquid", params={"mode": "post_only"})
    refused_order = await trader.ended((await trader.place(**crossing(trader))).order_id)
    assert refused_order.state == State.STATE_REJECTED, refused_order
    assert refused_order.refusal.message
    assert refused_order.refusal.origin == refusal_pb2.Refusal.ORIGIN_VENUE
    post_only = time_in_force_pb2.TIME_IN_FORCE_POST_ONLY
    placed = await trader.place(**resting(trader), time_in_force=post_only)
    await trader.until(placed.order_id, is_open)
    await trader.cancel(placed.order_id)
    assert (await trader.ended(placed.order_id)).state == State.STATE_CANCELED
    await trader.compare()
