"""The record of orders: names that are unique while they are open, and a database of any age brought up to date."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from services.chassis.clock import SYSTEM
from services.chassis.migrate import folder_of, migrate, read_migrations
from services.chassis.postgres import Database, PostgresConfig, connect
from services.domain.errors import DomainError, Reason
from services.domain.refusal import RefusalReason
from services.execution.model.leg import LegState
from services.execution.model.order import Order, OrderState, denied, mesh_says_no
from services.execution.peers.books import FollowedBooks
from services.execution.rpc import encode
from services.execution.rpc.scribe import ProtoScribe
from services.execution.store.orders import PostgresOrders
from services.execution.store.reports import Reporter
from services.execution.store.rows import LEG, ORDER, order_of
from services.execution.store.statements import MOVED
from tests.support.postgres import Postgres, postgres
from tests.unit.execution.test_leg import leg
from tests.unit.execution.test_replacing import order as some_order

FILES = read_migrations(folder_of("execution"))
OLD = range(1, len(FILES))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as made:
        yield made


async def opened(server: Postgres) -> tuple[Database, PostgresOrders]:
    connection = await connect(server.url())
    await connection.execute("CREATE SCHEMA IF NOT EXISTS execution")
    await connection.execute("SET search_path = execution")
    await migrate(connection, "execution", FILES)  # type: ignore[arg-type]
    await connection.close()
    database = await Database.open("execution", PostgresConfig(url=server.url()))
    scribe = ProtoScribe("SIMULATED")
    orders = PostgresOrders(
        database,
        scribe,
        SYSTEM,
        wake=lambda: None,
        front=database,
        reporter=Reporter(FollowedBooks(None, SYSTEM), scribe, SYSTEM),
    )
    return database, orders


def named(user: uuid.UUID, name: str = "mine", **changes: Any) -> Order:
    """Return an order of a user with a client_order_id."""
    leg_id = uuid.uuid4()
    return replace(
        some_order(replace(leg(leg_id=leg_id, state=LegState.PREPARED), client_id=str(leg_id))),
        order_id=uuid.uuid4(), user_id=user, request_id=uuid.uuid4(), digest=bytes(32), client_order_id=name,
        **changes,
    )  # fmt: skip


async def test_of_orders_that_come_together_under_one_name_one_is_made_and_the_others_name_it(
    server: Postgres,
) -> None:
    database, orders = await opened(server)
    user, other = uuid.uuid4(), uuid.uuid4()
    wishes = [named(user) for _ in range(8)]
    told = await asyncio.gather(*(orders.add(one) for one in wishes), return_exceptions=True)
    made = [one for one in told if isinstance(one, Order)]
    refused = [one for one in told if isinstance(one, DomainError)]
    assert (len(made), len(refused)) == (1, 7), told
    assert {one.reason for one in refused} == {Reason.REQUEST_ID_REUSED}
    assert {one.metadata["order_id"] for one in refused} == {str(made[0].order_id)}
    assert await orders.add(made[0]) == made[0], "the same request again is no other order"
    await orders.add(named(other))  # a name is the user's own
    await orders.add(named(user, ""))
    await orders.add(named(user, ""))
    await database.close()


async def test_a_name_is_free_again_when_its_order_has_ended(server: Postgres) -> None:
    database, orders = await opened(server)
    user = uuid.uuid4()
    over = mesh_says_no(RefusalReason.HALTED, "Trading is halted.")
    await orders.add(denied(named(user), over))
    await orders.add(denied(named(user), over))
    first = await orders.add(named(user))
    await orders.want_cancel(user, first.order_id)
    (work,) = [one for one in await orders.claim(100, 30) if one.order.order_id == first.order_id]
    ended = await orders.change(work, lambda one: replace(one, state=LegState.CANCELED), due_s=0)
    assert ended is not None
    assert ended.order.state is OrderState.CANCELED
    await orders.add(named(user))
    await database.close()


VALUES: dict[str, Any] = {
    "order_id": uuid.UUID(int=1), "user_id": uuid.UUID(int=2), "request_id": uuid.UUID(int=3), "digest": bytes(32),
    "market": "BTC-PERP", "side": "BUY", "size": Decimal("0.5"), "type": "LIMIT", "limit_price": Decimal(90_000),
    "time_in_force": "GOOD_TILL_CANCELED", "reduce_only": False, "client_order_id": "mine", "state": "RUNNING",
    "version": 7, "create_time": datetime(2026, 11, 1, tzinfo=UTC), "update_time": datetime(2026, 11, 2, tzinfo=UTC),
    "leg_id": uuid.UUID(int=4), "number": 1, "venue": "lighter", "account_id": uuid.UUID(int=5), "venue_market_id": 1,
    "client_id": "77", "evidence": "STREAM", "filled": Decimal("0.2"), "notional": Decimal(18_000),
    "fees": Decimal("1.5"), "interface_fees": Decimal(0), "venue_order_id": "88", "transaction_hash": "0xab",
    "nonce": 9, "key_index": 3, "expire_ms": 1_800_000_000_000, "send_count": 1, "action_number": 0,
    "cancel_wanted": False, "due_time": datetime(2026, 11, 3, tzinfo=UTC),
}  # fmt: skip
"""What an order that is half-filled looked like under any schema; a column that a migration adds has its default."""
FILL: dict[str, Any] = {
    "fill_id": uuid.UUID(int=6), "price": Decimal(90_000), "size": Decimal("0.2"), "liquidity": "TAKER",
    "cause": "ORDER", "fee": Decimal("1.5"), "interface_fee": Decimal(0), "realized_pnl": Decimal("-3.25"),
    "trade_id": "99", "fill_time": datetime(2026, 11, 1, 12, tzinfo=UTC),
    "receive_time": datetime(2026, 11, 1, 12, 0, 1, tzinfo=UTC),
}  # fmt: skip
"""The trade that filled it so far."""
TRADED = ("order_id", "user_id", "leg_id", "account_id", "venue", "market", "side", "size", "venue_order_id")
"""What the trade has of the order."""


async def insert(connection: asyncpg.Connection[Any], schema: str, table: str, **values: Any) -> None:
    """Insert a row with those of its columns that the schema has."""
    rows = await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2", schema, table
    )
    names = [row["column_name"] for row in rows if row["column_name"] in values]
    places = ", ".join(f"${at}" for at in range(1, len(names) + 1))
    await connection.execute(
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})",
        *(values[name] for name in names),
    )


@pytest.mark.parametrize("age", OLD)
async def test_a_database_that_holds_orders_is_brought_up_to_date_and_they_read_as_they_were(
    server: Postgres, age: int
) -> None:
    connection = await connect(server.url())
    schema = f"aged_{chr(ord('a') + age)}"
    await connection.execute(f"CREATE SCHEMA {schema}")
    await connection.execute(f"SET search_path = {schema}")
    await migrate(connection, schema, FILES[:age])  # type: ignore[arg-type]
    await insert(connection, schema, "orders", **VALUES)
    await insert(connection, schema, "legs", **{**VALUES, "state": "PARTIALLY_FILLED"})
    twin = {**VALUES, "order_id": uuid.UUID(int=9), "request_id": uuid.UUID(int=9)}
    if age < 12:  # before names were unique, two could be open under one
        await insert(connection, schema, "orders", **twin)
    await insert(connection, schema, "fills", **{**{name: VALUES[name] for name in TRADED}, **FILL})
    (traded,) = await connection.fetch("SELECT * FROM fills")
    await migrate(connection, schema, FILES)  # type: ignore[arg-type]
    (fill,) = await connection.fetch("SELECT * FROM fills")
    assert {name: fill[name] for name in traded.keys()} == dict(traded)  # noqa: SIM118 - a record iterates over values
    for told, last in ((1_000, 1_000), (3_000, 3_000), (2_000, 3_000)):  # fills never set how far transfers were told
        await connection.execute(MOVED, fill["account_id"], told)
        assert await connection.fetchval("SELECT last_ms FROM transfers_told") == last
    row = await connection.fetchrow(f"SELECT {', '.join(ORDER)} FROM orders WHERE order_id = $1", VALUES["order_id"])
    legs = await connection.fetch(f"SELECT {', '.join(LEG)} FROM legs WHERE order_id = $1", VALUES["order_id"])
    order = order_of(row, legs)
    assert (order.state, order.filled, order.version) == (OrderState.RUNNING, Decimal("0.2"), 7)
    (kept,) = order.legs
    assert (kept.state, kept.nonce, kept.key_index, kept.settled) == (LegState.PARTIALLY_FILLED, 9, 3, 0)
    assert all(getattr(kept, name) == VALUES[name] for name in ("size", "limit_price", "client_id", "venue_order_id"))
    assert encode.order(order).legs[0].filled_size == "0.2"
    names = await connection.fetch("SELECT client_order_id FROM orders")
    assert {one["client_order_id"] for one in names} == {"mine"}, "no name is lost"
    third = {**VALUES, "order_id": uuid.UUID(int=10), "request_id": uuid.UUID(int=10)}
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert(connection, schema, "orders", **third)
    due = await connection.fetchval("SELECT count(*) FROM legs WHERE due_time IS NOT NULL")
    assert due == 1, "a worker takes it up"
    await connection.execute(f"DROP SCHEMA {schema} CASCADE")
    await connection.close()
