"""The record of orders on a real PostgreSQL: many changes at once, each decided on what is true, none lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.chassis.clock import SYSTEM
from services.chassis.metrics import Metrics
from services.chassis.migrate import folder_of, migrate, read_migrations
from services.chassis.postgres import Database, PostgresConfig, connect
from services.domain.errors import DomainError, Reason
from services.execution.model.leg import Evidence, Leg, LegState, Told, Trade, tell
from services.execution.model.order import Order, venue_client_id
from services.execution.peers.books import FollowedBooks
from services.execution.ports import TradingAccount, Work
from services.execution.rpc.scribe import ProtoScribe
from services.execution.store.orders import PostgresOrders
from services.execution.store.reports import Reporter
from services.venues.actions import OrderType, Side, TimeInForce
from services.venues.trading import AccountRef
from tests.support.postgres import Postgres, postgres

D = Decimal
USER, ACCOUNT = uuid4(), uuid4()
TRADER = TradingAccount(
    account_id=ACCOUNT, user_id=USER, venue="hyperliquid", environment="SIMULATED", is_default=True, can_trade=True,
    why_not="", ref=AccountRef(account_id=str(ACCOUNT)),
)  # fmt: skip
SEED = random.SystemRandom().getrandbits(32)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture
async def database(server: Postgres) -> AsyncIterator[Database]:
    connection = await connect(server.url())
    await connection.execute("DROP SCHEMA IF EXISTS execution CASCADE; CREATE SCHEMA execution")
    await connection.execute("SET search_path = execution")
    await migrate(connection, "execution", read_migrations(folder_of("execution")))  # type: ignore[arg-type]
    await connection.close()
    opened = await Database.open("execution", PostgresConfig(url=server.url()), metrics=Metrics())
    yield opened
    await opened.close()


def room(database: Database) -> PostgresOrders:
    """Return the record as one process has it."""
    books, scribe = FollowedBooks(None, SYSTEM), ProtoScribe("SIMULATED")
    return PostgresOrders(
        database, scribe, SYSTEM, wake=lambda: None, reporter=Reporter(books, scribe, SYSTEM), front=database.part(4)
    )


def order(size: str = "1", **changes: Any) -> Order:
    now, leg_id = datetime.now(UTC), uuid4()
    common: dict[str, Any] = {
        "market": "BTC-PERP", "side": Side.BUY, "size": D(size), "type": OrderType.LIMIT, "reduce_only": False,
        "time_in_force": TimeInForce.GOOD_TILL_CANCELED, "create_time": now, "update_time": now,
        "limit_price": D("84000.5"),
    }  # fmt: skip
    leg = Leg(
        leg_id=leg_id, number=1, venue="hyperliquid", account_id=ACCOUNT, venue_market_id=0,
        client_id=venue_client_id("hyperliquid", leg_id), **common,
    )  # fmt: skip
    made = Order(
        order_id=uuid4(), user_id=USER, request_id=uuid4(), digest=bytes(32), client_order_id="", quote_id=None,
        max_slippage_bps=None, legs=(leg,), **common,
    )  # fmt: skip
    return replace(made, **changes)


def trade(of: Order, size: str, number: int) -> Trade:
    now, leg = datetime.now(UTC), of.legs[0]
    return Trade(
        fill_id=UUID(int=(of.order_id.int + number) % 2**128), trade_id=f"{of.order_id}-{number}", venue=leg.venue,
        account_id=ACCOUNT, market=leg.market, side=leg.side, price=D("84000.1"), size=D(size), liquidity="TAKER",
        cause="ORDER", fee=D("0.0123"), interface_fee=D(0), realized_pnl=None, venue_order_id=leg.venue_order_id,
        client_id=leg.client_id, fill_time=now, receive_time=now,
    )  # fmt: skip


def told(what: Told, **known: Any) -> Callable[[Leg], Leg]:
    return lambda leg: tell(replace(leg, **known), what, Evidence.RESPONSE, datetime.now(UTC))


async def sent(orders: PostgresOrders, made: Order) -> Work:
    """Place an order in a worker's hands and note it as sent."""
    kept = await orders.add(made, lease_s=10)
    work = Work(order=kept, leg=kept.legs[0], fence=1)
    for what in (Told.SIGN, Told.SEND):
        changed = await orders.change(work, told(what), due_s=30)
        assert changed is not None
        work = changed
    return work


async def events(database: Database) -> list[tuple[str, bytes]]:
    async with database.acquire() as connection:
        rows = await connection.fetch("SELECT kind, event FROM outbox ORDER BY outbox_id")
    return [(row["kind"], row["event"]) for row in rows]


async def test_what_is_written_is_what_is_read(database: Database) -> None:
    made = order("0.00001", client_order_id="mine", expire_time=datetime(2030, 1, 1, 1, 2, 3, 456789, tzinfo=UTC))
    await room(database).add(made)
    assert await room(database).get(USER, made.order_id) == made
    work = await sent(room(database), order(max_slippage_bps=7))
    kept = await room(database).get(USER, work.order.order_id)
    assert kept == work.order
    assert kept.legs[0].state is LegState.SUBMITTED


async def test_of_twins_one_is_made(database: Database) -> None:
    made, orders = order(), room(database)
    twins = [replace(made, order_id=uuid4(), legs=(replace(made.legs[0], leg_id=uuid4(), client_id=str(n)),)) for n in
             range(6)]  # fmt: skip
    kept = await asyncio.gather(*(orders.add(twin, lease_s=10) for twin in twins))
    assert len({one.order_id for one in kept}) == 1
    assert [kind for kind, _ in await events(database)] == ["order"]


