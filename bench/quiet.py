"""An engine with nobody listening, for measuring a single path."""

from __future__ import annotations

from collections.abc import Sequence

from services.chassis.clock import SYSTEM
from services.domain.feed import ListingsChanged
from services.domain.market import Listing
from services.market_data.app.demand import Demand
from services.market_data.app.engine import Engine
from services.market_data.model.market import Market
from services.market_data.model.trade_log import NumberedTrade
from services.venues.port import FeedLevel, VenueStatus
from tests.support.venue import ScriptedVenue


class NullPublisher:
    """Takes every change and does nothing with it."""

    def prices(self, markets: Sequence[Market], now_ns: int) -> None:
        """Nothing."""

    def book_changes(self, markets: Sequence[Market], now_ns: int) -> None:
        """Nothing."""

    def trades(self, market: Market, trades: Sequence[NumberedTrade]) -> None:
        """Nothing."""

    def trades_lost(self, market: Market, venue: str, reason: str) -> None:
        """Nothing."""

    def fundings(self, markets: Sequence[Market], now_ns: int) -> None:
        """Nothing."""

    def venue(self, status: VenueStatus, *, market_count: int, counts: tuple[int, int, int]) -> None:
        """Nothing."""


def engine_of(listings: Sequence[Listing]) -> Engine:
    """Return an engine that knows `listings`, all wanted with their books."""
    names = sorted({listing.venue for listing in listings})
    venues = [ScriptedVenue(name, *(one for one in listings if one.venue == name)) for name in names]
    demand = Demand({listing.market: FeedLevel.BOOK for listing in listings}, SYSTEM)
    engine = Engine(venues=venues, publisher=NullPublisher(), demand=demand, clock=SYSTEM)
    for venue in venues:
        engine.intake.emit(ListingsChanged(venue=venue.name, listings=venue.listings, receive_time_ns=0))
    engine.round()
    return engine
