"""The record of orders over a real PostgreSQL: fences, leases, twins, trades counted once, and what is said of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from perpmesh.execution.v1 import log_event_pb2

from services.chassis.bus import BusConfig
from services.chassis.clock import SYSTEM
from services.chassis.metrics import Metrics
from services.chassis.migrate import folder_of, migrate, read_migrations
from services.chassis.postgres import Database, PostgresConfig, connect
from services.domain.errors import DomainError, Reason
from services.execution.model.clients import venue_client_id
from services.execution.model.evidence import fill_id
from services.execution.model.leg import Evidence, Leg, LegState, Told, Trade, tell
from services.execution.model.order import Exit, NewOrder, Order, OrderState
from services.execution.model.wanted import Wanted
from services.execution.peers.books import FollowedBooks
from services.execution.ports import TradingAccount, Work
from services.execution.rpc.scribe import ProtoScribe
from services.execution.store.lists import PostgresLists
from services.execution.store.log import LogReader, Relay
from services.execution.store.orders import PostgresOrders
from services.execution.store.reports import Reporter
from services.venues.actions import OrderType, Side, TimeInForce
from services.venues.trading import AccountRef
from tests.support.postgres import postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")
D = Decimal
LEASE_S = 30.0
NO_BUS = BusConfig(url="redis://127.0.0.1:1/0")


class FaultyReporter(Reporter):
    """A reporter whose last word of an order can fail, in the transaction in which the order ends."""

    fails = False

    async def end(self, connection: Any, order: Order) -> None:
        """Fail where that is wanted."""
        if self.fails:
            raise ArithmeticError("a planted fault")
        await super().end(connection, order)


@dataclass
class Record:
    """The record, and who writes in it."""

    database: Database
    orders: PostgresOrders
    lists: PostgresLists
    reporter: FaultyReporter
    reader: LogReader
    relay: Relay

    async def said(self) -> list[log_event_pb2.LogEvent]:
        """Number what waits in the outbox, and return the whole log."""
        async with self.database.acquire() as connection:
            while await self.relay._batch(connection):
                pass
        events, _ = await self.reader.read(1, 100_000)
        return [log_event_pb2.LogEvent.FromString(event) for event in events]

    async def placed(self, **changes: Any) -> Order:
        """Return an order of one leg that is durable."""
        return await self.orders.add(replace(order_of(), **changes))

    async def claimed(self, order: Order) -> Work:
        """Claim an order's leg; whatever else is due stays held."""
        works = await self.orders.claim(1_000, LEASE_S)
        (work,) = [one for one in works if one.order.order_id == order.order_id]
        return work


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def record() -> AsyncIterator[Record]:
    with postgres() as server:
        connection = await connect(server.url())
        await connection.execute("CREATE SCHEMA execution; SET search_path = execution")
        await migrate(connection, "execution", read_migrations(folder_of("execution")))  # type: ignore[arg-type]
        await connection.close()
        database = await Database.open("execution", PostgresConfig(url=server.url()), metrics=Metrics())
        scribe = ProtoScribe("SIMULATED")
        reporter = FaultyReporter(FollowedBooks(None, SYSTEM), scribe, SYSTEM)
        relay = Relay(database, NO_BUS, scribe, SYSTEM, metrics=Metrics())
        orders = PostgresOrders(database, scribe, SYSTEM, wake=relay.wake, reporter=reporter, front=database.part(4))
        yield Record(database, orders, PostgresLists(database), reporter, LogReader(database), relay)
        await database.close()


def wish(**changes: Any) -> NewOrder:
    """Return what a caller asks for."""
    made = NewOrder(
        request_id=uuid.uuid4(), market="BTC-PERP", side=Side.BUY, size=D(3), size_in_usd=False, type=OrderType.LIMIT,
        limit_price=D(100), time_in_force=TimeInForce.GOOD_TILL_CANCELED, reduce_only=False, venue="", venues=(),
        excluded=(), account_ids=(), quote_id=None, max_slippage_bps=None, client_order_id="",
        allow_while_unknown=False,
    )  # fmt: skip
    return replace(made, **changes)


