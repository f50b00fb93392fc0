"""Candles from trades: exact, in any order of arrival, with no hole and no double whatever the feed does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from services.market_data.model.candle import (
    INTERVALS,
    LADDER,
    MINUTE,
    MINUTE_NS,
    SECOND_NS,
    Candle,
    Forming,
    Scale,
    merge_time,
    merge_venues,
    start_of,
)
from services.market_data.model.ladder import FILL_DELAY_NS, GRACE_NS, MINUTES_WAITING_MAX, RESUME_NS, Ladder

DAY_NS = 86_400 * SECOND_NS
START_NS = 20_000 * DAY_NS
SCALE = Scale("BTC-PERP", "lighter", 1, 5)


@dataclass(frozen=True)
class Print:
    time_ns: int
    price: int
    size: int


def direct(prints: Sequence[Print], interval_s: int) -> list[Candle]:
    """The obvious way: group by interval, sort, take first, last, extremes and sums."""
    groups: dict[int, list[Print]] = {}
    for one in sorted(prints, key=lambda one: one.time_ns):
        groups.setdefault(start_of(one.time_ns, interval_s), []).append(one)
    return [
        Candle(
            market="BTC-PERP",
            venue="lighter",
            interval_s=interval_s,
            open_ns=open_ns,
            open=Decimal(group[0].price).scaleb(-1),
            high=Decimal(max(one.price for one in group)).scaleb(-1),
            low=Decimal(min(one.price for one in group)).scaleb(-1),
            close=Decimal(group[-1].price).scaleb(-1),
            volume=Decimal(sum(one.size for one in group)).scaleb(-5),
            quote_volume=Decimal(sum(one.price * one.size for one in group)).scaleb(-6),
            trade_count=len(group),
            first_ns=group[0].time_ns,
            last_ns=group[-1].time_ns,
            closed=True,
        )
        for open_ns, group in groups.items()
    ]


def begun() -> Ladder:
    ladder = Ladder(SCALE)
    ladder.begin(START_NS)
    return ladder


prints = st.lists(
    st.builds(
        Print,
        time_ns=st.integers(START_NS, START_NS + 3 * 3_600 * SECOND_NS).map(lambda ns: ns - ns % 1_000),
        price=st.integers(1, 10**7),
        size=st.integers(1, 10**9),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda one: one.time_ns,
)


@given(prints=prints, seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_candles_of_every_length_are_those_of_the_trades_in_any_order(prints: list[Print], seed: int) -> None:
    ladder = begun()
    ladder.advance(START_NS - SECOND_NS, START_NS - SECOND_NS, alive=True)
    shuffled = list(prints)
    random.Random(seed).shuffle(shuffled)
    for one in shuffled:
        ladder.trade(one.price, one.size, one.time_ns)
    end_ns = START_NS + DAY_NS + MINUTE_NS
    closed = ladder.advance(end_ns, end_ns, alive=True)
    for interval_s in INTERVALS:
        assert [one for one in closed if one.interval_s == interval_s] == direct(prints, interval_s)
    assert ladder.late == 0
    assert ladder.gap(end_ns) is None


@given(prints=prints, at=st.integers(0, 3 * 3_600), length=st.integers(1, 2_000), seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_an_outage_leaves_no_hole_and_no_double(prints: list[Print], at: int, length: int, seed: int) -> None:
    """Trades between two moments are lost; the venue's own minutes repair exactly what they touched."""
    lost_ns, back_ns = START_NS + at * SECOND_NS, START_NS + (at + length) * SECOND_NS
    ladder = begun()
    ladder.advance(START_NS - SECOND_NS, START_NS - SECOND_NS, alive=True)
    rng = random.Random(seed)
    closed: list[Candle] = []
    asked: list[tuple[int, int]] = []
    waiting = sorted(prints, key=lambda one: one.time_ns)
    now_ns = START_NS
    while now_ns < START_NS + DAY_NS + 3 * MINUTE_NS:
        is_down = lost_ns <= now_ns < back_ns
        while waiting and waiting[0].time_ns <= now_ns:
            one = waiting.pop(0)
            if not lost_ns <= one.time_ns < back_ns:
                ladder.trade(one.price, one.size, one.time_ns)
        step_ns = rng.choice((SECOND_NS, 7 * SECOND_NS, 50 * SECOND_NS)) if waiting or is_down else 45 * SECOND_NS
        if is_down and now_ns + step_ns >= back_ns:
            ladder.lose()
            step_ns = back_ns - now_ns
        elif not is_down and now_ns < lost_ns:
            step_ns = min(step_ns, lost_ns - now_ns)
        closed += ladder.advance(now_ns, min(now_ns, lost_ns) if is_down else now_ns, alive=not is_down)
        gap = ladder.gap(now_ns)
        if gap is not None and not is_down:
            asked.append(gap)
            said = [one for one in direct(prints, MINUTE) if gap[0] <= one.open_ns < gap[1]]
            closed += ladder.fill(*gap, said)
        now_ns += step_ns
    for interval_s in LADDER:
        assert [one for one in closed if one.interval_s == interval_s] == direct(prints, interval_s)
    assert all(end_ns > start_of(lost_ns, MINUTE) - MINUTE_NS for _, end_ns in asked)


