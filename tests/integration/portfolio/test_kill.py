"""Kill -9 during a burst of fills, again and again: after the restart positions equal the ledger.

30 kills in the suite; PERPMESH_KILLS=1000 for the long run.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from decimal import Decimal
from random import Random

import asyncpg
import pytest
from perpmesh.portfolio.v1 import portfolio_service_pb2 as pb

from tests.support.portfolio import House, fill, new_ids

KILLS = int(os.environ.get("PERPMESH_KILLS", "30"))
SEED = int(os.environ.get("PERPMESH_TEST_SEED", "0")) or Random().randrange(1 << 32)
MARKETS = ("BTC-PERP", "ETH-PERP", "SOL-PERP")


@pytest.mark.timeout(60 + 20 * KILLS)
async def test_positions_equal_the_ledger_after_every_kill(house: House) -> None:
    print(f"PERPMESH_TEST_SEED={SEED}")
    rng = Random(SEED)
    user, *accounts = new_ids(4)
    ledger: Counter[tuple[str, str]] = Counter()
    for market in MARKETS:
        house.street.set(market, "100")
    cut = 0
    for number in range(KILLS):
        burst = []
        for _ in range(rng.randint(200, 1_500)):
            account, market = rng.choice(accounts), rng.choice(MARKETS)
            side, size = rng.choice(("buy", "sell")), rng.randint(1, 9)
            ledger[account, market] += size if side == "buy" else -size
            burst.append(fill(account, side, str(size), str(rng.randint(90, 110)), market=market))
        await house.writer.write(user, *burst, told=rng.random() < 0.8)
        await asyncio.sleep(rng.random() * 0.25)  # not a wait: when the knife falls is the draw
        await house.room.kill()
        cut += await applied(house) < len(house.writer.events)
        await house.room.start()
        if number % 10 == 9 or number == KILLS - 1:
            await house.caught_up()
            answer = await house.room.calls.ListPositions(pb.ListPositionsRequest(), metadata=house.mine(user))
            held = {(one.account_id, one.market): Decimal(one.size) for one in answer.positions}
            assert held == {key: Decimal(size) for key, size in ledger.items() if size}
    fills = await events_of(house)
    assert fills == (len(house.writer.events), len(house.writer.events))
    print(f"{KILLS} kills, {cut} of them within a burst, {len(house.writer.events)} fills, each counted once")
    assert cut > KILLS // 4


async def applied(house: House) -> int:
    connection = await asyncpg.connect(house.database_url)
    try:
        return int(await connection.fetchval("SELECT sequence FROM portfolio.log_cursor"))
    finally:
        await connection.close()


async def events_of(house: House) -> tuple[int, int]:
    """Return how many fills stand in the events, and how many the days have counted less those split by a turn."""
    connection = await asyncpg.connect(house.database_url)
    try:
        distinct = await connection.fetchval("SELECT count(DISTINCT fill_id) FROM portfolio.position_events")
        parts = await connection.fetchval("SELECT count(fill_id) FROM portfolio.position_events")
        days = await connection.fetchval("SELECT sum(fill_count) FROM portfolio.daily_flows")
        return int(distinct), int(days) - (int(parts) - int(distinct))
    finally:
        await connection.close()
