"""Acting on orders as they come due: what fails or has to wait keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from services.execution.app.rounds import AGAIN_S, AT_ONCE, LOOK_S, Rounds
from tests.support.clock import ManualClock

Order = Any


def orders(count: int) -> list[Order]:
    return [SimpleNamespace(order_id=uuid.UUID(int=number)) for number in range(count)]


async def test_orders_that_fail_are_left_alone_for_a_while_and_do_not_crowd_out_others() -> None:
    clock, acted, told = ManualClock(), [], []
    every = orders(AT_ONCE + 1)
    lucky = every[-1]
    left = list(every)

    async def due(count: int) -> Sequence[Order]:
        return left[:count]

    async def act(order: Order) -> float:
        acted.append(order)
        if order is not lucky:
            raise RuntimeError("routing is away")
        left.remove(order)
        return 0.0

    rounds = Rounds(due, act, clock=clock, tell_fault=lambda order, error: told.append(order))
    running = asyncio.create_task(rounds.run())
    await clock.wait_for_sleepers()
    assert lucky in acted, "it is due, though sixteen before it fail"
    assert len(told) == len(acted) - 1 == AT_ONCE
    await clock.advance(AGAIN_S - LOOK_S)
    await clock.wait_for_sleepers()
    assert len(acted) == AT_ONCE + 1, "not yet again"
    await clock.advance(2 * LOOK_S)
    await clock.wait_for_sleepers()
    assert len(acted) == 2 * AT_ONCE + 1
    running.cancel()


async def test_an_order_that_asks_for_time_gets_it() -> None:
    clock, moments = ManualClock(), []
    (order,) = orders(1)

    async def due(count: int) -> Sequence[Order]:
        return [order] if len(moments) < 2 else []

    async def act(order: Order) -> float:
        moments.append(clock.monotonic())
        return 5.0

    running = asyncio.create_task(Rounds(due, act, clock=clock, tell_fault=lambda *_: None).run())
    for _ in range(30):
        await clock.wait_for_sleepers()
        await clock.advance(LOOK_S)
    running.cancel()
    first, second = moments
    assert 5.0 <= second - first <= 5.0 + LOOK_S