def test_only_the_minutes_around_an_outage_are_asked_of_the_venue() -> None:
    ladder = begun()
    ladder.advance(START_NS, START_NS, alive=True)
    at_ns = START_NS + 10 * MINUTE_NS + 30 * SECOND_NS
    ladder.advance(at_ns, at_ns, alive=True)
    assert ladder.settled_ns == START_NS + 10 * MINUTE_NS
    ladder.advance(at_ns + 90 * SECOND_NS, at_ns, alive=False)
    ladder.lose()
    back_ns = at_ns + 100 * SECOND_NS
    ladder.advance(back_ns, back_ns, alive=True)
    late_ns = back_ns + 5 * MINUTE_NS
    assert ladder.advance(late_ns, late_ns, alive=True) == []
    assert ladder.gap(late_ns) == (START_NS + 10 * MINUTE_NS, START_NS + 13 * MINUTE_NS)
    ladder.fill(START_NS + 10 * MINUTE_NS, START_NS + 13 * MINUTE_NS, ())
    ladder.advance(late_ns, late_ns, alive=True)
    assert ladder.settled_ns == START_NS + 17 * MINUTE_NS
    assert ladder.gap(late_ns) is None


def test_a_cut_without_loss_settles_from_the_trades_the_venue_repeats() -> None:
    ladder = begun()
    ladder.advance(START_NS, START_NS, alive=True)
    ladder.advance(START_NS + 50 * SECOND_NS, START_NS + 30 * SECOND_NS, alive=False)
    back_ns = START_NS + 70 * SECOND_NS
    assert ladder.advance(back_ns, back_ns, alive=True) == []
    ladder.trade(10, 1, START_NS + 55 * SECOND_NS)  # repeated by the venue a moment later
    resumed_ns = back_ns + RESUME_NS
    (minute,) = [one for one in ladder.advance(resumed_ns, resumed_ns, alive=True) if one.interval_s == MINUTE]
    assert (minute.trade_count, minute.repaired) == (1, False)


def test_silence_settles_nothing_though_nobody_has_said_that_the_feed_is_down() -> None:
    ladder = begun()
    ladder.advance(START_NS, START_NS, alive=True)
    ladder.advance(START_NS + 64 * SECOND_NS, START_NS + 59 * SECOND_NS, alive=True)
    assert ladder.settled_ns == START_NS
    alive_ns = START_NS + MINUTE_NS + GRACE_NS
    ladder.advance(alive_ns, alive_ns, alive=True)
    assert ladder.settled_ns == START_NS + MINUTE_NS


