"""Frames are put in order: late ones ignored, repeated trades dropped, gaps seen where they can be."""

from __future__ import annotations

import pytest

from services.domain.feed import (
    Alive,
    BookSnapshot,
    Context,
    Event,
    FeedState,
    ListingsChanged,
    MarketDown,
    TopOfBook,
    Trade,
)
from services.venues.hyperliquid.connects import AT_ONCE, Connects
from services.venues.hyperliquid.feed import OLDER_MAX, TRADES_REMEMBERED, Feed
from services.venues.hyperliquid.listings import contradiction, live_coins
from services.venues.hyperliquid.outlet import Outlet
from services.venues.hyperliquid.plan import CONNECTS_ALLOWED_PER_MINUTE
from services.venues.hyperliquid.wire import events, frames
from services.venues.hyperliquid.wire.values import WireError
from tests.unit.venues.hyperliquid.captured import markets, universe_of

START_MS = 1_790_232_236_000


def raw_top(time_ms: int, bid: str = "84143.0", coin: str = "BTC") -> frames.RawTop:
    return frames.RawTop(coin, time_ms, (frames.RawLevel(bid, "1.0"), frames.RawLevel("84150.0", "1.0")))


def raw_book(time_ms: int, coin: str = "BTC") -> frames.RawBook:
    return frames.RawBook(coin, time_ms, ([frames.RawLevel("84143.0", "1.0")], [frames.RawLevel("84150.0", "1.0")]))


def raw_trades(*tids: int, time_ms: int = START_MS, coin: str = "BTC") -> list[frames.RawTrade]:
    return [frames.RawTrade(coin, "B", "84143.0", "1.0", time_ms + tid, tid) for tid in tids]


def ns(time_ms: int) -> int:
    return (time_ms + 300) * 1_000_000


def fresh() -> Feed:
    feed = Feed()
    feed.relist(universe_of(markets([("BTC", 5), ("ETH", 4)])))
    return feed


def test_a_late_frame_is_ignored_and_one_of_the_same_time_is_not() -> None:
    feed = fresh()
    assert feed.top(raw_top(START_MS + 10), ns(START_MS)) is not None
    assert feed.top(raw_top(START_MS + 9), ns(START_MS)) is None
    assert feed.top(raw_top(START_MS + 10), ns(START_MS)) is not None
    assert feed.counts.older == 1


def test_each_kind_of_frame_and_each_coin_has_its_own_time() -> None:
    feed = fresh()
    assert feed.top(raw_top(START_MS + 10), ns(START_MS)) is not None
    assert feed.book(raw_book(START_MS), 5, ns(START_MS)) is not None
    assert feed.book(raw_book(START_MS - 1), 20, ns(START_MS)) is not None
    assert feed.book(raw_book(START_MS - 1), 5, ns(START_MS)) is None
    eth = frames.RawTop("ETH", START_MS, (None, None))
    assert feed.top(eth, ns(START_MS)) is not None


def test_several_older_frames_in_a_row_put_the_last_time_in_doubt() -> None:
    feed = fresh()
    feed.top(raw_top(START_MS + 4_000), ns(START_MS))
    coin = feed.coin("BTC")
    assert coin is not None
    for number in range(OLDER_MAX):
        assert not coin.top.doubtful
        assert feed.top(raw_top(START_MS + number), ns(START_MS)) is None
    assert coin.top.doubtful
    coin.top.reset()
    assert feed.top(raw_top(START_MS + 50), ns(START_MS)) is not None


def test_a_time_that_runs_ahead_is_refused_until_it_is_the_clock_that_was_set() -> None:
    feed = fresh()
    feed.top(raw_top(START_MS), ns(START_MS))
    with pytest.raises(WireError, match="ahead") as caught:
        feed.top(raw_top(START_MS + 60_000), ns(START_MS))
    assert (caught.value.field, caught.value.coin) == ("data.time", "BTC")
    assert feed.top(raw_top(START_MS + 10), ns(START_MS)) is not None
    for _ in range(2):
        with pytest.raises(WireError):
            feed.top(raw_top(START_MS + 60_000), ns(START_MS))
    assert feed.top(raw_top(START_MS + 60_000), ns(START_MS)) is not None


def test_a_trade_is_given_once_whatever_the_venue_repeats() -> None:
    feed = fresh()
    first, missed = feed.trades(raw_trades(1, 2, 3), ns(START_MS))
    assert ([t.trade_id.rpartition("-")[2] for t in first], missed) == (["1", "2", "3"], False)
    again, missed = feed.trades(raw_trades(4, 3, 2), ns(START_MS))
    assert ([t.trade_id.rpartition("-")[2] for t in again], missed) == (["4"], False)
    assert feed.counts.repeated_trades == 2
    assert feed.trades([], ns(START_MS)) == ([], False)


def test_equal_ids_at_other_times_or_of_other_coins_are_other_trades() -> None:
    feed = fresh()
    feed.trades(raw_trades(1), ns(START_MS))
    assert len(feed.trades(raw_trades(1, time_ms=START_MS + 5), ns(START_MS))[0]) == 1
    assert len(feed.trades(raw_trades(1, coin="ETH"), ns(START_MS))[0]) == 1


