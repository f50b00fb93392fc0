"""One market followed: its books from market_data's stream of changes, kept as integers by venue and side.

The stream names with every change the state it applies to and how many levels each side has afterwards; whatever does
not fit ends the following, and a fresh snapshot begins it anew. Until then every venue counts as RECOVERING.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from google.protobuf.duration_pb2 import Duration
from perpmesh.marketdata.v1 import book_pb2, market_pb2, price_pb2, state_pb2

from services.domain.decimals import rounding, to_units
from services.domain.feed import FeedState
from services.routing.model.books import Levels, MarketBooks, Status, VenueBook, VenueContext, VenueRules
from services.routing.model.volatility import Volatility

CONNECTING: Final = "its book is being fetched"


class BrokenStreamError(Exception):
    """A change does not fit what is here."""


class Follower:
    """The state of one market. Every method is synchronous; `books` is made anew only when something changed."""

    def __init__(self, market: market_pb2.Market) -> None:
        self._market = market
        self.number = 0
        self._rules: tuple[VenueRules, ...] = ()
        self._rules_digest = ""
        self._funding_hours: dict[str, Decimal] = {}
        self._price_decimals = self._size_decimals = 0
        self.learn(market)
        self._sides: tuple[dict[str, dict[int, int]], dict[str, dict[int, int]]] = ({}, {})
        self._counts = (0, 0)
        self._prices: tuple[dict[int, set[str]], dict[int, set[str]]] = ({}, {})
        self._sequence = 0
        self._versions: dict[str, book_pb2.BookVersion] = {}
        self._heard_ns: dict[str, int] = {}
        self._contexts: dict[str, VenueContext] = {}
        self._sorted: dict[tuple[str, int], Levels] = {}
        self._volatility = Volatility()
        self._made: MarketBooks | None = None
        self.lost = CONNECTING
        """Why no book can be trusted now; empty while the stream is whole."""

    def learn(self, market: market_pb2.Market) -> None:
        """Take the market's listings, which may change."""
        self._market = market
        self._rules = tuple(_rules(one) for one in market.listings)
        self._rules_digest = hashlib.sha256(market.SerializeToString(deterministic=True)).hexdigest()
        self._price_decimals = max((one.price_decimals for one in market.listings), default=0)
        self._size_decimals = max((_decimals(one.lot) for one in market.listings), default=0)
        self._funding_hours = {
            one.venue: Decimal(one.funding_interval.seconds or 3_600) / 3_600 for one in market.listings
        }
        self._made = None

    def snapshot(self, book: book_pb2.OrderBook, now_ns: int) -> None:
        """Take a whole book."""
        self._sides, self._prices, self._sorted = ({}, {}), ({}, {}), {}
        self._change(0, book.bids)
        self._change(1, book.asks)
        self._settle(book.sequence, book.versions, now_ns)
        self.lost = ""

    def delta(self, delta: book_pb2.BookDelta, now_ns: int) -> None:
        """Take a change. Raises `BrokenStreamError`."""
        if delta.previous_sequence != self._sequence:
            raise BrokenStreamError(f"a change upon {delta.previous_sequence}, the book is at {self._sequence}")
        self._change(0, delta.bids)
        self._change(1, delta.asks)
        if (len(self._prices[0]), len(self._prices[1])) != (delta.bid_level_count, delta.ask_level_count):
            raise BrokenStreamError("the number of levels is another after the change")
        self._settle(delta.sequence, delta.versions, now_ns)

    def price(self, price: price_pb2.Price, now_ns: int) -> None:
        """Take mark prices and funding, and the mid price for the volatility."""
        for one in price.venues:
            hours = self._funding_hours.get(one.venue, Decimal(1))
            rate = Decimal(one.funding_rate or "0")
            self._contexts[one.venue] = VenueContext(
                mark_price=Decimal(one.mark_price or "0"), funding_rate_hourly=_hourly(rate, hours)
            )
        if price.HasField("best_bid") and price.HasField("best_ask"):
            mid = (Decimal(price.best_bid.price) + Decimal(price.best_ask.price)) / 2
            self._volatility.observe(mid, now_ns)
        self._made = None

    def lose(self, reason: str) -> None:
        """The stream broke: nothing here can be trusted until the next snapshot."""
        self.lost = reason
        self._touch()

    def books(self) -> MarketBooks:
        """Return the market as it stands."""
        if self._made is None:
            names = [rules.venue for rules in self._rules]
            self._made = MarketBooks(
                market=self._market.market,
                price_decimals=self._price_decimals,
                size_decimals=self._size_decimals,
                rules=self._rules,
                books=tuple(self._book(venue) for venue in names),
                contexts=tuple(self._contexts.get(venue, _NO_CONTEXT) for venue in names),
                volatility=self._volatility.yearly(),
                number=self.number,
                versions=self._said(),
            )
        return self._made

    def _said(self) -> str:
        if self.lost:
            return ""
        versions = sorted(self._versions.values(), key=_venue_of)
        books = " ".join(f"{one.venue} {one.version} {one.state}" for one in versions)
        return f"{self._rules_digest} {books}"

    def _book(self, venue: str) -> VenueBook:
        version = self._versions.get(venue)
        state, reason = FeedState.RECOVERING, self.lost or "market data has no book of it yet"
        if version is not None and not self.lost:
            state = _STATES.get(version.state, FeedState.RECOVERING)
            reason = ""
        return VenueBook(
            venue=venue,
            state=state,
            reason=reason,
            version=version.version if version is not None else 0,
            confirmed_ns=self._heard_ns.get(venue, 0),
            bids=self._levels(venue, 0),
            asks=self._levels(venue, 1),
        )

    def _levels(self, venue: str, side: int) -> Levels:
        known = self._sorted.get((venue, side))
        if known is None:
            levels = self._sides[side].get(venue, {})
            known = self._sorted[venue, side] = tuple(sorted(levels.items(), reverse=side == 0))
        return known

    def _change(self, side: int, levels: Iterable[book_pb2.BookLevel]) -> None:
        books, prices = self._sides[side], self._prices[side]
        for level in levels:
            price = to_units(level.price, self._price_decimals)
            before = prices.get(price, set())
            now = {one.venue: to_units(one.size, self._size_decimals) for one in level.venues}
            for venue in before - now.keys():
                books[venue].pop(price, None)
                self._sorted.pop((venue, side), None)
            for venue, size in now.items():
                books.setdefault(venue, {})[price] = size
                self._sorted.pop((venue, side), None)
            if level.size == "0" or not now:
                prices.pop(price, None)
            else:
                prices[price] = set(now)

    def _settle(self, sequence: int, versions: Iterable[book_pb2.BookVersion], now_ns: int) -> None:
        self._sequence = sequence
        for version in versions:
            self._versions[version.venue] = version
            if version.HasField("age"):
                self._heard_ns[version.venue] = now_ns - _nanoseconds(version.age)
        self._touch()

    def _touch(self) -> None:
        self.number += 1
        self._made = None


_NO_CONTEXT: Final = VenueContext()
_STATES: Final = {
    state_pb2.STATE_LIVE: FeedState.LIVE,
    state_pb2.STATE_STALE: FeedState.STALE,
    state_pb2.STATE_RECOVERING: FeedState.RECOVERING,
    state_pb2.STATE_HALTED: FeedState.HALTED,
}


def _rules(one: market_pb2.Market.Listing) -> VenueRules:
    return VenueRules(
        venue=one.venue,
        tick=Decimal(one.tick),
        price_decimals=one.price_decimals,
        price_significant_figures=one.price_significant_figures,
        lot=Decimal(one.lot),
        min_size=Decimal(one.min_size or "0"),
        min_notional=Decimal(one.min_notional or "0"),
        maker_fee=Decimal(one.maker_fee or "0"),
        taker_fee=Decimal(one.taker_fee or "0"),
        max_leverage=one.max_leverage,
        status=Status(market_pb2.Market.Status.Name(one.status).removeprefix("STATUS_")),
        leverage_tiers=tuple((Decimal(tier.lower_notional), tier.max_leverage) for tier in one.leverage_tiers),
        max_order_notional=Decimal(one.max_order_notional or "0"),
        max_resting_notional=Decimal(one.max_resting_notional or "0"),
    )


def _hourly(rate: Decimal, hours: Decimal) -> Decimal:
    """Return a rate of an interval as one of an hour, rounded half to even after 18 decimals."""
    if hours == 1:
        return rate
    with rounding():
        return (rate / hours).quantize(Decimal(1).scaleb(-18), rounding=ROUND_HALF_EVEN)


def _decimals(step: str) -> int:
    _, _, fraction = step.partition(".")
    return len(fraction)


def _nanoseconds(span: Duration) -> int:
    return span.seconds * 1_000_000_000 + span.nanos


def _venue_of(version: book_pb2.BookVersion) -> str:
    return version.venue
