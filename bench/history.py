"""History in a real PostgreSQL: ingest beside a bare COPY of the same rows, candles from a big table, dropping a day.

python -m bench history                     2 million rows of price history
python -m bench.history --rows 50000000     the full size: about 9 GB of disk and a quarter of an hour
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import asyncpg

from services.chassis.clock import SYSTEM
from services.chassis.metrics import Metrics
from services.chassis.postgres import Database, PostgresConfig
from services.market_data.model.candle import DAY, MINUTE, SECOND_NS, start_of
from services.market_data.model.history import PriceSample
from services.market_data.store.partitions import Partitions, begin_of, name_of
from services.market_data.store.reader import HistoryReader
from services.market_data.store.tables import CANDLES, PRICES, to_time
from services.market_data.store.writer import BATCH_ROWS_MAX, HistoryWriter
from tests.support.history import new_database
from tests.support.postgres import Postgres, postgres

INGEST_ROWS = 400_000
MARKETS = [f"M{number:02d}-PERP" for number in range(12)]
VENUES = ("hyperliquid", "lighter")
SERIES = len(MARKETS) * len(VENUES)
DAYS = 5
ASKED = 200
GOAL_ROWS_PER_S, GOAL_MS = 200_000, 5.0


def samples(count: int, since_ns: int) -> Iterator[PriceSample]:
    """Yield samples of every market and venue, second by second."""
    for number in range(count):
        market, venue = MARKETS[number % 12], VENUES[number // 12 % 2]
        price = Decimal(8_413_450 + number % 977).scaleb(-2)
        yield PriceSample(market, venue, since_ns + number // SERIES * SECOND_NS, price, price + 1, price, price, price)


async def ingest(server: Postgres, *, indexed: bool) -> tuple[float, float, float]:
    """Return rows a second of a bare COPY, of the writer's flush alone, and of the writer with making its rows."""
    url = await new_database(server)
    admin = await asyncpg.connect(url)
    if not indexed:
        await admin.execute("DROP INDEX price_history_key")
    now = SYSTEM.now()
    partitions = Partitions({"price_history": 7, "trades": 7, "candles": 400, "funding_history": 400})
    await partitions.tend(admin, now)  # type: ignore[arg-type]
    values = list(samples(INGEST_ROWS, start_of(SYSTEM.time_ns(), DAY)))
    rows = [PRICES.row(one) for one in values]
    lines = [
        "".join(line for _, line in rows[start : start + BATCH_ROWS_MAX]).encode()
        for start in range(0, len(rows), BATCH_ROWS_MAX)
    ]
    begun = time.perf_counter()
    for batch in lines:
        await admin.copy_to_table("price_history", source=io.BytesIO(batch), columns=PRICES.columns, format="text")
    bare = INGEST_ROWS / (time.perf_counter() - begun)
    await admin.execute("TRUNCATE price_history")
    database = await Database.open("market_data", PostgresConfig(url=url), metrics=Metrics())
    writer = HistoryWriter(partitions, SYSTEM, buffer_rows_max=INGEST_ROWS, flush_s=1.0, metrics=Metrics())
    begun = time.perf_counter()
    writer.prices(values)
    filled = time.perf_counter()
    async with database.acquire() as connection:
        await writer.flush(connection)
    ended = time.perf_counter()
    assert writer.buffers["price_history"].written == INGEST_ROWS
    await database.close()
    await admin.close()
    return bare, INGEST_ROWS / (ended - filled), INGEST_ROWS / (ended - begun)