def test_trades_are_missed_only_when_the_backfill_does_not_reach_back() -> None:
    feed = fresh()
    coin = feed.coin("BTC")
    assert coin is not None
    coin.prints.subscribed()
    assert feed.trades(raw_trades(1, 2, 3), ns(START_MS))[1] is False
    coin.prints.subscribed()
    fresh_ones, missed = feed.trades(raw_trades(3, 4, 5), ns(START_MS))
    assert (len(fresh_ones), missed) == (2, False)
    coin.prints.subscribed()
    fresh_ones, missed = feed.trades(raw_trades(9, 10), ns(START_MS))
    assert (len(fresh_ones), missed) == (2, True)
    assert feed.trades(raw_trades(11), ns(START_MS))[1] is False


def test_the_memory_of_trades_is_bounded_and_what_fell_out_of_it_stays_known() -> None:
    feed = fresh()
    feed.trades(raw_trades(*range(TRADES_REMEMBERED + 200)), ns(START_MS))
    assert feed.trades(raw_trades(*range(100)), ns(START_MS)) == ([], False)


def test_the_slow_context_is_silent_while_the_fast_one_speaks() -> None:
    feed = fresh()
    raw = frames.RawContext("0.0", "1.0", "1.0", "84143.0", "84143.0")
    now_ns = ns(START_MS)
    active = feed.active_context(frames.RawActiveContext("BTC", raw), now_ns)
    assert (active.market, active.cadence_s) == ("BTC-PERP", 1.0)
    found, _ = feed.dex_contexts("", [raw, raw], now_ns + 1_000_000_000)
    assert [(context.market, context.cadence_s) for context in found] == [("ETH-PERP", 13.6)]
    found, _ = feed.dex_contexts("", [raw, raw], now_ns + 4_000_000_000)
    assert [context.market for context in found] == ["BTC-PERP", "ETH-PERP"]


def test_a_mid_price_contradicts_only_a_top_that_has_stood_and_only_the_second_time() -> None:
    feed = fresh()
    start_ns = ns(START_MS)
    feed.top(raw_top(START_MS), start_ns)  # 84143.0 and 84150.0: the mid price is 84146.5

    def says(mid: str | None, seconds: float) -> bool:
        context = frames.RawContext("0.0", "1.0", "1.0", "84143.0", "84143.0", mid)
        return feed.doubtful_top(frames.RawActiveContext("BTC", context), start_ns + round(seconds * 1e9))

    assert not any(says("84200.0", seconds) for seconds in (1, 2, 3, 4))
    assert not says("84146.5", 6)
    assert not says(None, 7)
    assert not says("84200.0", 8)
    assert not says("84146.5", 9)
    assert not says("84200.0", 10)
    assert says("84200.0", 11)
    feed.top(raw_top(START_MS + 11_000), start_ns + 11_000_000_000)
    assert not says("84200.0", 12)
    raw = frames.RawContext("0.0", "1.0", "1.0", "84143.0", "84143.0", "84200.0")
    assert feed.doubtful_tops("", [raw, raw], start_ns + 20_000_000_000) == []
    assert feed.doubtful_tops("", [raw, raw], start_ns + 34_000_000_000) == ["BTC"]


def test_only_accepted_connections_count_against_the_venues_limit() -> None:
    connects = Connects()
    assert all(connects.take(0) for _ in range(100))
    for _ in range(CONNECTS_ALLOWED_PER_MINUTE - AT_ONCE):
        assert connects.take(0)
        connects.accepted(0)
    assert not connects.take(0)
    assert connects.used(0) == (26, 30)
    assert connects.take(60_000_000_000)


def test_relisting_keeps_what_is_known_of_a_coin_unless_its_precision_changed() -> None:
    feed = fresh()
    feed.trades(raw_trades(1), ns(START_MS))
    feed.trades(raw_trades(1, coin="ETH"), ns(START_MS))
    changed = feed.relist(universe_of(markets([("BTC", 5), ("ETH", 3), ("NEW", 0)])))
    assert changed == {"ETH"}
    assert feed.trades(raw_trades(1), ns(START_MS)) == ([], False)
    assert feed.coin("NEW") is not None
    assert events.top(frames.RawTop("ETH", 1, (frames.RawLevel("1.5", "1.0"), None)), feed.universe,
                      receive_time_ns=1).bid == (1500, 1000)  # fmt: skip


def test_a_list_of_markets_may_grow_and_delist_but_not_shrink_or_move() -> None:
    before = universe_of(markets([("BTC", 5), ("ETH", 4)]), xyz=markets([("xyz:A", 1)]))
    grown = universe_of(
        [*markets([("BTC", 5)]), *markets([("ETH", 4)], isDelisted=True), *markets([("NEW", 1)])],
        xyz=markets([("xyz:A", 1)]), abc=markets([("abc:B", 1)]),
    )  # fmt: skip
    assert contradiction(before, grown) == ""
    assert live_coins(grown) == ["BTC", "NEW", "xyz:A", "abc:B"]
    assert contradiction(grown, before) == "dex '' lists 2 markets, 3 before"
    assert "gone" in contradiction(before, universe_of(markets([("BTC", 5), ("ETH", 4)])))
    moved = universe_of(markets([("ETH", 4), ("BTC", 5)]), xyz=markets([("xyz:A", 1)]))
    assert contradiction(before, moved) == "position 0 of dex '' is ETH, BTC before"
    assert contradiction(before, universe_of(markets([("BTC", 5)]), xyz=markets([("xyz:A", 1)]))) != ""


