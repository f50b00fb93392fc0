"""History in a real PostgreSQL: written by COPY, once each, whole after an outage up to the buffer, read by pages."""

# ruff: noqa: ASYNC110 - what is awaited is in a database

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from services.chassis.clock import SYSTEM
from services.chassis.config import ConfigError
from services.chassis.tasks import Supervisor
from services.domain.errors import DomainError, Reason
from services.market_data.model.candle import DAY, MINUTE, MINUTE_NS, SECOND_NS, Candle
from services.market_data.model.history import FundingPoint, PriceSample, RecordedTrade
from services.market_data.store.history import History
from services.market_data.store.partitions import Partitions
from services.market_data.store.tables import PRICES, to_time
from services.market_data.store.writer import BATCH_ROWS_MAX
from tests.support.history import ROOT, new_database, new_history, room_url
from tests.support.postgres import Postgres, postgres

BTC, L, H = "BTC-PERP", "lighter", "hyperliquid"
NOW_NS = SYSTEM.time_ns() // MINUTE_NS * MINUTE_NS


def sample(second: int, venue: str = L) -> PriceSample:
    return PriceSample(BTC, venue, NOW_NS - second * SECOND_NS, Decimal("84134.5"), None, Decimal(1), None, None)


def printed(number: int, venue: str = L) -> RecordedTrade:
    at_ns = NOW_NS - number * SECOND_NS // 4
    price = Decimal(100 + number % 7)
    return RecordedTrade(BTC, venue, f"{number:06d}", price, Decimal("0.5"), number % 2 == 0, False, at_ns, at_ns)


def minute(number: int, venue: str = L, interval_s: int = MINUTE) -> Candle:
    one, high, open_ns = Decimal(10), Decimal("10.5"), NOW_NS - number * interval_s * SECOND_NS
    open_ns -= open_ns % (interval_s * SECOND_NS)
    return Candle(
        market=BTC,
        venue=venue,
        interval_s=interval_s,
        open_ns=open_ns,
        open=one,
        high=high,
        low=one,
        close=high,
        volume=Decimal("0.00001"),
        quote_volume=None if venue == H else Decimal("0.0001"),
        trade_count=3,
        first_ns=open_ns + 1_000,
        last_ns=open_ns + 9_000,
        closed=True,
        repaired=venue == H,
    )


async def until(condition: Callable[[], Any], what: str, timeout_s: float = 10.0) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {what}") from None


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[History]:
    history = new_history(url, **options)
    async with Supervisor() as tasks:
        history.start(tasks)
        await until(lambda: history.writer.connected, "a connection")
        yield history
    await history.close()