async def fill(admin: asyncpg.Connection[Any], rows: int) -> None:
    """Make `rows` of price history over DAYS days inside the server, and a candle for every minute of them."""
    partitions = Partitions({"price_history": 3650, "trades": 7, "candles": 3650, "funding_history": 400})
    seconds = rows // SERIES
    step_s = max(1, DAYS * DAY // seconds)
    today_ns = start_of(SYSTEM.time_ns(), DAY)
    first_ns = today_ns - (seconds * step_s // DAY) * DAY * SECOND_NS
    days = seconds * step_s // DAY + 2
    await partitions.cover(admin, PRICES, [to_time(first_ns + day * DAY * SECOND_NS) for day in range(days)])  # type: ignore[arg-type]
    await admin.execute("SET statement_timeout = 0")
    for day in range(days):
        await admin.execute(
            f"""INSERT INTO price_history
            SELECT at, m, v, p, p + 1, p, p, p FROM (
                SELECT $1::timestamptz + n * interval '1 second' AS at, m, v, 84134.5 + (n % 977) / 10.0 AS p
                FROM generate_series(0, {DAY - 1}, {step_s}) AS n, unnest($2::text[]) AS m, unnest($3::text[]) AS v
                WHERE {day * (DAY // step_s)} + n / {step_s} < {seconds}
            ) AS made""",
            *(to_time(first_ns + day * DAY * SECOND_NS), MARKETS, list(VENUES)),
        )
    months = [to_time(first_ns + day * DAY * SECOND_NS) for day in range(0, days + 40, 10)]
    await partitions.cover(admin, CANDLES, months)  # type: ignore[arg-type]
    await admin.execute(
        """INSERT INTO candles
        SELECT $1::timestamptz + n * interval '1 minute', 60, m, v, 1.5, 2.5, 0.5, 1.25, 10.001, 20.002, 9,
               $1::timestamptz + n * interval '1 minute', $1::timestamptz + n * interval '1 minute', false
        FROM generate_series(0, $2::int) AS n, unnest($3::text[]) AS m, unnest($4::text[]) AS v""",
        *(to_time(first_ns), (days - 1) * DAY // MINUTE, MARKETS, list(VENUES)),
    )
    await admin.execute("ANALYZE price_history, candles")


async def ask(url: str, admin: asyncpg.Connection[Any], since_ns: int) -> dict[str, list[float]]:
    """Return milliseconds of questions: in the database alone (EXPLAIN ANALYZE), and with reading the rows here."""
    database = await Database.open("market_data", PostgresConfig(url=url), metrics=Metrics())
    reader = HistoryReader(database, SYSTEM, lag_max_s=1, metrics=Metrics())
    now_ns = start_of(SYSTEM.time_ns(), DAY)
    found: dict[str, list[float]] = {"one venue": [], "all venues": [], "history": [], "in the database": []}
    for number in range(ASKED):
        market = MARKETS[number % 12]
        end_ns = now_ns - (number * 7 % max(1, (now_ns - since_ns) // SECOND_NS // 3_600)) * 3_600 * SECOND_NS
        for name, venues, limit in (("one venue", ["lighter"], 500), ("all venues", list(VENUES), 1_002)):
            begun = time.perf_counter()
            rows = (await reader.candles(market, MINUTE, venues, 0, end_ns, limit)).rows
            found[name].append((time.perf_counter() - begun) * 1e3)
            assert len(rows) <= limit
        begun = time.perf_counter()
        await reader.prices(market, list(VENUES), 0, (end_ns, "~"), 500)
        found["history"].append((time.perf_counter() - begun) * 1e3)
        plan = await admin.fetch(
            "EXPLAIN (ANALYZE, TIMING OFF) SELECT * FROM candles WHERE market = $1 AND interval_s = 60 AND "
            "open_time >= '1970-01-01' AND open_time < $2 AND venue = ANY($3) ORDER BY open_time DESC, venue LIMIT 500",
            *(market, to_time(end_ns), ["lighter"]),
        )
        found["in the database"].append(float(plan[-1][0].split()[2]))
    await database.close()
    return found


async def drop_a_day(admin: asyncpg.Connection[Any]) -> tuple[float, int]:
    """Return the milliseconds it takes to drop the oldest day, and how many rows it held."""
    name = await admin.fetchval(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid "
        "WHERE inhparent = 'price_history'::regclass AND reltuples > 0 ORDER BY relname LIMIT 1"
    )
    rows = await admin.fetchval(f'SELECT count(*) FROM "{name}"')
    keep = next(
        day
        for day in range(1, 4000)
        if name_of(PRICES, begin_of(PRICES, to_time(SYSTEM.time_ns() - day * DAY * SECOND_NS))) == name
    )
    partitions = Partitions({"price_history": keep - 1, "trades": 7, "candles": 3650, "funding_history": 400})
    await partitions.tend(admin, SYSTEM.now())  # type: ignore[arg-type]
    partitions = Partitions({"price_history": keep - 2, "trades": 7, "candles": 3650, "funding_history": 400})
    begun = time.perf_counter()
    dropped = await partitions.tend(admin, SYSTEM.now())  # type: ignore[arg-type]
    assert dropped
    return (time.perf_counter() - begun) * 1e3, rows


async def run(rows: int) -> None:
    """Print the figures."""
    with postgres(shared_buffers="128MB", max_wal_size="8GB") as server:
        print(
            f"{'ingest, one connection, batches of 10,000':<44} {'bare COPY':>12} {'our flush':>12} {'with rows':>12}"
        )
        for indexed in (True, False):
            runs = [await ingest(server, indexed=indexed) for _ in range(3)]
            bare, ours, whole = (statistics.median(one[place] for one in runs) for place in range(3))
            label = "with the table's index" if indexed else "without an index"
            print(f"{label:<44} {bare:>10,.0f}/s {ours:>10,.0f}/s {whole:>10,.0f}/s   {ours / bare:.2f} of bare")
        url = await new_database(server)
        admin = await asyncpg.connect(server.url(database=url.rsplit("/", 1)[1]))
        await admin.execute("SET search_path = market_data")
        begun = time.perf_counter()
        await fill(admin, rows)
        count = await admin.fetchval("SELECT count(*) FROM price_history")
        candles = await admin.fetchval("SELECT count(*) FROM candles")
        size = await admin.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))")
        print(f"\nfilled {count:,} samples and {candles:,} candles, {size}, in {time.perf_counter() - begun:.0f} s")
        first = await admin.fetchval("SELECT min(open_time) FROM candles")
        times = await ask(url, admin, round(first.timestamp()) * SECOND_NS)
        labels = {
            "in the database": "500 candles of one venue, in the database",
            "one venue": "the same with reading them here",
            "all venues": "501 candles of both venues",
            "history": "500 samples of both venues",
        }
        for name, label in labels.items():
            ordered = sorted(times[name])
            print(f"{label:<44} median {ordered[len(ordered) // 2]:.2f} ms, p99 {ordered[-len(ordered) // 100]:.2f} ms")
        spent, held = await drop_a_day(admin)
        print(f"{'dropping a day of ' + format(held, ',') + ' rows':<44} {spent:.1f} ms with all partition upkeep")
        await admin.close()


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=2_000_000, help="rows of price history (default 2,000,000)")
    asyncio.run(run(options.parse_args().rows))


if __name__ == "__main__":
    main()