class Room:
    """Takes events while it has space."""

    def __init__(self) -> None:
        self.space = 1_000
        self.taken: list[Event] = []

    def emit(self, event: Event) -> bool:
        if self.space <= 0:
            return False
        self.space -= 1
        self.taken.append(event)
        return True


def top_event(time_ms: int) -> TopOfBook:
    return TopOfBook(
        venue="hyperliquid", market="BTC-PERP", bid=(1, 1), ask=None,
        venue_time_ns=time_ms * 1_000_000, receive_time_ns=time_ms * 1_000_000,
    )  # fmt: skip


def book_event(depth: int, time_ms: int) -> BookSnapshot:
    return BookSnapshot(
        venue="hyperliquid", market="BTC-PERP", bids=[], asks=[], version=time_ms, depth=depth,
        venue_time_ns=time_ms * 1_000_000, receive_time_ns=time_ms * 1_000_000,
    )  # fmt: skip


def down_event(state: FeedState = FeedState.RECOVERING) -> MarketDown:
    markets_down = frozenset(("BTC-PERP", "ETH-PERP"))
    return MarketDown(venue="hyperliquid", markets=markets_down, state=state, reason="cut", receive_time_ns=1)


def opened() -> tuple[Outlet, Room]:
    room = Room()
    return Outlet(room.emit), room


def test_what_the_room_refused_is_given_again_as_it_now_is() -> None:
    outlet, room = opened()
    room.space = 0
    outlet.top(top_event(1))
    outlet.top(top_event(2))
    outlet.book(book_event(5, 3))
    assert outlet.owes
    room.space = 100
    outlet.settle()
    assert room.taken == [book_event(5, 3), top_event(2)]
    assert not outlet.owes


def test_a_refused_notice_comes_before_the_prices_that_end_it() -> None:
    outlet, room = opened()
    room.space = 0
    outlet.down(down_event())
    outlet.top(top_event(2))
    room.space = 100
    outlet.settle()
    assert room.taken[-1] == top_event(2)
    assert isinstance(room.taken[0], MarketDown)
    assert room.taken[0].markets == {"BTC-PERP", "ETH-PERP"}
    assert not outlet.owes


def test_a_refused_print_is_told_as_lost_and_leaves_the_price_current() -> None:
    outlet, room = opened()
    outlet.top(top_event(1))
    room.space = 0
    outlet.trade(
        Trade(
            venue="hyperliquid",
            market="BTC-PERP",
            trade_id="1",
            price=1,
            size=1,
            buy=True,
            liquidation=False,
            venue_time_ns=1,
            receive_time_ns=5,
        )
    )
    room.space = 100
    outlet.settle()
    lost, top = room.taken[1:]
    assert isinstance(lost, MarketDown)
    assert (lost.trades_lost, lost.markets) == (True, {"BTC-PERP"})
    assert top == top_event(1)
    assert not outlet.owes


def test_refused_listings_come_before_everything_else() -> None:
    outlet, room = opened()
    room.space = 0
    outlet.listings(ListingsChanged(venue="hyperliquid", listings=(), receive_time_ns=1))
    outlet.top(top_event(1))
    outlet.settle()
    assert room.taken == []
    room.space = 100
    outlet.settle()
    assert isinstance(room.taken[0], ListingsChanged)
    assert room.taken[1] == top_event(1)


def test_what_is_no_longer_known_is_not_given_again() -> None:
    outlet, room = opened()
    outlet.top(top_event(1))
    outlet.book(book_event(20, 1))
    outlet.forget_price("BTC-PERP")
    outlet.forget_books("BTC-PERP")
    room.taken.clear()
    outlet.again("BTC-PERP")
    assert room.taken == []


def test_prices_are_not_called_current_while_the_room_lacks_some() -> None:
    outlet, room = opened()
    room.space = 0
    outlet.top(top_event(1))
    room.space = 100
    outlet.alive(Alive(venue="hyperliquid", connection="prices-1", markets=frozenset(), receive_time_ns=1))
    assert room.taken == []


def test_a_context_refused_is_left_to_the_next() -> None:
    outlet, room = opened()
    room.space = 0
    outlet.context(
        Context(
            venue="hyperliquid",
            market="BTC-PERP",
            mark_price=None,
            index_price=None,
            last_price=None,
            funding_rate=None,
            next_funding_time_ns=0,
            volume_24h_usd=None,
            open_interest=None,
            receive_time_ns=1,
            cadence_s=1.0,
        )
    )
    assert not outlet.owes
