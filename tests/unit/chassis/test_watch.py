"""Streams: the present first, then changes, nothing out of order, every loss named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.watch import Feed, Latest, WatchRequest
from services.domain.errors import DomainError, Reason
from tests.support.clock import ManualClock

EPOCH = 0xABC


class JsonFraming:
    """Messages that a test can read."""

    def value(self, cursor: str, payload: bytes) -> bytes:
        return json.dumps(["value", cursor, payload.decode()]).encode()

    def values(self, cursor: str, payloads: list[bytes]) -> bytes:
        return json.dumps(["values", cursor, [one.decode() for one in payloads]]).encode()

    def live(self, cursor: str, now_ns: int) -> bytes:
        return json.dumps(["live", cursor]).encode()

    def heartbeat(self, cursor: str, now_ns: int) -> bytes:
        return json.dumps(["heartbeat", cursor]).encode()

    def gap(self, cursor: str, key: str, first: int, last: int) -> bytes:
        return json.dumps(["gap", cursor, key, first, last]).encode()

    def end(self, cursor: str, reason: Reason, message: str) -> bytes:
        return json.dumps(["end", cursor, reason.value]).encode()


def latest(clock: ManualClock, *, queue_max: int = 1, **options: int) -> Latest:
    return Latest(kind="p", epoch=EPOCH, framing=JsonFraming(), clock=clock, queue_max=queue_max, **options)


def feed(clock: ManualClock, entries_max: int = 100) -> Feed:
    return Feed(kind="t", epoch=EPOCH, framing=JsonFraming(), clock=clock, entries_max=entries_max)


async def take(stream: AsyncIterator[bytes], count: int) -> list[list[object]]:
    return [json.loads(await anext(stream)) for _ in range(count)]


def put(hub: Latest | Feed, key: str, sequence: int) -> None:
    hub.put(key, sequence, f"{key}{sequence}".encode())


async def test_a_stream_begins_with_the_present_and_marks_its_end() -> None:
    hub = latest(ManualClock())
    put(hub, "A", 1)
    put(hub, "B", 1)
    put(hub, "A", 2)
    stream = hub.stream(WatchRequest(keys=None))
    assert await take(stream, 3) == [["value", "pabc-2", "B1"], ["value", "pabc-3", "A2"], ["live", "pabc-3"]]
    put(hub, "B", 2)
    assert await take(stream, 1) == [["value", "pabc-4", "B2"]]


async def test_a_slow_reader_gets_the_newest_and_is_told_what_it_missed() -> None:
    hub = latest(ManualClock())
    stream = hub.stream(WatchRequest(keys=frozenset({"A", "B"})))
    assert await take(stream, 1) == [["live", "pabc-0"]]
    for sequence in (1, 2, 3):
        put(hub, "A", sequence)
    put(hub, "B", 1)
    put(hub, "C", 1)
    assert await take(stream, 3) == [
        ["gap", "pabc-0", "A", 1, 2],
        ["value", "pabc-3", "A3"],
        ["value", "pabc-4", "B1"],
    ]


async def test_a_burst_within_one_turn_arrives_whole_and_a_longer_one_collapses() -> None:
    hub = latest(ManualClock(), queue_max=4)
    stream = hub.stream(WatchRequest(keys=None))
    await take(stream, 1)
    for sequence in (1, 2, 3, 4):
        put(hub, "A", sequence)
    assert [one[2] for one in await take(stream, 4)] == ["A1", "A2", "A3", "A4"]
    for sequence in range(5, 15):
        put(hub, "A", sequence)
    messages = await take(stream, 2)
    assert messages[0][:1] + messages[0][2:] == ["gap", "A", 5, int(str(messages[1][2])[1:]) - 1]


async def test_values_come_in_the_order_of_their_last_change_so_that_any_cursor_can_be_resumed() -> None:
    hub = latest(ManualClock())
    stream = hub.stream(WatchRequest(keys=None))
    await take(stream, 1)
    for sequence in range(1, 8):
        put(hub, "A", sequence)
        put(hub, "B", sequence)
    seen = []
    while not seen or seen[-1] != ["value", "pabc-e", "B7"]:
        seen += await take(stream, 1)
    positions = [int(str(one[1]).split("-")[1], 16) for one in seen]
    assert positions == sorted(positions)
    assert sum(one[0] == "gap" for one in seen) == 2


async def test_an_interval_that_was_asked_for_is_kept_and_leaves_no_gap() -> None:
    clock = ManualClock()
    hub = latest(clock)
    stream = hub.stream(WatchRequest(keys=None, min_interval_s=2.0))
    await take(stream, 1)
    put(hub, "A", 1)
    coming = asyncio.ensure_future(take(stream, 1))
    await clock.advance(1.9)
    assert not coming.done()
    put(hub, "A", 2)
    await clock.advance(0.2)
    assert await coming == [["value", "pabc-2", "A2"]]


async def test_batches_carry_what_is_due_in_one_message() -> None:
    hub = latest(ManualClock())
    stream = hub.stream(WatchRequest(keys=None, batch_size=2))
    await take(stream, 1)
    for key in "ABC":
        put(hub, key, 1)
    assert await take(stream, 2) == [["values", "pabc-2", ["A1", "B1"]], ["values", "pabc-3", ["C1"]]]


async def test_silence_is_broken_by_heartbeats() -> None:
    clock = ManualClock()
    hub = latest(clock)
    ticker = asyncio.ensure_future(hub.tick_forever())
    stream = hub.stream(WatchRequest(keys=None))
    await take(stream, 1)
    coming = asyncio.ensure_future(take(stream, 1))
    await clock.advance(14.0)
    assert not coming.done()
    await clock.advance(2.0)
    assert await coming == [["heartbeat", "pabc-0"]]
    ticker.cancel()


async def test_a_resumed_stream_gets_what_changed_since_and_the_numbers_it_missed() -> None:
    hub = latest(ManualClock())
    for sequence in (1, 2, 3, 4):
        put(hub, "A", sequence)
        put(hub, "B", sequence)
    stream = hub.stream(WatchRequest(keys=frozenset({"A"}), cursor="pabc-3"))
    assert await take(stream, 3) == [["gap", "pabc-3", "A", 3, 3], ["value", "pabc-7", "A4"], ["live", "pabc-8"]]


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        ("pabc-0", Reason.CURSOR_EXPIRED),
        ("pabd-9", Reason.CURSOR_EXPIRED),
        ("tabc-9", Reason.CURSOR_INVALID),
        ("pabc-99", Reason.CURSOR_INVALID),
        ("nonsense", Reason.CURSOR_INVALID),
        ("p-", Reason.CURSOR_INVALID),
        ("pabc--1", Reason.CURSOR_INVALID),
    ],
)
async def test_a_cursor_that_cannot_be_resumed_is_refused_with_what_can(cursor: str, reason: Reason) -> None:
    hub = latest(ManualClock(), history_max=4)
    for sequence in range(1, 11):
        put(hub, "A", sequence)
    with pytest.raises(DomainError) as refused:
        await anext(hub.stream(WatchRequest(keys=None, cursor=cursor)))
    assert refused.value.reason is reason
    if reason is Reason.CURSOR_EXPIRED:
        assert refused.value.metadata["earliest_cursor"] == "pabc-6"


async def test_the_end_is_said_and_new_streams_are_refused() -> None:
    hub = latest(ManualClock())
    stream = hub.stream(WatchRequest(keys=None))
    await take(stream, 1)
    coming = asyncio.ensure_future(take(stream, 1))
    await asyncio.sleep(0)
    hub.close(Reason.DRAINING, "stopping")
    assert await coming == [["end", "pabc-0", "DRAINING"]]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    with pytest.raises(DomainError):
        await anext(hub.stream(WatchRequest(keys=None)))


async def test_too_many_streams_are_refused_and_a_closed_one_makes_room() -> None:
    hub = latest(ManualClock(), streams_max=1)
    first = hub.stream(WatchRequest(keys=frozenset({"A"})))
    await take(first, 1)
    with pytest.raises(DomainError) as refused:
        await anext(hub.stream(WatchRequest(keys=None)))
    assert refused.value.reason is Reason.LIMIT_REACHED
    await first.aclose()  # type: ignore[attr-defined]
    assert hub.stream_count == 0
    assert not hub.watched("A")
    await take(hub.stream(WatchRequest(keys=None)), 1)


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.booleans()), max_size=80))
def test_whatever_the_pace_a_reader_ends_with_the_newest_and_knows_every_number(
    steps: list[tuple[str, bool]],
) -> None:
    async def run() -> None:
        hub = latest(ManualClock())
        stream = hub.stream(WatchRequest(keys=None))
        await take(stream, 1)
        sequences = dict.fromkeys("ABC", 0)
        seen: dict[str, list[int]] = {key: [] for key in "ABC"}
        newest: dict[str, int] = {}

        async def drain() -> None:
            while newest != {key: number for key, number in sequences.items() if number}:
                kind, _, *rest = (await take(stream, 1))[0]
                if kind == "gap":
                    key, first, last = rest
                    seen[str(key)] += range(int(str(first)), int(str(last)) + 1)
                else:
                    key, number = str(rest[0])[0], int(str(rest[0])[1:])
                    assert number > newest.get(key, 0)
                    seen[key].append(number)
                    newest[key] = number

        for key, read in steps:
            sequences[key] += 1
            put(hub, key, sequences[key])
            if read:
                await drain()
        await drain()
        assert seen == {key: list(range(1, number + 1)) for key, number in sequences.items()}

    asyncio.run(run())


async def test_a_feed_sends_everything_in_order_and_resumes_exactly() -> None:
    hub = feed(ManualClock())
    stream = hub.stream(WatchRequest(keys=frozenset({"A"})))
    await take(stream, 1)
    for sequence in range(1, 6):
        put(hub, "A", sequence)
        put(hub, "B", sequence)
    messages = await take(stream, 5)
    assert [one[2] for one in messages] == ["A1", "A2", "A3", "A4", "A5"]
    again = hub.stream(WatchRequest(keys=frozenset({"A"}), cursor=str(messages[2][1])))
    assert [one[0] for one in await take(again, 3)] == ["value", "value", "live"]


async def test_a_reader_that_falls_off_the_ring_is_told_exactly_what_it_lost() -> None:
    hub = feed(ManualClock(), entries_max=10)
    stream = hub.stream(WatchRequest(keys=frozenset({"A"})))
    await take(stream, 1)
    put(hub, "A", 1)
    assert (await take(stream, 1))[0][2] == "A1"
    for sequence in range(2, 42):
        put(hub, "A", sequence)
    gap = (await take(stream, 1))[0]
    kept = 41 - (41 - int(str(gap[4])))
    assert gap[2:4] == ["A", 2]
    assert (await take(stream, 1))[0][2] == f"A{kept + 1}"
    with pytest.raises(DomainError) as refused:
        await anext(hub.stream(WatchRequest(keys=None, cursor="tabc-1")))
    assert refused.value.reason is Reason.CURSOR_EXPIRED


async def test_a_feed_replays_recent_values_first_where_asked() -> None:
    hub = feed(ManualClock())
    for sequence in range(1, 6):
        put(hub, "A", sequence)
        put(hub, "B", sequence)
    recent = hub.recent(frozenset({"A"}), 2)
    stream = hub.stream(WatchRequest(keys=frozenset({"A"})), replay=recent)
    assert [one[-1] for one in await take(stream, 3)] == ["A4", "A5", "tabc-a"]
