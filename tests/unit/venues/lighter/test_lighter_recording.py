"""The real recording of 18 s through frames, chain and book, against plain dictionaries; then the same, damaged.

The reference shares nothing with what it judges: JSON by the standard library, prices as `Decimal`, one dictionary a
side. The damaged run repeats every class of fault that can be detected, from a printed seed: whenever the room may show
the book as current, its best levels are the reference's.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from services.domain.feed import BookDelta
from services.venues.port import FeedLevel
from tests.unit.venues.lighter.rig import Rig
from tests.unit.venues.lighter.samples import (
    BTC,
    PULSE,
    RECORDING,
    captured_lines,
    dump,
    needs_captures,
    recorded_frames,
)

pytestmark = needs_captures

MARKET = BTC.market
Json = dict[str, Any]


class Reference:
    """A book as two dictionaries of exact decimals."""

    def __init__(self) -> None:
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}

    def take(self, frame: Json) -> None:
        if frame["type"] == "subscribed/order_book":
            self.bids, self.asks = {}, {}
        for side, levels in ((self.bids, frame["order_book"]["bids"]), (self.asks, frame["order_book"]["asks"])):
            for level in levels:
                price, size = Decimal(level["price"]), Decimal(level["size"])
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)

    def best(self) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        bid, ask = max(self.bids), min(self.asks)
        return bid, self.bids[bid], ask, self.asks[ask]

    def snapshot(self, frame: Json) -> bytes:
        """The whole book as the venue would send it to who subscribes just after `frame`."""
        body = {
            **frame["order_book"],
            "bids": [{"price": str(p), "size": str(s)} for p, s in sorted(self.bids.items(), reverse=True)],
            "asks": [{"price": str(p), "size": str(s)} for p, s in sorted(self.asks.items())],
            "begin_nonce": 0,
        }
        return dump({**frame, "order_book": body, "type": "subscribed/order_book"})


def book_frames() -> list[Json]:
    frames = [json.loads(frame) for frame in recorded_frames()]
    return [frame for frame in frames if str(frame.get("channel", "")).startswith("order_book")]


def shown(rig: Rig) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    book = rig.room.books[MARKET]
    bid, ask = book.bids.best(), book.asks.best()
    assert bid is not None
    assert ask is not None
    return (
        Decimal(bid[0]).scaleb(-1),
        Decimal(bid[1]).scaleb(-5),
        Decimal(ask[0]).scaleb(-1),
        Decimal(ask[1]).scaleb(-5),
    )


def with_chain(frames: list[Json]) -> list[Json]:
    """The recording in the form of 2026: each update names its predecessor's nonce."""
    told = []
    before = 0
    for frame in frames:
        nonce = frame["order_book"]["nonce"]
        told.append({**frame, "order_book": {**frame["order_book"], "begin_nonce": before}})
        before = nonce
    return told


def test_the_recording_gives_the_book_of_the_reference_frame_by_frame_without_a_gap() -> None:
    rig = Rig({MARKET: FeedLevel.BOOK}, chain="offset")
    reference = Reference()
    for data in recorded_frames()[1:]:  # the greeting was given by the rig
        rig.give(data)
        frame = json.loads(data)
        if str(frame.get("channel")).startswith("order_book"):
            reference.take(frame)
            assert shown(rig) == reference.best()
    assert rig.room.downs == []
    assert rig.room.wrong == []
    book = rig.room.books[MARKET]
    for side, true in ((book.bids, reference.bids), (book.asks, reference.asks)):
        assert {Decimal(p).scaleb(-1): Decimal(s).scaleb(-5) for p, s in side.levels()} == true
    assert sum(isinstance(event, BookDelta) for event in rig.room.events) == 2_549
    counts = rig.feed.counts
    assert (counts.bad_frames, counts.gaps, counts.resyncs) == (0, 0, 0)


def test_the_trades_of_the_recording_are_all_told_once() -> None:
    rig = Rig({MARKET: FeedLevel.BOOK}, chain="offset")
    expected: dict[str, tuple[Decimal, bool]] = {}
    for data in recorded_frames()[1:]:
        rig.give(data)
        frame = json.loads(data)
        if str(frame.get("channel")).startswith("trade"):
            for row in [*(frame["trades"] or []), *(frame["liquidation_trades"] or [])]:
                expected[str(row["trade_id"])] = (Decimal(row["usd_amount"]), row["type"] == "liquidation")
    told = {t.trade_id: (Decimal(t.price * t.size).scaleb(-6), t.liquidation) for t in rig.room.trades}
    assert len(rig.room.trades) == len(told) == len(expected)
    assert told == expected


def test_real_trades_never_make_a_real_book_look_dead() -> None:
    """In the form of 2026, at the recorded times: a trade's nonce is always reached by the book in time."""
    rig = Rig({MARKET: FeedLevel.BOOK})
    lines = [json.loads(line) for line in captured_lines(RECORDING)]
    chained = iter(with_chain(book_frames()))
    for before, line in itertools.pairwise(lines[1:]):
        rig.wait(max(0.0, line["ts"] - before["ts"]))
        frame = json.loads(line["msg"])
        rig.give(dump(next(chained)) if "order_book" in frame else line["msg"].encode())
    assert next(chained, None) is None
    assert len(rig.room.trades) > 600
    assert [down.reason for down in rig.room.downs if "stands still" in down.reason] == []


