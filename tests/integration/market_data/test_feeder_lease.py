"""Who feeds, asked of a real Valkey: a dead feeder is followed at once, one that is only slow keeps what it has."""

# ruff: noqa: ASYNC110 - what is awaited is in another process

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis.asyncio as redis

from services.chassis.bus import BusConfig
from services.chassis.metrics import Metrics
from services.chassis.valkey_bus import ValkeyBus
from services.market_data.peers import replicas
from services.market_data.peers.replicas import HERE, ValkeyReplicas
from services.market_data.ports import Lease
from tests.support.valkey import Valkey, valkey


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@contextlib.asynccontextmanager
async def replica(server: Valkey, name: str) -> AsyncIterator[ValkeyReplicas]:
    """A replica whose line to the bus is open within the block, as that of a process is while it lives."""
    config = BusConfig(url=server.url, timeout_s=5)
    async with ValkeyBus(config, metrics=Metrics()) as bus:
        one = ValkeyReplicas(name, bus, config, ["lighter"], metrics=Metrics())
        listening = asyncio.create_task(one.listen(lambda *_: None, lambda _: None, deaf=lambda: False))
        try:
            async with asyncio.timeout(20):
                while not await listeners(server, name):
                    await asyncio.sleep(0.01)
            yield one
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await one.close()


async def listeners(server: Valkey, name: str) -> int:
    client: Any = redis.Redis.from_url(server.url)
    async with client:
        return int((await client.pubsub_numsub(HERE + name))[0][1])


async def taken(one: ValkeyReplicas, lease: Lease) -> None:
    async with asyncio.timeout(20):
        while await one.lease(knows=True) is not lease:
            await asyncio.sleep(0.02)


async def test_a_feeder_whose_process_died_is_followed_long_before_its_lease_lapses(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "LEASE_MS", 600_000)
    async with replica(server, "b") as other:
        async with replica(server, "a") as feeder:
            assert await feeder.lease(knows=True) is Lease.OURS
            await asyncio.sleep(2 * replicas.GONE_MS / 1000)
            assert await other.lease(knows=True) is Lease.THEIRS, "one that is late, and there, keeps its lease"
        await taken(other, Lease.OURS)
        async with replica(server, "a") as late:
            assert await late.lease(knows=True) is Lease.THEIRS
        await other.release()


async def test_a_feeder_that_keeps_its_lease_keeps_it_though_its_line_for_listening_is_cut(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "GONE_MS", 60_000)
    monkeypatch.setattr(replicas, "LEASE_MS", 120_000)
    config = BusConfig(url=server.url, timeout_s=5)
    async with ValkeyBus(config, metrics=Metrics()) as bus, replica(server, "d") as other:
        deaf = ValkeyReplicas("c", bus, config, ["lighter"], metrics=Metrics())
        assert await deaf.lease(knows=True) is Lease.OURS
        assert await other.lease(knows=True) is Lease.THEIRS
        await deaf.release()
        await deaf.close()
        assert await other.lease(knows=True) is Lease.OURS


async def test_a_dead_feeder_too_is_followed_by_one_that_knows_before_one_that_does_not(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "LEASE_MS", 600_000)
    async with replica(server, "f") as other:
        await taken(other, Lease.OURS)
        await other.release()
        async with replica(server, "e") as feeder:
            assert await feeder.lease(knows=True) is Lease.OURS
        async with asyncio.timeout(20):
            while await other.lease(knows=False) is not Lease.NOBODYS:
                await asyncio.sleep(0.02)
        await taken(other, Lease.OURS)
