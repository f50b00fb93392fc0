"""Portfolio: fills applied beside a bare COPY of their rows, GetPerformance over a million fills, 500 users watching.

python -m bench portfolio
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import psutil
from perpmesh.portfolio.v1 import analytics_service_pb2 as analytics_pb
from perpmesh.portfolio.v1 import performance_pb2
from perpmesh.portfolio.v1 import portfolio_service_pb2 as pb

from services.chassis.clock import SYSTEM
from services.chassis.metrics import Metrics
from services.chassis.postgres import Database, PostgresConfig
from services.chassis.room import install_decimal_context
from services.portfolio.app.follower import BATCH_MAX, Follower
from services.portfolio.model.values import Environment, Fill, LogEntry
from services.portfolio.model.view import Marks
from services.portfolio.store import rows
from services.portfolio.store.reader import PostgresReader
from tests.support.portfolio import House, fill, new_database, observed, running_house
from tests.support.postgres import Postgres, postgres
from tests.support.valkey import valkey

APPLIED = 40_000
ACCOUNTS, MARKETS = 200, 5
GOAL_COLD_MS, GOAL_CACHED_MS = 300.0, 5.0
WATCH_S = 15.0
START = datetime(2026, 1, 1, tzinfo=UTC)


class Nothing:
    """No tail, no source and no markets: the fold is driven by hand."""

    async def read(self) -> Sequence[LogEntry]:
        """Bring nothing."""
        return ()

    async def read_from(self, sequence: int) -> tuple[Sequence[LogEntry], int]:
        """Have nothing."""
        return (), 0

    async def marks(self, markets: Any) -> Marks:
        """Know nothing."""
        return Marks()

    async def rules(self) -> dict[tuple[str, str], Any]:
        """Know nothing."""
        return {}

    async def environment(self, venue: str) -> Environment:
        """Say where everything lives."""
        return Environment.SIMULATED


def entries(count: int) -> list[LogEntry]:
    """Return a log of fills."""
    rng = Random(1)
    accounts = [(uuid.UUID(int=n + 1), uuid.UUID(int=n // 2 + 10**6)) for n in range(ACCOUNTS)]
    found = []
    for number in range(1, count + 1):
        account, user = rng.choice(accounts)
        one = Fill(
            fill_id=uuid.UUID(int=rng.getrandbits(128)), order_id="", account_id=account, venue="hyperliquid",
            market=f"M{rng.randrange(MARKETS)}-PERP", size=Decimal(rng.randint(-900, 900) or 1).scaleb(-2),
            price=Decimal(rng.randint(9_000, 11_000)).scaleb(-2), costs=((2, Decimal("0.0123")),),
            time=START + timedelta(seconds=number),
        )  # fmt: skip
        found.append(LogEntry(sequence=number, user_id=user, written=START, what=(one,)))
    return found


async def applied(server: Postgres) -> None:
    """Print fills applied a second beside a bare COPY of the event rows they make."""
    url = await new_database(server)
    database = await Database.open("portfolio", PostgresConfig(url=url), metrics=Metrics())
    nothing: Any = Nothing()
    follower = Follower(
        ledger=PostgresReader(database), tail=nothing, source=nothing, markets=nothing, clock=SYSTEM,
        watched=lambda _: False, applied=lambda *_: None,
    )  # fmt: skip
    log = entries(APPLIED)
    begun = time.perf_counter()
    await follower.apply(log)
    ours = APPLIED / (time.perf_counter() - begun)
    async with database.acquire() as connection:
        made = [tuple(row) for row in await connection.fetch(f"SELECT {rows.EVENT} FROM position_events")]
        await connection.execute("TRUNCATE position_events")
        begun = time.perf_counter()
        for start in range(0, len(made), BATCH_MAX):
            await connection.copy_records_to_table(
                "position_events", records=made[start : start + BATCH_MAX], columns=rows.columns(rows.EVENT)
            )
        bare = APPLIED / (time.perf_counter() - begun)
    await database.close()
    print(f"fills applied: {ours:,.0f}/s; a bare COPY of their event rows {bare:,.0f}/s; ratio {ours / bare:.2f}")


MADE = """
INSERT INTO accounts (account_id, user_id, venue, environment, update_time) VALUES ($1, $2, 'hyperliquid', 1, now());
"""
LIVES = """
INSERT INTO positions (position_id, account_id, user_id, venue, market, side, size, cost, realized, fifo_realized,
    funding_paid, max_size, opened_size, opened_cost, closed_size, closed_proceeds, event_count, log_sequence,
    open_time, update_time, close_time, net_pnl)
SELECT gen_random_uuid(), $1, $2, 'hyperliquid', 'M' || n % 20 || '-PERP', 1 - 2 * (n % 2)::int, 0, 0, n % 7 - 3,
    n % 7 - 3, 0, 1, 5, 500, 5, 500, 10, n, $3::timestamptz + n * interval '5 minutes', now(),
    $3::timestamptz + n * interval '5 minutes' + interval '4 minutes', n % 7 - 3.1
FROM generate_series(1, $4::int) AS n
"""
EVENTS = """
INSERT INTO position_events (position_id, number, user_id, account_id, venue, market, side, kind, event_time,
    size_change, price, size_after, realized, fees, cost_kinds, cost_amounts, funding, fill_id)
SELECT p.position_id, n, p.user_id, p.account_id, p.venue, p.market, p.side, 1, p.open_time + n * interval '20 seconds',
    1, 100, 0, CASE WHEN n > 5 THEN 0.2 END, 0.01, '{2}', '{0.01}', 0, gen_random_uuid()
FROM positions p CROSS JOIN generate_series(1, 10) AS n
"""
ROLLUP = (
    """INSERT INTO daily_flows (user_id, day, account_id, market, side, venue, realized, funding, volume, fill_count)
    SELECT user_id, event_time::date, account_id, market, side, venue, sum(realized),
    sum(funding), sum(price * abs(size_change)), count(*) FROM position_events
    GROUP BY user_id, event_time::date, account_id, market, side, venue""",
    """UPDATE daily_flows AS d SET closed_count = c.n, win_count = c.wins, loss_count = c.n - c.wins, won = c.won,
    lost = c.lost, held_us = c.n * 240000000 FROM (
        SELECT close_time::date AS day, market, side, count(*) AS n, count(*) FILTER (WHERE net_pnl > 0) AS wins,
               coalesce(sum(net_pnl) FILTER (WHERE net_pnl > 0), 0) AS won,
               coalesce(sum(net_pnl) FILTER (WHERE net_pnl < 0), 0) AS lost
        FROM positions GROUP BY close_time::date, market, side
    ) AS c WHERE d.day = c.day AND d.market = c.market AND d.side = c.side""",
    """INSERT INTO daily_costs SELECT user_id, event_time::date, account_id, market, side, 2, venue, sum(fees)
    FROM position_events GROUP BY user_id, event_time::date, account_id, market, side, venue""",
    "INSERT INTO user_revisions SELECT DISTINCT user_id, 0 FROM accounts",
)


async def performance(house: House, fills: int) -> None:
    """Print how long GetPerformance takes over many fills, cold and cached."""
    user, account = uuid.uuid4(), uuid.uuid4()
    admin = await asyncpg.connect(house.database_url, server_settings={"search_path": "portfolio"})
    await admin.execute("SET statement_timeout = 0")
    await admin.execute(MADE.strip().rstrip(";").replace("$1", f"'{account}'").replace("$2", f"'{user}'"))
    await admin.execute(LIVES, account, user, START - timedelta(days=400), fills // 10)
    await admin.execute(EVENTS)
    for query in ROLLUP:
        await admin.execute(query)
    await admin.execute("ANALYZE")
    await admin.close()
    about = house.mine(str(user))

    async def asked(**fields: Any) -> tuple[float, Any]:
        begun = time.perf_counter()
        answer = await house.room.analytics.GetPerformance(
            analytics_pb.GetPerformanceRequest(**fields), metadata=about, timeout=60
        )
        return (time.perf_counter() - begun) * 1e3, answer.performance.total

    by = [performance_pb2.GROUPING_MARKET, performance_pb2.GROUPING_SIDE]
    await asked(market="M1-PERP")  # connections and plans
    whole = [await asked(groupings=by, start_time=START - timedelta(days=399 + n)) for n in range(5)]
    partial = [await asked(start_time=START - timedelta(days=300, minutes=n)) for n in range(1, 6)]
    again = [(await asked(groupings=by, start_time=START - timedelta(days=399)))[0] for _ in range(50)]
    cold = statistics.median(ms for ms, _ in whole)
    print(
        f"GetPerformance over {max(total.fill_count for _, total in whole):,} fills, by market and side: cold "
        f"{cold:.0f} ms (goal {GOAL_COLD_MS:.0f}), a window that cuts days "
        f"{statistics.median(ms for ms, _ in partial):.0f} ms, cached {statistics.median(again):.2f} ms "
        f"(goal {GOAL_CACHED_MS:.0f}), p99 {sorted(again)[-1]:.2f} ms"
    )


async def watching(house: House, users: int) -> None:
    """Print what it costs to show moving positions to many, and how late a fill is seen among them."""
    rng = Random(2)
    names = [str(uuid.uuid4()) for _ in range(users)]
    accounts = {user: str(uuid.uuid4()) for user in names}
    markets = [f"M{number}-PERP" for number in range(MARKETS)]
    for market in markets:
        house.street.set(market, "100")
    for user in names:
        await house.writer.write(
            user,
            observed(accounts[user], balances=[{"asset": "USDC", "total": "1000"}]),
            *[fill(accounts[user], "buy", "1", "100", market=market) for market in markets],
        )
    await house.caught_up()
    seen: dict[str, asyncio.Queue[float]] = {user: asyncio.Queue() for user in names}
    counts = [0]
    streams = [asyncio.create_task(_watch(house, user, seen[user], counts)) for user in names]
    await asyncio.sleep(3)
    assert house.room.process is not None
    process = psutil.Process(house.room.process.pid)
    late: list[float] = []
    counts[0], used, begun = 0, _cpu(process), time.perf_counter()
    while time.perf_counter() - begun < WATCH_S:
        for market in markets:
            house.street.set(market, f"{100 + rng.random():.4f}")
        user = rng.choice(names)
        while not seen[user].empty():
            seen[user].get_nowait()
        written = time.perf_counter()
        await house.writer.write(user, fill(accounts[user], "buy", "1", "100", market=rng.choice(markets)))
        async with asyncio.timeout(20):
            late.append((await seen[user].get() - written) * 1e3)
        await asyncio.sleep(0.1)
    took = time.perf_counter() - begun
    cpu = (_cpu(process) - used) / took
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    late.sort()
    print(
        f"WatchPositions, {users} users of {MARKETS} positions on a moving market: {counts[0] / took:,.0f} messages/s, "
        f"{cpu:.0%} of a core, a fill is seen after p50 {late[len(late) // 2]:.0f} ms, "
        f"p99 {late[min(len(late) - 1, len(late) * 99 // 100)]:.0f} ms (client and room on the same cores)"
    )


async def _watch(house: House, user: str, seen: asyncio.Queue[float], counts: list[int]) -> None:
    last = 0
    async for message in house.room.calls.WatchPositions(pb.WatchPositionsRequest(), metadata=house.mine(user)):
        counts[0] += 1
        if message.HasField("position") and message.position.log_sequence > last:
            last = message.position.log_sequence
            seen.put_nowait(time.perf_counter())


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def run(fills: int, users: int) -> None:
    """Run all three."""
    with postgres(shared_buffers="128MB") as server:
        await applied(server)
        with tempfile.TemporaryDirectory() as folder, valkey(Path(folder)) as store:
            for number, measure in enumerate((performance, watching)):
                part = Path(folder) / str(number)
                part.mkdir()
                async with running_house(part, server=server, valkey_url=store.url) as house:
                    await measure(house, (fills, users)[number])


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--fills", type=int, default=1_000_000)
    options.add_argument("--users", type=int, default=500)
    chosen = options.parse_args()
    install_decimal_context()
    asyncio.run(run(chosen.fills, chosen.users))


if __name__ == "__main__":
    main()
