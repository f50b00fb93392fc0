"""One market over all venues: the best of them, and what changed.

Prices of a market are compared in the market's own units: the finest scale of its listings, so that integers of two
venues meet without rounding. A venue too old, recovering or halted keeps its values and takes no part in the best.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from services.domain.book import Level
from services.domain.feed import FeedState
from services.domain.market import Listing, Status
from services.market_data.model.venue_market import VenueMarket


class Best(NamedTuple):
    """The best level of one side over the LIVE venues, in the market's units. Made for every change of a price."""

    price: int
    size: int
    venue: str


class Market:
    """The mutable state of one market. `sequence` grows by one with every change shown."""

    __slots__ = (
        "best_ask",
        "best_bid",
        "crossed",
        "name",
        "price_decimals",
        "price_factors",
        "sequence",
        "size_decimals",
        "size_factors",
        "update_time_ns",
        "venues",
    )

    def __init__(self, name: str, *, first_sequence: int = 0) -> None:
        self.name = name
        self.venues: dict[str, VenueMarket] = {}
        self.price_decimals = 0
        self.size_decimals = 0
        self.price_factors: dict[str, int] = {}
        self.size_factors: dict[str, int] = {}
        self.best_bid: Best | None = None
        self.best_ask: Best | None = None
        self.crossed = False
        self.sequence = first_sequence
        self.update_time_ns = 0

    def put_listing(self, listing: Listing) -> VenueMarket:
        """Take a venue's listing of this market; a changed scale starts that venue's state anew."""
        known = self.venues.get(listing.venue)
        if known is not None and _scales(known.listing) == _scales(listing):
            if known.listing != listing:
                known.listing = listing
                known.changed = True
            return known
        self.venues[listing.venue] = VenueMarket(listing)
        self.venues = dict(sorted(self.venues.items()))
        listings = [venue.listing for venue in self.venues.values()]
        self.price_decimals = max(one.price_decimals for one in listings)
        self.size_decimals = max(one.size_decimals for one in listings)
        self.price_factors = {one.venue: 10 ** (self.price_decimals - one.price_decimals) for one in listings}
        self.size_factors = {one.venue: 10 ** (self.size_decimals - one.size_decimals) for one in listings}
        return self.venues[listing.venue]

    def drop_listing(self, venue: str) -> None:
        """Take a venue's own word that it lists this market no longer: delisted, its last values kept."""
        venue_market = self.venues[venue]
        venue_market.listing = replace(venue_market.listing, status=Status.DELISTED)
        venue_market.changed = True

    def refresh(self, now_ns: int) -> bool:
        """Judge every venue and choose the best anew. True when something shown has changed; `sequence` then grew."""
        changed = False
        for venue in self.venues.values():
            venue.refresh(now_ns)
            if venue.changed:
                changed, venue.changed = True, False
        if not changed:
            return False
        best_bid: Best | None = None
        best_ask: Best | None = None
        for name, venue in self.venues.items():
            if venue.price_trust.state is not FeedState.LIVE:
                continue
            if venue.bid is not None:
                best_bid = self._better(best_bid, venue.bid, name, sign=1)
            if venue.ask is not None:
                best_ask = self._better(best_ask, venue.ask, name, sign=-1)
        self.best_bid, self.best_ask = best_bid, best_ask
        self.crossed = best_bid is not None and best_ask is not None and best_bid.price >= best_ask.price
        self.sequence += 1
        self.update_time_ns = now_ns
        return True

    def scaled(self, venue: str, level: Level) -> Level:
        """Return a venue's level in the market's units."""
        return level[0] * self.price_factors[venue], level[1] * self.size_factors[venue]

    def _better(self, known: Best | None, level: Level, venue: str, *, sign: int) -> Best:
        """Return the better of two levels; at one price the larger size, at one size the first by name."""
        price, size = level[0] * self.price_factors[venue], level[1] * self.size_factors[venue]
        if known is None or (price - known.price) * sign > 0 or (price == known.price and size > known.size):
            return Best(price, size, venue)
        return known


def _scales(listing: Listing) -> tuple[int, int, str]:
    return listing.price_decimals, listing.size_decimals, listing.symbol
