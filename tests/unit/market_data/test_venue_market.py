"""What one venue's part of a market shows, and how far it is trusted."""

from __future__ import annotations

import pytest

from services.domain.book import BookError
from services.domain.feed import FeedState, MarketDown
from services.market_data.model.venue_market import STALE_AFTER_NS, VenueMarket
from tests.support.feed import HYPERLIQUID_BTC, LIGHTER_BTC, SECOND_NS, delta, snapshot, top, trade

L, H = "lighter", "hyperliquid"
BTC = frozenset({"BTC-PERP"})


def lighter() -> VenueMarket:
    market = VenueMarket(LIGHTER_BTC)
    market.on_snapshot(snapshot(L, [(100, 1), (99, 2)], [(102, 3)], version=7))
    return market


def down(state: FeedState, at_ns: int = SECOND_NS) -> MarketDown:
    return MarketDown(venue=L, markets=BTC, state=state, reason="cut", receive_time_ns=at_ns)


def test_nothing_is_live_before_the_first_evidence() -> None:
    market = VenueMarket(LIGHTER_BTC)
    assert market.judge(SECOND_NS).state is FeedState.RECOVERING
    assert market.judge_book(SECOND_NS).state is FeedState.RECOVERING


def test_changes_chain_by_version() -> None:
    market = lighter()
    market.on_delta(delta(L, [(101, 5)], [], previous=7, version=9))
    assert (market.bid, market.ask, market.version) == ((101, 5), (102, 3), 9)


@pytest.mark.parametrize(
    ("bids", "asks", "previous"),
    [([(101, 5)], [], 8), ([(103, 5)], [], 7), ([(101, -5)], [], 7), ([], [(100, 1)], 7)],
    ids=["a version missing", "crossed by a bid", "a negative size", "crossed by an ask"],
)
def test_a_change_that_cannot_be_true_takes_the_book_down_until_a_snapshot(bids, asks, previous) -> None:  # type: ignore[no-untyped-def]
    market = lighter()
    with pytest.raises(BookError):
        market.on_delta(delta(L, bids, asks, previous=previous, version=9))
    assert market.judge(SECOND_NS).state is FeedState.RECOVERING
    assert market.judge_book(SECOND_NS).state is FeedState.RECOVERING
    assert market.bid == (100, 1), "the values stay, as the last known"
    market.on_delta(delta(L, [(101, 5)], [], previous=9, version=10))
    assert market.bid == (100, 1), "a broken chain takes no more changes"
    market.on_snapshot(snapshot(L, [(98, 1)], [(99, 1)], version=20))
    assert market.judge(SECOND_NS).state is FeedState.LIVE
    assert market.bid == (98, 1)


def test_best_bid_and_ask_stay_live_by_the_ticker_while_the_book_is_rebuilt() -> None:
    market = lighter()
    market.on_down(down(FeedState.RECOVERING))
    market.on_top(top(L, (105, 1), (106, 1), at_ns=2 * SECOND_NS))
    assert market.judge(2 * SECOND_NS).state is FeedState.LIVE
    assert market.judge_book(2 * SECOND_NS).state is FeedState.RECOVERING
    assert (market.bid, market.ask) == ((105, 1), (106, 1))


def test_the_newest_evidence_by_the_venues_time_is_the_top() -> None:
    market = lighter()
    market.on_top(top(L, (101, 9), (102, 9), at_ns=2 * SECOND_NS))
    assert market.bid == (101, 9)
    market.on_top(top(L, (90, 9), (91, 9), at_ns=SECOND_NS))
    assert market.bid == (101, 9), "older evidence changes nothing"
    market.on_delta(delta(L, [(100, 4)], [], previous=7, version=8, at_ns=3 * SECOND_NS))
    assert market.bid == (100, 4)


