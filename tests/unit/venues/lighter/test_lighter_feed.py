"""The feed: chains are kept or broken aloud, everything is told once, and nothing goes unnoticed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.domain.feed import Alive, BookDelta, BookSnapshot, FeedState, MarketDown, Trade
from services.venues.lifecycle import State
from services.venues.lighter.feed import PONG
from services.venues.port import FeedLevel
from tests.unit.venues.lighter.rig import Rig
from tests.unit.venues.lighter.samples import (
    PULSE,
    book_frame,
    dump,
    snapshot,
    stats,
    stats_row,
    ticker,
    trades,
    update,
)

BTC, ETH, SOL = "BTC-PERP", "ETH-PERP", "SOL-PERP"
SUBSCRIBE = '{"type":"subscribe","channel":"%s"}'
UNSUBSCRIBE = '{"type":"unsubscribe","channel":"%s"}'
RENEWAL = [UNSUBSCRIBE % "order_book/1", SUBSCRIBE % "order_book/1"]


def booked() -> Rig:
    """A rig with a live book of BTC at nonce 11."""
    rig = Rig({BTC: FeedLevel.BOOK})
    rig.give(snapshot(10), update(11, 10))
    assert rig.room.live == {BTC}
    _ = rig.said
    return rig


def only_down(rig: Rig) -> MarketDown:
    (down,) = rig.room.downs
    return down


def test_what_gives_prices_is_asked_for_first_in_the_order_wanted() -> None:
    rig = Rig({SOL: FeedLevel.PRICE, BTC: FeedLevel.BOOK, ETH: FeedLevel.BOOK})
    assert [text.split('"')[-2] for text in rig.said] == [
        "market_stats/all",
        "ticker/2",
        "order_book/1",
        "order_book/0",
        "trade/2",
        "trade/1",
        "trade/0",
        "ticker/1",
        "ticker/0",
    ]


def test_a_snapshot_and_what_follows_it_are_told() -> None:
    rig = booked()
    assert rig.feed.fed(BTC) is FeedLevel.BOOK
    assert [type(event) for event in rig.room.events if not isinstance(event, Alive)] == [BookSnapshot, BookDelta]
    assert rig.room.books[BTC].bids.top(5) == [(1000, 100000), (995, 300000)]


def test_updates_before_the_snapshot_are_not_told() -> None:
    rig = Rig({BTC: FeedLevel.BOOK})
    rig.give(update(9, 8), update(10, 9))
    assert rig.room.books == {}
    assert rig.room.downs == []


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (update(13, 12), "follows 12, the book is at 11"),
        (update(12, None), "does not say which one it follows"),
        (update(5, 4), "follows 4, the book is at 11"),
        (update(11, 11), "follows 11, the book is at 11"),
        (update(3, 11), "follows 11, the book is at 11"),
        (update(12, 11)[:-40], "could not be read"),
        (book_frame("update", [("100.05", "1.00000")], [], nonce=12, begin=11), "could not be read"),
        (book_frame("update", [("-1.0", "1.00000")], [], nonce=12, begin=11), "could not be read"),
        (book_frame("update", [("NaN", "1.00000")], [], nonce=12, begin=11), "could not be read"),
        (book_frame("update", [("99999999999.0", "1.00000")], [], nonce=12, begin=11), "could not be read"),
    ],
)
def test_what_does_not_follow_takes_the_book_down_at_once_and_asks_for_a_new_one(frame: bytes, why: str) -> None:
    rig = booked()
    rig.give(frame)
    assert why in only_down(rig).reason
    assert only_down(rig).state is FeedState.RECOVERING
    assert only_down(rig).markets == {BTC}
    assert rig.room.live == set()
    assert rig.said == RENEWAL
    rig.give(update(12, 11), update(14, 13))  # of the subscription before: not told
    assert rig.room.versions[BTC] == 11
    assert len(rig.room.downs) == 1
    rig.give(b'{"type": "unsubscribed", "channel": "order_book:1"}', snapshot(20), update(21, 20))
    assert rig.room.live == {BTC}
    assert rig.room.versions[BTC] == 21


def test_the_same_update_twice_changes_nothing() -> None:
    rig = booked()
    rig.give(update(12, 11), update(12, 11), update(13, 12))
    assert rig.room.versions[BTC] == 13
    assert rig.room.downs == []
    assert rig.feed.counts.repeats == 1


def test_a_sequence_that_starts_over_is_a_gap_even_just_after_a_snapshot() -> None:
    rig = Rig({BTC: FeedLevel.BOOK})
    rig.give(snapshot(1_000))
    for number in range(1, 40):
        rig.give(update(number, number - 1))
    assert only_down(rig).state is FeedState.RECOVERING


def test_by_offset_where_declared_the_offset_chains() -> None:
    rig = Rig({BTC: FeedLevel.BOOK}, chain="offset")
    rig.give(snapshot(10), update(11, None), update(12, None))
    assert rig.room.versions[BTC] == 12
    rig.give(update(14, None))
    assert only_down(rig).state is FeedState.RECOVERING


def test_a_bad_snapshot_is_asked_for_again_more_and_more_slowly() -> None:
    rig = booked()
    rig.give(update(13, 12))
    assert rig.said == RENEWAL
    asked: list[float] = []
    for step in range(200):
        if step % 2 == 0:
            rig.give(snapshot(20, bids=[("100.0", "1.0"), ("100.0", "2.0")]))
        rig.wait(0.05)
        if rig.said == RENEWAL:
            asked.append(step * 0.05)
    assert len(asked) == 5  # after 0.25, 0.5, 1, 2 and 4 s, and not 200 times
    rig.give(snapshot(30))
    assert rig.room.live == {BTC}


def test_a_full_room_breaks_the_chain_and_is_told_of_it_when_it_has_place() -> None:
    rig = booked()
    rig.room.is_full = True
    rig.give(update(12, 11))
    rig.room.is_full = False
    assert rig.said == RENEWAL
    rig.wait(0.3)
    rig.give(PULSE)
    assert only_down(rig).markets == {BTC}
    assert rig.room.live == set()
    rig.give(snapshot(20))
    assert rig.room.live == {BTC}


def test_the_room_may_ask_for_a_fresh_book_once() -> None:
    rig = booked()
    rig.feed.resync(BTC, "the audit found a difference", rig.clock.time_ns())
    rig.feed.resync(BTC, "the audit found a difference", rig.clock.time_ns())
    assert only_down(rig).reason == "the audit found a difference"
    assert rig.said == RENEWAL


def test_a_book_that_stands_still_while_its_ticker_moves_is_repaired() -> None:
    rig = booked()
    rig.give(ticker(50))
    rig.wait(1.0)
    rig.give(PULSE)
    assert rig.room.downs == []
    rig.wait(1.0)
    rig.give(PULSE)
    assert "stands still" in only_down(rig).reason
    assert rig.said == RENEWAL


def test_a_quiet_book_whose_ticker_is_no_further_is_left_alone() -> None:
    rig = booked()
    rig.give(ticker(11))
    for _ in range(20):
        rig.wait(0.5)
        rig.give(PULSE)
    assert rig.room.downs == []
    assert rig.room.alive[-1].markets == {BTC}


def test_alive_is_told_at_most_four_times_a_second_and_only_of_what_is_current() -> None:
    rig = Rig({BTC: FeedLevel.BOOK, ETH: FeedLevel.BOOK, SOL: FeedLevel.PRICE})
    rig.give(snapshot(10))
    rig.wait(0.25)
    rig.give(PULSE)
    assert rig.room.alive[-1].markets == {BTC}
    rig.room.alive.clear()
    for _ in range(100):
        rig.wait(0.01)
        rig.give(PULSE)
    assert 3 <= len(rig.room.alive) <= 4


def test_trades_are_told_once_oldest_first_through_reconnects() -> None:
    rig = booked()
    rig.give(trades(20, 1, 2, 3, kind="subscribed"), trades(21, 4, 5), trades(21, 4, 5))
    rig.cut()
    rig.connect()
    rig.give(trades(30, 2, 3, 4, 5, 6, 7, kind="subscribed"), trades(31, 8))
    assert [int(trade.trade_id) for trade in rig.room.trades] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert not any(down.trades_lost for down in rig.room.downs)


def test_a_replay_that_reaches_not_far_enough_tells_that_trades_were_lost() -> None:
    rig = booked()
    rig.give(trades(20, 1, 2, 3, kind="subscribed"))
    rig.cut()
    rig.connect()
    rig.give(snapshot(90))
    before = len(rig.room.events)
    rig.give(trades(99, 80, 81, kind="subscribed"))
    told = [event for event in rig.room.events[before:] if not isinstance(event, Alive)]
    lost = told[0]
    assert isinstance(lost, MarketDown)
    assert lost.trades_lost
    assert rig.room.live == {BTC}  # the book is still good
    assert [event.trade_id for event in told[1:] if isinstance(event, Trade)] == ["80", "81"]


def test_a_cut_takes_down_what_came_over_the_socket_and_snapshots_bring_it_back() -> None:
    rig = booked()
    rig.cut()
    assert only_down(rig).state is FeedState.RECOVERING
    assert BTC in only_down(rig).markets
    assert rig.room.live == set()
    rig.connect()
    assert SUBSCRIBE % "order_book/1" in rig.said
    rig.give(snapshot(50))
    assert rig.room.live == {BTC}


def test_silence_is_told_as_stale_within_three_seconds_and_ends_with_the_next_frame() -> None:
    rig = booked()
    silent_since = rig.clock.time_ns()
    while not rig.room.downs:
        rig.wait(0.05)
    stale = only_down(rig)
    assert stale.state is FeedState.STALE
    assert stale.receive_time_ns - silent_since <= 3_000_000_000
    assert BTC in stale.markets
    rig.give(update(12, 11))
    assert rig.room.versions[BTC] == 12
    assert rig.room.alive[-1].markets == {BTC}
    assert rig.said == []


def test_a_socket_that_only_answers_pings_is_stale_within_three_seconds_and_then_given_up() -> None:
    rig = booked()
    rig.give(PULSE)
    since = rig.clock.time_ns()
    while not rig.room.downs:
        rig.wait(0.5)
        rig.give(b'{"type":"pong"}')
    stale = only_down(rig)
    assert stale.state is FeedState.STALE
    assert stale.receive_time_ns - since <= 3_000_000_000
    assert "answers to pings" in stale.reason
    rig.give(PULSE)
    assert rig.room.alive[-1].receive_time_ns > stale.receive_time_ns
    assert rig.room.alive[-1].markets == {BTC}
    for _ in range(20):
        rig.wait(0.5)
        rig.give(b'{"type":"pong"}')
    assert rig.session.state is State.CLOSING


@pytest.mark.parametrize(
    ("code", "message", "pause"),
    [(30009, "Too Many Websocket Messages!", 5.0), (30010, "Too Many Inflight Messages!", 1.0)],
)
def test_talking_too_much_makes_a_pause_not_a_reconnect(code: int, message: str, pause: float) -> None:
    rig = Rig({BTC: FeedLevel.BOOK})
    asked = rig.said
    rig.give(dump({"error": {"code": code, "message": message}}))
    for _ in range(round(pause / 0.5) - 1):
        rig.wait(0.5)
        rig.give(PULSE)
    assert rig.said == []
    for _ in range(2):
        rig.wait(0.5)
        rig.give(PULSE)
    assert rig.said == asked
    assert rig.room.downs == []


def test_already_subscribed_without_a_snapshot_starts_over() -> None:
    rig = Rig({BTC: FeedLevel.BOOK})
    _ = rig.said
    rig.give(b'{"error":{"code":30003,"message":"Already Subscribed to : order_book:1"}}')
    assert rig.said == RENEWAL
    rig.give(snapshot(10))
    rig.give(b'{"error":{"code":30003,"message":"Already Subscribed to : order_book:1"}}')
    assert rig.said == []
    assert rig.room.live == {BTC}


def test_a_refused_channel_leaves_the_others_alone() -> None:
    rig = booked()
    rig.give(b'{"error":{"code":30005,"message":"Invalid Channel: trade:1"}}', update(12, 11))
    assert rig.feed.counts.refused >= 1
    assert rig.room.versions[BTC] == 12
    assert rig.room.downs == []


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"<html>503</html>",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b'{"type":"update/unheard_of"}',
        b"9" * 5_000,
        b"[" * 9,
    ],
)
def test_frames_that_say_nothing_are_counted_and_cost_nothing(frame: bytes) -> None:
    rig = booked()
    rig.give(frame, update(12, 11))
    assert rig.feed.counts.bad_frames == 1
    assert rig.room.versions[BTC] == 12
    assert rig.room.downs == []


def test_a_ping_of_the_venue_is_answered() -> None:
    rig = booked()
    rig.give(b'{"type":"ping"}')
    assert rig.said == [PONG]


def test_contexts_are_told_and_confirmed_when_the_channel_of_all_does_not_mention_them() -> None:
    rig = Rig({})
    rig.give(stats(stats_row(0, "ETH"), stats_row(1, "BTC"), kind="subscribed"))
    first = rig.room.contexts[ETH]
    assert (first.funding_rate, first.open_interest) == (Decimal("-0.000012"), Decimal("25.0000"))
    assert first.next_funding_time_ns == 1785254400 * 10**9
    rig.wait(1.1)
    rig.give(stats(stats_row(1, "BTC", mark_price="101.0")))
    again = rig.room.contexts[ETH]
    assert again.receive_time_ns - first.receive_time_ns >= 10**9
    assert again.mark_price == first.mark_price
    assert rig.room.contexts[BTC].mark_price == Decimal("101.0")


def test_one_bad_context_does_not_take_the_others_along() -> None:
    rig = Rig({})
    rig.give(stats(stats_row(0, "ETH", mark_price="-1"), stats_row(1, "BTC"), stats_row(2, "WRONG"), kind="subscribed"))
    assert set(rig.room.contexts) == {BTC}
    assert rig.feed.counts.bad_frames == 2


def test_an_unknown_market_has_the_list_read_again() -> None:
    rig = Rig({})
    rig.give(stats(stats_row(77, "NEW"), stats_row(1, "BTC")))
    rig.give(stats(stats_row(77, "NEW"), stats_row(1, "BTC")))
    assert rig.listed_again == 1
    assert set(rig.room.contexts) == {BTC}


def test_wanting_less_keeps_prices_and_wanting_more_brings_a_book() -> None:
    rig = booked()
    rig.give(ticker(11, kind="subscribed"))
    rig.want({BTC: FeedLevel.PRICE})
    rig.give(update(12, 11))
    assert rig.room.versions[BTC] == 11
    assert rig.feed.fed(BTC) is FeedLevel.PRICE
    rig.want({BTC: FeedLevel.BOOK})
    rig.give(snapshot(40))
    assert rig.room.versions[BTC] == 40
