"""The door against a clock that stands still: cadence, heartbeats, linger and pauses, to the tick."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest_asyncio

from services.chassis.metrics import Metrics
from services.domain.errors import DomainError, Reason
from services.stream.app.door import Door, DoorBounds
from services.stream.model.frame import Frame
from services.stream.model.said import NowLive, Said, Value
from services.stream.model.topic import Subject
from services.stream.peers.callers import VerifiedCallers
from services.stream.ws.measures import DoorMeasures
from tests.support.clock import ManualClock, settle
from tests.support.own_rooms import NoRooms
from tests.support.presence import NobodyHere


class Source:
    """`MarketData` in memory: it keeps what it is asked and says what the test says."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked_s: list[float] = []
        self.open: dict[str, Callable[[Said], None]] = {}
        self.away = False

    async def markets(self) -> frozenset[str]:
        return frozenset({"BTC-PERP", "ETH-PERP"})

    async def follow(
        self, subjects: Sequence[Subject], *, cursor: str, replay: int, hear: Callable[[Said], None]
    ) -> None:
        self.asked_s.append(self.clock.monotonic())
        if self.away:
            raise DomainError(Reason.PEER_UNAVAILABLE, "Nobody answers.")
        for subject in subjects:
            self.open[subject.topic] = hear
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for subject in subjects:
                self.open.pop(subject.topic, None)

    def price(self, market: str, sequence: int) -> None:
        body = json.dumps({"sequence": sequence}).encode()
        self.open[f"prices:{market}"](
            Said(cursor=str(sequence), events=(Value(market=market, sequence=sequence, body=body),))
        )

    def live(self, market: str) -> None:
        self.open[f"prices:{market}"](Said(cursor="live", events=(NowLive(),)))


class Tape:
    """A socket that keeps what it is given."""

    def __init__(self) -> None:
        self.congested = False
        self.written: list[list[dict[str, Any]]] = []
        self.close_code = 0

    def write(self, frames: Sequence[Frame]) -> int:
        self.written.append([json.loads(item.payload) for item in frames])
        return sum(len(item.payload) for item in frames)

    def close(self, code: int, reason: str) -> None:
        self.close_code = code

    def taken(self) -> list[list[str]]:
        """Return what was written since the last time, batch by batch."""
        batches, self.written = self.written, []
        return [[word(frame) for frame in batch] for batch in batches]


def word(frame: dict[str, Any]) -> str:
    (event,) = set(frame) - {"topic", "id"}
    if event == "price":
        return f"{frame['topic'][7:10]} {frame['price']['sequence']}"
    return str(frame["status"]["state"]) if event == "status" else event


