"""Supervised tasks, bounded queues, backoff."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest

from services.chassis.call import CURRENT, Call
from services.chassis.metrics import Metrics
from services.chassis.tasks import (
    ONCE,
    Backoff,
    BoundedQueue,
    Overflow,
    QueueClosedError,
    Restart,
    RestartPolicy,
    Supervisor,
    describe_queue,
)
from services.domain.errors import DomainError, Reason
from tests.support.clock import ManualClock, settle


def supervisor(clock: ManualClock, metrics: Metrics | None = None) -> Supervisor:
    return Supervisor(clock=clock, rng=random.Random(1), metrics=metrics or Metrics())


def test_a_backoff_grows_to_its_bound_with_jitter_that_only_shortens() -> None:
    backoff = Backoff(base_s=1, factor=2, max_s=10, jitter=0.5, rng=random.Random(7))
    delays = [backoff.next() for _ in range(8)]
    for delay, full in zip(delays, (1, 2, 4, 8, 10, 10, 10, 10), strict=True):
        assert full / 2 <= delay <= full
    backoff.reset()
    assert backoff.next() <= 1
    assert backoff.attempts == 1
    again = Backoff(base_s=1, factor=2, max_s=10, jitter=0.5, rng=random.Random(7))
    assert [again.next() for _ in range(8)] == delays
    with pytest.raises(ValueError, match="a backoff needs"):
        Backoff(base_s=0, rng=random.Random(1))


async def test_a_task_that_fails_is_counted_shown_and_started_again() -> None:
    clock, metrics = ManualClock(), Metrics()
    runs: list[float] = []

    async def work() -> None:
        runs.append(clock.monotonic())
        if len(runs) < 4:
            raise OSError("broken")
        await asyncio.Event().wait()

    async with supervisor(clock, metrics) as tasks:
        tasks.start("feed", work, RestartPolicy(base_s=1, max_s=8))
        await settle()
        assert "broken" in tasks.failing["feed"]
        await clock.advance(20)
        assert len(runs) == 4
        assert tasks.failing == {}
        assert tasks.running == {"feed"}
        assert b'perpmesh_task_failures_total{task="feed"} 3.0' in metrics.render()
        gaps = [later - earlier for earlier, later in pairwise(runs)]
        assert gaps[0] <= 1 < gaps[2] <= 4
    assert tasks.running == set()


async def test_a_task_that_should_never_end_is_started_again_and_one_that_may_is_not() -> None:
    clock = ManualClock()
    runs = {"always": 0, "once": 0}

    async def work(name: str) -> None:
        runs[name] += 1

    async with supervisor(clock) as tasks:
        tasks.start("always", lambda: work("always"))
        tasks.start("once", lambda: work("once"), RestartPolicy(when=Restart.ON_FAILURE))
        await clock.advance(1)
        assert runs["always"] > 2
        assert runs["once"] == 1
        assert tasks.running == {"always"}
        with pytest.raises(ValueError, match="already running"):
            tasks.start("always", lambda: work("always"))
        await tasks.stop("always")
        assert tasks.running == set()


async def test_a_task_that_may_not_fail_ends_the_room() -> None:
    async def work() -> None:
        raise OSError("the disk is gone")

    stop = asyncio.Event()

    async def waiting() -> None:
        async with supervisor(ManualClock()) as tasks:
            tasks.start("store", work, ONCE)
            await tasks.wait(stop)

    async def leaving() -> None:
        async with supervisor(ManualClock()) as tasks:
            tasks.start("store", work, ONCE)
            await settle()

    for room in (waiting, leaving):
        with pytest.raises(OSError, match="the disk is gone"):
            await room()
    async with supervisor(ManualClock()) as tasks:
        stop.set()
        await tasks.wait(stop)


async def test_the_end_of_the_block_waits_for_every_task_to_clean_up() -> None:
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    async with supervisor(ManualClock()) as tasks:
        tasks.start("feed", work)
        await settle()
    assert cleaned.is_set()


async def test_a_task_whose_library_loses_a_cancellation_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.chassis.tasks.LINGER_S", 0.01)
    lost = 0

    async def work() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
                if lost == 3:
                    raise

    async with asyncio.timeout(5), supervisor(ManualClock()) as tasks:
        tasks.start("deaf", work)
        await settle()
    assert lost == 3


async def test_a_task_belongs_to_the_room_and_not_to_the_call_that_started_it() -> None:
    seen: list[Call | None] = []

    async def work() -> None:
        seen.append(CURRENT.get())

    mark = CURRENT.set(Call(request_id="r", method="m"))
    async with supervisor(ManualClock()) as tasks:
        tasks.start("x", work, RestartPolicy(when=Restart.ON_FAILURE))
        await settle()
    CURRENT.reset(mark)
    assert seen == [None]


async def test_a_full_queue_does_what_its_policy_says() -> None:
    oldest: BoundedQueue[int] = BoundedQueue("a", 2, Overflow.DROP_OLDEST)
    assert [oldest.put(item) for item in (1, 2, 3)] == [True, True, False]
    assert await oldest.get_all() == [2, 3]
    newest: BoundedQueue[int] = BoundedQueue("b", 2, Overflow.DROP_NEWEST)
    for item in (1, 2, 3):
        newest.put(item)
    assert await newest.get_all(1) == [1]
    assert await newest.get() == 2
    assert (oldest.dropped, newest.dropped) == (1, 1)
    refusing: BoundedQueue[int] = BoundedQueue("c", 1, Overflow.REFUSE)
    refusing.put(1)
    with pytest.raises(DomainError) as caught:
        refusing.put(2)
    assert caught.value.reason is Reason.LIMIT_REACHED
    assert "c is full (1)" in caught.value.message


async def test_takers_wait_share_and_survive_cancellation() -> None:
    queue: BoundedQueue[int] = BoundedQueue("a", 10, Overflow.DROP_OLDEST)
    first = asyncio.create_task(queue.get())
    second = asyncio.create_task(queue.get())
    await settle()
    queue.put(1)
    first.cancel()  # woken and canceled in the same turn: the item is for the other one
    assert await second == 1
    await asyncio.gather(first, return_exceptions=True)
    assert queue._waiting == type(queue._waiting)()


async def test_a_closed_queue_gives_what_is_left_and_then_says_so() -> None:
    queue: BoundedQueue[int] = BoundedQueue("a", 10, Overflow.DROP_OLDEST)
    queue.put(1)
    queue.close()
    assert not queue.put(2)
    assert await queue.get() == 1
    with pytest.raises(QueueClosedError):
        await queue.get()


async def test_a_queue_shows_itself_as_metrics() -> None:
    metrics = Metrics()
    queue: BoundedQueue[int] = BoundedQueue("feed", 1, Overflow.DROP_OLDEST)
    describe_queue(queue, metrics)
    queue.put(1)
    queue.put(2)
    assert b'perpmesh_queue_items{queue="feed"} 1.0' in metrics.render()
    assert b'perpmesh_queue_dropped{queue="feed"} 1.0' in metrics.render()
