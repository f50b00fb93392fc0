"""The best over venues, one merged book, and the difference between two states."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.domain.market import Status
from services.market_data.model.funding import funding_of
from services.market_data.model.market import Best, Market
from services.market_data.model.merged_book import MergedBook, difference, merge
from services.market_data.model.trade_log import TRADES_PER_MARKET_MAX, TradeLog
from tests.support.feed import HYPERLIQUID_BTC, LIGHTER_BTC, SECOND_NS, context, snapshot, top, trade

L, H = "lighter", "hyperliquid"


def both(lighter_decimals: int = 1) -> Market:
    market = Market("BTC-PERP")
    market.put_listing(replace(LIGHTER_BTC, price_decimals=lighter_decimals))
    market.put_listing(HYPERLIQUID_BTC)
    return market


def test_scales_of_two_venues_meet_without_rounding() -> None:
    market = both(lighter_decimals=3)
    market.venues[L].on_top(top(L, (100_001, 5), (100_200, 5)))
    market.venues[H].on_top(top(H, (1000, 7), (1001, 7)))
    assert market.refresh(SECOND_NS)
    assert market.best_bid == Best(100_001, 5, L)
    assert market.best_ask == Best(100_100, 7, H)
    assert not market.crossed


def test_of_two_equal_prices_the_larger_size_wins() -> None:
    market = both()
    market.venues[L].on_top(top(L, (1000, 5), (1002, 9)))
    market.venues[H].on_top(top(H, (1000, 7), (1002, 9)))
    market.refresh(SECOND_NS)
    assert market.best_bid == Best(1000, 7, H)
    assert market.best_ask == Best(1002, 9, H), "at one size the first by name"


def test_a_stale_venue_keeps_its_values_and_takes_no_part() -> None:
    market = both()
    market.venues[L].on_top(top(L, (1005, 5), (1006, 5), at_ns=SECOND_NS))
    market.venues[H].on_top(top(H, (1000, 7), (1001, 7), at_ns=4 * SECOND_NS))
    market.refresh(4 * SECOND_NS)
    assert market.best_bid == Best(1000, 7, H)
    assert market.venues[L].bid == (1005, 5)


def test_venues_that_cross_each_other_are_flagged() -> None:
    market = both()
    market.venues[L].on_top(top(L, (1005, 5), (1006, 5)))
    market.venues[H].on_top(top(H, (1000, 7), (1001, 7)))
    market.refresh(SECOND_NS)
    assert market.crossed


def test_the_number_grows_by_one_with_every_change_and_only_then() -> None:
    market = both()
    market.venues[L].on_top(top(L, (1000, 5), (1001, 5)))
    assert market.refresh(SECOND_NS)
    assert not market.refresh(SECOND_NS)
    market.venues[L].on_top(top(L, (1000, 5), (1001, 5), at_ns=SECOND_NS + 1))
    assert not market.refresh(SECOND_NS + 1), "the same again is no change"
    assert market.refresh(9 * SECOND_NS), "going stale is a change"
    assert market.sequence == 2


def test_a_market_no_longer_listed_is_halted_and_stays() -> None:
    market = both()
    market.venues[L].on_top(top(L, (1000, 5), (1001, 5)))
    market.drop_listing(L)
    market.refresh(SECOND_NS)
    assert market.venues[L].listing.status is Status.DELISTED
    assert market.best_bid is None


SIDE = st.dictionaries(st.integers(1, 30), st.integers(1, 9), max_size=12)


@given(SIDE, SIDE, SIDE, SIDE, st.integers(1, 8))
def test_the_merged_book_is_the_union_of_the_venues(lb, la, hb, ha, depth) -> None:  # type: ignore[no-untyped-def]
    market = both()
    lighter = {100 + p: s for p, s in lb.items()}, {140 + p: s for p, s in la.items()}
    hyper = {105 + p: s for p, s in hb.items()}, {136 + p: s for p, s in ha.items()}
    market.venues[L].on_snapshot(snapshot(L, list(lighter[0].items()), list(lighter[1].items())))
    ordered = sorted(hyper[0].items(), reverse=True), sorted(hyper[1].items())
    market.venues[H].on_snapshot(snapshot(H, *ordered, depth=20))
    book = merge(market, depth, SECOND_NS)
    for side, index, best_first in (("bids", 0, True), ("asks", 1, False)):
        union = {
            price: tuple(
                (venue, sizes[index][price]) for venue, sizes in ((H, hyper), (L, lighter)) if price in sizes[index]
            )
            for price in sorted(lighter[index].keys() | hyper[index].keys(), reverse=best_first)
        }
        assert getattr(book, side) == dict(list(union.items())[:depth])
        assert list(getattr(book, side)) == list(union)[:depth]


PARTS = st.dictionaries(st.integers(1, 20), st.just(()).map(lambda _: (("a", 1),)) | st.just((("b", 2),)), max_size=10)


@given(PARTS, PARTS, PARTS, PARTS)
def test_a_difference_turns_one_state_into_the_other(b1, a1, b2, a2) -> None:  # type: ignore[no-untyped-def]
    before, after = MergedBook(b1, a1, (), False), MergedBook(b2, a2, (), False)
    change = difference(before, after)
    if change is None:
        assert (b1, a1) == (b2, a2)
        return
    for start, parts, end in ((b1, change.bids, b2), (a1, change.asks, a2)):
        result = {price: one for price, one in {**start, **parts}.items() if one}
        assert result == end


def test_a_trade_is_numbered_once_however_often_it_comes() -> None:
    log = TradeLog()
    assert log.add(trade(L, "1", 100, 1)) is not None
    assert log.add(trade(L, "1", 100, 1)) is None
    assert log.add(trade(H, "1", 100, 1)) is not None
    assert [one.sequence for one in log.newest(9)] == [2, 1]


def test_the_log_keeps_a_bounded_number_and_says_from_where() -> None:
    log = TradeLog()
    for number in range(TRADES_PER_MARKET_MAX + 10):
        log.add(trade(L, str(number), 100, 1))
    assert log.earliest_sequence == 11
    assert [one.sequence for one in log.newest(3, first=100, last=200)] == [200, 199, 198]
    assert [one.sequence for one in log.newest(9, first=100, last=101)] == [101, 100]
    assert log.newest(9, venues=frozenset({H})) == []


def test_funding_is_made_comparable_and_the_spread_is_over_live_venues() -> None:
    market = both()
    market.venues[L].on_context(context(L, funding="0.0000125"))
    market.venues[H].on_context(context(H, funding="-0.00001"))
    funding = funding_of(market, SECOND_NS)
    assert [one.yearly for one in funding.venues] == [Decimal("-0.0876"), Decimal("0.1095")]
    assert funding.hourly_spread == Decimal("0.0000225")
    assert (funding.highest_venue, funding.lowest_venue) == (L, H)
    assert funding.venues[0].next_time_ns == 3600 * SECOND_NS
    assert funding_of(market, 6 * SECOND_NS).hourly_spread is None, "stale contexts make no spread"
