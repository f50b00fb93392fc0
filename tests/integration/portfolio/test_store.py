"""The tables: a rebuild equals what was followed live, and every list by user walks an index of the user."""

from __future__ import annotations

import json
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.portfolio.ports import FlowFilter, LifeFilter
from services.portfolio.store import reader
from tests.support.portfolio import START, House, fill, minutes, new_database, new_ids, observed
from tests.support.postgres import Postgres

TABLES = {
    "accounts": "account_id",
    "balances": "account_id, asset",
    "positions": "position_id",
    "position_events": "position_id, number",
    "position_reports": "account_id, market",
    "funding_payments": "funding_payment_id",
    "transfers": "transfer_id",
    "daily_flows": "user_id, day, account_id, market, side",
    "daily_costs": "user_id, day, account_id, market, side, kind",
    "user_revisions": "user_id",
}


async def contents(url: str) -> dict[str, list[Any]]:
    connection = await asyncpg.connect(url, server_settings={"search_path": "portfolio"})
    found = {
        table: [tuple(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY {order}")]
        for table, order in TABLES.items()
    }
    await connection.close()
    return found


async def write_history(house: House, rng: Random) -> None:
    users = new_ids(3)
    accounts = {user: new_ids(2) for user in users}
    for number in range(400):
        user = rng.choice(users)
        account = rng.choice(accounts[user])
        market = rng.choice(("BTC-PERP", "ETH-PERP"))
        at = minutes(number)
        if rng.random() < 0.8:
            side, size, price = rng.choice(("buy", "sell")), str(rng.randint(1, 9)), str(rng.randint(90, 110))
            await house.writer.write(user, fill(account, side, size, price, market=market, at=at, fees=[(2, "0.01")]))
            continue
        paid = {"market": market, "amount": str(rng.randint(-5, 5)), "rate": "0.0001", "position_size": "1", "at": at}
        moved = {"venue_transfer_id": str(number), "venue_kind": "deposit", "amount": "10", "at": at}
        held = {"market": market, "size": str(rng.randint(-9, 9)), "entry_price": "100", "leverage": rng.randint(1, 9)}
        await house.writer.write(
            user,
            observed(
                account, at=at, complete=rng.random() < 0.5, balances=[{"asset": "USDC", "total": "1000"}],
                funding=[paid], transfers=[moved], positions=[held],
            ),
        )  # fmt: skip


async def test_a_rebuild_from_the_log_equals_what_was_followed_live(
    house: House, tmp_path_factory: pytest.TempPathFactory, portfolio_postgres: Postgres
) -> None:
    for market in ("BTC-PERP", "ETH-PERP"):
        house.street.set(market, "100")
    await write_history(house, Random(4))
    await house.caught_up()
    live = await contents(house.database_url)
    await house.room.kill()
    again = await new_database(portfolio_postgres)
    house.room.environ["PERPMESH_POSTGRES_URL"] = again
    await house.writer.flush()  # from the log itself, in other batches
    house.database_url = again
    await house.room.start()
    await house.caught_up()
    rebuilt = await contents(again)
    for table, rows in live.items():
        if table == "user_revisions":  # the number of the batch's last event, and batches are others
            assert [row[0] for row in rows] == [row[0] for row in rebuilt[table]]
        else:
            assert rows == rebuilt[table], table
    assert len(live["positions"]) > 50


QUERIES = {
    "ListPositions": lambda user: reader.open_positions_query(
        user, LifeFilter(), after=("BTC-PERP", "hyperliquid", uuid4()), limit=101
    ),
    "ListPositions of a market": lambda user: reader.open_positions_query(
        user, LifeFilter(market="BTC-PERP"), after=None, limit=101
    ),
    "ListPositionHistory": lambda user: reader.lives_query(user, LifeFilter(), after=(START, uuid4()), limit=51),
    "ListPositionHistory of a time": lambda user: reader.lives_query(
        user, LifeFilter(start=START, end=minutes(9), market="BTC-PERP"), after=None, limit=51
    ),
    "ListFundingPayments": lambda user: reader.payments_query(user, FlowFilter(), after=(START, uuid4()), limit=101),
    "ListTransfers": lambda user: reader.transfers_query(user, FlowFilter(kind="DEPOSIT"), after=None, limit=101),
    "resuming WatchPositions": lambda user: (reader.CLOSED_SINCE, [user, 5, 100]),
    "ListBalances": lambda user: (
        "SELECT account_id FROM accounts WHERE user_id = $1 ORDER BY venue, account_id LIMIT 1000", [user],
    ),
}  # fmt: skip


async def test_every_list_by_user_walks_an_index_of_the_user(portfolio_postgres: Postgres) -> None:
    url = await new_database(portfolio_postgres)
    connection = await asyncpg.connect(url, server_settings={"search_path": "portfolio"})
    await connection.execute(FILLED)
    user = UUID(int=7)
    try:
        for name, query in QUERIES.items():
            text, arguments = query(user)
            plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {text}", *arguments))[0]["Plan"]
            scans: list[str] = []
            walk(plan, scans)
            assert all("user_id" in condition for condition in scans), (name, scans, plan)
            assert scans, (name, plan)
    finally:
        await connection.close()


def walk(plan: dict[str, Any], scans: list[str]) -> None:
    """Collect the index conditions of every scan, `none` for one without."""
    if "Scan" in plan["Node Type"] and plan["Node Type"] != "Bitmap Heap Scan":  # which reads what an index scan found
        scans.append(plan.get("Index Cond", "none"))
    for part in plan.get("Plans", ()):
        walk(part, scans)


FILLED = """
INSERT INTO accounts (account_id, user_id, venue, environment, update_time)
SELECT ('00000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid,
       ('00000000-0000-0000-0000-' || lpad(to_hex(n % 500), 12, '0'))::uuid, 'hyperliquid', 1, now()
FROM generate_series(1, 2000) AS n;
INSERT INTO positions (position_id, account_id, user_id, venue, market, side, size, cost, realized, fifo_realized,
    funding_paid, max_size, opened_size, opened_cost, closed_size, closed_proceeds, event_count, log_sequence,
    open_time, update_time, close_time)
SELECT gen_random_uuid(), a.account_id, a.user_id, a.venue, 'M' || m || '-PERP', 1, (m > 8)::int, 0, 0, 0, 0, 1, 1, 1,
    0, 0, 1, m, now() - m * interval '1 hour', now(), CASE WHEN m > 8 THEN NULL ELSE now() END
FROM accounts a CROSS JOIN generate_series(1, 10) AS m;
INSERT INTO funding_payments SELECT gen_random_uuid(), NULL, a.account_id, a.user_id, a.venue, 'M1-PERP', 1, 0, 1,
    now() - m * interval '1 hour' FROM accounts a CROSS JOIN generate_series(1, 20) AS m;
INSERT INTO transfers SELECT gen_random_uuid(), a.account_id, a.user_id, a.venue, 'DEPOSIT', 'USDC', 1, 0, '', m::text,
    now() - m * interval '1 hour', now() FROM accounts a CROSS JOIN generate_series(1, 20) AS m;
ANALYZE;
"""
