"""Reads from a real streaming replica: preferred while fresh, passed over when it lags or is away, aged when alone."""

# ruff: noqa: ASYNC110 - what is awaited is in databases

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

from services.domain.errors import DomainError
from services.market_data.ports import Answer
from services.market_data.store.history import History
from tests.integration.market_data.test_history_store import BTC, NOW_NS, L, connected, printed, until
from tests.support.history import new_database, room_url
from tests.support.postgres import postgres, replica


async def asked(history: History) -> Answer[object]:
    assert history.reader is not None
    return await history.reader.trades(BTC, [L], (NOW_NS // 1000 + 1, "", ""), 1_000)  # type: ignore[return-value]


async def when(history: History, holds: Callable[[Answer[object]], bool], what: str) -> Answer[object]:
    async with asyncio.timeout(20):
        while True:
            try:
                answer = await asked(history)
            except DomainError:
                answer = Answer([], -1.0)
            if holds(answer):
                return answer
            await asyncio.sleep(0.05)
    raise AssertionError(what)


def by(history: History) -> str:
    """Who answered last."""
    assert history.reader is not None
    return history.reader.answered_by


async def test_a_replica_answers_while_it_is_fresh_and_is_passed_over_when_it_is_not() -> None:
    with postgres() as primary, replica(primary) as copy:
        url = await new_database(primary)
        name = url.rsplit("/", 1)[1]
        await settled(lambda: _exists(copy.url(database=name)))
        async with connected(url, replica_url=room_url(copy, name), replica_lag_max_s=1.5) as history:
            writer = history.writer
            writer.trades([printed(number) for number in range(10)])
            await when(history, lambda one: by(history) == "replica" and len(one.rows) == 10, "the replica's answer")

            admin = await asyncpg.connect(copy.url(database=name))
            await admin.execute("SELECT pg_wal_replay_pause()")  # connected, and getting older
            writer.trades([printed(number) for number in range(10, 20)])
            answer = await when(history, lambda one: by(history) == "primary" and len(one.rows) == 20, "the primary")
            assert answer.age_s == 0.0
            await admin.execute("SELECT pg_wal_replay_resume()")
            writer.trades([printed(20)])  # a standby tells its age by what it replayed last
            await when(history, lambda one: by(history) == "replica" and len(one.rows) == 21, "the replica again")
            await admin.close()

            copy.stop()
            answer = await when(history, lambda _: by(history) == "primary", "the primary, since the replica is away")
            assert (len(answer.rows), answer.age_s) == (21, 0.0)
            copy.start()
            writer.trades([printed(21)])
            await when(history, lambda one: by(history) == "replica" and len(one.rows) == 22, "the replica, back")

            primary.stop()
            await until(lambda: not writer.connected, "the primary gone")
            answer = await when(history, lambda one: by(history) == "late replica", "the replica alone")
            assert len(answer.rows) == 22
            assert answer.age_s > 1.5
            primary.start()
            await until(lambda: writer.connected, "the primary back", 20)


async def settled(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await check():
            await asyncio.sleep(0.05)


async def _exists(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url)
    except asyncpg.InvalidCatalogNameError:
        return False
    found = await connection.fetchval("SELECT to_regclass('market_data.losses') IS NOT NULL")
    await connection.close()
    return bool(found)
