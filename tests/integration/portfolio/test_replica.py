"""Analytics read a real replica while it is fresh; lagging it is passed over, alone it answers with its age."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import asyncpg

from services.chassis.clock import SYSTEM
from services.chassis.metrics import Metrics
from services.chassis.postgres import Database, PostgresConfig
from services.portfolio.ports import FlowFilter, Past
from services.portfolio.store.history import PostgresHistory
from tests.support.portfolio import new_database
from tests.support.postgres import postgres, replica

USER = uuid.UUID(int=5)


async def ask(history: PostgresHistory) -> Past:
    return await history.trading(USER, [], FlowFilter(), now=datetime.now(UTC), points_max=100)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - what is awaited is in a database
            await asyncio.sleep(0.05)


async def test_a_replica_answers_while_it_is_fresh_and_with_its_age_when_it_is_alone() -> None:
    with postgres() as primary, replica(primary) as copy:
        url = await new_database(primary)
        name = url.rsplit("/", 1)[1]
        config = {"pool_max": 2, "acquire_timeout_s": 2.0}
        here = await Database.open("portfolio", PostgresConfig(url=url, **config), metrics=Metrics())  # type: ignore[arg-type]
        there_url = copy.url(database=name)

        async def copied() -> bool:
            try:
                probe = await asyncpg.connect(there_url)
            except asyncpg.PostgresError:
                return False
            found = await probe.fetchval("SELECT to_regclass('portfolio.mark_samples')::text")
            await probe.close()
            return found is not None

        await until(copied)
        there = await Database.open("portfolio", PostgresConfig(url=there_url, **config), metrics=Metrics())  # type: ignore[arg-type]
        applied = 0
        history = PostgresHistory(here, SYSTEM, lag_max_s=0.5, applied=lambda: applied)
        assert (await ask(history)).age_s == 0
        assert history.answered_by == "primary"
        history.use_replica(there)
        assert ((await ask(history)).age_s, history.answered_by) == (0, "replica")

        admin = await asyncpg.connect(there_url)
        await admin.execute("SELECT pg_wal_replay_pause()")
        async with here.transaction() as connection:
            await connection.execute("UPDATE log_cursor SET sequence = 7, write_time = now() - interval '3 seconds'")
        applied = 7
        past = await ask(history)
        assert (past.sequence, past.age_s, history.answered_by) == (7, 0, "primary")

        primary.stop()
        past = await ask(history)
        assert (past.sequence, history.answered_by) == (0, "late replica")
        assert past.age_s > 1
        await admin.execute("SELECT pg_wal_replay_resume()")
        await admin.close()
        for database in (there, here):
            await database.close()
