"""Lighter's REST calls that market data needs, each under the venue's request limit of a standard address."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from services.chassis.clock import Clock
from services.domain.feed import BookSnapshot, PastCandle, PastFunding
from services.domain.market import LIGHTER, Listing
from services.venues.lighter.wire import past, payloads
from services.venues.lighter.wire.messages import WireMarket
from services.venues.lighter.wire.numbers import WireError
from services.venues.port import VenueError
from services.venues.rest import Importance, Rest

ORDERS_MAX: Final = 250
"""The most orders per side that one answer gives."""
REQUESTS_PER_MINUTE: Final = 60
"""The venue's documented limit for a standard address."""
PAST_MAX: Final = 500
"""The most candles, or settled rates, of one answer."""
RESOLUTIONS: Final = {60: "1m", 300: "5m", 900: "15m", 3_600: "1h", 14_400: "4h", 86_400: "1d"}
_SECOND_NS: Final = 1_000_000_000


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

    async def candles(self, market: WireMarket, interval_s: int, start_ns: int, end_ns: int) -> list[PastCandle]:
        """Return the candles that open in [start, end), oldest first, at most `PAST_MAX` from the start."""
        end_ns = min(end_ns, start_ns + PAST_MAX * interval_s * _SECOND_NS)
        wanted = _span(market, RESOLUTIONS[interval_s], start_ns, end_ns)
        data = await self._rest.get("/api/v1/candles", wanted)
        try:
            resolution, rows = payloads.candles(data)
            if resolution not in ("", wanted["resolution"]):
                raise WireError("r", f"{resolution!r:.20} was answered, {wanted['resolution']} asked")
            return past.candles(rows, market, start_ns, end_ns)
        except WireError as error:
            raise VenueError(f"Lighter's candles of {market.market} cannot be read: {error}") from error

    async def fundings(self, market: WireMarket, start_ns: int, end_ns: int) -> list[PastFunding]:
        """Return the rates settled in [start, end), oldest first, at most `PAST_MAX` hours from the start."""
        end_ns = min(end_ns, start_ns + PAST_MAX * 3_600 * _SECOND_NS)
        data = await self._rest.get("/api/v1/fundings", _span(market, "1h", start_ns, end_ns))
        try:
            return past.fundings(payloads.fundings(data), start_ns, end_ns)
        except WireError as error:
            raise VenueError(f"Lighter's funding of {market.market} cannot be read: {error}") from error

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


def _span(market: WireMarket, resolution: str, start_ns: int, end_ns: int) -> dict[str, str | int]:
    """Return the query of a span; its times are milliseconds, and the last is inclusive."""
    return {
        "market_id": market.market_id,
        "resolution": resolution,
        "start_timestamp": start_ns // 1_000_000,
        "end_timestamp": end_ns // 1_000_000 - 1,
        "count_back": 0,
    }
