"""A routing desk over books, fees and accounts that a test writes down, and its answers as a caller sees them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from perpmesh.routing.v1 import quote_pb2
from perpmesh.routing.v1 import routing_service_pb2 as pb

from services.chassis.clock import SYSTEM
from services.domain.feed import FeedState
from services.routing.app.desk import Desk
from services.routing.model.books import Levels, MarketBooks, Status, VenueBook, VenueContext, VenueRules
from services.routing.model.wish import Standing
from services.routing.ports import KeptQuote
from services.routing.rpc.service import RoutingRpc
from services.routing.store.routes import RecentRoutes
from tests.support.bus import MemoryBus, MemoryServer

MARKET = "BTC-PERP"
PRICE_DECIMALS, SIZE_DECIMALS = 1, 5


def side(levels: Iterable[tuple[str, str]]) -> Levels:
    """Return levels written as texts."""
    return tuple(
        (int(Decimal(price).scaleb(PRICE_DECIMALS)), int(Decimal(size).scaleb(SIZE_DECIMALS))) for price, size in levels
    )


def venue_book(
    venue: str,
    bids: Iterable[tuple[str, str]] = (),
    asks: Iterable[tuple[str, str]] = (),
    *,
    state: FeedState = FeedState.LIVE,
    reason: str = "",
    version: int = 7,
) -> VenueBook:
    """Return a venue's book."""
    return VenueBook(
        venue=venue, state=state, reason=reason, version=version, confirmed_ns=SYSTEM.time_ns(), bids=side(bids),
        asks=side(asks),
    )  # fmt: skip


def venue_rules(venue: str, **changes: Any) -> VenueRules:
    """Return rules such as BTC's: equal lots, a smallest notional at both, a smallest size at Lighter."""
    usual = VenueRules(
        venue=venue,
        tick=Decimal(1) if venue == "hyperliquid" else Decimal("0.1"),
        price_decimals=0 if venue == "hyperliquid" else 1,
        price_significant_figures=5 if venue == "hyperliquid" else 0,
        lot=Decimal("0.00001"),
        min_size=Decimal("0.0002") if venue == "lighter" else Decimal(0),
        min_notional=Decimal(10),
        maker_fee=Decimal("0.00015") if venue == "hyperliquid" else Decimal(0),
        taker_fee=Decimal("0.00045") if venue == "hyperliquid" else Decimal(0),
        max_leverage=40,
        status=Status.ACTIVE,
    )
    return replace(usual, **changes)


def market_books(*books: VenueBook, number: int = 1, **venues: Mapping[str, Any]) -> MarketBooks:
    """Return a market; `venues` changes rules and context of one, such as `lighter={"funding_rate_hourly": ...}`."""
    rules, contexts = [], []
    for book in books:
        given = dict(venues.get(book.venue, {}))
        context = {key: given.pop(key) for key in ("mark_price", "funding_rate_hourly") if key in given}
        rules.append(venue_rules(book.venue, **given))
        contexts.append(VenueContext(**{"mark_price": Decimal(84_000), **context}))
    return MarketBooks(
        market=MARKET,
        price_decimals=PRICE_DECIMALS,
        size_decimals=SIZE_DECIMALS,
        rules=tuple(rules),
        books=books,
        contexts=tuple(contexts),
        volatility=Decimal("0.4"),
        number=number,
        versions=f"{number}",
    )


@dataclass
class HandBooks:
    """The port `Books`; a test puts in `now` what is true, with `move` where somebody waits."""

    now: MarketBooks
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def market(self, name: str) -> MarketBooks:
        """Return the books."""
        return self.now

    async def changed(self, name: str) -> None:
        """Wait until they move."""
        await self.moved.wait()

    def move(self, books: MarketBooks) -> None:
        """Let other books stand."""
        self.now = books
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()


@dataclass
class HandStandings:
    """The port `Standings`: of every signed-in user and of named accounts the one that is written here."""

    own: Standing = field(default_factory=Standing)

    async def of_user(self, user: str | None, account_ids: tuple[str, ...], market: str) -> Standing:
        """Return the standing."""
        return self.own if user is not None else Standing()

    async def of_accounts(self, account_ids: tuple[str, ...], market: str) -> Standing:
        """Return the standing."""
        return self.own


class MemoryQuotes:
    """The port `Quotes`."""

    def __init__(self) -> None:
        self.kept: dict[UUID, KeptQuote] = {}

    def keep(self, quote: KeptQuote) -> None:
        """Keep a quote."""
        self.kept.setdefault(quote.quote_id, quote)

    async def keep_now(self, quote: KeptQuote) -> None:
        """Keep a quote."""
        self.kept[quote.quote_id] = quote

    async def get(self, quote_id: UUID) -> KeptQuote | None:
        """Return a quote."""
        return self.kept.get(quote_id)


class CountedIds:
    """The port `Chance`."""

    def __init__(self) -> None:
        self.given: deque[UUID] = deque()

    def uuid(self) -> UUID:
        """Return a new id."""
        self.given.append(uuid4())
        return self.given[-1]


class Room:
    """The room's calls over all of these, as other rooms and callers make them."""

    def __init__(self, books: MarketBooks, standing: Standing | None = None, bus: MemoryServer | None = None) -> None:
        self.books = HandBooks(books)
        self.quotes = MemoryQuotes()
        self.ids = CountedIds()
        self.desk = Desk(
            books=self.books, standings=HandStandings(standing or Standing()), clock=SYSTEM, chance=self.ids
        )
        self.routes = RecentRoutes(MemoryBus(bus), SYSTEM)
        self.rpc = RoutingRpc(desk=self.desk, quotes=self.quotes, routes=self.routes, clock=SYSTEM)

    async def quote(self, request: pb.QuoteRouteRequest) -> quote_pb2.Quote:
        """Return the answer of QuoteRoute."""
        return pb.QuoteRouteResponse.FromString(await self.rpc.QuoteRoute(request, None)).quote
