"""The referee of the bus: one suite, on the fake and on a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.chassis.bus import BusConfig, Delivery, tagged
from services.chassis.clock import SYSTEM
from services.chassis.metrics import Metrics
from services.chassis.telemetry import Level, Log
from services.chassis.valkey_bus import ValkeyBus
from tests.support.bus import MemoryBus, MemoryServer
from tests.support.valkey import Valkey, valkey

Make = Callable[[], contextlib.AbstractAsyncContextManager[Any]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    folder: Path = tmp_path_factory.mktemp("valkey")
    with valkey(folder) as running:
        yield running


@pytest.fixture(params=["fake", "real"])
def make(request: pytest.FixtureRequest) -> Make:
    """Return what makes one more bus on the same server."""
    if request.param == "fake":
        shared = MemoryServer()
        return lambda: MemoryBus(shared)
    url = request.getfixturevalue("server").url
    return lambda: ValkeyBus(BusConfig(url=url, timeout_s=2), metrics=Metrics(), logger=Log(level=Level.ERROR))


async def take(deliveries: AsyncIterator[Delivery], count: int) -> list[Delivery]:
    async with asyncio.timeout(10):
        return [await anext(deliveries) for _ in range(count)]


async def until_gone(bus: Any, key: str) -> None:
    async with asyncio.timeout(5):
        while await bus.get(key) is not None:
            await SYSTEM.sleep(0.01)


async def test_what_is_put_is_read_by_another_and_a_miss_is_none(make: Make) -> None:
    async with make() as writer, make() as reader:
        assert await writer.put_many({"a": b"1", "b": b"\x00\xff"}, ttl_ms=10_000)
        assert await reader.get("a") == b"1"
        assert await reader.get_many(["a", "b", "none"]) == {"a": b"1", "b": b"\x00\xff"}
        assert await reader.get("none") is None
        assert await writer.put_many({}, ttl_ms=10)
        assert await reader.get_many([]) == {}


async def test_a_newer_value_takes_the_place_of_an_older_one(make: Make) -> None:
    async with make() as bus:
        await bus.put_many({"k": b"old"}, ttl_ms=10_000)
        await bus.put_many({"k": b"new"}, ttl_ms=10_000)
        assert await bus.get("k") == b"new"


async def test_a_value_lapses_after_its_time(make: Make) -> None:
    async with make() as bus:
        assert await bus.put_many({"short": b"1"}, ttl_ms=60)
        assert await bus.put_many({"long": b"1"}, ttl_ms=60_000)
        await until_gone(bus, "short")
        assert await bus.get("long") == b"1"


async def test_messages_arrive_in_order_with_their_sequence_and_channel(make: Make) -> None:
    async with make() as publisher, make() as listener:
        async with listener.subscribe(["x", "y"], buffer_max=1000) as subscription:
            await subscription.ready()
            for number in range(100):
                assert publisher.publish("x", b"%d" % number)
            publisher.publish("z", b"not for us")
            publisher.publish("y", b"last")
            got = await take(aiter(subscription), 101)
        assert [item.payload for item in got[:100]] == [b"%d" % number for number in range(100)]
        assert [item.sequence for item in got[:100]] == list(range(100))
        assert (got[100].channel, got[100].payload) == ("y", b"last")
        assert not any(item.missed or item.restarted for item in got)


async def test_a_reader_that_is_too_slow_loses_the_oldest_and_knows_how_many(make: Make) -> None:
    async with (
        make() as publisher,
        make() as listener,
        listener.subscribe(["x"], buffer_max=5) as subscription,
    ):
        await subscription.ready()
        deliveries = aiter(subscription)
        publisher.publish("x", b"first")
        assert [item.payload for item in await take(deliveries, 1)] == [b"first"]
        for number in range(50):
            publisher.publish("x", b"%d" % number)
        async with asyncio.timeout(10):
            while subscription.dropped < 45:
                await SYSTEM.sleep(0.005)
        got = await take(deliveries, 5)
        assert [item.payload for item in got] == [b"45", b"46", b"47", b"48", b"49"]
        assert [item.missed for item in got] == [45, 0, 0, 0, 0]


async def test_a_publisher_that_restarts_is_noticed(make: Make) -> None:
    async with make() as listener, listener.subscribe(["x"], buffer_max=10) as subscription:
        await subscription.ready()
        deliveries = aiter(subscription)
        async with make() as first:
            first.publish("x", b"a")
            (before,) = await take(deliveries, 1)
        async with make() as second:
            second.publish("x", b"b")
            second.publish("x", b"c")
            after, again = await take(deliveries, 2)
    assert (before.restarted, after.restarted, again.restarted) == (False, True, False)


async def test_channels_are_added_and_removed_while_listening(make: Make) -> None:
    async with make() as publisher, make() as listener, listener.subscribe(["x"], buffer_max=100) as subscription:
        await subscription.ready()
        deliveries = aiter(subscription)
        subscription.add(["y"])
        await subscription.ready()
        publisher.publish("y", b"1")
        assert (await take(deliveries, 1))[0].channel == "y"
        subscription.remove(["y"])
        publisher.publish("y", b"2")
        publisher.publish("x", b"3")
        assert (await take(deliveries, 1))[0].payload == b"3"


async def test_the_end_of_the_block_ends_the_iteration(make: Make) -> None:
    async with make() as listener:
        async with listener.subscribe(["x"], buffer_max=10) as subscription:
            reading = asyncio.create_task(take(aiter(subscription), 1))
            await subscription.ready()
        with pytest.raises(StopAsyncIteration):
            await reading


def test_keys_that_go_together_share_a_hash_tag() -> None:
    assert tagged("prices", "BTC-PERP") == "prices:{BTC-PERP}"