def order_of(wanted: NewOrder | None = None, user_id: UUID | None = None, venue: str = "hyperliquid") -> Order:
    """Return an order of one leg that nobody has kept yet."""
    asked, now, leg_id = wanted or wish(), datetime.now(UTC), uuid.uuid4()
    leg = Leg(
        leg_id=leg_id, number=1, venue=venue, account_id=uuid.uuid4(), market=asked.market, venue_market_id=0,
        side=asked.side, size=asked.size, limit_price=D(100), type=asked.type, time_in_force=asked.time_in_force,
        reduce_only=False, client_id=venue_client_id(venue, leg_id), create_time=now, update_time=now,
    )  # fmt: skip
    return Order(
        order_id=uuid.uuid4(), user_id=user_id or uuid.uuid4(), request_id=asked.request_id, digest=asked.digest,
        market=asked.market, side=asked.side, size=asked.size, type=asked.type, limit_price=asked.limit_price,
        time_in_force=asked.time_in_force, reduce_only=False, client_order_id="", quote_id=None,
        max_slippage_bps=None, legs=(leg,), create_time=now, update_time=now,
    )  # fmt: skip


def account_of(order: Order) -> TradingAccount:
    """Return the account that an order's leg trades from."""
    leg = order.legs[0]
    return TradingAccount(
        account_id=leg.account_id, user_id=order.user_id, venue=leg.venue, environment="SIMULATED", is_default=True,
        can_trade=True, why_not="", ref=AccountRef(account_id=str(leg.account_id)),
    )  # fmt: skip


def trade(order: Order, trade_id: str, size: str, **changes: Any) -> Trade:
    """Return a trade of an order as its venue tells it."""
    leg, now = order.legs[0], datetime.now(UTC)
    made = Trade(
        fill_id=fill_id(leg.venue, leg.account_id, "BTC", trade_id), trade_id=trade_id, venue=leg.venue,
        account_id=leg.account_id, market=leg.market, side=leg.side, price=D(100), size=D(size), liquidity="TAKER",
        cause="ORDER", fee=D("0.1"), interface_fee=D(0), realized_pnl=None, venue_order_id="77",
        client_id=leg.client_id, fill_time=now, receive_time=now,
    )  # fmt: skip
    return replace(made, **changes)


def sending(leg: Leg) -> Leg:
    """Return a leg whose bytes are about to be posted."""
    now = datetime.now(UTC)
    return tell(tell(leg, Told.SIGN, Evidence.NOT_SENT, now), Told.SEND, Evidence.UNSPECIFIED, now)


def accepted(leg: Leg) -> Leg:
    """Return a leg that its venue has taken, under the venue's own id."""
    return tell(replace(leg, venue_order_id="77"), Told.ACCEPT, Evidence.STREAM, datetime.now(UTC))


def canceled(leg: Leg) -> Leg:
    """Return a leg that was canceled."""
    return tell(leg, Told.CANCEL, Evidence.STREAM, datetime.now(UTC))


async def test_what_is_held_is_nobody_elses_and_who_was_fenced_off_keeps_nothing(record: Record) -> None:
    order = await record.placed()
    first = await record.claimed(order)
    assert order.order_id not in [one.order.order_id for one in await record.orders.claim(1_000, LEASE_S)]
    await record.orders.release()  # as a room does that starts
    second = await record.claimed(order)
    assert second.fence > first.fence
    assert await record.orders.change(first, sending, due_s=0.0) is None
    await record.orders.succeed(first, D(1))
    stands = await record.orders.get(order.user_id, order.order_id)
    assert stands is not None
    assert (stands.legs[0].state, stands.version) == (LegState.PREPARED, 1), "nothing of it was kept"
    assert order.order_id not in [one.order.order_id for one in await record.orders.claim(1_000, LEASE_S)]
    kept = await record.orders.change(second, sending, due_s=LEASE_S)
    assert kept is not None
    assert kept.leg.state is LegState.SUBMITTED


async def test_of_two_twins_one_is_kept_and_said_and_other_content_is_refused(record: Record) -> None:
    user_id, wanted = uuid.uuid4(), wish()
    first = await record.orders.add(order_of(wanted, user_id))
    again = await record.orders.add(order_of(wanted, user_id))
    assert again.order_id == first.order_id
    assert again.answer_to(wanted).order_id == first.order_id
    with pytest.raises(DomainError) as caught:
        again.answer_to(replace(wanted, size=D(4)))
    assert caught.value.reason is Reason.REQUEST_ID_REUSED
    assert (await record.orders.add(order_of(wanted, uuid.uuid4()))).order_id != first.order_id, "another user's"
    said = [event for event in await record.said() if event.order_changed.order.order_id == str(first.order_id)]
    assert len(said) == 1


