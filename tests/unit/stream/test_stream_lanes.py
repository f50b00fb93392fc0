"""What waits for a slow socket stays bounded, in order, and honest about what is missing."""

from __future__ import annotations

import json
from typing import Any

from services.stream.model.frame import Frame
from services.stream.model.lane import BookLane, EventLane, LatestLane, make_lane
from services.stream.model.limits import Limits
from services.stream.model.topic import parse_topic

TRADES = parse_topic("trades:BTC-PERP")
PRICES = parse_topic("prices:BTC-PERP")
CANDLES = parse_topic("candles:BTC-PERP:1s")


def named(name: str) -> Frame:
    return Frame(json.dumps({"name": name}).encode())


def texts(frames: list[Frame]) -> list[Any]:
    """Return the names of frames; of gaps, their range."""
    out: list[Any] = []
    for item in frames:
        body = json.loads(item.payload)
        gap = body.get("gap")
        out.append((gap["from_sequence"], gap["to_sequence"]) if gap else body["name"])
    return out


def test_only_the_latest_price_waits_and_statuses_keep_their_place() -> None:
    lane = LatestLane(PRICES, 1, None)
    lane.put(named("status"))
    for number in range(100):
        lane.offer(named(f"price {number}"), number, "")
    lane.put(named("interrupted"))
    lane.offer(named("price 100"), 100, "")
    assert texts(lane.take()) == ["status", "price 99", "interrupted", "price 100"]
    assert lane.take() == []


def test_candles_collapse_within_a_candle_and_every_last_state_is_sent() -> None:
    lane = make_lane(CANDLES, Limits(), None, lambda: None)
    for second in range(3):
        for state in range(5):
            lane.offer(named(f"{second}.{state}"), 0, f"t{second}")
    assert texts(lane.take()) == ["0.4", "1.4", "2.4"]


def test_candles_beyond_the_bound_are_lost_and_a_gap_says_so() -> None:
    lane = LatestLane(CANDLES, 2, None)
    for second in range(4):
        lane.offer(named(str(second)), 0, f"t{second}")
    assert texts(lane.take()) == [("0", "0"), "2", "3"]


def test_trades_beyond_the_bound_are_named_in_one_gap_after_those_that_waited() -> None:
    lane = EventLane(TRADES, 3)
    for sequence in range(11, 21):
        lane.offer(named(str(sequence)), sequence, "")
    assert texts(lane.take()) == ["11", "12", "13", ("14", "20")]
    lane.offer(named("21"), 21, "")
    assert texts(lane.take()) == ["21"]


def test_a_status_after_lost_trades_comes_after_their_gap_and_the_lane_stays_bounded() -> None:
    lane = EventLane(TRADES, 2)
    for sequence in range(1, 6):
        lane.offer(named(str(sequence)), sequence, "")
    lane.put(named("interrupted"))
    for sequence in range(6, 9):
        lane.offer(named(str(sequence)), sequence, "")
    assert texts(lane.take()) == ["1", "2", ("3", "5"), "interrupted", ("6", "8")]


def test_every_trade_is_delivered_or_named_whatever_the_reader_does() -> None:
    lane = EventLane(TRADES, 7)
    seen: list[int] = []
    taken = 0
    for sequence in range(1, 1_001):
        lane.offer(named(str(sequence)), sequence, "")
        if (sequence * 2_654_435_761 >> 7) % 19 == 0 or sequence == 1_000:
            for said in texts(lane.take()):
                if isinstance(said, tuple):
                    seen.extend(range(int(said[0]), int(said[1]) + 1))
                else:
                    seen.append(int(said))
                    taken += 1
    assert seen == list(range(1, 1_001))
    assert 0 < taken < 1_000


def test_too_many_deltas_give_way_to_the_book_as_it_is_when_sent() -> None:
    now = "book 3"
    lane = BookLane(3, lambda: named(now))
    for number in range(1, 4):
        lane.offer(named(f"delta {number}"), number, "")
    assert texts(lane.take()) == ["delta 1", "delta 2", "delta 3"]
    for number in range(4, 9):
        lane.offer(named(f"delta {number}"), number, "")
    now = "book 8"
    assert texts(lane.take()) == ["book 8"]
    lane.offer(named("delta 9"), 9, "")
    assert texts(lane.take()) == ["delta 9"]


def test_a_fresh_book_keeps_its_place_between_statuses() -> None:
    lane = BookLane(10, lambda: named("book"))
    lane.put(named("subscribed"))
    lane.refresh()
    lane.put(named("live"))
    lane.offer(named("delta that the book holds already"), 1, "")
    assert texts(lane.take()) == ["subscribed", "book", "live"]
    lane.offer(named("delta"), 2, "")
    lane.put(named("interrupted"))
    assert texts(lane.take()) == ["delta", "interrupted"]


def test_a_book_that_is_not_known_yet_is_left_out() -> None:
    lane = BookLane(10, lambda: None)
    lane.put(named("subscribed"))
    lane.refresh()
    assert texts(lane.take()) == ["subscribed"]
