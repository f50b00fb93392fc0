"""The bus when its server is away, silent or wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis.bus import BusConfig
from services.chassis.clock import SYSTEM
from services.chassis.config import ConfigError
from services.chassis.metrics import Metrics
from services.chassis.telemetry import Level, Log
from services.chassis.valkey import Connector, Line
from services.chassis.valkey_bus import ValkeyBus
from tests.support.valkey import Valkey, valkey

QUIET = Log(level=Level.ERROR)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with valkey(tmp_path) as running:
        yield running


def bus_of(url: str, metrics: Metrics | None = None, **settings: float) -> ValkeyBus:
    config = BusConfig(**{"url": url, "timeout_s": 0.25, "retry_s": 0.1, **settings})  # type: ignore[arg-type]
    return ValkeyBus(config, metrics=metrics or Metrics(), logger=QUIET)


async def test_when_the_server_dies_reads_are_misses_writes_are_counted_and_all_comes_back(server: Valkey) -> None:
    metrics = Metrics()
    async with bus_of(server.url, metrics) as bus:
        async with bus.subscribe(["x"], buffer_max=100) as subscription:
            await subscription.ready()
            deliveries = aiter(subscription)
            bus.publish("x", b"before")
            async with asyncio.timeout(5):
                assert (await anext(deliveries)).payload == b"before"
            assert await bus.put_many({"k": b"1"}, ttl_ms=60_000)
            server.kill()
            assert not await bus.put_many({"k": b"2"}, ttl_ms=60_000)
            assert await bus.get("k") is None
            assert not bus.connected
            for number in range(10):
                bus.publish("x", b"lost %d" % number)
            await SYSTEM.sleep(0.05)
            assert b'perpmesh_bus_lost_total{kind="publish"} 10.0' in metrics.render()
            assert b'perpmesh_bus_lost_total{kind="write"} 1.0' in metrics.render()
            server.start()
            async with asyncio.timeout(5):
                while not await bus.put_many({"k": b"3"}, ttl_ms=60_000):
                    await SYSTEM.sleep(0.02)
                await subscription.ready()
                assert await bus.get("k") == b"3"
                bus.publish("x", b"after")
                delivery = await anext(deliveries)
        assert delivery.payload == b"after"
        assert delivery.missed == 10


async def test_a_server_that_says_nothing_costs_a_quarter_second_once_and_then_nothing(server: Valkey) -> None:
    async with bus_of(server.url, retry_s=60) as bus:
        assert await bus.put_many({"k": b"1"}, ttl_ms=60_000)
        server.pause()
        start = SYSTEM.monotonic()
        assert await bus.get("k") is None
        first = SYSTEM.monotonic() - start
        assert 0.2 < first < 1.0
        start = SYSTEM.monotonic()
        for _ in range(1000):
            assert await bus.get("k") is None
            bus.publish("x", b"1")
        assert SYSTEM.monotonic() - start < 0.5
        server.resume()


async def test_a_wrong_password_is_a_miss_and_not_a_crash(server: Valkey) -> None:
    async with bus_of(f"redis://:wrong@127.0.0.1:{server.port}/0") as bus:
        assert await bus.get("k") is None
        assert not await bus.put_many({"k": b"1"}, ttl_ms=10)


async def test_an_error_reply_does_not_shift_the_replies_after_it(server: Valkey) -> None:
    line = Line(Connector(server.url, timeout_s=1), timeout_s=1)
    replies = await line.exchange([("SET", "s", b"text"), ("INCR", "s"), ("GET", "s")])
    assert replies[0] == b"OK"
    assert isinstance(replies[1], Exception)
    assert replies[2] == b"text"
    await line.close()


def test_a_url_that_is_none_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="must look like redis://"):
        Connector("http://x", timeout_s=1)