class World:
    """A door, its source and its clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.source = Source(self.clock)
        self.door = Door(
            callers=VerifiedCallers(None),
            presence=NobodyHere(),
            rooms=NoRooms(),
            market_data=self.source,
            clock=self.clock,
            new_id=lambda: "c-1",
            chance=random.Random(1),
            measures=DoorMeasures(Metrics()),
            bounds=DoorBounds(),
        )

    async def client(self, *topics: str, **settings: str) -> tuple[Any, Tape]:
        tape = Tape()
        connection = self.door.enter(tape)
        await self.door.receive(connection, json.dumps({"subscribe": {"topics": list(topics), **settings}}))
        await settle()
        return connection, tape


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    """Give a world that runs."""
    made = World()
    running = asyncio.create_task(made.door.run())
    await settle()
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_changes_of_all_topics_go_in_one_batch_every_50_ms(world: World) -> None:
    _, tape = await world.client("prices:BTC-PERP", "prices:ETH-PERP")
    world.source.price("BTC-PERP", 1)
    world.source.price("ETH-PERP", 1)
    world.source.live("BTC-PERP")
    tape.taken()
    world.source.price("BTC-PERP", 2)
    assert tape.taken() == [["BTC 2"]]
    for sequence in range(3, 10):
        world.source.price("BTC-PERP", sequence)
        world.source.price("ETH-PERP", sequence)
    await world.clock.advance(0.049)
    assert tape.taken() == []
    await world.clock.advance(0.011)
    assert tape.taken() == [["BTC 9", "ETH 9"]]
    await world.clock.advance(1.0)
    assert tape.taken() == []
    world.source.price("ETH-PERP", 10)
    assert tape.taken() == [["ETH 10"]]


async def test_an_interval_of_ones_own_holds_even_beyond_a_second(world: World) -> None:
    _, tape = await world.client("prices:BTC-PERP", min_interval="2.5s")
    world.source.live("BTC-PERP")
    world.source.price("BTC-PERP", 1)
    tape.taken()
    world.source.price("BTC-PERP", 2)
    await world.clock.advance(2.4)
    assert tape.taken() == []
    await world.clock.advance(0.15)
    assert tape.taken() == [["BTC 2"]]


async def test_a_heartbeat_comes_after_15_s_in_which_nothing_else_was_sent(world: World) -> None:
    _, tape = await world.client("prices:BTC-PERP")
    world.source.live("BTC-PERP")
    tape.taken()
    await world.clock.advance(10.0)
    world.source.price("BTC-PERP", 1)
    tape.taken()
    await world.clock.advance(14.0)
    assert tape.taken() == []
    await world.clock.advance(2.0)
    assert tape.taken() == [["heartbeat"]]
    await world.clock.advance(15.0)
    assert tape.taken() == [["heartbeat"]]


async def test_a_socket_is_ended_when_it_took_nothing_for_10_s_and_not_before(world: World) -> None:
    _, tape = await world.client("prices:BTC-PERP")
    world.source.live("BTC-PERP")
    tape.taken()
    tape.congested = True
    world.source.price("BTC-PERP", 1)
    await world.clock.advance(9.5)
    assert (tape.taken(), tape.close_code) == ([], 0)
    await world.clock.advance(1.5)
    assert (tape.taken(), tape.close_code) == ([["end"]], 1013)


async def test_a_socket_that_takes_again_gets_the_newest_only(world: World) -> None:
    connection, tape = await world.client("prices:BTC-PERP")
    world.source.live("BTC-PERP")
    tape.taken()
    tape.congested = True
    for sequence in range(1, 100):
        world.source.price("BTC-PERP", sequence)
    await world.clock.advance(9.0)
    tape.congested = False
    world.door.drained(connection)
    assert tape.taken() == [["BTC 99"]]
    await world.clock.advance(9.0)
    assert tape.close_code == 0


async def test_pauses_between_attempts_grow_to_five_seconds_and_the_client_is_told_once(world: World) -> None:
    world.source.away = True
    _, tape = await world.client("prices:BTC-PERP")
    assert tape.taken() == [["welcome"], ["STATE_INTERRUPTED"]]
    await world.clock.advance(60.0)
    pauses = [later - earlier for earlier, later in zip(world.source.asked_s, world.source.asked_s[1:], strict=False)]
    assert pauses[0] <= 0.1
    assert all(2.5 <= pause <= 5.0 for pause in pauses[6:])
    assert [word for batch in tape.taken() for word in batch if word != "heartbeat"] == []
    world.source.away = False
    await world.clock.advance(5.0)
    world.source.price("BTC-PERP", 1)
    assert tape.taken()[-1] == ["STATE_SUBSCRIBED", "BTC 1"]


async def test_a_topic_lingers_five_seconds_and_is_found_warm_meanwhile(world: World) -> None:
    connection, _ = await world.client("prices:BTC-PERP")
    world.source.price("BTC-PERP", 1)
    world.source.live("BTC-PERP")
    world.door.leave(connection)
    await world.clock.advance(4.0)
    again, tape = await world.client("prices:BTC-PERP")
    assert tape.taken()[-1] == ["STATE_SUBSCRIBED", "BTC 1", "live"]
    world.door.leave(again)
    await world.clock.advance(4.5)
    assert world.source.open
    await world.clock.advance(2.0)
    assert not world.source.open
    assert len(world.source.asked_s) == 1
