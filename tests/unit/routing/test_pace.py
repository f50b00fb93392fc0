"""Frames of many streams: a few in each turn of the loop, in order, spread, and in step."""

from __future__ import annotations

import asyncio

from services.routing.rpc.pace import Turns, next_due_s, phase_s


async def test_no_turn_of_the_loop_makes_more_frames_than_its_share_and_those_that_waited_come_first() -> None:
    turns, made, turn = Turns(turn_max=3), [], [0]

    async def stream(number: int) -> None:
        await turns.take()
        made.append((number, turn[0]))

    streams = [asyncio.create_task(stream(number)) for number in range(10)]
    streams[4].cancel()
    late: list[asyncio.Task[None]] = []
    while not all(one.done() for one in (*streams, *late)) or not late:
        await asyncio.sleep(0)
        turn[0] += 1
        if turn[0] == 2:
            late.append(asyncio.create_task(stream(10)))
    assert [number for number, _ in made] == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
    of_turn = [at for _, at in made]
    assert max(of_turn.count(at) for at in of_turn) <= 3
    assert turns._waiting == type(turns._waiting)(), "nobody is left behind"


async def test_a_stream_that_ends_while_it_waits_takes_nobodys_turn() -> None:
    turns = Turns(turn_max=1)
    await turns.take()
    waiting = [asyncio.create_task(turns.take()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting[1:])


def test_streams_opened_together_are_due_apart() -> None:
    due = sorted(phase_s(opened, 0.1) for opened in range(1, 201))
    apart = [after - before for before, after in zip(due, [*due[1:], due[0] + 0.1], strict=True)]
    assert 0 < max(apart) < 3 * 0.1 / 200


def test_a_frame_that_came_a_little_late_is_caught_up_with_and_two_never_come_at_once() -> None:
    assert next_due_s(10.0, 0.1, 10.02) == 10.1
    assert next_due_s(10.0, 0.1, 10.06) == 10.16, "the book stood still, or the room was short of time"
