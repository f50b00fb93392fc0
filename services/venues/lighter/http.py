"""Lighter's REST calls that market data needs, each under the venue's request limit of a standard address."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from services.chassis.clock import Clock
from services.domain.feed import BookSnapshot
from services.domain.market import LIGHTER, Listing
from services.venues.lighter.wire import payloads
from services.venues.lighter.wire.messages import WireMarket
from services.venues.lighter.wire.numbers import WireError
from services.venues.port import VenueError
from services.venues.rest import Importance, Rest

ORDERS_MAX: Final = 250
"""The most orders per side that one answer gives."""
REQUESTS_PER_MINUTE: Final = 60
"""The venue's documented limit for a standard address."""


class LighterHttp:
    """Asks Lighter over REST. Every method raises `VenueError`."""

    def __init__(self, rest: Rest, clock: Clock) -> None:
        self._rest = rest
        self._clock = clock

    async def listings(self) -> payloads.Listed:
        """Return all markets, with margins and minimums."""
        data = await self._rest.get("/api/v1/orderBookDetails")
        try:
            listed = payloads.listings(data)
        except WireError as error:
            raise VenueError(f"Lighter's list of markets cannot be read: {error}") from error
        if not listed.listings:
            raise VenueError("Lighter's list of markets names no perpetual market that can be read")
        return listed

    async def book(self, market: WireMarket) -> BookSnapshot:
        """Return the near levels of a book, summed from at most `ORDERS_MAX` single orders per side.

        What it can be compared with: the answer carries no sequence number, so it belongs to no exact version of the
        streamed book. A level that is the same in the streamed book just before the request and just after the answer,
        and lies within the answer's `depth`, must be the same in the answer; a level that moved meanwhile proves
        nothing.
        """
        data = await self._rest.get("/api/v1/orderBookOrders", {"market_id": market.market_id, "limit": ORDERS_MAX})
        receive_time_ns = self._clock.time_ns()
        try:
            bids, asks, depth = payloads.book_orders(data, market, limit=ORDERS_MAX)
        except WireError as error:
            raise VenueError(f"Lighter's orders of {market.market} cannot be read: {error}") from error
        return BookSnapshot(
            venue=LIGHTER,
            market=market.market,
            bids=bids,
            asks=asks,
            version=0,
            depth=depth,
            venue_time_ns=0,
            receive_time_ns=receive_time_ns,
        )

    async def prices(self, listing: Listing) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
        """Return (best bid, best ask, mark price) of a market, None for what there is not."""
        book = await self._rest.get(
            "/api/v1/orderBookOrders",
            {"market_id": listing.venue_market_id, "limit": 1},
            importance=Importance.URGENT,
        )
        details = await self._rest.get(
            "/api/v1/orderBookDetails", {"market_id": listing.venue_market_id}, importance=Importance.URGENT
        )
        try:
            return *payloads.best_prices(book), payloads.mark_price(details)
        except WireError as error:
            raise VenueError(f"Lighter's prices of {listing.market} cannot be read: {error}") from error
