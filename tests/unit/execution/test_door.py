"""How many new orders are let in, and what the others are told."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from services.domain.errors import DomainError, Reason
from services.execution.app.door import AGAIN_MAX_S, AGAIN_MIN_S, LOOK_S, Bounds, Door
from tests.support.clock import ManualClock

BOUNDS = Bounds(calls=3, legs=10, age_s=2.0)


@dataclass
class World:
    """The record of legs, as a door looks at it."""

    clock: ManualClock = field(default_factory=ManualClock)
    legs: int = 0
    since_ns: int = 0
    away: bool = False

    def door(self) -> Door:
        return Door(BOUNDS, cast(Any, self), self.clock)

    async def waiting(self, most: int) -> tuple[int, int]:
        if self.away:
            raise DomainError(Reason.PEER_UNAVAILABLE, "The database does not answer.")
        return min(self.legs, most), self.since_ns if self.legs else 0

    async def look(self, door: Door) -> None:
        """Have the door look once."""
        task = asyncio.create_task(door.run())
        await self.clock.wait_for_sleepers()
        await self.clock.advance(LOOK_S)
        await self.clock.wait_for_sleepers()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def refusal(door: Door, *, reduces: bool = False) -> DomainError | None:
    found: DomainError | None = None
    try:
        with door.entered(reduces=reduces):
            pass
    except DomainError as error:
        found = error
    if found is not None:
        assert found.reason is Reason.LIMIT_REACHED
        assert found.retry_after_s is not None
        assert AGAIN_MIN_S <= found.retry_after_s <= AGAIN_MAX_S
    return found


def test_so_many_calls_are_inside_and_what_only_reduces_finds_room_beyond() -> None:
    door = World().door()
    with ExitStack() as held:
        for _ in range(BOUNDS.calls):
            held.enter_context(door.entered(reduces=False))
        found = refusal(door)
        assert found is not None
        assert found.metadata == {"limit": "calls_inside", "bound": "3"}
        for _ in range(BOUNDS.calls):
            held.enter_context(door.entered(reduces=True))
        assert refusal(door, reduces=True) is not None, "that has a bound too"
    assert refusal(door) is None, "who left makes room"


def test_a_call_that_fails_leaves_too() -> None:
    door = World().door()
    for _ in range(BOUNDS.calls + 1):
        with pytest.raises(ValueError, match="no"), door.entered(reduces=False):
            raise ValueError("no")
    assert door.inside == 0


async def test_legs_that_nobody_takes_up_shut_the_door_until_they_are_taken() -> None:
    world = World()
    door = world.door()
    door.added(BOUNDS.legs - 1)
    assert refusal(door) is None
    door.added(1)
    found = refusal(door)
    assert found is not None
    assert found.metadata["limit"] == "legs_waiting"
    assert refusal(door, reduces=True) is None
    door.taken(1, all_taken=False)
    assert refusal(door) is None
    door.added(2 * BOUNDS.legs)
    assert refusal(door, reduces=True) is not None
    door.taken(5, all_taken=True)
    assert (refusal(door), door.waiting) == (None, 0)


async def test_one_leg_that_waits_too_long_shuts_it_and_the_record_decides_how_long() -> None:
    world = World()
    door = world.door()
    door.added(1)
    await world.clock.advance(BOUNDS.age_s)
    assert refusal(door) is not None
    world.legs, world.since_ns = 1, world.clock.time_ns()
    await world.look(door)
    assert refusal(door) is None, "the old one was taken up, another came"
    world.legs = 0
    await world.look(door)
    assert door.waiting == 0


async def test_while_the_record_is_away_what_is_known_stands() -> None:
    world = World(away=True)
    door = world.door()
    door.added(BOUNDS.legs)
    await world.look(door)
    assert refusal(door) is not None


async def test_the_time_to_come_again_is_what_the_workers_need_for_what_waits() -> None:
    world = World(legs=40)
    door = world.door()
    world.since_ns = world.clock.time_ns()
    door.added(40)
    slow = refusal(door)
    assert slow is not None
    assert slow.retry_after_s == AGAIN_MAX_S, "nothing was ever taken up"
    for _ in range(60):
        door.taken(10, all_taken=False)  # 40 a second
        door.added(10)
        world.since_ns = world.clock.time_ns()
        await world.look(door)
    found = refusal(door)
    assert found is not None
    assert found.retry_after_s == pytest.approx(21 / 40, rel=0.05), "no more than twice the bound is counted"