async def test_what_is_written_is_read_back_exactly(database_url: str) -> None:
    async with connected(database_url) as history:
        writer, reader = history.writer, history.reader
        assert reader is not None
        funding = FundingPoint(BTC, H, NOW_NS, Decimal("0.0000125"), 3600, Decimal("-0.0001"))
        writer.prices([sample(2), sample(1)])
        writer.trades([printed(0), printed(1)])
        writer.candles([minute(1), minute(1, H)])
        writer.fundings([funding])
        await until(lambda: not writer.buffered, "everything written")
        end_ns = NOW_NS + SECOND_NS
        assert (await reader.prices(BTC, [L], 0, (end_ns, "~"), 10)).rows == [sample(1), sample(2)]
        assert (await reader.trades(BTC, [L], (end_ns // 1000, "", ""), 10)).rows == [printed(0), printed(1)]
        assert (await reader.candles(BTC, MINUTE, [H, L], 0, end_ns, 10)).rows == [minute(1, H), minute(1)]
        assert (await reader.fundings(BTC, [H, L], 0, (end_ns, "~"), 10)).rows == [funding]
        assert await reader.last_funding(BTC, H) == NOW_NS
        assert await reader.span_of_candles(BTC, L) == {MINUTE: (minute(1).open_ns, minute(1).open_ns)}


async def test_pages_of_two_venues_leave_nothing_out_and_repeat_nothing(database_url: str) -> None:
    async with connected(database_url) as history:
        history.writer.prices(
            [sample(second, venue) for second in range(60) for venue in (L, H) if second % 3 or venue == L]
        )
        history.writer.trades([printed(number, (L, H)[number % 2]) for number in range(100)])
        await until(lambda: not history.writer.buffered, "everything written")
        reader = history.reader
        assert reader is not None
        seen: list[tuple[int, str]] = []
        before = (NOW_NS + 1_000, "~")
        while page := (await reader.prices(BTC, [H, L], 0, before, 7)).rows:
            seen += [(one.sample_ns, one.venue) for one in page]
            before = seen[-1]
        assert len(seen) == len(set(seen)) == 100
        assert seen == sorted(seen, key=lambda one: (-one[0], one[1]))
        ids: list[str] = []
        place = (NOW_NS // 1000 + 1, "", "")
        while trades := (await reader.trades(BTC, [H, L], place, 9)).rows:
            ids += [one.trade_id for one in trades]
            place = trades[-1].key
        assert ids == [f"{number:06d}" for number in range(100)]


async def test_candles_of_one_second_are_made_from_the_recorded_trades(database_url: str) -> None:
    async with connected(database_url) as history:
        history.writer.trades([printed(number) for number in range(40)])
        await until(lambda: not history.writer.buffered, "everything written")
        assert history.reader is not None
        seconds = (await history.reader.candles(BTC, 1, [L], 0, NOW_NS + SECOND_NS, 100)).rows
        assert [one.trade_count for one in seconds] == [1, *[4] * 9, 3]
        group = [printed(number) for number in (4, 3, 2, 1)]
        assert seconds[1].open == group[0].price
        assert seconds[1].close == group[-1].price
        assert seconds[1].quote_volume == sum(one.price * one.size for one in group)


async def test_rows_that_are_there_already_are_not_written_twice(database_url: str) -> None:
    async with connected(database_url) as history:
        writer = history.writer
        for _ in range(2):
            writer.trades([printed(number) for number in range(20)])  # as a venue repeats them after a restart
            writer.candles([minute(number) for number in range(20)])
            await until(lambda: not writer.buffered, "everything written")
        writer.buffers["price_history"].doubtful = True  # the outcome of a COPY is not known
        writer.prices([sample(1)])
        await until(lambda: not writer.buffered, "everything written")
        writer.buffers["price_history"].doubtful = True
        writer.prices([sample(1), sample(0)])
        await until(lambda: not writer.buffered, "everything written")
        assert await counts(database_url) == {"trades": 20, "candles": 20, "price_history": 2}
        assert all(buffer.lost == 0 for buffer in writer.buffers.values())


async def counts(url: str) -> dict[str, int]:
    connection = await asyncpg.connect(url)
    names = ("trades", "candles", "price_history")
    found = {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name in names}
    await connection.close()
    return found


async def test_an_outage_loses_nothing_up_to_the_buffer_and_then_says_what() -> None:
    with postgres() as server:
        url = await new_database(server)
        async with connected(url, buffer_rows_max=500) as history:
            writer = history.writer
            writer.trades([printed(number) for number in range(100)])
            await until(lambda: not writer.buffered, "everything written")
            server.stop()
            await until(lambda: not writer.connected, "the outage noticed")
            writer.trades([printed(number) for number in range(100, 600)])
            assert writer.buffers["trades"].lost == 0
            writer.trades([printed(number) for number in range(600, 640)])
            assert writer.buffers["trades"].lost == 40
            assert history.reader is not None
            with pytest.raises(DomainError) as refused:
                await history.reader.candles(BTC, MINUTE, [L], 0, NOW_NS, 5)
            assert refused.value.reason is Reason.PEER_UNAVAILABLE
            server.start()
            await until(lambda: writer.connected and not writer.buffered, "whole again", 20)
            rows = (await history.reader.trades(BTC, [L], (NOW_NS // 1000 + 1, "", ""), 5_000)).rows
            assert [one.trade_id for one in rows] == [f"{number:06d}" for number in range(600)]
            connection = await asyncpg.connect(url)
            (loss,) = await connection.fetch("SELECT * FROM losses")
            await connection.close()
            assert (loss["lost_table"], loss["row_count"]) == ("trades", 40)
            assert (loss["from_time"], loss["to_time"]) == (
                to_time(printed(639).trade_ns),
                to_time(printed(600).trade_ns),
            )


async def test_a_line_that_breaks_within_a_copy_neither_loses_nor_doubles(postgres_server: Postgres) -> None:
    """The server ends the session again and again while large batches are on their way."""
    url = await new_database(postgres_server)
    admin = await asyncpg.connect(postgres_server.url())
    async with connected(url, buffer_rows_max=10 * BATCH_ROWS_MAX) as history:
        history.writer.trades([printed(number) for number in range(5 * BATCH_ROWS_MAX)])
        for _ in range(12):
            await asyncio.sleep(0.04)
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = $1 AND application_name = 'perpmesh-market_data'",
                url.rsplit("/", 1)[1],
            )
        await until(lambda: history.writer.connected and not history.writer.buffered, "everything written", 60)
    await admin.close()
    assert (await counts(url))["trades"] == 5 * BATCH_ROWS_MAX


async def test_a_row_that_can_never_be_written_does_not_stop_those_after_it(database_url: str) -> None:
    async with connected(database_url) as history:
        history.writer.candles([replace(minute(1), high=Decimal(1))])  # a high below the low: refused by its CHECK
        await until(lambda: not history.writer.buffered, "the row dropped")
        history.writer.candles([minute(2)])
        await until(lambda: history.writer.buffers["candles"].written == 1, "the next row")
        assert history.writer.buffers["candles"].lost == 1


async def test_partitions_are_made_ahead_and_for_the_past_and_dropped_when_old(database_url: str) -> None:
    connection: Any = await asyncpg.connect(database_url)
    partitions = Partitions({"price_history": 3, "trades": 3, "candles": 100, "funding_history": 100})
    now = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
    assert await partitions.tend(connection, now) == []
    await partitions.cover(connection, PRICES, [now - timedelta(days=back) for back in range(6)])
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r' ORDER BY 1")
    names = {row["relname"] for row in rows}
    assert {"price_history_20261122", "price_history_20261124", "candles_202611", "trades_20261123"} <= names
    later = now + timedelta(days=1)
    assert await partitions.tend(connection, later) == [
        "price_history_20261117",
        "price_history_20261118",
        "price_history_20261119",
    ]
    await partitions.cover(connection, PRICES, [later])
    assert partitions.oldest(PRICES, later) == datetime(2026, 11, 20, tzinfo=UTC)
    await connection.close()


async def test_rows_older_than_they_are_kept_are_not_written(database_url: str) -> None:
    async with connected(database_url) as history:
        history.writer.candles([minute(number, interval_s=DAY) for number in (1, 399, 500)])
        await until(lambda: not history.writer.buffered, "everything written")
        assert (await counts(database_url))["candles"] == 2


@pytest.mark.parametrize(
    ("password", "schema", "says"),
    [("wrong", True, "password authentication failed"), ("", False, "lacks 0001_create_history.sql")],
)
async def test_a_wrong_password_or_a_schema_behind_ends_the_room_with_one_sentence(
    postgres_server: Postgres, password: str, schema: bool, says: str
) -> None:
    url = await new_database(postgres_server, migrated=schema)
    if password:
        url = room_url(postgres_server, url.rsplit("/", 1)[1], password)
    history = new_history(url)

    async def work() -> None:
        async with Supervisor() as tasks:
            history.start(tasks)
            await asyncio.wait_for(tasks.wait(asyncio.Event()), 10)

    with pytest.raises(ConfigError, match=says) as refused:
        await work()
    assert "\n" not in str(refused.value)
    await history.close()


async def test_a_role_sees_its_own_schema_alone(postgres_server: Postgres) -> None:
    url = await new_database(postgres_server)
    admin = await asyncpg.connect(postgres_server.url(database=url.rsplit("/", 1)[1]))
    await admin.execute("CREATE SCHEMA vault; CREATE TABLE vault.keys (id int)")
    room = await asyncpg.connect(url)
    for statement in ("SELECT * FROM vault.keys", "CREATE TABLE public.mine (id int)", "CREATE SCHEMA other"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await room.execute(statement)
    await room.close()
    await admin.close()


async def test_a_question_that_takes_too_long_is_refused_and_its_connection_is_good_again(database_url: str) -> None:
    async with connected(database_url, statement_timeout_s=0.2) as history:
        assert history.reader is not None
        holder = await asyncpg.connect(database_url)
        async with holder.transaction():
            await holder.execute("LOCK TABLE candles IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(DomainError) as refused:
                await history.reader.candles(BTC, MINUTE, [L], 0, NOW_NS, 5)
            assert refused.value.reason is Reason.DEADLINE_EXCEEDED
        await holder.close()
        assert (await history.reader.candles(BTC, MINUTE, [L], 0, NOW_NS, 5)).rows == []


async def test_the_room_as_a_process_refuses_a_wrong_password_with_one_sentence_and_exit_code_2(
    postgres_server: Postgres,
) -> None:
    url = await new_database(postgres_server)
    ours = {
        "PERPMESH_POSTGRES_URL": room_url(postgres_server, url.rsplit("/", 1)[1], "wrong"),
        "PERPMESH_VALKEY_URL": "redis://127.0.0.1:1/0",
        "PERPMESH_HYPERLIQUID_URL": "off",
        "PERPMESH_LIGHTER_URL": "off",
        "PERPMESH_LISTEN": "127.0.0.1:0",
        "PERPMESH_METRICS_PORT": "-1",
        "PERPMESH_ALLOW_PLAINTEXT": "true",
    }
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PERPMESH_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "services.market_data"),
        cwd=ROOT,
        env={**outside, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}:{ROOT / 'clients' / 'python'}", **ours},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    last = said.decode().strip().splitlines()[-1]
    assert process.returncode == 2, said.decode()
    assert last.startswith("market_data: PostgreSQL refuses the room (password authentication failed")
    assert last.endswith("correct PERPMESH_POSTGRES_URL.")
    assert "wrong" not in last
