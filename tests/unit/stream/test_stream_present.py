"""What a newcomer gets, what a break lost, and a book that is never continued wrongly."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest

from services.domain.errors import Reason
from services.stream.model.book import BookBrokenError, BookMirror
from services.stream.model.feed import Remedy, backoff_s, remedy
from services.stream.model.frame import Frame
from services.stream.model.present import Present
from services.stream.model.said import BookDelta, BookSnapshot, Level, Value
from services.stream.model.topic import parse_topic

Side = dict[str, str]


def value(sequence: int, slot: str = "") -> Value:
    return Value(market="BTC-PERP", sequence=sequence, slot=slot, body=json.dumps({"n": sequence, "t": slot}).encode())


def gap_of(item: Frame | None) -> tuple[str, str] | None:
    if item is None:
        return None
    gap = json.loads(item.payload)["gap"]
    return gap["from_sequence"], gap["to_sequence"]


def levels(side: Side) -> tuple[Level, ...]:
    return tuple(
        Level(price, size == "0", json.dumps({"price": price, "size": size}).encode()) for price, size in side.items()
    )


def snapshot(sequence: int, bids: Side, asks: Side) -> BookSnapshot:
    return BookSnapshot(
        market="BTC-PERP",
        bids=levels(bids),
        asks=levels(asks),
        versions=b"[]",
        crossed=False,
        sequence=sequence,
        update_time="2026-01-01T00:00:00Z",
    )


def delta(sequence: int, bids: Side, asks: Side, counts: tuple[int, int], previous: int | None = None) -> BookDelta:
    return BookDelta(
        market="BTC-PERP",
        bids=levels(bids),
        asks=levels(asks),
        versions=b'[{"venue":"lighter"}]',
        crossed=True,
        sequence=sequence,
        previous_sequence=sequence - 1 if previous is None else previous,
        bid_level_count=counts[0],
        ask_level_count=counts[1],
        update_time="",
        body=b"{}",
    )


def read(mirror: BookMirror) -> Any:
    body = mirror.snapshot()
    assert body is not None
    return json.loads(body)


def test_the_mirror_equals_a_plain_dictionary_after_any_number_of_deltas() -> None:
    seed = 11
    chance = random.Random(seed)
    mirror = BookMirror()
    mirror.replace(snapshot(1, {}, {}))
    plain: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for sequence in range(2, 2_000):
        changes: tuple[Side, Side] = ({}, {})
        for side, change in zip(plain, changes, strict=True):
            for _ in range(chance.randrange(4)):
                price = str(Decimal(chance.randrange(90, 120)) / 10)
                change[price] = chance.choice(("0", "1.5", "2"))
            for price, size in change.items():
                if size == "0":
                    side.pop(price, None)
                else:
                    side[price] = size
        mirror.apply(delta(sequence, *changes, counts=(len(plain[0]), len(plain[1]))))
    book = read(mirror)
    for name, side, down in (("bids", plain[0], True), ("asks", plain[1], False)):
        expected = [{"price": p, "size": side[p]} for p in sorted(side, key=Decimal, reverse=down)]
        assert book[name] == expected, f"seed {seed}"
    assert book["sequence"] == "1999"
    assert book["crossed"] is True
    assert book["versions"] == [{"venue": "lighter"}]
    assert "update_time" not in book


def test_the_same_price_in_other_words_is_the_same_level() -> None:
    mirror = BookMirror()
    mirror.replace(snapshot(1, {"100": "1"}, {}))
    mirror.apply(delta(2, {"100.0": "2"}, {}, (1, 0)))
    assert read(mirror)["bids"] == [{"price": "100.0", "size": "2"}]


@pytest.mark.parametrize(
    "wrong",
    [
        delta(3, {"100": "2"}, {}, (1, 0), previous=2),
        delta(1, {"100": "2"}, {}, (1, 0), previous=0),
        delta(2, {"100": "2"}, {}, (2, 0)),
        delta(2, {"101": "2"}, {}, (1, 0)),
        delta(2, {}, {"x": "1"}, (1, 1)),
        delta(2, {}, {"NaN": "1"}, (1, 1)),
        delta(2, {}, {"Infinity": "1"}, (1, 1)),
    ],
    ids=["missing", "doubled", "fewer than said", "more than said", "no price", "not a number", "infinite"],
)
def test_a_delta_that_does_not_fit_breaks_the_book(wrong: BookDelta) -> None:
    mirror = BookMirror()
    mirror.replace(snapshot(1, {"100": "1"}, {}))
    with pytest.raises(BookBrokenError):
        mirror.apply(wrong)


def test_a_delta_without_a_book_breaks_it() -> None:
    with pytest.raises(BookBrokenError):
        BookMirror().apply(delta(2, {}, {}, (0, 0)))


def test_a_newcomer_gets_the_latest_price_the_last_trades_and_two_candles() -> None:
    prices = Present(parse_topic("prices:BTC-PERP"), 3)
    trades = Present(parse_topic("trades:BTC-PERP"), 3)
    candles = Present(parse_topic("candles:BTC-PERP:1s"), 3)
    for sequence in range(1, 7):
        prices.hear(value(sequence))
        trades.hear(value(sequence))
        candles.hear(value(0, f"t{sequence // 2}"))
    assert [json.loads(item.payload)["price"]["n"] for item in prices.frames()] == [6]
    assert [json.loads(item.payload)["trade"]["n"] for item in trades.frames()] == [4, 5, 6]
    assert [json.loads(item.payload)["candle"]["t"] for item in candles.frames()] == ["t2", "t3"]


@pytest.mark.parametrize(
    ("next_sequence", "gap"),
    [(5, None), (6, None), (7, ("6", "6")), (20, ("6", "19")), (2, ("0", "0")), (None, ("0", "0"))],
)
def test_after_a_tear_the_first_number_says_what_is_missing(
    next_sequence: int | None, gap: tuple[str, str] | None
) -> None:
    present = Present(parse_topic("trades:BTC-PERP"), 10)
    present.hear(value(5))
    assert present.mend(9) is None
    present.tear()
    assert gap_of(present.mend(next_sequence)) == gap
    assert present.mend(99) is None


def test_a_tear_before_anything_was_heard_leaves_no_gap() -> None:
    present = Present(parse_topic("prices:BTC-PERP"), 10)
    present.tear()
    assert present.mend(7) is None


def test_candles_have_no_numbers_so_their_gap_names_none() -> None:
    present = Present(parse_topic("candles:BTC-PERP:1m"), 10)
    present.hear(value(0, "t1"))
    present.tear()
    assert gap_of(present.mend(None)) == ("0", "0")


def test_trades_of_an_earlier_count_are_not_shown_to_newcomers() -> None:
    present = Present(parse_topic("trades:BTC-PERP"), 10)
    present.hear(value(500))
    present.tear()
    present.mend(1)
    present.hear(value(1))
    assert [json.loads(item.payload)["trade"]["n"] for item in present.frames()] == [1]


def test_a_snapshot_is_encoded_once_for_each_state_of_the_book() -> None:
    present = Present(parse_topic("book:BTC-PERP"), 10)
    assert present.snapshot() is None
    present.replace(snapshot(1, {"100": "1"}, {}))
    first = present.snapshot()
    assert first is not None
    assert present.snapshot() is first
    present.apply(delta(2, {"99": "1"}, {}, (2, 0)))
    assert present.snapshot() is not first


@pytest.mark.parametrize(
    ("reason", "resuming", "what"),
    [
        (Reason.MARKET_UNKNOWN, False, Remedy.REFUSE),
        (Reason.CALL_NOT_SERVED, True, Remedy.REFUSE),
        (Reason.CURSOR_EXPIRED, True, Remedy.START_ANEW),
        (Reason.CURSOR_INVALID, True, Remedy.START_ANEW),
        (Reason.FIELD_INVALID, True, Remedy.START_ANEW),
        (Reason.INTERNAL, True, Remedy.START_ANEW),
        (Reason.PEER_UNAVAILABLE, True, Remedy.RESUME),
        (Reason.DRAINING, True, Remedy.RESUME),
        (Reason.LIMIT_REACHED, False, Remedy.RESUME),
    ],
)
def test_each_reason_has_its_remedy(reason: Reason, resuming: bool, what: Remedy) -> None:
    assert remedy(reason, resuming=resuming) is what


def test_pauses_grow_to_five_seconds_and_differ() -> None:
    chance = random.Random(3)
    pauses = [backoff_s(attempt, chance) for attempt in range(1, 40)]
    assert 0.05 <= pauses[0] <= 0.1
    assert all(2.5 <= pause <= 5.0 for pause in pauses[7:])
    assert len(set(pauses)) == len(pauses)