async def test_many_changes_and_trades_at_once_are_each_counted_once(database: Database) -> None:
    """Two processes, workers and streams, all at once: sums are exact and versions are dense."""
    chance = random.Random(SEED)
    one, other = room(database), room(database)
    works = [await sent(chance.choice((one, other)), order()) for _ in range(12)]
    trades = [(work, trade(work.order, "0.1", number)) for work in works for number in range(10)]
    twice = trades + [chance.choice(trades) for _ in range(40)]
    chance.shuffle(twice)
    jobs: list[Any] = [chance.choice((one, other)).record(TRADER, [single]) for _, single in twice]
    jobs += [one.change(work, told(Told.ACCEPT, venue_order_id=f"oid{at}"), due_s=1) for at, work in enumerate(works)]
    jobs += [
        chance.choice((one, other)).told(TRADER, "", work.leg.client_id, told(Told.ACCEPT), look_s=3) for work in works
    ]
    chance.shuffle(jobs)
    done = await asyncio.gather(*jobs, return_exceptions=True)
    assert [one for one in done if isinstance(one, BaseException)] == [], f"seed {SEED}"
    fresh = room(database)
    for work in works:
        kept = await fresh.get(USER, work.order.order_id)
        assert kept is not None
        leg = kept.legs[0]
        assert (leg.filled, leg.fees, leg.state) == (D(1), D("0.123"), LegState.FILLED), f"seed {SEED}"
        assert leg.venue_order_id
        async with database.acquire() as connection:
            sizes = [row[0] for row in await connection.fetch("SELECT size FROM fills WHERE order_id = $1",
                                                              kept.order_id)]  # fmt: skip
            reported = await connection.fetchval("SELECT filled FROM reports WHERE order_id = $1", kept.order_id)
        assert (sum(sizes), len(sizes), reported) == (D(1), 10, D(1))
    kinds = [kind for kind, _ in await events(database)]
    assert kinds.count("fill") == 120
    assert kinds.count("report") == len(works)


async def test_a_fenced_worker_writes_nothing_and_hears_so(database: Database) -> None:
    orders = room(database)
    made = await orders.add(order(), lease_s=-1)  # a lease that has ended
    stale = Work(order=made, leg=made.legs[0], fence=1)
    (fresh,) = await room(database).claim(5, 30)
    assert fresh.fence == 2
    before = await events(database)
    assert await orders.change(stale, told(Told.SIGN), due_s=1) is None
    assert await events(database) == before
    assert (await orders.change(fresh, told(Told.SIGN), due_s=1)) is not None


async def test_a_trade_that_came_before_its_order_was_known_is_taken_along(database: Database) -> None:
    orders = room(database)
    work = await sent(orders, order())
    early = replace(trade(work.order, "0.4", 1), client_id="", venue_order_id="oid-9")
    assert await orders.record(TRADER, [early]) == 1
    kept = await orders.change(work, told(Told.ACCEPT, venue_order_id="oid-9"), due_s=1)
    assert kept is not None
    assert kept.leg.filled == D("0.4")
    assert kept.leg.state is LegState.PARTIALLY_FILLED


async def test_one_change_that_cannot_be_kept_takes_no_other_with_it(database: Database) -> None:
    orders = room(database)
    works = [await sent(orders, order()) for _ in range(6)]

    def bad(leg: Leg) -> Leg:
        return replace(leg, filled=D(-1), update_time=datetime.now(UTC))

    jobs = [orders.change(work, bad if at == 3 else told(Told.ACCEPT), due_s=1) for at, work in enumerate(works)]
    done = await asyncio.gather(*jobs, return_exceptions=True)
    assert [isinstance(one, asyncpg.CheckViolationError) for one in done] == [at == 3 for at in range(6)]
    states = [cast(Order, await room(database).get(USER, work.order.order_id)).legs[0].state for work in works]
    assert states == [LegState.OPEN] * 3 + [LegState.SUBMITTED] + [LegState.OPEN] * 2


async def test_cancels_and_unknown_outcomes_are_taken_up_first(database: Database) -> None:
    orders = room(database)
    fresh = [await orders.add(order()) for _ in range(3)]
    wanted = await orders.add(order())
    await orders.want_cancel(USER, wanted.order_id)
    unknown = await sent(orders, order())
    await orders.change(unknown, told(Told.LOSE), due_s=0)
    urgent = await orders.claim(10, 30, urgent=True)
    assert {one.order.order_id for one in urgent} == {wanted.order_id, unknown.order.order_id}
    count, since_ns = await orders.waiting(10)
    assert count == 3
    assert abs(since_ns / 1e9 - fresh[0].create_time.timestamp()) < 1
    assert (await orders.waiting(2))[0] == 2
    rest = await orders.claim(10, 30)
    assert {one.order.order_id for one in rest} == {one.order_id for one in fresh}
    assert (await orders.waiting(10)) == (0, 0)


async def test_intake_leaves_the_others_their_connections(server: Postgres, database: Database) -> None:
    whole = await Database.open(
        "execution", PostgresConfig(url=server.url(), pool_max=3, acquire_timeout_s=0.2), metrics=Metrics()
    )
    front = whole.part(2)
    try:
        async with front.acquire(), front.acquire():
            with pytest.raises(DomainError) as found:
                async with front.acquire():
                    pass
            assert (found.value.reason, found.value.retry_after_s) == (Reason.LIMIT_REACHED, 0.2)
            async with whole.acquire() as connection:
                assert await connection.fetchval("SELECT 1") == 1
        async with front.acquire():
            pass
    finally:
        await whole.close()
