"""The clock of the house and the clock of the tests."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from services.chassis.clock import SYSTEM, Clock
from tests.support.clock import ManualClock


def test_the_system_clock_is_aware_and_agrees_with_itself() -> None:
    clock: Clock = SYSTEM
    now = clock.now()
    assert now.utcoffset() == timedelta(0)
    assert abs(clock.time_ns() / 1e9 - now.timestamp()) < 5
    assert abs(clock.monotonic_ns() / 1e9 - clock.monotonic()) < 5


async def test_a_manual_clock_wakes_sleepers_in_their_order_and_at_their_moment() -> None:
    clock = ManualClock()
    typed: Clock = clock
    woke: list[tuple[str, float]] = []
    start = typed.monotonic()

    async def sleeper(name: str, seconds: float) -> None:
        await typed.sleep(seconds)
        woke.append((name, round(typed.monotonic() - start, 6)))

    tasks = [asyncio.create_task(sleeper(name, seconds)) for name, seconds in (("b", 2.0), ("a", 1.0), ("c", 9.0))]
    await clock.wait_for_sleepers(3)
    await clock.advance(5)
    assert woke == [("a", 1.0), ("b", 2.0)]
    await clock.advance(5)
    await asyncio.gather(*tasks)
    assert woke[-1] == ("c", 9.0)


async def test_a_jump_of_the_wall_clock_wakes_nobody() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(10))
    await clock.wait_for_sleepers()
    before = clock.monotonic()
    clock.jump_wall(3600)
    await clock.advance(1)
    assert not task.done()
    assert clock.monotonic() == before + 1
    await clock.advance(9)
    assert task.done()


async def test_a_canceled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(1))
    await clock.wait_for_sleepers()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.sleepers == 0
    await clock.advance(2)
