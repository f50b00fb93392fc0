"""The whole mesh remembers: through outages of its stores, busy pools, backups and other hands at the database."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio
import websockets
from perpmesh_client import Perpmesh, PerpmeshError, Trade

from tests.support.mesh import Mesh, environment, running_mesh, state_folder

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.asyncio(loop_scope="module")
BTC = "BTC-PERP"
MINUTE = timedelta(minutes=1)
AWAY_S = float(os.environ.get("PERPMESH_OUTAGE_S", "6"))
"""How long PostgreSQL is away: `make outage` makes it a minute."""


async def until(condition: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
    end = time.monotonic() + timeout_s
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.05)


def told(mesh: Mesh, event: str) -> list[dict[str, Any]]:
    """What market_data has logged under a name."""
    lines = [line for line in mesh.log("market_data").splitlines() if f'"{event}"' in line]
    return [json.loads(line) for line in lines]


async def has_history(client: Perpmesh) -> bool:
    try:
        return bool(await client.price_history(BTC, limit=1)) and bool(await client.funding_history(BTC, limit=1))
    except PerpmeshError:
        return False


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh() -> AsyncIterator[Mesh]:
    """The mesh of the tests that need no settings of their own."""
    async with running_mesh(simulator_seed=21, markets=BTC, backfill_pause_s=0.2) as running:
        yield running


async def test_candles_travel_from_the_venues_to_the_websocket(mesh: Mesh) -> None:
    async with websockets.connect(f"ws://{mesh.edge}/v1/ws") as socket:
        topics = [f"candles:{BTC}:1s", f"candles:{BTC}:1m"]
        await socket.send(json.dumps({"subscribe": {"topics": topics}}))
        seen: dict[str, list[Any]] = {topic: [] for topic in topics}
        async with asyncio.timeout(20):
            while not (any(one["closed"] for one in seen[topics[0]]) and len(seen[topics[1]]) > 2):
                message = json.loads(await socket.recv())
                if "candle" in message:
                    seen[message["topic"]].append(message["candle"])
        for topic, candles in seen.items():
            assert {one["market"] for one in candles} == {BTC}
            assert {one["interval"] for one in candles} == {f"CANDLE_INTERVAL_{topic[-2:].upper()}"}
        opens = [one["open_time"] for one in seen[topics[0]] if one["closed"]]
        assert len(opens) == len(set(opens)), "the last state of a candle comes once"


async def test_page_tokens_outlive_a_restart_of_the_room(mesh: Mesh) -> None:
    async with Perpmesh(mesh.edge) as client:
        await until(lambda: has_history(client), "history")
        url = f"{mesh.url}/v1/markets/{BTC}/funding-history?page_size=3"
        first = await fetch(url)
        pid = mesh.kill("market_data", signal.SIGTERM)
        await mesh.restarted("market_data", than=pid)
        await until(lambda: has_history(client), "history again")
        second = await fetch(f"{url}&page_token={first['next_page_token']}")
        points = (*first["points"], *second["points"])
        times = [(datetime.fromisoformat(one["settle_time"]), one["venue"]) for one in points]
        assert len(set(times)) == 6
        assert [at for at, _ in times] == sorted((at for at, _ in times), reverse=True)


async def fetch(url: str) -> Any:
    def get() -> Any:
        with urllib.request.urlopen(url) as response:
            return json.load(response)

    return await asyncio.to_thread(get)


async def test_valkey_flushed_and_killed_has_prices_back_within_two_seconds(mesh: Mesh) -> None:
    async with Perpmesh(mesh.edge) as client:

        async def cached() -> bool:
            try:
                async with redis.asyncio.Redis.from_url(mesh.about["valkey_url"]) as valkey:
                    return await valkey.get(f"prices:{BTC}") is not None
            except (redis.exceptions.RedisError, OSError):
                return False

        reading = asyncio.create_task(_drain(client.watch_prices(BTC)))  # the cache holds what is asked for
        try:
            await until(cached, "a cached price")
            async with redis.asyncio.Redis.from_url(mesh.about["valkey_url"]) as valkey:
                await valkey.flushall()
            flushed_s = time.monotonic()
            await until(cached, "the price after the flush", 2.0)
            assert time.monotonic() - flushed_s < 2.0
            pid = mesh.kill("valkey")
            await mesh.restarted("valkey", than=pid)
            up_s = time.monotonic()
            await until(cached, "the price after the kill", 2.0)
            assert time.monotonic() - up_s < 2.0
            assert (await client.price(BTC)).best_bid is not None
        finally:
            reading.cancel()


async def _drain(watch: Any) -> None:
    async for _ in watch:
        pass


async def test_postgres_away_under_a_live_feed_costs_no_price_and_history_is_whole_afterwards(mesh: Mesh) -> None:
    """Every trade that the stream brought before, during and after the outage is in the database, once."""
    async with Perpmesh(mesh.edge) as client:
        await until(lambda: has_history(client), "history")
        seen: list[Trade] = []
        prices: list[float] = []

        async def read_trades() -> None:
            async for trade in client.watch_trades(BTC):
                seen.append(trade)

        async def read_prices() -> None:
            async for _ in client.watch_prices(BTC):
                prices.append(time.monotonic())

        readers = [asyncio.create_task(read_trades()), asyncio.create_task(read_prices())]
        await asyncio.sleep(2)
        begin = datetime.now(UTC)
        pid = mesh.pid("postgres")
        os.kill(pid, signal.SIGSTOP)  # away without a word: connections stay open and nothing answers
        stopped_s = time.monotonic()
        await asyncio.sleep(AWAY_S)
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGQUIT)  # and then gone at once, as in a crash
        await mesh.restarted("postgres", than=pid)
        back_s = time.monotonic()
        await asyncio.sleep(3)
        end = datetime.now(UTC)
        during = [at for at in prices if stopped_s < at < back_s]
        assert len(during) > 20
        assert back_s - stopped_s > AWAY_S
        assert max(b - a for a, b in itertools.pairwise(during)) < 1.0, "prices paused"
        last = seen[-1]
        assert last.trade_time is not None

        async def recorded() -> list[Trade]:
            found = await client.trades(BTC, limit=20_000)
            return found if found and found[0].sequence >= last.sequence else []

        await until(recorded, "the last trade")
        await asyncio.sleep(3)  # all that was buffered is written within two flushes
        for reader in readers:
            reader.cancel()
        rows = await rows_of(mesh, "SELECT venue, trade_id FROM market_data.trades WHERE market = $1", BTC)
        keys = [(row["venue"], row["trade_id"]) for row in rows]
        assert len(keys) == len(set(keys))
        missing = {(one.venue, one.trade_id) for one in seen if one.sequence <= last.sequence} - set(keys)
        assert missing == set()
        samples = [
            point.sample_time
            for point in await client.price_history(BTC, venue="lighter", start=begin, end=end, limit=1_000)
        ]
        print(
            f"away {back_s - stopped_s:.0f} s: {len(during)} prices, longest pause "
            f"{max(b - a for a, b in itertools.pairwise(during)):.2f} s, {len(seen)} trades, {len(samples)} samples"
        )
        gaps = [a - b for a, b in itertools.pairwise(samples)]
        assert max(gaps) <= timedelta(seconds=2), "a hole in the samples of a market that never stands still"
        assert await rows_of(mesh, "SELECT * FROM market_data.losses") == []


async def rows_of(mesh: Mesh, query: str, *arguments: object) -> list[Any]:
    connection = await asyncpg.connect(mesh.about["postgres_url"])
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


async def test_when_every_connection_is_busy_a_call_through_the_edge_is_refused_and_does_not_hang() -> None:
    settings = {"postgres_pool_max": 2, "postgres_acquire_timeout_s": 0.5, "postgres_statement_timeout_s": 4}
    async with running_mesh(simulator_seed=23, markets=BTC, **settings) as mesh, Perpmesh(mesh.edge) as client:
        await until(lambda: has_history(client), "history")
        holder = await asyncpg.connect(mesh.about["postgres_url"])
        async with holder.transaction():
            await holder.execute("LOCK TABLE market_data.candles IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            calls = [asyncio.create_task(client.candles(BTC, "1m", limit=5)) for _ in range(6)]
            refused = await asyncio.gather(*calls, return_exceptions=True)
            assert time.monotonic() - began < 8
            assert all(isinstance(one, PerpmeshError) for one in refused), refused
            codes = {(one.code, one.reason) for one in refused if isinstance(one, PerpmeshError)}
            assert ("RESOURCE_EXHAUSTED", "LIMIT_REACHED") in codes, codes
            assert codes <= {("RESOURCE_EXHAUSTED", "LIMIT_REACHED"), ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")}
            assert (await client.price(BTC)).best_bid is not None
        await holder.close()
        assert await client.candles(BTC, "1m", limit=5)


async def test_what_was_backed_up_is_there_after_everything_was_lost() -> None:
    with state_folder() as state:
        state.mkdir(mode=0o755)
        file = state.parent / "saved.backup"
        async with running_mesh(simulator_seed=24, markets=BTC, state=state, backfill_pause_s=0.2) as mesh:
            async with Perpmesh(mesh.edge) as client:
                await until(lambda: has_history(client), "history")
                first = await client.funding_history(BTC, limit=7)
            launcher(state, "backup", str(file))
            kept = await rows_of(mesh, "SELECT * FROM market_data.trades ORDER BY trade_time LIMIT 50")
            said = launcher(state, "restore", str(file), code=1)
            assert "A mesh already uses" in said
        assert file.stat().st_mode & 0o077 == 0
        secrets = (state / "secrets.json").read_bytes()
        launcher(state, "reset")
        (state / "secrets.json").write_bytes(secrets)
        (state / "secrets.json").chmod(0o600)
        launcher(state, "restore", str(file))
        async with running_mesh(
            simulator_seed=24, markets=BTC, state=state, hyperliquid_url="off", lighter_url="off"
        ) as mesh:
            rows = await until(lambda: _try_rows(mesh), "the database")
            assert rows == kept
            count = await rows_of(mesh, "SELECT count(*) FROM market_data.funding_history WHERE market = $1", BTC)
            assert count[0][0] >= len(first)


async def _try_rows(mesh: Mesh) -> list[Any]:
    try:
        return await rows_of(mesh, "SELECT * FROM market_data.trades ORDER BY trade_time LIMIT 50")
    except OSError:
        return []


def launcher(state: Path, *command: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "services.launcher", *command],
        cwd=ROOT,
        env=environment(state, "", {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr
