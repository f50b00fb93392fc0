"""Takes a venue's events as the market data room does, and remembers what it would show and when."""

from __future__ import annotations

import time
from collections.abc import Callable

from services.domain.book import BookError
from services.domain.feed import (
    Alive,
    BookDelta,
    BookSnapshot,
    Context,
    Event,
    FeedState,
    ListingsChanged,
    MarketDown,
    TopOfBook,
    Trade,
)
from services.market_data.model.venue_market import VenueMarket
from services.venues.port import Venue
from tests.support.waiting import took


class Watcher:
    """A room for one venue. `is_full` makes it refuse everything, as a room that is behind does."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.events = 0
        self.first: Event | None = None
        self.markets: dict[str, VenueMarket] = {}
        self.trades: dict[str, list[Trade]] = {}
        self.downs: list[MarketDown] = []
        self.snapshots: dict[str, int] = {}
        self.wrong: list[str] = []
        self.is_full = False
        self.refused: set[str] = set()
        """The markets of which something was refused because the room was full."""

    def emit(self, event: Event) -> bool:
        if self.is_full:
            if not isinstance(event, ListingsChanged | Alive | MarketDown):
                self.refused.add(event.market)
            return False
        self.events += 1
        self.first = self.first or event
        try:
            self._take(event)
        except BookError as error:
            self.wrong.append(str(error))
            assert isinstance(event, BookSnapshot | BookDelta | TopOfBook)
            self.venue.resync(event.market, str(error))
        return True

    def _take(self, event: Event) -> None:
        if isinstance(event, ListingsChanged):
            for listing in event.listings:
                self.markets.setdefault(listing.market, VenueMarket(listing))
        elif isinstance(event, Alive):
            for market in event.markets:
                self.markets[market].on_alive(event.receive_time_ns)
        elif isinstance(event, MarketDown):
            self.downs.append(event)
            for market in event.markets:
                self.markets[market].on_down(event)
        else:
            self._take_of_market(self.markets[event.market], event)

    def _take_of_market(
        self, known: VenueMarket, event: BookSnapshot | BookDelta | TopOfBook | Trade | Context
    ) -> None:
        if isinstance(event, BookSnapshot):
            self.snapshots[event.market] = self.snapshots.get(event.market, 0) + 1
            known.on_snapshot(event)
        elif isinstance(event, BookDelta):
            known.on_delta(event)
        elif isinstance(event, TopOfBook):
            known.on_top(event)
        elif isinstance(event, Trade):
            self.trades.setdefault(event.market, []).append(event)
            known.on_trade(event)
        else:
            known.on_context(event)

    def price(self, market: str) -> FeedState:
        known = self.markets.get(market)
        return FeedState.RECOVERING if known is None else known.judge(time.time_ns()).state

    def book(self, market: str) -> FeedState:
        known = self.markets.get(market)
        return FeedState.RECOVERING if known is None else known.judge_book(time.time_ns()).state

    def is_live(self, *markets: str) -> bool:
        return all(self.price(m) is FeedState.LIVE and self.book(m) is FeedState.LIVE for m in markets)

    async def until(self, condition: Callable[[], bool], what: str, within_s: float) -> float:
        """Return how long `condition` took to hold; fail with `what` when it did not within `within_s`."""
        return await took(condition, within_s, lambda: f"{what}; {self.venue.status()}")