async def test_a_trade_counts_once_also_before_the_orders_own_id_is_known_and_after_its_end(record: Record) -> None:
    order = await record.placed()
    account = account_of(order)
    work = await record.claimed(order)
    assert await record.orders.change(work, sending, due_s=LEASE_S) is not None
    early = trade(order, "1", "1", client_id="")  # told by the venue's id alone, which is not known here yet
    assert await record.orders.record(account, [early]) == 1
    assert await record.orders.told(account, "77", order.legs[0].client_id, accepted)
    assert await record.orders.record(account, [early, trade(order, "1", "1"), trade(order, "2", "1")]) == 1
    assert await record.orders.told(account, "77", "", canceled)
    stands = await record.orders.get(order.user_id, order.order_id)
    assert stands is not None
    assert (stands.state, stands.filled, stands.legs[0].fees) == (OrderState.PARTIALLY_DONE, D(2), D("0.2"))
    assert await record.orders.record(account, [trade(order, "3", "1")]) == 1
    late = await record.orders.get(order.user_id, order.order_id)
    assert late is not None
    assert (late.state, late.filled, late.notional, late.legs[0].fees) == (OrderState.DONE, D(3), D(300), D("0.3"))
    fills = await record.lists.fills(order.user_id, Wanted(count=10))
    assert sorted(row["trade_id"] for row in fills) == ["1", "2", "3"]
    said = [event.fill_recorded.fill.fill_id for event in await record.said() if event.HasField("fill_recorded")]
    assert len([one for one in said if one in {str(row["fill_id"]) for row in fills}]) == 3, "each said once"


async def test_what_is_said_is_what_was_kept_in_order_and_by_dense_numbers(record: Record) -> None:
    order = await record.placed(take_profit=Exit(trigger_price=D(200)))
    work = await record.claimed(order)
    before = len(await record.said())
    record.reporter.fails = True
    try:
        with pytest.raises(ArithmeticError):
            await record.orders.change(work, canceled, due_s=0.0)
    finally:
        record.reporter.fails = False
    stands = await record.orders.get(order.user_id, order.order_id)
    assert stands is not None
    assert stands.state is OrderState.PLANNED
    assert len(await record.said()) == before, "what was not kept is not said"
    assert await record.orders.change(work, sending, due_s=LEASE_S) is not None
    assert await record.orders.told(account_of(order), "77", order.legs[0].client_id, accepted)
    events = await record.said()
    assert [event.sequence for event in events] == list(range(1, len(events) + 1)), "no hole, none twice"
    mine = await record.reader.of_user(order.user_id, "order", 0, 100)
    versions = [log_event_pb2.LogEvent.FromString(raw).order_changed.order.version for _, raw in mine]
    assert versions == sorted(set(versions))
    assert len(versions) == 3, "placed, sent, accepted"
    for at, (sequence, _) in enumerate(mine):
        assert await record.reader.of_user(order.user_id, "order", sequence, 100) == mine[at + 1 :], "resumed after it"


async def test_lists_and_the_log_are_their_users_alone(record: Record) -> None:
    mine, other = await record.placed(), await record.placed()
    for one in (mine, other):
        assert await record.orders.told(account_of(one), "77", one.legs[0].client_id, sending)
        assert await record.orders.record(account_of(one), [trade(one, "1", "1")]) == 1
    await record.said()
    wanted = Wanted(count=100)
    assert [one.order_id for one in await record.lists.orders(mine.user_id, wanted)] == [mine.order_id]
    assert {row["order_id"] for row in await record.lists.fills(mine.user_id, wanted)} == {mine.order_id}
    assert await record.orders.get(mine.user_id, other.order_id) is None
    assert await record.orders.by_request(mine.user_id, other.request_id) is None
    assert await record.orders.want_cancel(mine.user_id, other.order_id) is None
    for kind in ("order", "fill"):
        for _, raw in await record.reader.of_user(mine.user_id, kind, 0, 1_000):
            assert log_event_pb2.LogEvent.FromString(raw).user_id == str(mine.user_id)


async def test_a_leg_at_rest_is_looked_at_sooner_where_its_stream_is_gone_or_a_list_misses_it(record: Record) -> None:
    order = await record.placed()
    account, long_ago = account_of(order), datetime.now(UTC) + timedelta(seconds=1)
    work = await record.claimed(order)
    work = await record.orders.change(work, lambda leg: accepted(sending(leg)), due_s=120.0) or work
    assert await due_in_s(record, order) > 100
    await record.orders.hasten(account, 10.0)
    assert 5 < await due_in_s(record, order) <= 10
    assert await record.orders.doubt(account, [order.legs[0].client_id], long_ago) == 0, "it is listed"
    assert await record.orders.doubt(account, [], long_ago) == 1
    assert await due_in_s(record, order) <= 0


async def due_in_s(record: Record, order: Order) -> float:
    """Return in how many seconds a worker looks at an order's leg."""
    async with record.database.acquire() as connection:
        due = await connection.fetchval("SELECT due_time FROM legs WHERE order_id = $1", order.order_id)
    return float((due - datetime.now(UTC)).total_seconds())