def test_silence_makes_stale_within_the_promised_time_and_a_sign_of_life_ends_it() -> None:
    market = lighter()
    assert STALE_AFTER_NS < 3 * SECOND_NS
    assert market.judge(SECOND_NS + STALE_AFTER_NS).state is FeedState.LIVE
    trust = market.judge(SECOND_NS + STALE_AFTER_NS + 1)
    assert trust.state is FeedState.STALE
    assert "2.7 s" in trust.reason
    market.on_alive(5 * SECOND_NS)
    assert market.judge(6 * SECOND_NS).state is FeedState.LIVE
    market.on_down(down(FeedState.STALE))
    assert market.judge(6 * SECOND_NS).state is FeedState.STALE
    market.on_alive(6 * SECOND_NS)
    assert market.judge(6 * SECOND_NS).state is FeedState.LIVE


def test_a_sign_of_life_does_not_end_a_recovery() -> None:
    market = lighter()
    market.on_down(down(FeedState.RECOVERING))
    market.on_alive(2 * SECOND_NS)
    assert market.judge(2 * SECOND_NS).state is FeedState.RECOVERING


def test_a_promised_cadence_is_held_to_whatever_else_arrives() -> None:
    market = VenueMarket(HYPERLIQUID_BTC)
    market.on_snapshot(snapshot(H, [(100, 1)], [(102, 1)], depth=5))
    market.on_alive(9 * SECOND_NS)
    assert market.judge(9 * SECOND_NS).state is FeedState.STALE


def test_layers_add_up_and_the_newer_one_is_believed() -> None:
    market = VenueMarket(HYPERLIQUID_BTC)
    far_bids = [(100 - n, 10) for n in range(20)]
    far_asks = [(102 + n, 10) for n in range(20)]
    market.on_snapshot(snapshot(H, far_bids, far_asks, depth=20, at_ns=SECOND_NS))
    near_bids = [(101, 1), (100, 2), (99, 3), (98, 4), (97, 5)]
    near_asks = [(103, 1), (104, 1), (105, 1), (106, 1), (107, 1)]
    market.on_snapshot(snapshot(H, near_bids, near_asks, depth=5, at_ns=2 * SECOND_NS))
    assert market.bids(7) == [*near_bids, (96, 10), (95, 10)]
    assert market.asks(6) == [*near_asks, (108, 10)]
    market.on_top(top(H, (99, 7), (104, 8), at_ns=3 * SECOND_NS))
    assert market.bids(3) == [(99, 7), (98, 4), (97, 5)]
    assert market.asks(2) == [(104, 8), (105, 1)]
    market.on_snapshot(snapshot(H, far_bids, far_asks, depth=20, at_ns=4 * SECOND_NS))
    assert market.bids(2) == [(100, 10), (99, 10)]


def test_an_older_layer_is_ignored() -> None:
    market = VenueMarket(HYPERLIQUID_BTC)
    market.on_snapshot(snapshot(H, [(100, 1)], [(102, 1)], depth=5, at_ns=2 * SECOND_NS))
    market.on_snapshot(snapshot(H, [(90, 1)], [(92, 1)], depth=5, at_ns=SECOND_NS))
    assert market.bid == (100, 1)


@pytest.mark.parametrize(
    ("bids", "asks"),
    [([(100, 1)], [(100, 1)]), ([(99, 1), (100, 1)], [(102, 1)]), ([(100, 0)], [(102, 1)]), ([(100, 1)], [(0, 1)])],
    ids=["crossed", "out of order", "no size", "no price"],
)
def test_an_impossible_layer_takes_the_book_down(bids, asks) -> None:  # type: ignore[no-untyped-def]
    market = VenueMarket(HYPERLIQUID_BTC)
    market.on_snapshot(snapshot(H, [(100, 1)], [(102, 1)], depth=5))
    with pytest.raises(BookError):
        market.on_snapshot(snapshot(H, bids, asks, depth=5, at_ns=2 * SECOND_NS))
    assert market.judge_book(2 * SECOND_NS).state is FeedState.RECOVERING


def test_a_backfilled_trade_does_not_become_the_last_price() -> None:
    market = lighter()
    market.on_trade(trade(L, "2", 105, 1, at_ns=2 * SECOND_NS))
    market.on_trade(trade(L, "1", 95, 1, at_ns=SECOND_NS))
    assert market.last() == 105


def test_a_crossed_top_is_refused() -> None:
    with pytest.raises(BookError):
        lighter().on_top(top(L, (105, 1), (105, 1), at_ns=2 * SECOND_NS))
