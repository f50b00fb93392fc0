"""When frames go: answers at once, changes in batches."""

from __future__ import annotations

from services.stream.model.frame import Frame
from services.stream.model.lane import EventLane, LatestLane
from services.stream.model.limits import Limits
from services.stream.model.outbox import NOW, Outbox
from services.stream.model.topic import parse_topic

LIMITS = Limits(batch_interval_s=0.05, control_frames_max=3, flush_bytes_max=100)


def price_lane(market: str, min_interval_s: float | None = None) -> LatestLane:
    return LatestLane(parse_topic(f"prices:{market}-PERP"), 1, min_interval_s)


def offer(outbox: Outbox, lane: LatestLane | EventLane, text: str, sequence: int = 1) -> None:
    lane.offer(Frame(text.encode()), sequence, "")
    outbox.mark(lane)


def payloads(frames: list[Frame]) -> list[str]:
    return [item.payload.decode() for item in frames]


def test_the_first_change_goes_at_once_and_the_next_with_the_batch() -> None:
    outbox = Outbox(LIMITS)
    btc, eth = price_lane("BTC"), price_lane("ETH")
    offer(outbox, btc, "btc 1")
    assert outbox.due() == NOW
    assert payloads(outbox.take(10.0)) == ["btc 1"]
    offer(outbox, btc, "btc 2")
    offer(outbox, eth, "eth 1")
    offer(outbox, btc, "btc 3")
    assert outbox.due() == 10.05
    assert payloads(outbox.take(10.049)) == []
    assert payloads(outbox.take(10.05)) == ["btc 3", "eth 1"]
    assert outbox.due() is None
    assert outbox.empty


def test_a_topic_with_an_interval_of_its_own_keeps_it_and_delays_no_other() -> None:
    outbox = Outbox(LIMITS)
    slow, fast, plain = price_lane("SLOW", 2.0), price_lane("FAST", 0.0), price_lane("PLAIN")
    for lane in (slow, fast, plain):
        offer(outbox, lane, "first")
    assert len(outbox.take(1.0)) == 3
    offer(outbox, slow, "slow")
    assert outbox.due() == 3.0
    offer(outbox, plain, "plain")
    assert outbox.due() == 1.05
    offer(outbox, fast, "fast")
    assert outbox.due() == 1.0
    assert payloads(outbox.take(1.0)) == ["fast"]
    assert payloads(outbox.take(1.05)) == ["plain"]
    assert payloads(outbox.take(3.0)) == ["slow"]


def test_trades_wait_for_no_batch() -> None:
    outbox = Outbox(LIMITS)
    offer(outbox, price_lane("BTC"), "price")
    outbox.take(1.0)
    trades = EventLane(parse_topic("trades:BTC-PERP"), 10)
    offer(outbox, trades, "trade")
    assert outbox.due() == NOW
    assert payloads(outbox.take(1.0)) == ["trade"]


def test_one_take_gives_about_as_many_bytes_as_the_bound_and_the_rest_collapses_on() -> None:
    outbox = Outbox(LIMITS)
    lanes = [price_lane(f"M{number}") for number in range(5)]
    for lane in lanes:
        offer(outbox, lane, "x" * 60)
    assert len(outbox.take(1.0)) == 2
    offer(outbox, lanes[4], "y" * 60)
    assert outbox.due() == 1.05
    assert len(outbox.take(1.05)) == 2
    assert payloads(outbox.take(1.1)) == ["y" * 60]


def test_a_lane_that_is_forgotten_sends_nothing_more() -> None:
    outbox = Outbox(LIMITS)
    lane = price_lane("BTC")
    offer(outbox, lane, "late")
    outbox.forget(lane)
    assert outbox.due() is None


def test_answers_that_nobody_reads_overflow_beyond_the_bound() -> None:
    outbox = Outbox(LIMITS)
    for _ in range(3):
        outbox.answer(Frame(b"pong"))
    assert not outbox.overflowing
    outbox.answer(Frame(b"pong"))
    assert outbox.overflowing
    assert len(outbox.take(0.0)) == 4
    assert not outbox.overflowing