def _price(frame: Json, text: str) -> Json:
    side = "bids" if frame["order_book"]["bids"] else "asks"
    levels = [dict(level) for level in frame["order_book"][side]]
    levels[0]["price"] = text
    return {**frame, "order_book": {**frame["order_book"], side: levels}}


def _crossed(frame: Json, reference: Reference) -> Json:
    _, _, ask, _ = reference.best()
    body = frame["order_book"]
    return {**frame, "order_book": {**body, "bids": [*body["bids"], {"price": str(ask + 1), "size": "9.00000"}]}}


Fault = Callable[[list[Json], int, random.Random, Reference], list[bytes]]
"""Gives what is received in place of frame `n`."""


def dropped(frames: list[Json], n: int, rng: random.Random, reference: Reference) -> list[bytes]:
    return []


def truncated(frames: list[Json], n: int, rng: random.Random, reference: Reference) -> list[bytes]:
    data = dump(frames[n])
    return [data[: rng.randrange(1, len(data))]]


def doubled(frames: list[Json], n: int, rng: random.Random, reference: Reference) -> list[bytes]:
    return [dump(frames[n]), dump(frames[n])]


def swapped(frames: list[Json], n: int, rng: random.Random, reference: Reference) -> list[bytes]:
    return [dump(frames[n + 1]), dump(frames[n])]


def replayed(frames: list[Json], n: int, rng: random.Random, reference: Reference) -> list[bytes]:
    return [dump(frames[max(1, n - rng.randrange(2, 500))]), dump(frames[n])]


def out_of_range(frames: list[Json], n: int, rng: random.Random, reference: Reference) -> list[bytes]:
    texts = ["-1.0", "0.0", "1e9", "99999999999.9", "1.23", "NaN", "Infinity", "", " 1.0", "1_0.0", "\u0661.0", "0x10"]
    return [dump(_price(frames[n], rng.choice(texts)))]


def crossed(frames: list[Json], n: int, rng: random.Random, reference: Reference) -> list[bytes]:
    return [dump(_crossed(frames[n], reference))]


def wrong_type(frames: list[Json], n: int, rng: random.Random, reference: Reference) -> list[bytes]:
    body = frames[n]["order_book"]
    wrong = rng.choice(
        [{"bids": None}, {"asks": "x"}, {"nonce": "1"}, {"begin_nonce": -1}, {"nonce": 1.5}, {"bids": [1]}]
    )
    return [dump({**frames[n], "order_book": {**body, **wrong}})]


def repair(rig: Rig, reference: Reference, frame: Json) -> None:
    """Let the venue answer the renewal, then let a calm minute pass, after which a renewal is the first again."""
    assert any('"subscribe"' in text and "order_book" in text for text in rig.said)
    rig.give(reference.snapshot(frame))
    assert shown(rig) == reference.best()
    for _ in range(30):
        rig.wait(1.5)
        rig.give(PULSE)


@pytest.mark.parametrize(
    "fault", [doubled, swapped, replayed, out_of_range, crossed, wrong_type], ids=lambda fault: fault.__name__
)
def test_a_damaged_recording_never_shows_a_wrong_top_as_current(fault: Fault) -> None:
    seed = 20_251_210
    print(f"seed {seed}")
    rng = random.Random(seed)
    frames = with_chain(book_frames())
    rig = Rig({MARKET: FeedLevel.BOOK})
    reference = Reference()
    injected = judged = downs = 0
    for number, frame in enumerate(frames[:-1]):
        reference.take(frame)
        has_levels = bool(frame["order_book"]["bids"] or frame["order_book"]["asks"])
        if number and has_levels and rng.random() < 0.03:
            injected += 1
            rig.give(*fault(frames, number, rng, reference))
        else:
            rig.give(dump(frame))
        if rig.room.wrong:
            rig.room.wrong.clear()
            rig.feed.resync(MARKET, "the room found the book crossed", rig.clock.time_ns())
        if MARKET in rig.room.live:
            judged += 1
            assert shown(rig) == reference.best(), f"frame {number}"
        else:
            downs += 1
            repair(rig, reference, frame)
    assert injected > 50
    if fault is replayed:  # right after a snapshot, an older update is known to be in it
        assert injected * 0.8 < downs <= injected
    else:
        assert downs == (0 if fault is doubled else injected)
    assert judged == len(frames) - 1 - downs


@pytest.mark.parametrize("fault", [dropped, truncated], ids=lambda fault: fault.__name__)
def test_what_never_came_is_found_with_the_next_update(fault: Fault) -> None:
    """A dropped update cannot be seen before the next one; then the book is down before anything of it is shown."""
    rng = random.Random(7)
    frames = with_chain(book_frames())
    for start in range(0, 2_000, 40):
        rig = Rig({MARKET: FeedLevel.BOOK})
        reference = Reference()
        for frame in frames[: start + 1]:
            reference.take(frame)
        rig.give(reference.snapshot(frames[start]))
        assert MARKET in rig.room.live
        rig.give(*fault(frames, start + 1, rng, reference), dump(frames[start + 2]))
        assert MARKET not in rig.room.live
