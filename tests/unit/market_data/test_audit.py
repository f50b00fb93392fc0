"""The audit finds a changed digit and is not fooled by a book that moves."""

from __future__ import annotations

from services.market_data.model.audit import Watcher
from services.market_data.model.venue_market import VenueMarket
from tests.support.feed import LIGHTER_BTC, delta, snapshot

L = "lighter"
BIDS = [(100, 5), (99, 6), (98, 7)]
ASKS = [(101, 5), (102, 6), (103, 7)]


def market() -> VenueMarket:
    found = VenueMarket(LIGHTER_BTC)
    found.on_snapshot(snapshot(L, BIDS, ASKS, version=1))
    return found


def test_equal_books_show_no_difference() -> None:
    ours = market()
    assert Watcher.begin(ours).compare(ours, snapshot(L, BIDS, ASKS)) == []


def test_a_changed_digit_shows() -> None:
    ours = market()
    found = Watcher.begin(ours).compare(ours, snapshot(L, [(100, 5), (99, 9), (98, 7)], ASKS))
    assert [(one.side, one.price, one.ours, one.theirs) for one in found] == [("bids", 99, 6, 9)]


def test_a_level_that_only_one_side_has_shows_within_the_common_range() -> None:
    ours = market()
    found = Watcher.begin(ours).compare(ours, snapshot(L, [(100, 5), (98, 7)], [(101, 5), (103, 7), (104, 1)]))
    assert [(one.side, one.price) for one in found] == [("bids", 99), ("asks", 102)]


def test_a_price_that_moved_meanwhile_proves_nothing() -> None:
    ours = market()
    watcher = Watcher.begin(ours)
    ours.on_delta(delta(L, [(99, 1)], [], previous=1, version=2))
    watcher.look(ours)
    ours.on_delta(delta(L, [(99, 6)], [], previous=2, version=3))
    assert watcher.compare(ours, snapshot(L, [(100, 5), (99, 1), (98, 7)], ASKS)) == []