def test_a_trade_after_its_minute_is_closed_is_counted_and_changes_nothing() -> None:
    ladder = begun()
    ladder.advance(START_NS, START_NS, alive=True)
    late_ns = START_NS + 2 * MINUTE_NS
    ladder.advance(late_ns, late_ns, alive=True)
    ladder.trade(10, 1, START_NS + 5)
    assert ladder.late == 1
    assert ladder.forming(MINUTE) is None


def test_the_forming_day_holds_its_settled_parts_and_the_running_minute() -> None:
    ladder = begun()
    ladder.advance(START_NS, START_NS, alive=True)
    trades = [Print(START_NS + minute * MINUTE_NS + 1, 100 + minute, 7) for minute in range(0, 400, 3)]
    for one in trades:
        ladder.trade(one.price, one.size, one.time_ns)
        ladder.advance(one.time_ns, one.time_ns, alive=True)
    for interval_s in LADDER:
        expected = direct(trades, interval_s)[-1]
        assert ladder.forming(interval_s) == replace(expected, closed=False)


def test_trades_that_wait_for_a_repair_are_bounded() -> None:
    ladder = begun()
    for minute in range(MINUTES_WAITING_MAX + 50):
        now_ns = START_NS + minute * MINUTE_NS + 30 * SECOND_NS
        ladder.trade(10, 1, now_ns)
        ladder.advance(now_ns, now_ns, alive=True)
    assert len(ladder.minutes) <= MINUTES_WAITING_MAX
    gap = ladder.gap(now_ns + FILL_DELAY_NS)
    assert gap is not None
    assert gap[1] == min(ladder.minutes)


def test_an_answer_to_an_older_question_changes_nothing() -> None:
    ladder = begun()
    assert ladder.fill(START_NS, START_NS + MINUTE_NS, ()) == []
    assert ladder.settled_ns == START_NS + MINUTE_NS
    assert ladder.fill(START_NS, START_NS + 2 * MINUTE_NS, ()) == []
    assert ladder.settled_ns == START_NS + MINUTE_NS


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_the_candle_of_all_venues_does_not_depend_on_how_it_is_merged(data: st.DataObject) -> None:
    def one(venue: str) -> Candle:
        forming = Forming(data.draw(st.integers(1, 99)), data.draw(st.integers(1, 99)), data.draw(st.integers(0, 9)))
        forming.add(data.draw(st.integers(1, 99)), 3, data.draw(st.integers(0, 9)))
        return Scale("BTC-PERP", venue, 1, 5).candle(forming, MINUTE, 0, closed=True)

    candles = [one(venue) for venue in ("a", "b", "c")]
    merged = merge_venues(candles)
    assert merged == merge_venues(candles[::-1])
    assert merged.volume == sum(part.volume for part in candles)
    assert merged.first_ns == min(part.first_ns for part in candles)
    assert merged.close in {part.close for part in candles if part.last_ns == merged.last_ns}
    assert not merge_venues([candles[0], replace(candles[1], closed=False)]).closed


def test_what_a_venue_does_not_say_stays_unknown_in_every_sum() -> None:
    forming = Scale("BTC-PERP", "lighter", 1, 5).candle(Forming(10, 5, 1), MINUTE, 0, closed=True)
    unknown = replace(forming, open_ns=MINUTE_NS, quote_volume=None, repaired=True)
    merged = merge_time([forming, unknown], 300, closed=True)
    assert merged.quote_volume is None
    assert merged.repaired
    assert merged.volume == 2 * forming.volume


def test_nothing_settles_before_it_is_known_from_where_on() -> None:
    ladder = Ladder(SCALE)
    ladder.advance(START_NS, START_NS, alive=True)
    ladder.trade(10, 1, START_NS + 5)
    late_ns = START_NS + 2 * MINUTE_NS
    assert [one.interval_s for one in ladder.advance(late_ns, late_ns, alive=True)] == [1]
    assert ladder.gap(late_ns) is None
    ladder.begin(START_NS + 7)
    assert [one.interval_s for one in ladder.advance(late_ns, late_ns, alive=True)] == [MINUTE]
